"""One replica under test, with the keys of all validators at hand to write whatever peers might send."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any, Final

import pytest
import tanpo.consensus as tc
from tanpo.consensus import messages
from tanpo.consensus.record import DurableRecord, decode_record
from tanpo.ledger import certificate as cert
from tanpo.ledger import types as t
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.vote import Vote

NETWORK: Final = t.NetworkId(sha256(b"protocol tests").digest())
EPOCH: Final = t.Epoch(0)
GENESIS_MS: Final = 1_700_000_000_000
ROOTS: Final = tc.Roots(state_root=t.StateRoot(bytes(32)), receipts_root=EMPTY_ROOT)
PREPARE, COMMIT = cert.SignedKind.VOTE_PREPARE, cert.SignedKind.VOTE_COMMIT


def sign(validator: int, message: bytes) -> t.Signature:
    return t.Signature(sha256(b"key %d " % validator + message).digest()[:12])


@dataclass
class Keys:
    validator_count: int
    checked: int = 0

    def verify(self, validator: t.ValidatorIndex, message: bytes, signature: t.Signature) -> bool:
        self.checked += 1
        return signature == sign(validator, message)


class Bench:
    """A replica, its surroundings, and forgeries. Blocks are executed and checked only when told to."""

    def __init__(
        self,
        index: int | None = 3,
        count: int = 4,
        start: tc.ReplicaStart | None = None,
        **options: Any,
    ) -> None:
        self.index, self.count, self.options = index, count, options
        self.epoch: t.Epoch = options.get("epoch", EPOCH)
        self.now_ms = 100_000
        self.keys = Keys(count)
        self.pending: list[bytes] = []
        self.evidence: list[bytes] = []
        self.selected: list[tuple[Block, ...]] = []
        self.start = start or tc.genesis_start(NETWORK, GENESIS_MS, ROOTS.state_root, ROOTS.receipts_root)
        self.timing = tc.Timing()
        place: dict[str, Any] = {"epoch": EPOCH, "valset_hash": bytes(32)} | options
        self.config = config = tc.ReplicaConfig(
            network_id=NETWORK,
            validator=None if index is None else t.ValidatorIndex(index),
            validator_count=count,
            parameters=Parameters(block_transactions_max=10),
            timing=self.timing,
            **place,
        )
        self.replica = tc.Replica(config, self.keys, lambda m: sign(index or 0, m), self, self.start)

    def select(self, ancestors: Sequence[Block], time_ms: int, limits: Parameters) -> tc.Payload:
        self.selected.append(tuple(ancestors))
        chosen = tuple(self.pending[: limits.block_transactions_max])
        return tc.Payload(
            envelopes=chosen,
            tx_root=compute_merkle_root(chosen),
            tx_count=len(chosen),
            evidence=tuple(self.evidence),
        )

    def times(self) -> dict[str, Any]:
        return {"now_ms": self.now_ms, "wall_ms": GENESIS_MS + self.now_ms}

    def receive(self, sender: int, message: messages.Message, epoch: int | None = None) -> list[tc.Effect]:
        event = tc.Received(
            sender=t.ValidatorIndex(sender),
            epoch=self.epoch if epoch is None else t.Epoch(epoch),
            message=message,
            **self.times(),
        )
        return self.replica.step(event)

    def drain(self) -> list[tc.Effect]:
        return self.replica.step(tc.StepDownAsked(**self.times()))

    def tick(self, after_ms: int = 0, *, pending: bool = False, overdue: bool = False) -> list[tc.Effect]:
        self.now_ms += after_ms
        return self.replica.step(tc.Ticked(has_pending=pending, has_overdue=overdue, **self.times()))

    def submit(self, *envelopes: bytes) -> list[tc.Effect]:
        self.pending += envelopes
        return self.replica.step(tc.TransactionsPending(**self.times()))

    def check(self, block: Block, fault: str | None = None) -> list[tc.Effect]:
        return self.replica.step(tc.BlockChecked(block_hash=block.block_hash, fault=fault, **self.times()))

    def execute(self, block: Block, roots: tc.Roots | None = None) -> list[tc.Effect]:
        roots = roots or self.roots_after(block)
        return self.replica.step(
            tc.BlockExecuted(
                block_hash=block.block_hash,
                state_root=roots.state_root,
                receipts_root=roots.receipts_root,
                pending_valset=roots.pending_valset,
                **self.times(),
            )
        )

    def stored(self, height: int) -> list[tc.Effect]:
        return self.replica.step(tc.CommitStored(height=t.Height(height), **self.times()))

    def roots_after(self, block: Block | None) -> tc.Roots:
        if block is None:
            return ROOTS
        root = t.StateRoot(sha256(b"state" + block.block_hash).digest())
        return tc.Roots(state_root=root, receipts_root=EMPTY_ROOT)

    def block(
        self, term: int, parent: Block | None = None, *, envelopes: Sequence[bytes] = (), **changes: Any
    ) -> Block:
        roots = self.roots_after(parent)
        header = Header(
            network_id=NETWORK,
            epoch=self.epoch,
            term=t.Term(term),
            height=t.Height(1 if parent is None else parent.header.height + 1),
            parent_hash=t.BlockHash(NETWORK) if parent is None else parent.block_hash,
            parent_term=t.Term(0) if parent is None else parent.header.term,
            time_ms=GENESIS_MS + self.now_ms if parent is None else parent.header.time_ms + 1,
            proposer=t.ValidatorIndex((self.epoch + term - 1) % self.count),
            tx_root=compute_merkle_root(envelopes),
            tx_count=len(envelopes),
            body_hash=compute_body_hash(envelopes),
            state_root=roots.state_root,
            receipts_root=roots.receipts_root,
            valset_hash=bytes(32),
            next_valset_hash=bytes(32),
            flags=BlockFlags.NONE,
            evidence_root=EMPTY_ROOT,
        )
        return Block.create(replace(header, **changes), envelopes)

    def vote(
        self, signer: int, block: Block, kind: cert.SignedKind = PREPARE, term: int | None = None
    ) -> Vote:
        """A vote for a block, in its own term unless another is given (E4)."""
        header = block.header
        claim: Any = {"term": term or header.term, "height": header.height, "block_hash": block.block_hash}
        signature = sign(signer, cert.vote_bytes(kind, NETWORK, self.epoch, **claim))
        return Vote(kind=kind, validator=t.ValidatorIndex(signer), signature=signature, **claim)

    def reply(self, signer: int, block: Block, kind: cert.SignedKind = PREPARE) -> messages.AppendReply:
        return messages.AppendReply(vote=self.vote(signer, block, kind))

    def certify(
        self,
        block: Block | None,
        kind: cert.SignedKind = PREPARE,
        signers: Sequence[int] = (0, 1, 2),
        term: int | None = None,
    ) -> cert.QuorumCertificate:
        if block is None:
            return self.config.base_certificate
        votes = [self.vote(signer, block, kind, term) for signer in signers]
        return cert.QuorumCertificate(
            kind=kind,
            epoch=self.epoch,
            term=t.Term(term or block.header.term),
            height=block.header.height,
            block_hash=block.block_hash,
            signatures=tuple((vote.validator, vote.signature) for vote in votes),
        )

    def append(
        self, block: Block, parent: Block | None = None, opening: cert.TimeoutCertificate | None = None
    ) -> messages.Append:
        return messages.Append(
            block=block,
            justify=self.certify(parent),
            term_certificate=opening,
            signature=self.vote(block.header.proposer, block).signature,
        )

    def timeout(
        self,
        signer: int,
        term: int,
        lock: Block | None = None,
        opening: cert.TimeoutCertificate | None = None,
    ) -> messages.Timeout:
        fields = self.timeout_fields(signer, term, self.certify(lock))
        return messages.Timeout(**(fields | {"term_certificate": opening}))

    def timeout_fields(self, signer: int, term: int, qc: cert.QuorumCertificate) -> dict[str, Any]:
        high: Any = {"high_term": qc.term, "high_height": qc.height, "high_hash": qc.block_hash}
        signature = sign(signer, cert.timeout_bytes(NETWORK, self.epoch, t.Term(term), **high))
        entry = cert.TimeoutEntry(validator=t.ValidatorIndex(signer), signature=signature, **high)
        return {"term": t.Term(term), "entry": entry, "high_qc": qc, "term_certificate": None}

    def resign(self, term: int, entry: cert.TimeoutEntry) -> cert.TimeoutEntry:
        """The entry, signed anew after a change."""
        message = cert.timeout_bytes(
            NETWORK, self.epoch, t.Term(term), entry.high_term, entry.high_height, entry.high_hash
        )
        return replace(entry, signature=sign(entry.validator, message))

    def give_up(self, term: int, *locks: Block | None) -> cert.TimeoutCertificate:
        """A term certificate of three others with the locks given, the last repeated."""
        held = [*locks, *[locks[-1] if locks else None] * 3][:3]
        others = [index for index in range(self.count) if index != self.index]
        timeouts = [self.timeout(signer, term, lock) for signer, lock in zip(others, held, strict=False)]
        highest = max((timeout.high_qc for timeout in timeouts), key=lambda qc: qc.rank)
        return cert.TimeoutCertificate(
            epoch=self.epoch,
            term=t.Term(term),
            entries=tuple(timeout.entry for timeout in timeouts),
            high_qc=highest,
        )

    def open_term(self, term: int, *locks: Block | None) -> list[tc.Effect]:
        return self.receive(0, messages.TermCertificate(certificate=self.give_up(term - 1, *locks)))

    def follow(self, block: Block, parent: Block | None = None, **options: Any) -> list[tc.Effect]:
        """Receive a proposal from its leader, find its body good and execute it if asked to."""
        effects = self.receive(block.header.proposer, self.append(block, parent, **options))
        if any(isinstance(effect, tc.CheckBlock) for effect in effects):
            effects += self.check(block)
        if any(isinstance(e, tc.ExecuteBlock) and e.block == block for e in effects):
            effects += self.execute(block)
        return effects

    def heartbeat(self, proof: cert.CommitProof | None = None, **changes: Any) -> messages.Heartbeat:
        fields: Any = {
            "term": t.Term(1),
            "high_qc": self.certify(None),
            "commit_proof": proof,
            "term_certificate": None,
        }
        return messages.Heartbeat(**(fields | changes))

    def restart(self, effects: Sequence[tc.Effect], **changes: Any) -> Bench:
        """A new replica from what these effects made durable."""
        record, blocks = durable(effects)
        start = replace(self.start, **({"record": record, "blocks": blocks} | changes))
        bench = Bench(self.index, self.count, start, **self.options)
        bench.now_ms = self.now_ms
        return bench

    def answer(
        self, effects: Sequence[tc.Effect], *, by: Sequence[int] = (), **changes: Any
    ) -> list[tc.Effect]:
        """The others' answers to the question what they saw of us; they saw nothing unless told otherwise."""
        asked = [
            e.message for e in effects if isinstance(e, tc.Send) and isinstance(e.message, messages.GetStatus)
        ]
        fields: Any = {
            "nonce": asked[0].nonce,
            "term": t.Term(1),
            "high_qc": self.certify(None),
            "term_certificate": None,
            "vote": None,
            "timeout_term": t.Term(0),
            "timeout": None,
        }
        answers: list[tc.Effect] = []
        for sender in by or [index for index in range(self.count) if index != self.index]:
            answers += self.receive(sender, messages.Status(**(fields | changes)))
        return answers


def durable(effects: Sequence[tc.Effect]) -> tuple[bytes | None, tuple[Block, ...]]:
    record: bytes | None = None
    blocks: dict[t.BlockHash, Block] = {}
    for effect in effects:
        if isinstance(effect, tc.Persist):
            record = effect.record
            for block_hash in effect.dropped:
                blocks.pop(block_hash, None)
            blocks |= {block.block_hash: block for block in effect.blocks}
    return record, tuple(blocks.values())


class Seen:
    """Picks messages and effects out of a list."""

    def of(self, effects: Sequence[tc.Effect], kind: type) -> list[Any]:
        return [effect for effect in effects if isinstance(effect, kind)]

    def sent(self, effects: Sequence[tc.Effect], kind: type) -> list[Any]:
        carriers = self.of(effects, tc.Send) + self.of(effects, tc.Broadcast)
        return [carrier.message for carrier in carriers if isinstance(carrier.message, kind)]

    def votes(self, effects: Sequence[tc.Effect]) -> list[Vote]:
        return [reply.vote for reply in self.sent(effects, messages.AppendReply)]

    def commits(self, effects: Sequence[tc.Effect]) -> list[int]:
        return [effect.block.header.height for effect in self.of(effects, tc.CommitBlock)]

    def faults(self, effects: Sequence[tc.Effect]) -> list[str]:
        return [effect.fault.message for effect in self.of(effects, tc.ReportFault)]

    def record(self, effects: Sequence[tc.Effect]) -> DurableRecord:
        encoded, _ = durable(effects)
        assert encoded is not None
        return decode_record(encoded)

    def is_durable_first(self, effects: Sequence[tc.Effect], promise: type) -> bool:
        """Whether the last `Persist` comes before the first message of a kind."""
        kinds = [
            "persist" if isinstance(e, tc.Persist) else "promise"
            for e in effects
            if isinstance(e, tc.Persist)
            or (isinstance(e, tc.Send | tc.Broadcast) and isinstance(e.message, promise))
        ]
        return "promise" in kinds and "persist" in kinds and kinds == sorted(kinds)


@pytest.fixture
def bench() -> Bench:
    """Validator 3 of four: a follower of terms 1, 2 and 3."""
    return Bench()


@pytest.fixture
def leader() -> Bench:
    """Validator 0 of four: the leader of term 1."""
    return Bench(0)


@pytest.fixture
def new_bench() -> Callable[..., Bench]:
    """For other sizes and places."""
    return Bench


@pytest.fixture
def seen() -> Seen:
    """Queries over effects."""
    return Seen()
