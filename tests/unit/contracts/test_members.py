"""Members and their roles."""

from __future__ import annotations

import pytest
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing import CallFailed, Ledger, Market, build_key, build_member, build_member_arguments

VOTERS = ("trust-bank", "custody-bank", "dealer-a", "dealer-b")


def test_roles_given_at_genesis_are_held(market: Market) -> None:
    ledger = market.ledger
    assert ledger.view("members", "has_role", member="trust-bank", role="registrar") is True
    assert ledger.view("members", "has_role", member="dealer-a", role="registrar") is False
    assert ledger.view("members", "has_role", member="nobody", role="registrar") is False
    assert ledger.view("members", "exists", member="dealer-a") is True
    assert ledger.view("members", "exists", member="nobody") is False
    assert ledger.view("members", "roles_of", member="dealer-a") == ("participant",)


def test_roles_of_a_stranger_are_refused(market: Market) -> None:
    with market.ledger.expect_abort("MEMBER_UNKNOWN", member="nobody"):
        market.ledger.view("members", "roles_of", member="nobody")


def test_a_role_is_granted_by_more_than_two_thirds_of_the_members(market: Market) -> None:
    market.ledger.call(
        "members", "grant", sender="dealer-a", signers=VOTERS, member="dealer-a", role="price_source"
    )
    assert market.ledger.view("members", "has_role", member="dealer-a", role="price_source") is True


def test_a_role_is_revoked_by_more_than_two_thirds_of_the_members(market: Market) -> None:
    market.ledger.call(
        "members", "revoke", sender="dealer-a", signers=VOTERS, member="trust-bank", role="price_source"
    )
    assert market.ledger.view("members", "has_role", member="trust-bank", role="price_source") is False


def test_three_of_five_members_are_not_enough(market: Market) -> None:
    with market.ledger.expect_abort("UNAUTHORISED", votes=3, members=5):
        market.ledger.call(
            "members", "grant", sender="dealer-a", signers=VOTERS[:3], member="dealer-a", role="price_source"
        )


def test_a_revocation_is_voted_on_too(market: Market) -> None:
    with market.ledger.expect_abort("UNAUTHORISED", votes=1):
        market.ledger.call("members", "revoke", sender="dealer-a", member="trust-bank", role="registrar")


def test_two_thirds_are_not_more_than_two_thirds() -> None:
    ledger = Ledger()
    ledger.deploy("members", arguments=build_member_arguments(*map(build_member, "abc")))
    grant = Call.create("members", "grant", {"member": "a", "role": "participant"})
    with ledger.expect_abort("UNAUTHORISED", votes=2, members=3):
        ledger.submit(grant, sender="a", signers=("a", "b"))
    ledger.submit(grant, sender="a", signers=("a", "b", "c"))


def test_signatures_of_strangers_are_no_votes(market: Market) -> None:
    signers = (*VOTERS[:3], "stranger-a", "stranger-b")
    with market.ledger.expect_abort("UNAUTHORISED", votes=3):
        market.ledger.call(
            "members", "grant", sender="dealer-a", signers=signers, member="dealer-a", role="price_source"
        )


@pytest.mark.parametrize(
    ("entry", "member", "role", "code"),
    [
        ("grant", "dealer-a", "participant", "ROLE_HELD"),
        ("grant", "dealer-a", "king", "ROLE_UNKNOWN"),
        ("grant", "dealer-a", "registrar custodian", "ROLE_UNKNOWN"),
        ("grant", "dealer-a", "", "ROLE_UNKNOWN"),
        ("grant", "nobody", "participant", "MEMBER_UNKNOWN"),
        ("revoke", "nobody", "participant", "MEMBER_UNKNOWN"),
        ("revoke", "dealer-a", "registrar", "ROLE_NOT_HELD"),
    ],
)
def test_votes_on_nonsense_are_refused(market: Market, entry: str, member: str, role: str, code: str) -> None:
    with market.ledger.expect_abort(code):
        market.ledger.call("members", entry, sender="dealer-a", signers=VOTERS, member=member, role=role)


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ((build_member("a"), build_member("a", keys=(build_key("b"),))), "MEMBER_EXISTS"),
        ((build_member("a", ("king",)),), "ROLE_UNKNOWN"),
        ((build_member("a", ("issuer", "issuer")),), "ROLE_HELD"),
        ((build_member("a"), build_member("b", keys=(build_key("a"),))), "KEY_USED"),
    ],
)
def test_a_wrong_list_of_members_stops_the_installation(
    members: tuple[dict[str, Value], ...], code: str
) -> None:
    with pytest.raises(CallFailed) as failure:
        Ledger().deploy("members", arguments=build_member_arguments(*members))
    assert failure.value.code == code


RELAY = """
members: Contract["members"]


@entry
def grant(member: str, role: str) -> None:
    members.grant(member=member, role=role)
"""


def test_a_contract_cannot_pass_on_signatures_as_votes(market: Market) -> None:
    market.ledger.deploy("relay", source=RELAY)
    with market.ledger.expect_abort("UNAUTHORISED", caller="contract:relay"):
        market.ledger.call(
            "relay", "grant", sender="dealer-a", signers=VOTERS, member="dealer-a", role="registrar"
        )
