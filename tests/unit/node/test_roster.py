"""Who is who in an epoch: validators by index, guests by numbers above them, and why a node does not vote."""

from __future__ import annotations

from collections.abc import Sequence

from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import Epoch, MemberId, ValidatorIndex
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.roster import GUESTS_MAX, Roster, compute_name, find_crowding

KEYS = [PrivateKey.generate().public_key.encoded for _ in range(6)]
MEMBERS = ("alpha", "beta", "gamma", "delta", "epsilon")


def make_set(*members: str, keys: Sequence[int] = ()) -> ValidatorSet:
    chosen = keys or [MEMBERS.index(member) for member in members]
    return ValidatorSet(
        tuple(
            Validator(member=MemberId(member), node="n1", public_key=KEYS[key])
            for member, key in zip(members, chosen, strict=True)
        )
    )


def make(own: str = "alpha", key: int | None = 0) -> Roster:
    return Roster(
        own_name=compute_name(own, "n1"),
        public_key=None if key is None else KEYS[key],
        epoch=Epoch(0),
        validators=make_set("alpha", "beta", "gamma", "delta"),
    )


def test_validators_go_by_their_index_and_others_by_numbers_above() -> None:
    roster = make()
    assert (roster.own, roster.number("gamma/n1"), roster.number("alpha/n1")) == (0, 2, None)
    guest = roster.number("epsilon/n1")
    assert guest == 4
    assert roster.number("epsilon/n1") == guest
    assert roster.number("beta/n2") == 5
    assert [roster.find_name(ValidatorIndex(number)) for number in (0, 3, 4, 5, 6, -1)] == [
        "alpha/n1",
        "delta/n1",
        "epsilon/n1",
        "beta/n2",
        None,
        None,
    ]
    assert roster.others == ("beta/n1", "gamma/n1", "delta/n1")


def test_another_epoch_gives_other_numbers() -> None:
    roster = make()
    roster.number("epsilon/n1")
    roster.begin(Epoch(1), make_set("epsilon", "alpha", "beta"))
    assert (roster.epoch, roster.own, roster.number("epsilon/n1")) == (1, 1, 0)
    assert roster.number("gamma/n1") == 3
    assert roster.names == ("epsilon/n1", "alpha/n1", "beta/n1")


def test_guests_beyond_the_bound_take_the_numbers_of_the_oldest() -> None:
    roster = make()
    numbers = [roster.number(f"beta/g{count}") for count in range(GUESTS_MAX + 10)]
    assert all(number is not None and number < 4 + GUESTS_MAX for number in numbers)
    assert roster.find_name(ValidatorIndex(4)) == f"beta/g{GUESTS_MAX}"
    assert roster.find_name(ValidatorIndex(14)) == "beta/g10"


def test_guests_of_a_member_share_a_label() -> None:
    roster = make()
    assert roster.compute_label("beta/n1") == "beta/n1"
    assert roster.compute_label("beta/n7") == roster.compute_label("beta/n8") == "beta/guest"


def test_who_does_not_vote_can_say_why() -> None:
    assert make().explain_silence() == ""
    assert "not among the validators" in make("epsilon", 4).explain_silence()
    assert "no signing_key" in make(key=None).explain_silence()
    assert make(key=5).own is None
    assert "another key" in make(key=5).explain_silence()


def test_a_node_votes_once_the_validators_name_its_key() -> None:
    roster = make(key=5)
    roster.begin(Epoch(1), make_set("alpha", "beta", keys=(5, 1)))
    assert (roster.own, roster.explain_silence()) == (0, "")


def test_the_member_with_most_guests_gives_way_by_its_latest() -> None:
    guests = ["beta/1", "gamma/1", "beta/2", "beta/3", "gamma/2"]
    assert find_crowding(guests, "delta/1") == "beta/3"
    assert find_crowding(guests, "gamma/3") is None
    assert find_crowding(guests, "beta/4") is None


def test_who_gave_way_does_not_push_anybody_out_when_it_comes_back() -> None:
    guests = [f"beta/{number}" for number in range(GUESTS_MAX)]
    arrivals = 0
    while (leaving := find_crowding(guests, f"gamma/{arrivals}")) is not None:
        guests.remove(leaving)
        guests.append(f"gamma/{arrivals}")
        arrivals += 1
        assert find_crowding(guests, leaving) is None
    assert arrivals == GUESTS_MAX // 2


def test_nobody_gives_way_when_each_member_has_one() -> None:
    assert find_crowding([f"member-{number}/n1" for number in range(GUESTS_MAX)], "late/n1") is None
