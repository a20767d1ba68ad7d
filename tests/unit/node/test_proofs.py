"""What a node proves of its state, checked by the client's own code against the genesis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tanpo.api.v1 import ledger_pb2
from tanpo.client import Holdings, Position, read_position, statereads
from tanpo.ledger.errors import LedgerError, PeerFault, Reason, TransactionRejected, Unavailable
from tanpo.ledger.lineage import EpochPin
from tanpo.ledger.values import Value
from tanpo.node.proofs import Proofs, StateQuestion
from tanpo.testing.chain import change_validators
from tanpo.testing.town import Town


@pytest.fixture
def town(tmp_path: Path) -> Iterator[Town]:
    opened = Town(tmp_path / "store")
    yield opened
    opened.chain.close()


def test_a_balance_is_proved_from_the_genesis(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    town.transfer(300)
    town.chain.run()

    found = town.value("positions", ("dealer-a", "yen"))

    assert read_position(found.value) == Position(free=700, locked=0, pledged_out=0, pledged_in=0)
    assert found.is_verified
    assert found.certified_by.height == found.height + 1 == town.chain.execution.store.executed_height


def test_what_is_not_there_is_proved_not_to_be(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    town.chain.run()

    assert town.value("positions", ("dealer-b", "yen")).value is None
    assert town.listing("instruments_of", "dealer-b").members == ()


def test_holdings_are_complete(town: Town) -> None:
    town.open_book(dealer_a=1_000, dealer_b=5)
    town.chain.run()

    found = town.run(statereads.holdings(town.context, "dealer-a", 0, verified=True))

    assert found == Holdings(
        account="dealer-a",
        positions={"yen": Position(free=1_000, locked=0, pledged_out=0, pledged_in=0)},
        height=found.height,
        is_verified=True,
    )
    assert town.listing("accounts_of", "yen").members == ("dealer-a", "dealer-b")


def test_a_balance_that_changes_with_every_block_is_proved_as_it_was(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    heights = {}
    for moved in range(1, 6):
        town.transfer(1)
        heights[town.chain.execution.store.executed_height] = 1_000 - moved
    town.transfer(1)

    for height, free in heights.items():
        found = town.value("positions", ("dealer-a", "yen"), height=height)
        assert (read_position(found.value).free, found.height) == (free, height)


def test_a_value_that_was_overwritten_is_proved_as_it_was(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    height = town.chain.execution.store.executed_height
    town.transfer(1)
    town.chain.reopen()

    assert read_position(town.value("positions", ("dealer-a", "yen")).value).free == 1_000
    town.chain.run()
    assert read_position(town.value("positions", ("dealer-a", "yen")).value).free == 999
    assert read_position(town.value("positions", ("dealer-a", "yen"), height=height).value).free == 1_000


def test_members_deleted_since_are_still_listed_at_their_height(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    height = town.chain.execution.store.executed_height
    town.transfer(1_000)
    town.chain.run()

    assert town.listing("instruments_of", "dealer-a").members == ()
    assert town.listing("instruments_of", "dealer-a", height=height).members == ("yen",)


def test_the_table_of_groups_is_made_for_a_state_that_was_written_without_it(town: Town) -> None:
    town.open_book(dealer_a=1_000, dealer_b=1)
    town.chain.run()
    database = town.chain.execution.store.groups._database
    stored = [key for key, _ in database.scan_raw(b"G", b"I")]
    assert len(stored) > 2
    town.listing("accounts_of", "yen")
    database.write({}, stored)
    execution = town.chain.execution
    question = StateQuestion(group=town.context.layouts["instruments"].spell_group("accounts_of", "yen"))
    with pytest.raises(Unavailable, match="cannot name all"):
        asyncio.run(Proofs.create(execution, town.chain.genesis).state(question))

    town.chain.reopen()

    assert [key for key, _ in town.chain.execution.store.groups._database.scan_raw(b"G", b"I")] == stored
    assert town.listing("accounts_of", "yen").members == ("dealer-a", "dealer-b")


def test_the_layout_of_a_contract_is_asked_for_once(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    town.chain.run()
    for _ in range(3):
        town.value("positions", ("dealer-a", "yen"))

    assert town.asked == ["GetStateProof"] * 4


def test_a_client_follows_the_epochs_itself(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    validators = list(town.chain.genesis.validators)
    for number in range(3):
        validators[number] = town.make_validator(validators[number].member, f"node-{number}")
        change_validators(town.chain, *validators)
    town.chain.run()
    town.chain.run()

    found = town.value("positions", ("dealer-a", "yen"))

    assert (read_position(found.value).free, found.certified_by.epoch) == (1_000, 3)
    assert town.asked.count("GetLineage") == 1
    assert town.context.trust.known is not None
    assert town.context.trust.known.newest == 3


def test_a_client_begins_at_a_pinned_epoch(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    first = town.make_validator("trust-bank", "node-2")
    change_validators(town.chain, first, *town.chain.genesis.validators[1:])
    old_height = town.chain.execution.store.executed_height - 1
    second = town.make_validator("custody-bank", "node-2")
    change_validators(town.chain, first, second, *town.chain.genesis.validators[2:])
    town.chain.run()
    town.chain.run()
    followed = town.value("positions", ("dealer-a", "yen")).certified_by
    pin = EpochPin(epoch=followed.epoch, valset_hash=followed.valset_hash)
    assert EpochPin.parse(str(pin)) == pin

    pinned = town.make_context(pin)

    assert read_position(town.value("positions", ("dealer-a", "yen"), context=pinned).value).free == 1_000
    with pytest.raises(PeerFault, match="epoch 0 are not known") as caught:
        town.value("positions", ("dealer-a", "yen"), context=pinned, height=old_height - 1)
    assert caught.value.reason is Reason.EPOCH_UNKNOWN
    other = town.make_context(replace(pin, valset_hash=bytes(32)))
    with pytest.raises(PeerFault, match="not the validators of epoch 2 that are trusted"):
        town.value("positions", ("dealer-a", "yen"), context=other)


def hide_value(answer: ledger_pb2.GetStateProofResponse) -> None:
    del answer.entries[:]


def change_value(answer: ledger_pb2.GetStateProofResponse) -> None:
    answer.entries[0].value += b"\0"


def change_tree(answer: ledger_pb2.GetStateProofResponse) -> None:
    answer.partial_tree = answer.partial_tree[:-1] + bytes([answer.partial_tree[-1] ^ 1])


def change_root(answer: ledger_pb2.GetStateProofResponse) -> None:
    header = bytearray(answer.header)
    header[-200] ^= 1
    answer.header = bytes(header)


def change_vote(answer: ledger_pb2.GetStateProofResponse) -> None:
    proof = bytearray(answer.commit_proof)
    proof[-5] ^= 1
    answer.commit_proof = bytes(proof)


def answer_more(answer: ledger_pb2.GetStateProofResponse) -> None:
    answer.entries.add(key=b"more", value=b"more")


LIES = (hide_value, change_value, change_tree, change_root, change_vote, answer_more)


def test_a_node_that_lies_of_the_state_is_not_believed(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    town.chain.run()
    town.value("positions", ("dealer-a", "yen"))
    for lie in LIES:
        for context in (town.context, town.make_context()):
            town.lies[:] = [lie]
            with pytest.raises(LedgerError) as caught:
                town.value("positions", ("dealer-a", "yen"), context=context)
            assert isinstance(caught.value, PeerFault), (lie, caught.value)


def test_a_member_left_out_of_a_listing_is_noticed(town: Town) -> None:
    town.open_book(dealer_a=1_000, dealer_b=1)
    town.chain.run()
    town.listing("accounts_of", "yen")
    town.lies.append(lambda answer: answer.group_keys.pop())

    with pytest.raises(PeerFault, match="raw keys"):
        town.listing("accounts_of", "yen")


def test_an_epoch_that_is_not_proved_is_not_believed(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    town.chain.run()

    def claim(answer: ledger_pb2.GetStateProofResponse) -> None:
        header = bytearray(answer.header)
        header[34:42] = (7).to_bytes(8, "big")
        answer.header = bytes(header)

    town.lies.append(claim)
    with pytest.raises(PeerFault, match="does not prove") as caught:
        town.value("positions", ("dealer-a", "yen"))
    assert caught.value.reason is Reason.EPOCH_UNKNOWN


def test_without_verifying_the_node_is_taken_at_its_word(town: Town) -> None:
    town.open_book(dealer_a=1_000)
    town.chain.run()
    town.lies.append(change_vote)

    found = town.value("positions", ("dealer-a", "yen"), verified=False)

    assert read_position(found.value).free == 1_000
    assert not found.is_verified
    assert town.context.layouts == {}


def test_a_key_that_the_contract_cannot_have_is_refused(town: Town) -> None:
    town.open_book()
    town.chain.run()
    wrong: list[tuple[str, Value | None]] = [
        ("nothing", "a"),
        ("positions", "dealer-a"),
        ("positions", ("dealer-a", 1)),
        ("positions", ("dealer-a", "yen", "yen")),
        ("positions", None),
        ("positions", ("a" * 600, "yen")),
        ("positions", ("\ud800", "yen")),
        ("operators", "a"),
        ("instruments_of", "a"),
        ("locks", ("a", "b", True)),
    ]
    for variable, key in wrong:
        with pytest.raises(TransactionRejected):
            town.value(variable, key)


def test_a_plain_variable_is_proved_too(town: Town) -> None:
    town.open_book()
    town.chain.run()
    assert town.value("operators").value == ()


def test_a_contract_that_is_not_there_is_refused(town: Town) -> None:
    town.open_book()
    town.chain.run()
    for contract in ("no-such", "notes", "INSTRUMENTS", "a/b", ""):
        with pytest.raises(TransactionRejected, match="no such contract"):
            town.run(statereads.value(town.context, contract, "x", None, 0, verified=True))


async def test_heights_that_cannot_be_proved_are_told_apart(town: Town) -> None:
    execution = town.chain.execution
    proofs = Proofs.create(execution, town.chain.genesis)
    with pytest.raises(Unavailable, match="not committed yet"):
        await proofs.state(StateQuestion(keys=(b"k",)))
    town.chain.run()
    town.chain.run()
    with pytest.raises(Unavailable, match="not committed yet"):
        await proofs.state(StateQuestion(height=2, keys=(b"k",)))
    with pytest.raises(TransactionRejected, match="does not hold") as caught:
        await proofs.state(StateQuestion(height=3, keys=(b"k",)))
    assert caught.value.limit == "1"
    with pytest.raises(TransactionRejected, match="has not begun"):
        proofs.lineage(1)
