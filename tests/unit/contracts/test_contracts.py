"""Proposals of contracts: who may make them, what is signed, and when they are agreed."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing import CallFailed, Ledger, build_member, build_member_arguments

MEMBERS = ("trust-bank", "custody-bank", "dealer-a", "dealer-b")
SOURCE = b"@view\ndef one() -> int:\n    return 1\n"
PART_BYTES = 4096
DAY_MS = 24 * 60 * 60 * 1000


def make_plan(source: bytes = SOURCE, **changed: Value) -> dict[str, Value]:
    return {
        "contract": "notes",
        "version": 1,
        "source_hash": sha256(source).digest(),
        "source_bytes": len(source),
        "language_version": 1,
        "gas_table_version": 1,
        "replaces": b"",
        "arguments": b"",
        **changed,
    }


@pytest.fixture
def ledger() -> Ledger:
    return deploy()


def deploy(members: Sequence[str] = MEMBERS) -> Ledger:
    ledger = Ledger()
    ledger.deploy("members", arguments=build_member_arguments(*map(build_member, members)))
    ledger.deploy("contracts")
    return ledger


def propose(ledger: Ledger, plan: dict[str, Value], *signers: str, days: int = 1) -> int:
    signing = signers or MEMBERS[:1]
    deadline = ledger.time_ms + days * DAY_MS
    number = ledger.call(
        "contracts", "propose", sender=signing[0], signers=signing, plan=plan, deadline=deadline
    )
    return cast("int", number)


def split(source: bytes) -> list[bytes]:
    return [source[start : start + PART_BYTES] for start in range(0, len(source), PART_BYTES)]


def deliver(ledger: Ledger, number: int, source: bytes = SOURCE, first: int = 0) -> Value | None:
    pieces = tuple(split(source)[first:])
    return ledger.call("contracts", "deliver", sender=MEMBERS[0], number=number, first=first, pieces=pieces)


def approve(ledger: Ledger, number: int, plan: dict[str, Value], *signers: str) -> Value | None:
    return ledger.call("contracts", "approve", sender=signers[0], signers=signers, number=number, plan=plan)


def read(ledger: Ledger, number: int) -> Any:
    return ledger.view("contracts", "proposal", number=number)


def call_as_node(ledger: Ledger, entry: str, **arguments: Value) -> None:
    ledger.submit(Call.create("contracts", entry, arguments), sender="", signers=())


def test_a_proposal_is_agreed_once_more_than_two_thirds_approved(ledger: Ledger) -> None:
    plan = make_plan()
    number = propose(ledger, plan)
    assert deliver(ledger, number) == 1
    assert ledger.view("contracts", "agreed") == {"number": 0, "tx_id": b""}
    assert approve(ledger, number, plan, "dealer-a") == 2
    assert read(ledger, number)["status"] == "open"
    assert approve(ledger, number, plan, "dealer-b") == 3
    assert read(ledger, number)["status"] == "agreed"
    assert read(ledger, number)["approvals"] == ("trust-bank", "dealer-a", "dealer-b")
    assert cast("Any", ledger.view("contracts", "agreed"))["number"] == number
    assert ledger.list_events("Agreed") == [{"number": 1, "contract": "notes", "votes": 3, "members": 4}]


def test_one_transaction_of_all_who_are_needed_agrees(ledger: Ledger) -> None:
    plan = make_plan()
    number = propose(ledger, plan)
    deliver(ledger, number)
    assert approve(ledger, number, plan, *MEMBERS[1:]) == 4
    assert read(ledger, number)["status"] == "agreed"


def test_members_that_sign_the_proposal_need_not_approve_again(ledger: Ledger) -> None:
    number = propose(ledger, make_plan(), *MEMBERS[:3])
    assert read(ledger, number)["status"] == "open"
    deliver(ledger, number)
    assert read(ledger, number)["status"] == "agreed"


def test_a_source_of_the_largest_size_comes_in_parts(ledger: Ledger) -> None:
    source = bytes(range(32, 96)) * 1024
    number = propose(ledger, make_plan(source))
    parts = split(source)
    for first in (0, 8):
        ledger.call(
            "contracts", "deliver", sender=MEMBERS[0], number=number, first=first,
            pieces=tuple(parts[first : first + 8]),
        )  # fmt: skip
    assert b"".join(cast("Any", ledger.view("contracts", "source", number=number))) == source
    assert max(use.gas for use in ledger.gas_report) < 100_000
    with ledger.expect_abort("SOURCE_COMPLETE", value=17, limit=16):
        ledger.call("contracts", "deliver", sender=MEMBERS[0], number=number, first=16, pieces=(b"x",))


def test_parts_that_are_held_may_be_delivered_again_and_change_nothing(ledger: Ledger) -> None:
    source = b"#" * (2 * PART_BYTES + 5)
    number = propose(ledger, make_plan(source))
    other = b"!" * PART_BYTES
    ledger.call(
        "contracts", "deliver", sender=MEMBERS[0], number=number, first=0, pieces=(source[:PART_BYTES],)
    )
    ledger.call(
        "contracts", "deliver", sender=MEMBERS[0], number=number, first=0,
        pieces=(other, *split(source)[1:]),
    )  # fmt: skip
    assert b"".join(cast("Any", ledger.view("contracts", "source", number=number))) == source


@pytest.mark.parametrize(
    ("first", "pieces", "code"),
    [
        (1, (b"x" * 5,), "PART_ORDER"),
        (-1, (b"x" * 5,), "PART_ORDER"),
        (0, (b"x" * 4095,), "PART_SIZE"),
        (0, (b"x" * PART_BYTES, b"x" * 4), "PART_SIZE"),
        (0, (b"x" * PART_BYTES, b"x" * 6), "PART_SIZE"),
        (0, (b"x" * PART_BYTES, b"x" * 5, b""), "SOURCE_COMPLETE"),
    ],
)
def test_parts_come_in_order_and_in_their_size(
    ledger: Ledger, first: int, pieces: tuple[bytes, ...], code: str
) -> None:
    number = propose(ledger, make_plan(b"x" * (PART_BYTES + 5)))
    with ledger.expect_abort(code):
        ledger.call("contracts", "deliver", sender=MEMBERS[0], number=number, first=first, pieces=pieces)


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"contract": ""}, "CONTRACT_NAME"),
        ({"contract": "Notes"}, "CONTRACT_NAME"),
        ({"contract": "1notes"}, "CONTRACT_NAME"),
        ({"contract": "a:b"}, "CONTRACT_NAME"),
        ({"contract": "n" * 49}, "CONTRACT_NAME"),
        ({"source_bytes": 0}, "SOURCE_SIZE"),
        ({"source_bytes": 65_537}, "SOURCE_SIZE"),
        ({"source_hash": bytes(31)}, "HASH_FORM"),
        ({"replaces": bytes(31), "version": 2}, "HASH_FORM"),
        ({"language_version": 0}, "VERSION_FORM"),
        ({"gas_table_version": -1}, "VERSION_FORM"),
        ({"version": 2}, "VERSION_FORM"),
        ({"version": 1, "replaces": bytes(32)}, "VERSION_FORM"),
        ({"version": 2, "replaces": bytes(32), "arguments": b"x"}, "ARGUMENTS_UNUSED"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(ledger: Ledger, changed: dict[str, Value], code: str) -> None:
    with ledger.expect_abort(code):
        propose(ledger, {**make_plan(), **changed})


@pytest.mark.parametrize("field", sorted(make_plan()))
def test_who_approves_another_plan_approves_nothing(ledger: Ledger, field: str) -> None:
    plan = make_plan()
    number = propose(ledger, plan)
    deliver(ledger, number)
    value = plan[field]
    other = value + 1 if isinstance(value, int) else "other" if isinstance(value, str) else b"other"
    with ledger.expect_abort("PLAN_DIFFERS", number=number):
        approve(ledger, number, {**plan, field: other}, "dealer-a")


def test_nobody_approves_what_cannot_be_read_yet(ledger: Ledger) -> None:
    number = propose(ledger, make_plan())
    with ledger.expect_abort("SOURCE_INCOMPLETE", value=0, limit=1):
        approve(ledger, number, make_plan(), "dealer-a")


def test_strangers_and_repeated_approvals_count_nothing(ledger: Ledger) -> None:
    number = propose(ledger, make_plan())
    deliver(ledger, number)
    for signers in (("stranger",), ("trust-bank",), ("stranger", "trust-bank")):
        with ledger.expect_abort("ALREADY_APPROVED"):
            approve(ledger, number, make_plan(), *signers)
    with ledger.expect_abort("MEMBER_UNKNOWN", member="stranger"):
        propose(ledger, make_plan(), "stranger", *MEMBERS)


def test_only_the_proposer_delivers(ledger: Ledger) -> None:
    number = propose(ledger, make_plan())
    with ledger.expect_abort("UNAUTHORISED"):
        ledger.call("contracts", "deliver", sender="dealer-a", number=number, first=0, pieces=(SOURCE,))


def test_a_proposal_ends_at_its_deadline(ledger: Ledger) -> None:
    number = propose(ledger, make_plan())
    deliver(ledger, number)
    ledger.advance(milliseconds=DAY_MS)
    approve(ledger, number, make_plan(), "dealer-a")
    with ledger.expect_abort("UNAUTHORISED"):
        ledger.call("contracts", "withdraw", sender="dealer-a", number=number)
    ledger.advance(milliseconds=1)
    with ledger.expect_abort("PROPOSAL_EXPIRED"):
        approve(ledger, number, make_plan(), "dealer-b")
    with ledger.expect_abort("UNAUTHORISED"):
        ledger.call("contracts", "withdraw", sender="stranger", number=number)
    ledger.call("contracts", "withdraw", sender="dealer-a", number=number)
    assert read(ledger, number)["status"] == "withdrawn"


@pytest.mark.parametrize("days", [0, 31, -1])
def test_a_deadline_is_ahead_and_not_too_far(ledger: Ledger, days: int) -> None:
    with ledger.expect_abort("DEADLINE"):
        propose(ledger, make_plan(), days=days)


def test_a_member_holds_four_proposals_open_and_no_more(ledger: Ledger) -> None:
    numbers = [propose(ledger, make_plan()) for _ in range(4)]
    with ledger.expect_abort("PROPOSALS_OPEN", value=4, limit=4):
        propose(ledger, make_plan())
    propose(ledger, make_plan(), "dealer-a")
    ledger.call("contracts", "withdraw", sender=MEMBERS[0], number=numbers[0])
    propose(ledger, make_plan())


def test_a_proposal_that_ended_leaves_no_source_behind(ledger: Ledger) -> None:
    source = b"#" * (3 * PART_BYTES)
    before = len(ledger.copy_state())
    number = propose(ledger, make_plan(source))
    held = len(ledger.copy_state())
    deliver(ledger, number, source)
    assert len(ledger.copy_state()) == held + 3
    ledger.call("contracts", "withdraw", sender=MEMBERS[0], number=number)
    assert len(ledger.copy_state()) == held > before
    assert ledger.view("contracts", "source", number=number) == ()


def test_the_nodes_note_what_is_in_force_and_nobody_else(ledger: Ledger) -> None:
    number = propose(ledger, make_plan(), *MEMBERS)
    deliver(ledger, number)
    for sender in MEMBERS:
        with ledger.expect_abort("UNAUTHORISED"):
            ledger.call("contracts", "settle", sender=sender, signers=MEMBERS, number=number)
    with ledger.expect_abort("NOTHING_AGREED"):
        call_as_node(ledger, "settle", number=number + 1)
    call_as_node(ledger, "settle", number=number)
    assert read(ledger, number)["status"] == "installed"
    assert ledger.view("contracts", "agreed") == {"number": 0, "tx_id": b""}
    with ledger.expect_abort("NOTHING_AGREED"):
        call_as_node(ledger, "settle", number=number)
    with ledger.expect_abort("PROPOSAL_ENDED", status="installed"):
        ledger.call("contracts", "withdraw", sender=MEMBERS[0], number=number)


def test_why_nodes_refuse_is_kept(ledger: Ledger) -> None:
    number = propose(ledger, make_plan(), *MEMBERS)
    deliver(ledger, number)
    reasons = tuple("x" * 1000 for _ in range(33))
    call_as_node(ledger, "refuse", number=number, code="CONTRACT_REFUSED", reasons=reasons)
    found = read(ledger, number)
    assert (found["status"], found["code"], found["reasons"]) == ("refused", "CONTRACT_REFUSED", reasons)
    (event,) = ledger.list_events("Refused")
    assert (event["number"], event["code"], event["reasons"]) == (number, "CONTRACT_REFUSED", reasons)


def test_one_proposal_is_agreed_in_a_block(ledger: Ledger) -> None:
    plan = make_plan()
    first, second = (propose(ledger, plan, *MEMBERS[:2]) for _ in range(2))
    for number in (first, second):
        deliver(ledger, number)
    approve(ledger, first, plan, "dealer-a")
    with ledger.expect_abort("AGREEMENT_PENDING", number=first):
        approve(ledger, second, plan, "dealer-a")
    call_as_node(ledger, "settle", number=first)
    approve(ledger, second, plan, "dealer-a")
    assert read(ledger, second)["status"] == "agreed"


def test_proposals_are_listed_newest_first(ledger: Ledger) -> None:
    for member in MEMBERS:
        for _ in range(3):
            propose(ledger, make_plan(), member)
    numbers = [one["number"] for one in cast("Any", ledger.view("contracts", "latest", before=0, limit=5))]
    assert numbers == [12, 11, 10, 9, 8]
    numbers = [one["number"] for one in cast("Any", ledger.view("contracts", "latest", before=4, limit=9))]
    assert numbers == [3, 2, 1]
    assert ledger.view("contracts", "latest", before=1, limit=9) == ()


def test_another_contract_cannot_use_signatures_for_a_proposal(ledger: Ledger) -> None:
    ledger.deploy(
        "sly",
        source="""
home: Contract["contracts"]

@entry
def lure(number: int) -> None:
    home.withdraw(number=number)
""",
    )
    number = propose(ledger, make_plan())
    with ledger.expect_abort("UNAUTHORISED", needed="a direct call"):
        ledger.call("sly", "lure", sender=MEMBERS[0], number=number)


@given(st.lists(st.sets(st.sampled_from((*MEMBERS, "dealer-c", "stranger"))), max_size=8))
def test_nothing_is_agreed_by_two_thirds_or_fewer(approvals: list[set[str]]) -> None:
    members = (*MEMBERS, "dealer-c")
    ledger, plan = deploy(members), make_plan()
    number = propose(ledger, plan)
    deliver(ledger, number)
    for signers in approvals:
        if signers:
            with suppress(CallFailed):
                approve(ledger, number, plan, *sorted(signers))
        found = read(ledger, number)
        assert len(set(found["approvals"])) == len(found["approvals"])
        assert set(found["approvals"]) <= set(members)
        assert (found["status"] == "agreed") is (3 * len(found["approvals"]) > 2 * len(members))
