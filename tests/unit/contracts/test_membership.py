"""Members are admitted and dismissed, and their keys and CAs change, on a running ledger."""

from __future__ import annotations

from hashlib import sha256
from typing import Any, Final

import pytest
from tanpo.cli.membership import MEMBERS_MAX
from tanpo.client.config import GAS_LIMIT
from tanpo.ledger.transaction import SIGNERS_MAX
from tanpo.ledger.values import Value
from tanpo.testing import (
    Ledger,
    Market,
    build_key,
    build_member,
    build_member_arguments,
    build_validator,
)
from tanpo.testing.market import BOND

VOTERS: Final = ("trust-bank", "custody-bank", "dealer-a", "dealer-b")
NEW: Final[dict[str, Any]] = {
    "member": "fund-a",
    "name": "Fund A",
    "lei": "",
    "granted": ("participant",),
    "ca_certificate": b"the CA of fund-a",
    "keys": (build_key("fund-a"),),
}


def vote(market: Market, entry: str, **arguments: Any) -> None:
    market.ledger.call("members", entry, sender="dealer-a", signers=VOTERS, **arguments)


def act(market: Market, entry: str, *, by: str = "dealer-a", **arguments: Any) -> None:
    market.ledger.call("members", entry, sender=by, **arguments)


def view(market: Market, name: str, **arguments: Any) -> Any:
    return market.ledger.view("members", name, **arguments)


def owner(market: Market, name: str) -> Any:
    """Return what is kept of a made-up key."""
    return view(market, "owner_of", key_id=sha256(build_key(name)).digest()[:16])


def let_go(ledger: Ledger, member: str) -> None:
    """Replace the validators by those of the other members."""
    others = tuple(build_validator(one) for one in (*VOTERS, "dealer-c") if one != member)
    ledger.call("validators", "replace", sender="dealer-a", signers=VOTERS, validators=others)
    ledger.call("validators", "begin_epoch", sender="")


def test_a_member_that_was_admitted_has_its_roles_its_ca_and_its_keys_and_counts_in_votes(
    market: Market,
) -> None:
    vote(market, "admit", **NEW)
    assert view(market, "roles_of", member="fund-a") == ("participant",)
    assert view(market, "record_of", member="fund-a") == {
        "name": "Fund A",
        "lei": "",
        "authorities": ({"certificate": b"the CA of fund-a", "added": market.ledger.height},),
        "keys": (build_key("fund-a"),),
    }
    assert owner(market, "fund-a") == {
        "key": build_key("fund-a"),
        "member": "fund-a",
        "added": 1,
        "removed": 0,
    }
    assert view(market, "count_votes", signers=("fund-a",)) == {"votes": 1, "members": 6}
    event = market.ledger.events[-1]
    assert (event.name, dict(event.fields)["member"]) == ("MemberAdmitted", "fund-a")


def test_the_votes_that_admit_are_those_of_the_members_of_now(market: Market) -> None:
    vote(market, "admit", **NEW)
    other: dict[str, Any] = {**NEW, "member": "fund-b", "keys": (build_key("fund-b"),)}
    with market.ledger.expect_abort("UNAUTHORISED", votes=4, members=6):
        vote(market, "admit", **other)
    market.ledger.call("members", "admit", sender="fund-a", signers=(*VOTERS, "fund-a"), **other)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"member": "dealer-a"}, "MEMBER_EXISTS"),
        ({"member": ""}, "MEMBER_NAME"),
        ({"member": "Fund"}, "MEMBER_NAME"),
        ({"member": "contract:members"}, "MEMBER_NAME"),
        ({"member": "a" * 49}, "MEMBER_NAME"),
        ({"name": ""}, "NAME_FORM"),
        ({"name": "n" * 101}, "NAME_FORM"),
        ({"lei": "123"}, "LEI_FORM"),
        ({"granted": ("king",)}, "ROLE_UNKNOWN"),
        ({"granted": ("issuer", "issuer")}, "ROLE_HELD"),
        ({"ca_certificate": b""}, "AUTHORITY_FORM"),
        ({"keys": ()}, "KEY_COUNT"),
        ({"keys": tuple(build_key(str(number)) for number in range(17))}, "KEY_COUNT"),
        ({"keys": (b"key",)}, "KEY_FORM"),
        ({"keys": (build_key("x"), build_key("x"))}, "KEY_USED"),
        ({"keys": (build_key("dealer-b"),)}, "KEY_USED"),
    ],
)
def test_a_member_that_cannot_be_is_refused(market: Market, changed: dict[str, Value], code: str) -> None:
    with market.ledger.expect_abort(code):
        vote(market, "admit", **{**NEW, **changed})


def test_a_dismissed_member_has_no_roles_and_no_keys_and_no_vote(market: Market) -> None:
    vote(market, "admit", **NEW)
    market.ledger.height = 7
    market.ledger.call(
        "members", "dismiss", sender="dealer-a", signers=(*VOTERS, "dealer-c"), member="fund-a"
    )
    assert view(market, "exists", member="fund-a") is False
    assert view(market, "has_role", member="fund-a", role="participant") is False
    assert (owner(market, "fund-a")["added"], owner(market, "fund-a")["removed"]) == (1, 7)
    assert view(market, "count_votes", signers=("fund-a",)) == {"votes": 0, "members": 5}
    with market.ledger.expect_abort("MEMBER_UNKNOWN"):
        act(market, "add_key", by="fund-a", member="fund-a", key=build_key("another"))


def test_a_member_that_comes_back_needs_keys_that_nobody_ever_had(market: Market) -> None:
    vote(market, "admit", **NEW)
    everybody = (*VOTERS, "dealer-c")
    market.ledger.call("members", "dismiss", sender="dealer-a", signers=everybody, member="fund-a")
    with market.ledger.expect_abort("KEY_USED"):
        vote(market, "readmit", **NEW)
    vote(market, "readmit", **{**NEW, "keys": (build_key("another"),)})
    assert view(market, "exists", member="fund-a") is True


def test_the_accounts_of_a_dismissed_member_pass_only_to_whom_the_vote_says_that_they_do(
    market: Market,
) -> None:
    everybody, newcomer = (*VOTERS, "dealer-c"), {**NEW, "keys": (build_key("another"),)}
    with market.ledger.expect_abort("DEPARTURE_UNKNOWN", member="fund-a"):
        vote(market, "readmit", **NEW)
    vote(market, "admit", **NEW)
    market.issue(BOND, "fund-a", 500)
    market.ledger.height = 7
    market.ledger.call("members", "dismiss", sender="dealer-a", signers=everybody, member="fund-a")
    assert view(market, "departure_of", member="fund-a") == {"name": "Fund A", "lei": "", "height": 7}
    with market.ledger.expect_abort("MEMBER_DISMISSED", member="fund-a", name="Fund A", height=7):
        vote(market, "admit", **newcomer)
    with market.ledger.expect_abort("UNAUTHORISED"):
        act(market, "readmit", **newcomer)

    vote(market, "readmit", **newcomer)

    assert view(market, "departure_of", member="fund-a")["height"] == 0
    assert market.ledger.events[-1].name == "MemberReadmitted"
    assert market.ledger.view("instruments", "free", account="fund-a", instrument=BOND) == 500


def test_a_member_whose_node_is_a_validator_is_not_dismissed(market: Market) -> None:
    with market.ledger.expect_abort("MEMBER_VOTES", member="dealer-c"):
        vote(market, "dismiss", member="dealer-c")
    let_go(market.ledger, "dealer-c")
    vote(market, "dismiss", member="dealer-c")
    assert view(market, "exists", member="dealer-c") is False


def test_a_member_whose_node_is_about_to_be_a_validator_or_is_one_still_is_not_dismissed(
    market: Market,
) -> None:
    vote(market, "admit", **NEW)
    ledger, everybody = market.ledger, (*VOTERS, "dealer-c")
    then = tuple(build_validator(one) for one in (*VOTERS, "fund-a"))
    ledger.call("validators", "replace", sender="dealer-a", signers=everybody, validators=then)
    for member in ("fund-a", "dealer-c"):
        with ledger.expect_abort("MEMBER_VOTES", member=member):
            ledger.call("members", "dismiss", sender="dealer-a", signers=everybody, member=member)
    ledger.call("validators", "refuse_pending", sender="")
    ledger.call("members", "dismiss", sender="dealer-a", signers=everybody, member="fund-a")


def test_a_dismissal_and_a_stranger_as_voter_are_refused(market: Market) -> None:
    with market.ledger.expect_abort("UNAUTHORISED", votes=1):
        act(market, "dismiss", member="dealer-c")
    with market.ledger.expect_abort("MEMBER_UNKNOWN", member="nobody"):
        vote(market, "dismiss", member="nobody")
    with market.ledger.expect_abort("UNAUTHORISED", caller="dealer-a"):
        act(market, "note_voting", members=())


def test_a_member_changes_its_own_keys(market: Market) -> None:
    market.ledger.height = 5
    act(market, "add_key", member="dealer-a", key=build_key("new"))
    market.ledger.height = 6
    act(market, "remove_key", member="dealer-a", key=build_key("dealer-a"))
    assert view(market, "record_of", member="dealer-a")["keys"] == (build_key("new"),)
    owners = [owner(market, name) for name in ("dealer-a", "new")]
    assert [(one["added"], one["removed"]) for one in owners] == [(1, 6), (5, 0)]
    assert [event.name for event in market.ledger.events[-2:]] == ["KeyAdded", "KeyRemoved"]


def test_others_change_the_keys_of_a_member_only_by_a_vote(market: Market) -> None:
    with market.ledger.expect_abort("UNAUTHORISED", votes=1):
        act(market, "add_key", member="dealer-c", key=build_key("new"))
    vote(market, "add_key", member="dealer-c", key=build_key("new"))
    vote(market, "remove_key", member="dealer-c", key=build_key("dealer-c"))
    assert view(market, "record_of", member="dealer-c")["keys"] == (build_key("new"),)


@pytest.mark.parametrize(
    ("entry", "key", "code"),
    [
        ("add_key", build_key("dealer-a"), "KEY_USED"),
        ("add_key", build_key("dealer-b"), "KEY_USED"),
        ("add_key", build_key("removed"), "KEY_USED"),
        ("add_key", b"key", "KEY_FORM"),
        ("remove_key", build_key("dealer-a"), "KEY_LAST"),
        ("remove_key", build_key("dealer-b"), "KEY_UNKNOWN"),
        ("remove_key", build_key("removed"), "KEY_UNKNOWN"),
    ],
)
def test_a_change_of_keys_that_cannot_be_is_refused(
    market: Market, entry: str, key: bytes, code: str
) -> None:
    act(market, "add_key", member="dealer-a", key=build_key("removed"))
    act(market, "remove_key", member="dealer-a", key=build_key("removed"))
    with market.ledger.expect_abort(code):
        act(market, entry, member="dealer-a", key=key)


def test_a_member_has_sixteen_keys_at_the_most(market: Market) -> None:
    for number in range(15):
        act(market, "add_key", member="dealer-a", key=build_key(f"key {number}"))
    with market.ledger.expect_abort("KEY_COUNT", limit=16):
        act(market, "add_key", member="dealer-a", key=build_key("one more"))


def test_the_old_ca_and_the_new_one_overlap_and_each_keeps_the_height_that_added_it(market: Market) -> None:
    old = view(market, "record_of", member="dealer-a")["authorities"]
    market.ledger.advance(blocks=3)
    new = ({"certificate": b"new", "added": market.ledger.height},)
    for expected in (old + new, new):
        certificates = tuple(one["certificate"] for one in expected)
        act(market, "replace_authority", member="dealer-a", ca_certificates=certificates)
        assert view(market, "record_of", member="dealer-a")["authorities"] == expected
        market.ledger.advance(blocks=1)
    act(market, "replace_authority", member="dealer-a", ca_certificates=(old[0]["certificate"],))
    (again,) = view(market, "record_of", member="dealer-a")["authorities"]
    assert again["added"] > new[0]["added"]
    assert market.ledger.events[-1].name == "AuthorityReplaced"


def test_as_many_as_can_sign_a_transaction_carry_a_vote_of_all_members_that_may_be() -> None:
    names = [f"member-{number}" for number in range(MEMBERS_MAX)]
    ledger = Ledger()
    founders = [build_member(name) for name in names]
    ledger.deploy("members", arguments=build_member_arguments(*founders, voters=names[:4]))
    signers, change = names[:SIGNERS_MAX], {"member": names[-1], "role": "custodian"}
    with ledger.expect_abort("UNAUTHORISED", votes=SIGNERS_MAX - 1):
        ledger.call("members", "grant", sender=names[0], signers=signers[1:], gas_limit=GAS_LIMIT, **change)
    ledger.call("members", "grant", sender=names[0], signers=signers, gas_limit=GAS_LIMIT, **change)
    ledger.call("members", "admit", sender=names[0], signers=signers, gas_limit=GAS_LIMIT, **NEW)
    with ledger.expect_abort("UNAUTHORISED", votes=SIGNERS_MAX):
        ledger.call("members", "revoke", sender=names[0], signers=signers, gas_limit=GAS_LIMIT, **change)


@pytest.mark.parametrize(
    ("authorities", "code"),
    [
        ((), "AUTHORITY_COUNT"),
        ((b"1", b"2", b"3"), "AUTHORITY_COUNT"),
        ((b"1", b"1"), "AUTHORITY_FORM"),
        ((b"1", b""), "AUTHORITY_FORM"),
    ],
)
def test_a_change_of_cas_that_cannot_be_is_refused(market: Market, authorities: Value, code: str) -> None:
    with market.ledger.expect_abort(code):
        act(market, "replace_authority", member="dealer-a", ca_certificates=authorities)
    with market.ledger.expect_abort("UNAUTHORISED", votes=1):
        act(market, "replace_authority", member="dealer-b", ca_certificates=(b"new",))


RELAY = """
members: Contract["members"]


@entry
def add(member: str, key: bytes) -> None:
    members.add_key(member=member, key=key)


@entry
def note() -> None:
    nobody: list[str] = []
    members.note_voting(members=nobody)
"""


def test_a_contract_cannot_pass_on_a_members_signature(market: Market) -> None:
    market.ledger.deploy("relay", source=RELAY)
    with market.ledger.expect_abort("UNAUTHORISED", caller="contract:relay"):
        market.ledger.call("relay", "add", sender="dealer-a", member="dealer-a", key=build_key("new"))
    with market.ledger.expect_abort("UNAUTHORISED", caller="contract:relay"):
        market.ledger.call("relay", "note", sender="dealer-a")


def test_as_many_members_as_validators_fit_into_a_genesis() -> None:
    ledger = Ledger()
    members = [build_member(f"member-{number}", ca_certificate=b"x" * 900) for number in range(64)]
    ledger.deploy_product(members)
    assert ledger.view("members", "count_votes", signers=("member-1",)) == {"votes": 1, "members": 64}
