"""What an operator writes to have validators changed, and what is said before anybody signs it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tanpo.cli.validators import (
    Wish,
    apply_wishes,
    check_change,
    check_names,
    check_presence,
    check_proposer,
    check_strength,
    describe_change,
    describe_validators,
    load_validators,
    parse_name,
    parse_wish,
)
from tanpo.client.keyfile import save_public_key
from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator

KEYS = [PrivateKey.generate().public_key for _ in range(6)]
CURRENT = tuple(
    Validator(member=MemberId(member), node="n1", public_key=key.encoded)
    for member, key in zip(("alpha", "beta", "gamma", "delta"), KEYS, strict=False)
)


def wish(name: str, key: int | None = None) -> Wish:
    member, _, node = name.partition("/")
    return Wish(member=MemberId(member), node=node, public_key=b"" if key is None else KEYS[key].encoded)


def test_a_key_is_given_in_digits_in_a_file_or_by_the_network(tmp_path: Path) -> None:
    file = tmp_path / "key.pem"
    save_public_key(file, KEYS[4])
    expected = wish("alpha/n2", 4)
    assert parse_wish(f"alpha/n2={KEYS[4].encoded.hex()}", {}) == expected
    assert parse_wish(f"alpha/n2={file}", {}) == expected
    assert parse_wish("alpha/n2", {"alpha/n2": KEYS[4].encoded}) == expected


@pytest.mark.parametrize("text", ["alpha", "/n1", "alpha/", "alpha/n1/x", ""])
def test_a_node_that_is_written_otherwise_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="MEMBER/NODE"):
        parse_name(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("alpha/n2", "a public key is missing"),
        ("alpha/n2=", "neither a public key nor a file|not a DER"),
        ("alpha/n2=00ff", "not a DER SubjectPublicKeyInfo"),
        ("alpha/n2=/nowhere/key.pem", "neither a public key nor a file: No such file"),
    ],
)
def test_a_key_that_is_none_is_named(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        parse_wish(text, {})


def test_a_private_key_is_not_taken_for_a_public_one(tmp_path: Path) -> None:
    file = tmp_path / "validator.key"
    file.write_bytes(PrivateKey.generate().to_pem())
    with pytest.raises(UsageError, match="not a PEM public key"):
        parse_wish(f"alpha/n2={file}", {})


def test_nodes_leave_come_last_and_keep_their_place_with_another_key() -> None:
    wanted = apply_wishes(
        CURRENT, add=[wish("alpha/n2", 4)], remove=[wish("alpha/n1")], rekey=[wish("gamma/n1", 5)]
    )
    assert [f"{one.member}/{one.node}" for one in wanted] == ["beta/n1", "gamma/n1", "delta/n1", "alpha/n2"]
    assert [one.public_key for one in wanted] == [KEYS[number].encoded for number in (1, 5, 3, 4)]
    assert describe_change(CURRENT, wanted) == {
        "added": ["alpha/n2"],
        "removed": ["alpha/n1"],
        "rekeyed": ["gamma/n1"],
        "validators": ["beta/n1", "gamma/n1", "delta/n1", "alpha/n2"],
        "quorum": 3,
        "faulty_max": 1,
    }


def test_a_change_that_survives_fewer_faults_is_refused_before_anybody_signs() -> None:
    five = (*CURRENT, Validator(member=MemberId("epsilon"), node="n1", public_key=KEYS[4].encoded))
    check_strength(five, CURRENT)

    with pytest.raises(UsageError, match="would survive 0 faulty validators, and survives 1 now") as refused:
        check_strength(CURRENT, CURRENT[:3])

    assert "--weaken" in refused.value.remedy


FIVE = (*CURRENT, Validator(member=MemberId("alpha"), node="n2", public_key=KEYS[4].encoded))
NAMES = [f"{one.member}/{one.node}" for one in FIVE]


@pytest.mark.parametrize(
    ("wanted", "absent"),
    [
        (FIVE, ["alpha/n2"]),
        (FIVE, ["beta/n1", "alpha/n2"]),
        (CURRENT, ["beta/n1"]),
        (CURRENT[:1], ["alpha/n1"]),
    ],
)
def test_validators_of_whom_none_may_fail_because_some_are_not_up_are_refused(
    wanted: tuple[Validator, ...], absent: list[str]
) -> None:
    check_presence(wanted, NAMES)

    with pytest.raises(UsageError) as refused:
        check_presence(wanted, [name for name in NAMES if name not in absent])

    assert refused.value.value == ", ".join(absent)
    assert "--absent" in refused.value.remedy


def test_validators_with_a_quorum_up_and_one_more_are_let_pass() -> None:
    seven = [
        Validator(member=one.member, node=f"{one.node}-{number}", public_key=one.public_key)
        for number in range(2)
        for one in CURRENT
    ][:7]
    names = [f"{one.member}/{one.node}" for one in seven]

    check_presence(seven, names[:6])
    with pytest.raises(UsageError, match="sees 5 of the 7 validators up"):
        check_presence(seven, names[:5])


def test_a_proposer_that_does_not_sign_is_told_before_the_others_do() -> None:
    check_proposer("alpha", ["alpha", "beta"])

    with pytest.raises(UsageError, match="alpha proposes the change, and does not sign it") as refused:
        check_proposer("alpha", ["beta", "gamma"])

    assert "--signer alpha" in refused.value.remedy


@pytest.mark.parametrize(
    ("node", "why"),
    [
        (("omega", "n1", 4), "omega is no member"),
        (("alpha", "N2", 4), "N2 is no name for a node"),
        (("alpha", "n1", 4), "alpha/n1 is listed twice"),
        (("alpha", "n2", 1), "beta/n1 and alpha/n2 have the same key"),
    ],
)
def test_a_node_that_no_network_would_take_is_named(node: tuple[str, str, int], why: str) -> None:
    member, name, key = node
    wanted = (*CURRENT, Validator(member=MemberId(member), node=name, public_key=KEYS[key].encoded))

    with pytest.raises(UsageError, match=why) as refused:
        check_names(wanted, ["alpha", "beta", "gamma", "delta"])

    assert refused.value.value == f"{member}/{name}"
    assert refused.value.remedy


def test_no_validators_at_all_are_refused_for_their_number() -> None:
    with pytest.raises(LedgerError, match="their number is not allowed"):
        check_change(CURRENT, (), ("alpha", "beta", "gamma"), 4)


@pytest.mark.parametrize("text", ["=", "alpha=00", "/n1="])
def test_a_wish_that_names_no_node_is_shown_whole(text: str) -> None:
    with pytest.raises(UsageError, match="MEMBER/NODE") as refused:
        parse_wish(text, {})

    assert refused.value.value == text


@pytest.mark.parametrize("kind", ["remove", "rekey"])
def test_who_is_no_validator_is_neither_removed_nor_given_a_key(kind: str) -> None:
    nothing: list[Wish] = []
    wishes = {"add": nothing, "remove": nothing, "rekey": nothing} | {kind: [wish("alpha/n9", 4)]}
    with pytest.raises(UsageError, match="alpha/n9 is no validator") as refused:
        apply_wishes(CURRENT, **wishes)
    assert refused.value.limit == "alpha/n1, beta/n1, gamma/n1, delta/n1"


def test_what_is_listed_can_be_given_back(tmp_path: Path) -> None:
    file = tmp_path / "validators.json"
    rows = describe_validators(CURRENT)
    for document in ({"epoch": 3, "validators": rows}, rows):
        file.write_text(json.dumps(document))
        assert load_validators(file) == CURRENT


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"member": "a"}]', '{"validators": 3}'])
def test_a_file_that_holds_no_validators_is_named(tmp_path: Path, text: str) -> None:
    file = tmp_path / "validators.json"
    file.write_text(text)
    with pytest.raises(UsageError, match=r"validators\.json holds no validators"):
        load_validators(file)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        load_validators(tmp_path / "none.json")


def test_a_change_that_would_lose_a_quorum_is_refused_before_it_is_signed() -> None:
    wanted = apply_wishes(CURRENT, add=[], remove=[], rekey=[wish("alpha/n1", 4), wish("beta/n1", 5)])
    with pytest.raises(LedgerError, match="too few stay as they are") as refused:
        check_change(CURRENT, wanted, ("alpha", "beta", "gamma"), 4)
    assert refused.value.reason is Reason.VALIDATORS_REFUSED


def test_too_few_signers_are_told_what_to_do() -> None:
    with pytest.raises(UsageError, match="2 of 4 members sign") as refused:
        check_change(CURRENT, CURRENT[::-1], ("alpha", "beta"), 4)
    assert refused.value.limit == "3 members"
    assert "--draft" in refused.value.remedy
    assert "--signer" in refused.value.remedy
