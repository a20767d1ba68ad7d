"""The bodies of uncommitted blocks: which requests they take, and that they are let go of."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence, Set
from dataclasses import dataclass, field
from typing import Any

from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash, compute_tx_root
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.evidence import DoubleVote, Evidence, encode_evidence
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.transaction import Envelope, seal_envelope
from tanpo.ledger.types import BlockHash, Epoch, Height, StateRoot, Term, ValidatorIndex
from tanpo.node.bodies import CHECKS_WAITING_MAX, Bodies
from tanpo.node.evidence import Claim, make_claim
from tanpo.node.keyring import KeyRing
from tanpo.node.mempool import Mempool, MempoolLimits
from tanpo.node.metrics import Metrics
from tanpo.node.verifying import Verifier
from tanpo.testing.accusation import make_double_vote


@dataclass
class FakeStore:
    """How far blocks were executed."""

    executed_height: int = 0


@dataclass
class FakeRings:
    """The keys that count: `above` are others above single blocks, none above what is not executed."""

    latest: KeyRing
    above: dict[bytes, KeyRing | None] = field(default_factory=dict)
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def find(self, block_hash: BlockHash) -> KeyRing | None:
        return self.above.get(block_hash, self.latest)

    async def wait_moved(self) -> None:
        await self.moved.wait()

    def move(self, block_hash: bytes, keyring: KeyRing) -> None:
        self.above[block_hash] = keyring
        self.moved.set()
        self.moved = asyncio.Event()


@dataclass
class FakeExecution:
    """What the chain has executed."""

    keyrings: FakeRings
    store: FakeStore = field(default_factory=FakeStore)
    taken: set[bytes] = field(default_factory=set)

    def is_taken(self, digest: bytes) -> bool:
        return digest in self.taken


class FakeEvidence:
    """Offers one piece and refuses it where an ancestor has it."""

    def __init__(self, evidence: DoubleVote | None = None) -> None:
        self._evidence = evidence

    def check(self, _epoch: Epoch, evidence: Sequence[Evidence], taken: Set[Claim]) -> None:
        if any(make_claim(one) in taken for one in evidence):
            raise PeerFault(Reason.PROOF_INVALID, "known already")

    def select(self, taken: Set[Claim]) -> tuple[bytes, ...]:
        if self._evidence is None or make_claim(self._evidence) in taken:
            return ()
        return (encode_evidence(self._evidence),)


class CountingPool(Mempool):
    """A mempool that counts how often an envelope is looked for: once for each that is decoded."""

    def __init__(self) -> None:
        super().__init__(MempoolLimits())
        self.asked = 0

    def find(self, signed_hash: bytes) -> Envelope | None:
        self.asked += 1
        return super().find(signed_hash)


def _make(parties: Any, accusation: DoubleVote | None = None) -> tuple[Bodies, FakeExecution, CountingPool]:
    execution, pool = FakeExecution(FakeRings(parties.keyring)), CountingPool()
    bodies = Bodies(
        network_id=parties.network_id,
        parameters=Parameters(),
        execution=execution,  # type: ignore[arg-type]  # a fake: bodies ask no more of it
        mempool=pool,
        verifier=Verifier(Metrics(), 1),
        evidence=FakeEvidence(accusation),  # type: ignore[arg-type]  # a fake: bodies ask no more of it
    )
    return bodies, execution, pool


def _block(parties: Any, height: int, *envelopes: Envelope, evidence: tuple[bytes, ...] = ()) -> Block:
    encoded = [envelope.encoded for envelope in envelopes]
    tx_ids = [tx.tx_id for envelope in envelopes for tx in envelope.transactions]
    header = Header(
        network_id=parties.network_id,
        epoch=Epoch(0),
        term=Term(1),
        height=Height(height),
        parent_hash=BlockHash(parties.network_id),
        parent_term=Term(1),
        time_ms=parties.time_ms,
        proposer=ValidatorIndex(0),
        tx_root=compute_tx_root(tx_ids),
        tx_count=len(tx_ids),
        body_hash=compute_body_hash(encoded, evidence),
        state_root=StateRoot(bytes(32)),
        receipts_root=EMPTY_ROOT,
        valset_hash=bytes(32),
        next_valset_hash=bytes(32),
        flags=BlockFlags.NONE,
        evidence_root=compute_merkle_root(evidence),
    )
    return Block.create(header, encoded, evidence)


async def test_a_request_of_an_ancestor_is_refused_and_not_selected(parties: Any, make_envelope: Any) -> None:
    bodies, _, pool = _make(parties)
    envelope = make_envelope("r1")
    pool.add(envelope, 0, is_own=True)
    parent, child = _block(parties, 1, envelope), _block(parties, 2, envelope)
    assert bodies.select([parent], parties.time_ms, Parameters()).tx_count == 0
    fault = await bodies.check(child, [parent])
    assert fault is not None
    assert "executed before" in fault


async def test_a_request_of_an_ancestor_that_was_just_committed_is_refused(
    parties: Any, make_envelope: Any
) -> None:
    bodies, execution, _ = _make(parties)
    envelope = make_envelope("r1")
    parent, child = _block(parties, 1, envelope), _block(parties, 2, envelope)
    execution.store.executed_height = 1
    execution.taken = {envelope.transactions[0].request_digest}
    fault = await bodies.check(child, [parent])
    assert fault is not None
    assert "executed before" in fault


async def test_an_ancestor_that_was_just_committed_is_not_decoded_and_held_again(
    parties: Any, make_envelope: Any
) -> None:
    bodies, execution, pool = _make(parties)
    parent = _block(parties, 1, make_envelope("r1"))
    bodies.get(parent)
    execution.store.executed_height = 1
    bodies.forget_up_to(Height(1))
    asked = pool.asked
    bodies.select([parent], parties.time_ms, Parameters())
    assert await bodies.check(_block(parties, 2), [parent]) is None
    assert pool.asked == asked


async def test_a_proposal_that_never_got_a_vote_is_let_go_of_when_its_height_is_committed(
    parties: Any, make_envelope: Any
) -> None:
    bodies, _, pool = _make(parties)
    rival, later = _block(parties, 1, make_envelope("r1")), _block(parties, 2, make_envelope("r2"))
    await bodies.check(rival, [])
    await bodies.check(later, [])
    bodies.forget_up_to(Height(1))
    asked = pool.asked
    bodies.get(later)
    assert pool.asked == asked
    bodies.get(rival)
    assert pool.asked == asked + 1


async def test_evidence_of_an_ancestor_is_refused_and_not_selected(parties: Any) -> None:
    accusation = make_double_vote(parties.network_id, PrivateKey.generate(), 3)
    bodies, _, _ = _make(parties, accusation)
    encoded = (encode_evidence(accusation),)
    parent, child = (_block(parties, height, evidence=encoded) for height in (1, 2))
    assert bodies.select([], parties.time_ms, Parameters()).evidence == encoded
    assert await bodies.check(parent, []) is None
    assert bodies.select([parent], parties.time_ms, Parameters()).evidence == ()
    fault = await bodies.check(child, [parent])
    assert fault is not None
    assert "known already" in fault


async def test_a_body_with_evidence_that_is_none_is_refused(parties: Any) -> None:
    bodies, _, _ = _make(parties)
    assert "unknown kind of evidence" in str(await bodies.check(_block(parties, 1, evidence=(bytes(9),)), []))


async def test_a_key_that_the_parent_registered_counts_once_the_parent_is_executed(
    parties: Any, make_envelope: Any
) -> None:
    bodies, execution, _ = _make(parties)
    execution.keyrings.latest, execution.keyrings.above[parties.network_id] = KeyRing(()), None
    checking = asyncio.ensure_future(bodies.check(_block(parties, 2, make_envelope("r1")), []))
    await asyncio.sleep(0)
    assert not checking.done()
    execution.keyrings.move(parties.network_id, parties.keyring)
    assert await checking is None


async def test_a_key_that_the_parent_removed_counts_no_more_though_its_signature_was_checked_before(
    parties: Any, make_envelope: Any
) -> None:
    bodies, execution, pool = _make(parties)
    envelope = make_envelope("r1")
    pool.add(envelope, 0, is_own=True)
    execution.keyrings.above[parties.network_id] = KeyRing(())
    fault = await bodies.check(_block(parties, 1, envelope), [])
    assert fault is not None
    assert "no member has registered this key" in fault
    assert bodies.select([], parties.time_ms, Parameters()).tx_count == 1
    parent = _block(parties, 1)
    execution.keyrings.above[parent.block_hash] = KeyRing(())
    assert bodies.select([parent], parties.time_ms, Parameters()).tx_count == 0


async def test_a_wrong_signature_by_a_key_that_the_parent_registered_is_refused(
    parties: Any, make_envelope: Any
) -> None:
    bodies, execution, _ = _make(parties)
    execution.keyrings.latest, execution.keyrings.above[parties.network_id] = KeyRing(()), parties.keyring
    good, other = make_envelope("r1"), make_envelope("r2")
    ((key_id, _),) = good.signatures
    forged = seal_envelope(parties.network_id, good.transactions, {key_id: other.signatures[0][1]})
    fault = await bodies.check(_block(parties, 1, forged), [])
    assert fault is not None
    assert "does not fit" in fault


async def test_a_check_ends_when_the_chain_has_gone_past_the_parent(parties: Any, make_envelope: Any) -> None:
    bodies, execution, _ = _make(parties)
    execution.keyrings.above[parties.network_id] = None
    checking = asyncio.ensure_future(bodies.check(_block(parties, 2, make_envelope("r1")), []))
    await asyncio.sleep(0)
    execution.store.executed_height = 1
    execution.keyrings.move(bytes(32), parties.keyring)
    assert "its parent is not of the chain" in str(await checking)


async def test_blocks_that_wait_for_their_parents_are_bounded(parties: Any) -> None:
    bodies, execution, _ = _make(parties)
    execution.keyrings.above[parties.network_id] = None
    blocks = [_block(parties, height) for height in range(2, 3 + CHECKS_WAITING_MAX)]
    checks = [asyncio.ensure_future(bodies.check(block, [])) for block in blocks]
    done, _ = await asyncio.wait(checks, return_when=asyncio.FIRST_COMPLETED)
    refused = {check.result() for check in done}
    assert refused == {"too many blocks wait for their parents to be executed"}
    execution.keyrings.move(parties.network_id, parties.keyring)
    assert set(await asyncio.gather(*checks)) == {None, *refused}
