"""What a node answers that joined by a snapshot: the same as others, or that it cannot know."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import pytest
from tanpo.client import Unknown, exporting, requests
from tanpo.client.plan import Plan
from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import LedgerError, Reason, TransactionRejected, Unavailable
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.proofcheck import ReceiptVerdict, verify_proof_file
from tanpo.ledger.transaction import Call, Transaction, build_transaction, sign_envelope
from tanpo.ledger.types import Height, MemberId, TxId
from tanpo.ledger.values import Value
from tanpo.node.admission import AdmissionWindow
from tanpo.node.clock import Clock
from tanpo.node.events import EventHub
from tanpo.node.gateway import Gateway
from tanpo.node.mempool import Mempool, MempoolLimits
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import Outcome, OutcomeHub
from tanpo.node.reads import Reads
from tanpo.node.verifying import Verifier
from tanpo.testing.chain import change_validators
from tanpo.testing.joined import follow, join_by, take_snapshot
from tanpo.testing.town import Town


@dataclass(frozen=True)
class Towns:
    """The node that has the whole chain, and the one that joined it at `height`. `early` and `late` are
    transactions before and after."""

    whole: Town
    joined: Town
    height: Height
    early: TxId
    late: TxId


@pytest.fixture(scope="module")
def towns(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Towns]:
    tmp_path = tmp_path_factory.mktemp("towns")
    whole = Town(tmp_path / "whole")
    whole.open_book(dealer_a=1_000)
    early = TxId(whole.transfer(1).tx_id)
    first, *others = whole.chain.genesis.validators
    change_validators(whole.chain, *others, replace(first, node="another"))
    height = take_snapshot(whole.chain)
    join_by(whole.chain, tmp_path / "joined")
    late = TxId(whole.transfer(2).tx_id)
    whole.chain.run()
    joined = copy(whole)
    joined.context = whole.make_context()
    joined.chain = follow(whole.chain, tmp_path / "joined")
    yield Towns(whole, joined, height, early, late)
    joined.chain.close()
    whole.chain.close()


def refuse(town: Town, plan: Plan[object]) -> LedgerError:
    with pytest.raises(LedgerError) as refusal:
        town.run(plan)
    return refusal.value


def test_the_state_is_proved_from_the_genesis_over_the_epochs_before(towns: Towns) -> None:
    for town in (towns.whole, towns.joined):
        town.context = town.make_context()
    key = ("dealer-b", "yen")
    assert towns.joined.value("positions", key) == towns.whole.value("positions", key)
    assert towns.joined.listing("accounts_of", "yen") == towns.whole.listing("accounts_of", "yen")
    assert towns.joined.listing("accounts_of", "yen").members == ("dealer-a", "dealer-b")
    assert "GetLineage" in towns.joined.asked


def test_a_receipt_stands_alone_although_its_epochs_began_before(towns: Towns) -> None:
    genesis = towns.joined.chain.genesis
    exported = towns.joined.run(exporting.receipt_file(towns.joined.context, towns.late))
    assert len(exported.trail.steps) == 1
    verdict = verify_proof_file(exported, genesis)
    assert isinstance(verdict, ReceiptVerdict)
    assert verdict.receipt.tx_id == towns.late


def test_past_states_are_those_since_the_beginning(towns: Towns) -> None:
    town, first = towns.joined, towns.height
    for height in range(first, first + 2):
        assert town.value("positions", ("dealer-b", "yen"), height=height) == towns.whole.value(
            "positions", ("dealer-b", "yen"), height=height
        )
    with pytest.raises(LedgerError) as refusal:
        town.value("positions", ("dealer-b", "yen"), height=first - 1)
    assert refusal.value.reason is Reason.HEIGHT_PRUNED

    def view(height: int) -> Plan[object]:
        arguments = {"account": "dealer-b", "instrument": "yen"}
        return requests.query(town.context, "instruments", "position", arguments, height)

    assert town.run(view(first)) == towns.whole.run(view(first))
    assert refuse(town, view(first - 1)).reason is Reason.HEIGHT_PRUNED


def test_what_lies_before_is_refused_and_never_said_not_to_be(towns: Towns) -> None:
    context = towns.joined.context
    for plan in (
        requests.receipt(context, towns.early),
        requests.transaction(context, towns.early),
        requests.prove(context, towns.early),
        requests.block(context, towns.height),
        requests.block(context, 1),
    ):
        assert refuse(towns.joined, plan).reason is Reason.HEIGHT_PRUNED
    assert towns.joined.run(requests.receipt(context, towns.late)).tx_id == towns.late
    assert towns.joined.run(requests.block(context, towns.height + 1)).height == towns.height + 1


def test_a_list_says_where_it_begins(towns: Towns) -> None:
    listed = towns.joined.run(requests.transactions(towns.joined.context, "dealer-a", None, 100))
    assert [one.tx_id for one in listed.positions] == [towns.late]
    assert (listed.first_height, listed.is_of_whole_chain) == (towns.height + 1, False)
    whole = towns.whole.run(requests.transactions(towns.whole.context, "dealer-a", None, 100))
    assert towns.early in [one.tx_id for one in whole.positions]
    assert (whole.first_height, whole.is_of_whole_chain) == (1, True)


def test_events_are_not_streamed_from_where_there_are_none(towns: Towns) -> None:
    hub = EventHub(towns.joined.chain.execution.store)

    async def first_of(height: int) -> int:
        stream = hub.stream(from_height=height, from_index=0, contracts=frozenset())
        return (await anext(stream)).height

    assert asyncio.run(first_of(towns.height + 1)) == towns.height + 2  # The next has none.
    for height in (0, 1, towns.height):
        with pytest.raises(LedgerError) as refusal:
            asyncio.run(first_of(height))
        assert refusal.value.reason is Reason.HEIGHT_PRUNED


def read_outcome(town: Town, transaction: Transaction) -> Outcome:
    """Ask the node itself: a client goes on to other nodes when it hears that one cannot know."""
    genesis = town.chain.genesis
    reads = Reads(
        execution=town.chain.execution, mempool=Mempool(MempoolLimits()), network_id=genesis.network_id
    )
    return reads.outcome(transaction.member, transaction.request_id)


def test_what_a_request_came_to_before_is_not_said_to_be_unknown(towns: Towns) -> None:
    early, late = (
        towns.whole.run(requests.transaction(towns.whole.context, tx_id)).transaction
        for tx_id in (towns.early, towns.late)
    )
    with pytest.raises(Unavailable) as refusal:
        read_outcome(towns.joined, early)
    assert refusal.value.reason is Reason.HEIGHT_PRUNED
    assert read_outcome(towns.whole, early).tx_id == towns.early
    assert read_outcome(towns.joined, late).tx_id == towns.late


def test_an_unknown_request_has_not_expired_if_it_may_lie_before(towns: Towns) -> None:
    found = {
        town: town.run(requests.outcome(town.context, MemberId("dealer-a"), "never"))
        for town in (towns.whole, towns.joined)
    }
    joined, whole = found[towns.joined], found[towns.whole]
    assert isinstance(joined, Unknown)
    assert isinstance(whole, Unknown)
    # The state of the first block remembers what had not expired then, and forgets it while blocks go on.
    first = decode_block(towns.joined.chain.execution.store.read_block(towns.height).block).header.time_ms
    since = first + towns.joined.chain.genesis.parameters.validity_max_ms + 1
    assert (joined.since_time_ms, whole.since_time_ms) == (since, 0)
    for valid_until, is_known in ((first - 1, False), (since - 1, False), (since, True)):
        assert replace(joined, as_of_time_ms=since + 1).has_expired(valid_until) is is_known
        assert replace(whole, as_of_time_ms=since + 1).has_expired(valid_until)


def submit(town: Town, valid_until_ms: int) -> LedgerError | None:
    """Submit a transfer to the node's gateway, and return its verdict."""
    chain, genesis = town.chain, town.chain.genesis
    mempool, metrics = Mempool(MempoolLimits()), Metrics()
    execution = chain.execution
    gateway = Gateway(
        network_id=genesis.network_id,
        parameters=Parameters(),
        execution=execution,
        mempool=mempool,
        verifier=Verifier(metrics, 0),
        reads=Reads(execution=execution, mempool=mempool, network_id=genesis.network_id),
        outcomes=OutcomeHub(),
        admission=AdmissionWindow(),
        metrics=metrics,
        clock=Clock(wall_ms=lambda: execution.tip_time_ms, monotonic_ms=lambda: 0),
        on_admitted=lambda _: None,
    )
    key = chain.keys["dealer-a"]
    arguments: dict[str, Value] = {
        "deliverer": "dealer-a",
        "receiver": "dealer-b",
        "instrument": "yen",
        "quantity": 1,
    }
    transaction = build_transaction(
        network_id=genesis.network_id,
        member=MemberId("dealer-a"),
        request_id="sent-again",
        valid_until_ms=valid_until_ms,
        gas_limit=1_000_000,
        signers=[key.key_id],
        call=Call.create("instruments", "transfer", arguments),
    )
    envelope = sign_envelope(genesis.network_id, [transaction], [key])
    listener: Any = object()
    (verdict,) = asyncio.run(gateway.submit([envelope.encoded], listener))
    return verdict


def test_what_is_sent_again_is_not_refused_as_expired_if_it_may_lie_before(towns: Towns) -> None:
    passed = towns.joined.chain.execution.tip_time_ms
    unknown = submit(towns.joined, passed)
    assert isinstance(unknown, Unavailable)
    assert unknown.reason is Reason.HEIGHT_PRUNED
    expired = submit(towns.whole, passed)
    assert isinstance(expired, TransactionRejected)
    assert expired.reason is Reason.EXPIRED
