"""Whose keys count in which block: those of the parent's state, also where that is not committed yet."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.contracts import load_source
from tanpo.ledger.errors import InvariantViolation, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.membership import find_members
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.values import Value
from tanpo.node.contract_sets import Programs
from tanpo.node.execution import ExecutedBlock
from tanpo.node.installing import EmptyState, install_genesis
from tanpo.storage import Overlay
from tanpo.testing import build_key
from tanpo.testing.chain import MEMBERS, Chain

NEW = "fund-a"


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """Return a chain whose members are those of its genesis."""
    made = Chain(tmp_path / "chain", has_validators=True)
    yield made
    made.close()


def admission(*keys: bytes) -> dict[str, Value]:
    return {
        "member": NEW,
        "name": "Fund A",
        "lei": "",
        "granted": (),
        "ca_certificate": b"none",
        "keys": keys,
    }


def admit(chain: Chain) -> None:
    """Admit a member with a key."""
    chain.keys[NEW] = PrivateKey.generate()
    arguments = admission(chain.keys[NEW].public_key.encoded)
    (receipt,) = chain.run(chain.make_transaction("members", "admit", arguments, *MEMBERS))
    assert receipt.succeeded


def names(executed: ExecutedBlock) -> list[str]:
    return [decode_receipt(receipt).code for receipt in executed.receipts]


def test_a_key_that_a_block_adds_counts_in_the_next_one_before_either_is_committed(chain: Chain) -> None:
    first = chain.keys["dealer-a"]
    second = chain.keys["dealer-a"] = PrivateKey.generate()
    arguments: dict[str, Value] = {"member": "dealer-a", "key": second.public_key.encoded}
    chain.keys["dealer-a"] = first
    below = chain.execute(chain.make_transaction("members", "add_key", arguments, "dealer-a"))
    chain.keys["dealer-a"] = second
    removal: dict[str, Value] = {"member": "dealer-a", "key": first.public_key.encoded}
    above = chain.execute(chain.make_transaction("members", "remove_key", removal, "dealer-a"), above=below)
    assert (names(below), names(above)) == ([""], [""])
    assert chain.execution.keyrings.latest.has([first.key_id])
    assert not chain.execution.keyrings.latest.has([second.key_id])
    assert above.keyring.has([second.key_id])
    assert not above.keyring.has([first.key_id])


def test_a_key_counts_to_the_end_of_the_block_that_removes_it(chain: Chain) -> None:
    arguments: dict[str, Value] = {"member": "dealer-a", "key": build_key("other")}
    chain.run(chain.make_transaction("members", "add_key", arguments, "dealer-a"))
    old = chain.keys["dealer-a"]
    removal: dict[str, Value] = {"member": "dealer-a", "key": old.public_key.encoded}
    again: dict[str, Value] = {"member": "dealer-a", "key": build_key("another")}
    receipts = chain.run(
        chain.make_transaction("members", "remove_key", removal, "dealer-a"),
        chain.make_transaction("members", "add_key", again, "dealer-a"),
    )
    assert [receipt.succeeded for receipt in receipts] == [True, True]


def test_a_certified_block_with_a_key_that_its_parent_has_not_stops_a_node(chain: Chain) -> None:
    chain.keys[NEW] = PrivateKey.generate()
    transaction = chain.make_transaction("members", "admit", admission(build_key("x")), NEW, *MEMBERS)
    with pytest.raises(InvariantViolation, match="a signature by a key that its parent's state has not"):
        chain.execute(transaction)


def test_a_key_that_is_no_point_of_its_curve_is_nobodys_and_harms_nothing(chain: Chain) -> None:
    arguments = admission(build_key("no point"))
    (receipt,) = chain.run(chain.make_transaction("members", "admit", arguments, *MEMBERS))
    assert receipt.succeeded
    keyring = chain.execution.keyrings.latest
    assert NEW in keyring.names
    assert sum(keyring.has([key.key_id]) for key in chain.keys.values()) == len(MEMBERS)


def test_a_node_that_opens_a_chain_has_the_keys_of_its_state(chain: Chain) -> None:
    admit(chain)
    chain.run()
    chain.reopen()
    assert chain.execution.keyrings.latest.has([chain.keys[NEW].key_id])
    assert NEW in chain.execution.keyrings.latest.names


def test_a_member_that_signs_with_two_keys_has_one_vote(chain: Chain) -> None:
    second = chain.keys["second"] = PrivateKey.generate()
    added: dict[str, Value] = {"member": "dealer-a", "key": second.public_key.encoded}
    chain.run(chain.make_transaction("members", "add_key", added, "dealer-a"))
    signers = ("dealer-a", "second", "trust-bank")
    (receipt,) = chain.run(chain.make_transaction("members", "admit", admission(build_key("x")), *signers))
    assert (receipt.code, dict(receipt.details)["votes"]) == ("UNAUTHORISED", 2)


def with_members(chain: Chain, old: str, new: str) -> Genesis:
    """Return the genesis of a chain whose contract of members has other words."""
    source = load_source("members")
    assert old in source
    contracts = tuple(
        replace(one, source=source.replace(old, new)) if one.name == "members" else one
        for one in chain.genesis.contracts
    )
    return replace(chain.genesis, contracts=contracts)


@pytest.mark.parametrize(
    ("old", "new"),
    [("authorities", "issuers"), ("removed", "ended")],
)
def test_members_in_a_form_that_nodes_cannot_read_are_not_installed(chain: Chain, old: str, new: str) -> None:
    genesis = with_members(chain, old, new)
    with pytest.raises(UsageError, match="NODES_FAIL"):
        install_genesis(genesis, Programs())


def test_a_state_that_keeps_no_records_names_no_members(chain: Chain) -> None:
    kept = (
        "    records[member] = Record(name=one.name, lei=one.lei, authorities=authorities, keys=one.keys)\n"
    )
    genesis = with_members(chain, kept, "")
    assert find_members(Overlay(EmptyState(), install_genesis(genesis, Programs()))) is None
