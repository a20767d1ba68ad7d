"""What a node keeps of the past, on real blocks: what goes, what holds it up, and what is answered after."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tanpo.ledger.errors import LedgerError, PeerFault, Reason
from tanpo.ledger.lineage import Lineage, decode_header
from tanpo.ledger.snapshotproof import decode_step
from tanpo.ledger.transaction import Call, Transaction, build_transaction
from tanpo.ledger.types import Epoch, Height, MemberId
from tanpo.ledger.validators import Validator
from tanpo.node.body import verify_body
from tanpo.node.epochs import Lineage as KnownLineage
from tanpo.node.finality import EpochSteps
from tanpo.node.mempool import Mempool, MempoolLimits
from tanpo.node.metrics import Metrics
from tanpo.node.outcome import OutcomeState
from tanpo.node.proofs import Proofs
from tanpo.node.reads import Reads
from tanpo.node.retention import DAY_MS, Retention, RetentionPolicy
from tanpo.node.snapshotting import Snapshotting
from tanpo.testing.chain import BLOCK_MS, START_MS, Chain, change_validators, open_copy

FAR = 10**6


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    found = Chain(tmp_path / "node", has_validators=True)
    yield found
    found.close()


def make(chain: Chain, needed: int = FAR, **policy: Any) -> Retention:
    execution, store = chain.execution, chain.execution.store
    return Retention(
        store=store,
        data_dir=chain.folder,
        network_id=chain.genesis.network_id,
        policy=RetentionPolicy(**{"state_window": 3, **policy}),
        find_needed=lambda: Height(needed),
        steps=EpochSteps(store, KnownLineage(store, lambda: execution.machine, chain.genesis).find),
        metrics=Metrics(),
        heights_a_step=1,
    )


def prune(chain: Chain, needed: int = FAR, **policy: Any) -> int:
    """Prune, and return the first height that is left."""
    retention = make(chain, needed, **policy)
    asyncio.run(retention.prune())
    return retention.first_height


def make_transaction(chain: Chain, request_id: str, valid_for_ms: int = BLOCK_MS) -> Transaction:
    """Return a transaction that expires soon after the next block."""
    height = chain.execution.store.executed_height + 1
    return build_transaction(
        network_id=chain.genesis.network_id,
        member=MemberId("dealer-a"),
        request_id=request_id,
        valid_until_ms=START_MS + height * BLOCK_MS + valid_for_ms,
        gas_limit=1_000_000,
        signers=[chain.keys["dealer-a"].key_id],
        call=Call.create("validators", "replace", {"validators": ()}),
    )


def grow(chain: Chain, blocks: int) -> None:
    for _ in range(blocks):
        chain.run(make_transaction(chain, f"r{chain.execution.store.executed_height + 1}"))


def make_reads(chain: Chain) -> Reads:
    mempool = Mempool(MempoolLimits())
    return Reads(execution=chain.execution, mempool=mempool, network_id=chain.genesis.network_id)


def test_the_last_blocks_stay_and_the_rest_is_refused(chain: Chain) -> None:
    grow(chain, 20)
    assert prune(chain, blocks=5) == 16
    reads = make_reads(chain)
    for height in range(16, 21):
        assert reads.block(height).height == height
        assert reads.outcome("dealer-a", f"r{height}").height == height
    for height in range(1, 16):
        with pytest.raises(LedgerError) as refusal:
            reads.block(height)
        assert (refusal.value.reason, refusal.value.limit) == (Reason.HEIGHT_PRUNED, "16 or later")
    chain.reopen()
    grow(chain, 1)
    assert chain.execution.store.beginning.first_answered == 16


def test_a_request_that_may_have_been_forgotten_is_never_taken_for_new(chain: Chain) -> None:
    """Who hears that a payment was never made makes it again."""
    transactions = [make_transaction(chain, "first")]
    chain.run(*transactions)
    grow(chain, 20)
    reads = make_reads(chain)
    assert reads.outcome("dealer-a", "never").since_time_ms == 0
    assert prune(chain, blocks=5) == 17
    for ask in (reads.transaction, reads.receipt, reads.receipt_proof):
        with pytest.raises(LedgerError) as refusal:
            ask(transactions[0].tx_id)
        assert refusal.value.reason is Reason.HEIGHT_PRUNED
    # A request in the last block that is gone was valid for as long as is allowed after it, at most.
    unknown = reads.outcome("dealer-a", "first")
    last_ms = START_MS + 16 * BLOCK_MS + chain.genesis.parameters.validity_max_ms
    assert (unknown.state.value, unknown.since_time_ms) == ("unknown", last_ms + 1)
    assert prune(chain, blocks=4) == 18
    assert reads.outcome("dealer-a", "first").since_time_ms == last_ms + BLOCK_MS + 1


def test_blocks_of_the_last_days_stay_by_the_time_of_blocks(chain: Chain) -> None:
    grow(chain, 20)
    # A block has the time of its height; the last one that is not within the time is the one to begin with.
    assert prune(chain, age_ms=7 * BLOCK_MS) == 1, "without a bound in blocks a hundred stay"
    assert prune(chain, blocks=4, age_ms=7 * BLOCK_MS) == 13
    assert prune(chain, blocks=10, age_ms=BLOCK_MS) == 13
    assert prune(chain, blocks=4, age_ms=BLOCK_MS) == 17
    # As time goes on, it goes on.
    retention = make(chain, blocks=2, age_ms=4 * BLOCK_MS)
    for _ in range(3):
        asyncio.run(retention.prune())
        assert retention.first_height == 17
    grow(chain, 3)
    retention.notice(chain.execution.tip_time_ms)
    asyncio.run(retention.prune())
    assert retention.first_height == 19


def test_damage_to_pruned_blocks_stops_nothing_and_the_log_tells_of_it(chain: Chain) -> None:
    grow(chain, 20)
    assert prune(chain, blocks=5) == 16
    path = chain.execution.store.segments.find_path(Height(1))
    start = chain.execution.store.segments._indexed[1].offsets[9]
    chain.close()
    content = bytearray(path.read_bytes())
    content[start + 200] ^= 1
    path.write_bytes(content)
    chain.reopen()
    execution, store = chain.execution, chain.execution.store
    lineage = KnownLineage(store, lambda: execution.machine, chain.genesis)
    snapshots = Snapshotting.open(
        chain.folder, store=store, lineage=lineage, every_blocks=0, metrics=Metrics()
    )
    with capture_logs() as told:
        Retention.open(
            chain.folder, store, chain.genesis, RetentionPolicy(blocks=5), snapshots, lineage, Metrics()
        )
    assert [(one["log_level"], one["first"], one["last"]) for one in told] == [("warning", 10, 10)]
    assert make_reads(chain).block(16).height == 16
    grow(chain, 1)


def test_what_holds_pruning_up(chain: Chain) -> None:
    """What those who join need, and the states that can be asked for."""
    grow(chain, 20)
    for needed, window, limit in ((0, 3, 0), (6, 3, 6), (18, 3, 15), (18, 8, 12)):
        assert make(chain, needed, blocks=5, state_window=window).find_limit() == limit
    assert prune(chain, 6, blocks=5) == 7


def test_blocks_whose_requests_can_still_be_sent_stay(chain: Chain) -> None:
    grow(chain, 5)
    chain.run(make_transaction(chain, "long", valid_for_ms=12 * BLOCK_MS))
    grow(chain, 9)
    assert prune(chain, blocks=3) == 6, "the block of the request is held"
    assert make_reads(chain).outcome("dealer-a", "long").height == 6
    grow(chain, 10)
    assert prune(chain, blocks=3) == 23


def test_an_archive_keeps_all_and_says_what_it_lacks(chain: Chain) -> None:
    grow(chain, 20)
    assert prune(chain) == 1
    assert make(chain).describe() == "archive"
    assert prune(chain, blocks=5) == 16
    assert make(chain, blocks=5).describe() == "pruned to the last 5 blocks"
    assert make(chain, blocks=5, age_ms=2 * DAY_MS).describe().endswith("and those of the last 2 days")
    assert make(chain).describe() == "archive from block 16 on: what is older is not here, and will not come"
    grow(chain, 5)
    assert prune(chain) == 16
    # More may be kept from now on; less is again, too.
    assert prune(chain, blocks=8) == 18
    grow(chain, 5)
    assert prune(chain, blocks=20) == 18
    assert prune(chain, blocks=4) == 27


def test_steps_wait_until_there_is_enough_to_forget(chain: Chain) -> None:
    grow(chain, 20)
    retention = make(chain, blocks=5)
    retention._heights_a_step = 10
    asyncio.run(retention.prune())
    assert retention.first_height == 11
    grow(chain, 4)
    asyncio.run(retention.prune())
    assert retention.first_height == 11
    grow(chain, 1)
    asyncio.run(retention.prune())
    assert retention.first_height == 21


def test_the_outcome_of_a_request_id_that_was_used_again_is_not_pruned_with_the_first(chain: Chain) -> None:
    """An id may be used again once it has expired: it then names the latest transaction, which is held."""
    grow(chain, 2)
    chain.run(make_transaction(chain, "twice"))
    grow(chain, 10)
    chain.run(make_transaction(chain, "twice"))
    again = chain.execution.store.executed_height
    grow(chain, 10)
    assert 4 < prune(chain, blocks=15) < again
    assert make_reads(chain).outcome("dealer-a", "twice").height == again
    assert prune(chain, blocks=5) > again
    assert make_reads(chain).outcome("dealer-a", "twice").state is OutcomeState.UNKNOWN


def test_nodes_agree_on_an_expired_id_whether_they_hold_its_first_block_or_not(
    chain: Chain, tmp_path: Path
) -> None:
    """What a node has pruned decides what it tells its clients, and never what it votes for or executes."""
    first = make_transaction(chain, "twice")
    chain.run(first)
    taken = []
    for _ in range(20):
        taken.append(chain.execution.is_taken(first.request_digest))
        grow(chain, 1)
    assert (taken[0], taken[-1]) == (True, False)
    shutil.copytree(chain.folder, tmp_path / "archive")
    archive = open_copy(chain, tmp_path / "archive")
    assert prune(chain, blocks=5) > 2
    again = make_transaction(chain, "twice")
    held = [node.execution.store.find_request(again.request_digest) for node in (archive, chain)]
    assert held == [(1, 0), None]

    found = []
    for node in (archive, chain):
        executed = node.execute(again)
        verify_body(executed.decoded, node.genesis.parameters, node.execution.is_taken)
        (receipt,) = node.commit(executed)
        found.append((executed.decoded.block.block_hash, executed.state_root, receipt))
    assert found[0] == found[1]
    # From now on the id is taken for both.
    once_more = make_transaction(chain, "twice")
    for node in (archive, chain):
        with pytest.raises(PeerFault, match="executed"):
            verify_body(node.execute(once_more).decoded, node.genesis.parameters, node.execution.is_taken)
    archive.close()


def test_the_lineage_of_validators_outlives_the_blocks_that_prove_it(chain: Chain) -> None:
    """The last block of each epoch is gone; how it ended is still shown, from the genesis on."""
    genesis, found = chain.genesis, chain.execution.load_epoch(chain.genesis).validators.validators
    ends = []
    for number in range(3):
        spare = Validator(member=found[0].member, node=f"spare-{number}", public_key=found[0].public_key)
        changed = (*found[1:], spare) if number % 2 else (spare, *found[1:])
        change_validators(chain, *changed)
        ends.append(chain.execution.store.executed_height)
        grow(chain, 12)
    wanted = Proofs.create(chain.execution, genesis).lineage(0)
    assert len(wanted.steps) == 3
    # The members' vote for other validators can be sent again for a day; its blocks stay so long.
    store = chain.execution.store
    for height in range(store.beginning.height + 1, store.executed_height - 4):
        advance(chain, height)
    chain.reopen()
    assert Proofs.create(chain.execution, genesis).lineage(0) == wanted
    store = chain.execution.store
    assert ends[-1] < store.beginning.height
    lineage = Lineage.of_genesis(genesis)
    for epoch in range(3):
        link = store.beginning.find_link(Epoch(epoch))
        assert link is not None
        assert decode_header(decode_step(link).header).height == ends[epoch]
        lineage.extend(decode_step(link))
    assert lineage.newest == 3
    grow(chain, 3)
    chain.reopen()


def advance(chain: Chain, height: int) -> None:
    """Prune up to a height, whatever holds it up."""
    retention = make(chain, blocks=1)
    retention.find_limit = lambda: Height(height)  # type: ignore[method-assign]  # requests expire in a day
    asyncio.run(retention.prune())
