"""A deterministic cluster: real replicas and wire format on virtual time, simulated disks, links and keys.

One seed decides everything. `python tests/simulation/conftest.py SEED` prints the digest of that run, so
that two processes with different hash seeds can be compared.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

import pytest
from tanpo.consensus import (
    BlockChecked,
    BlockExecuted,
    Broadcast,
    CheckBlock,
    CommitBlock,
    CommitStored,
    CommittedTip,
    DiscardBlocks,
    Effect,
    Event,
    ExecuteBlock,
    Halt,
    Payload,
    Persist,
    Received,
    Replica,
    ReplicaConfig,
    ReplicaStart,
    ReportEvidence,
    ReportFault,
    Roots,
    Send,
    ServeCommitted,
    Ticked,
    Timing,
    TransactionsPending,
    build_committed,
    genesis_start,
)
from tanpo.consensus.messages import Append, AppendReply, Message, Nudge, Suspect, Timeout, Vote
from tanpo.consensus.record import DurableRecord, decode_record
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.ledger.block import EMPTY_ROOT, Block
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    TimeoutEntry,
    compute_faulty_max,
    genesis_certificate,
    timeout_bytes,
    verify_commit_proof,
    vote_bytes,
)
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.types import (
    BlockHash,
    Epoch,
    Height,
    MerkleRoot,
    NetworkId,
    Signature,
    StateRoot,
    Term,
    ValidatorIndex,
)

NETWORK: Final = NetworkId(sha256(b"simulated network").digest())
GENESIS_MS: Final = 1_700_000_000_000
TIMING: Final = Timing(base_timeout_ms=200, timeout_max_ms=3200, request_timeout_ms=400)
TICK_MS: Final = 20
LIMITS: Final = Parameters(block_transactions_max=8)


def sign(validator: int, message: bytes) -> Signature:
    """A signature that only this test can make: cheap, and checkable by all."""
    return Signature(sha256(b"key %d " % validator + message).digest()[:12])


@dataclass(frozen=True)
class CheapKeys:
    validator_count: int

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        return signature == sign(validator, message)


@dataclass
class Disk:
    """What survives a crash: the record, the uncommitted blocks, the chain with proofs and results."""

    record: bytes | None = None
    decoded: DurableRecord | None = None
    blocks: dict[BlockHash, Block] = field(default_factory=dict)
    chain: list[tuple[Block, CommitProof, Roots]] = field(default_factory=list)


@dataclass
class Swarm:
    """How hostile one run is."""

    loss: float
    duplication: float
    delay_ms: int
    sync_ms: int
    execution_ms: int
    crash: float
    partition: float
    hostile: str


class Node:
    """A simulated process: a driver as `tanpo.consensus.effects` asks for, over a `Disk`."""

    def __init__(self, cluster: Cluster, name: str, index: ValidatorIndex) -> None:
        self.cluster, self.name, self.index = cluster, name, index
        self.disk = Disk()
        self.skew_ms = cluster.random.randrange(-100, 101)
        self.incarnation = 0
        self.is_up = False
        self.peers: list[int] | None = None
        self.start()

    def start(self) -> None:
        disk, cluster = self.disk, self.cluster
        self.incarnation += 1
        self.is_up = True
        self.overlays: dict[BlockHash, Roots] = {}
        self.syncing: list[Persist] = []
        self.held_back: list[tuple[int, Effect]] = []
        self.asked = self.synced = 0
        self.to_store: list[tuple[Block, CommitProof, Roots]] = []
        self.mempool = list(cluster.submitted)
        tip = genesis_start(NETWORK, GENESIS_MS, StateRoot(bytes(32)), EMPTY_ROOT).tip
        if disk.chain:
            block, proof, roots = disk.chain[-1]
            header = block.header
            tip = CommittedTip(
                height=header.height,
                block_hash=block.block_hash,
                term=header.term,
                time_ms=header.time_ms,
                roots=roots,
                proof=proof,
            )
        self.tip_height = tip.height
        self.overlays[tip.block_hash] = tip.roots
        self.replica = Replica(
            ReplicaConfig(
                network_id=NETWORK,
                epoch=Epoch(0),
                validator=self.index,
                validator_count=cluster.count,
                valset_hash=bytes(32),
                parameters=LIMITS,
                timing=TIMING,
            ),
            CheapKeys(cluster.count),
            lambda message: sign(self.index, message),
            self,
            ReplicaStart(tip=tip, record=disk.record, blocks=tuple(disk.blocks.values())),
        )
        self.later(cluster.random.randrange(TICK_MS), self.tick)

    def crash(self) -> None:
        """Lose whatever was not synced, and perhaps sync the last write without sending (torn off)."""
        if self.cluster.random.random() < 0.5:
            for persist in self.syncing:
                self.write(persist)
        self.is_up = False
        self.incarnation += 1

    def select(self, ancestors: Sequence[Block], time_ms: int, limits: Parameters) -> Payload:
        used = {e for block in ancestors for e in block.envelopes}
        used |= {e for block, _, _ in self.disk.chain + self.to_store for e in block.envelopes}
        chosen = [e for e in self.mempool if e not in used][: limits.block_transactions_max]
        if self.name.endswith("'"):
            chosen.reverse()  # A twin proposes another block than its sibling.
        return Payload(
            envelopes=tuple(chosen), tx_root=compute_merkle_root(chosen), tx_count=len(chosen)
        )

    def later(self, delay_ms: int, action: Callable[[], None]) -> None:
        incarnation = self.incarnation

        def act() -> None:
            if self.is_up and self.incarnation == incarnation:
                action()

        self.cluster.at(self.cluster.now_ms + delay_ms, act)

    def tick(self) -> None:
        used = {e for block, _, _ in self.disk.chain + self.to_store for e in block.envelopes}
        self.mempool = [e for e in self.mempool if e not in used]
        age_ms = self.cluster.now_ms - self.cluster.submitted.get(next(iter(self.mempool), b""), 10**9)
        self.step(
            Ticked(
                now_ms=self.cluster.now_ms,
                wall_ms=self.wall_ms(),
                has_pending=bool(self.mempool),
                has_overdue=bool(self.mempool) and age_ms > TIMING.request_timeout_ms,
            )
        )
        self.later(TICK_MS, self.tick)

    def wall_ms(self) -> int:
        return GENESIS_MS + self.cluster.now_ms + self.skew_ms

    def submit(self, envelope: bytes) -> None:
        self.mempool.append(envelope)
        self.step(TransactionsPending(now_ms=self.cluster.now_ms, wall_ms=self.wall_ms()))

    def receive(self, sender: ValidatorIndex, encoded: bytes) -> None:
        message = decode_message(encoded)
        self.step(
            Received(sender=sender, message=message, now_ms=self.cluster.now_ms, wall_ms=self.wall_ms())
        )

    def step(self, event: Event) -> None:
        if not self.is_up:
            return
        self.cluster.steps += 1
        for effect in self.replica.step(event):
            self.apply(effect)
        self.release()

    def apply(self, effect: Effect) -> None:
        match effect:
            case Persist():
                self.asked += 1
                self.syncing.append(effect)
                self.later(self.cluster.random.randrange(self.cluster.swarm.sync_ms + 1), self.sync)
            case Send() | Broadcast():
                self.held_back.append((self.asked, effect))
            case CheckBlock():
                fault = "bad body" if b"bad" in effect.block.envelopes else None
                seen = {e for block in effect.ancestors for e in block.envelopes}
                seen |= {e for block, _, _ in self.disk.chain for e in block.envelopes}
                fault = "repeated" if seen & set(effect.block.envelopes) else fault
                block_hash = effect.block.block_hash
                self.later(self.pause(), lambda: self.checked(block_hash, fault))
            case ExecuteBlock():
                self.execute(effect.block)
            case CommitBlock():
                self.commit(effect)
            case ServeCommitted():
                stored = ((b, p) for b, p, _ in self.disk.chain[effect.from_height - 1 :])
                answer = build_committed(stored)
                if answer is not None:
                    self.held_back.append((self.asked, Send(to=effect.to, message=answer)))
            case DiscardBlocks():
                for block_hash in effect.block_hashes:
                    self.overlays.pop(block_hash, None)
            case ReportEvidence():
                self.cluster.accuse(effect)
            case ReportFault():
                assert self.cluster.is_hostile(effect.sender), f"{self.name} accuses {effect}"
            case Halt():
                raise AssertionError(f"{self.name} halted: {effect.reason}")

    def pause(self) -> int:
        return self.cluster.random.randrange(self.cluster.swarm.execution_ms + 1)

    def checked(self, block_hash: BlockHash, fault: str | None) -> None:
        self.step(
            BlockChecked(
                block_hash=block_hash, fault=fault, now_ms=self.cluster.now_ms, wall_ms=self.wall_ms()
            )
        )

    def execute(self, block: Block) -> None:
        parent = self.overlays.get(block.header.parent_hash)
        assert parent is not None, f"{self.name} executes height {block.header.height} without its parent"
        digest = sha256(parent.state_root + b"".join(block.envelopes)).digest()
        receipts = MerkleRoot(sha256(b"receipts" + digest).digest())
        roots = Roots(state_root=StateRoot(digest), receipts_root=receipts)
        self.overlays[block.block_hash] = roots

        def done() -> None:
            self.step(
                BlockExecuted(
                    block_hash=block.block_hash,
                    state_root=roots.state_root,
                    receipts_root=roots.receipts_root,
                    now_ms=self.cluster.now_ms,
                    wall_ms=self.wall_ms(),
                )
            )

        self.later(self.pause(), done)

    def commit(self, effect: CommitBlock) -> None:
        height = effect.block.header.height
        assert height == self.tip_height + 1, f"{self.name} commits {height} after {self.tip_height}"
        self.tip_height = height
        roots = self.overlays[effect.block.block_hash]
        self.cluster.check_commit(self, effect.block, effect.proof, roots)
        self.to_store.append((effect.block, effect.proof, roots))
        self.later(self.pause(), self.store)

    def store(self) -> None:
        self.disk.chain.append(self.to_store.pop(0))
        height = Height(len(self.disk.chain))
        self.step(CommitStored(height=height, now_ms=self.cluster.now_ms, wall_ms=self.wall_ms()))

    def sync(self) -> None:
        self.write(self.syncing.pop(0))
        self.synced += 1
        self.release()

    def write(self, persist: Persist) -> None:
        disk = self.disk
        disk.record, disk.decoded = persist.record, decode_record(persist.record)
        for block_hash in persist.dropped:
            disk.blocks.pop(block_hash, None)
        for block in persist.blocks:
            disk.blocks[block.block_hash] = block
        assert len(disk.blocks) <= 100, "the durable blocks are not bounded"

    def release(self) -> None:
        while self.held_back and self.held_back[0][0] <= self.synced:
            _, effect = self.held_back.pop(0)
            if isinstance(effect, Send):
                self.emit([effect.to], effect.message)
            elif isinstance(effect, Broadcast):
                others = [i for i in range(self.cluster.count) if i != self.index]
                self.emit([ValidatorIndex(i) for i in others], effect.message)

    def emit(self, receivers: list[ValidatorIndex], message: Message) -> None:
        self.cluster.check_promise(self, message)
        encoded = encode_message(message)
        for receiver in receivers:
            if self.peers is None or receiver in self.peers:
                self.cluster.transmit(self.index, receiver, encoded)


class Puppet(Node):
    """A hostile validator that votes for everything, in any term, and lies in its timeouts."""

    def start(self) -> None:
        super().start()
        self.seen: list[QuorumCertificate] = [genesis_certificate(NETWORK)]

    def receive(self, sender: ValidatorIndex, encoded: bytes) -> None:
        message = decode_message(encoded)
        match message:
            case Append():
                self.seen.append(message.justify)
                header = message.block.header
                self.vote(SignedKind.VOTE_PREPARE, header.term, header.height, message.block.block_hash)
            case Nudge():
                qc = message.certificate
                self.seen.append(qc)
                self.vote(SignedKind.VOTE_COMMIT, qc.term, qc.height, qc.block_hash)
            case Suspect() | Timeout():
                self.lie(message.term)
            case _:
                super().receive(sender, encoded)
        self.seen = self.seen[-20:]

    def vote(self, kind: SignedKind, term: Term, height: Height, block_hash: BlockHash) -> None:
        signature = sign(self.index, vote_bytes(kind, NETWORK, Epoch(0), term, height, block_hash))
        vote = Vote(
            kind=kind,
            validator=self.index,
            term=term,
            height=height,
            block_hash=block_hash,
            signature=signature,
        )
        others = [ValidatorIndex(i) for i in range(self.cluster.count) if i != self.index]
        self.emit(others, AppendReply(vote=vote, executed_height=height))

    def lie(self, term: Term) -> None:
        qc = self.cluster.random.choice(self.seen)
        if qc.term > term:
            return
        message = timeout_bytes(NETWORK, Epoch(0), term, qc.term, qc.height, qc.block_hash)
        entry = TimeoutEntry(
            validator=self.index,
            high_term=qc.term,
            high_height=qc.height,
            high_hash=qc.block_hash,
            signature=sign(self.index, message),
        )
        others = [ValidatorIndex(i) for i in range(self.cluster.count) if i != self.index]
        self.emit(others, Timeout(term=term, entry=entry, high_qc=qc, term_certificate=None))


class Cluster:
    """All nodes, links and checkers of one run."""

    def __init__(self, seed: int, count: int | None = None, hostile: str | None = None) -> None:
        self.random = rng = random.Random(seed)
        self.count = count or rng.choice([1, 4, 4, 4, 4, 5, 6, 7])
        self.swarm = Swarm(
            loss=rng.choice([0, 0, 0.02, 0.1, 0.3]),
            duplication=rng.choice([0, 0.05, 0.3]),
            delay_ms=rng.choice([2, 10, 40, 120]),
            sync_ms=rng.choice([0, 2, 15]),
            execution_ms=rng.choice([0, 3, 20, 60]),
            crash=rng.choice([0, 0, 0.002, 0.01]),
            partition=rng.choice([0, 0.002, 0.008]),
            hostile=rng.choice(["", "", "twins", "twins", "puppets"]) if hostile is None else hostile,
        )
        self.now_ms = self.steps = self.order = self.submissions = 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.submitted: dict[bytes, int] = {}
        self.cut: list[int] = []
        self.is_calm = False
        self.digest = sha256()
        self.chain: dict[int, tuple[BlockHash, Roots]] = {}
        self.promises: dict[tuple[int, SignedKind, int, int], BlockHash] = {}
        self.timed_out: dict[int, int] = {}
        self.hostile = list(range(compute_faulty_max(self.count))) if self.swarm.hostile else []
        rng.shuffle(self.hostile)
        self.nodes: list[Node] = []
        for index in map(ValidatorIndex, range(self.count)):
            if self.is_hostile(index) and self.swarm.hostile == "twins":
                self.nodes += [Node(self, f"{index}", index), Node(self, f"{index}'", index)]
            elif self.is_hostile(index):
                self.nodes.append(Puppet(self, f"{index}!", index))
            else:
                self.nodes.append(Node(self, f"{index}", index))

    def is_hostile(self, index: int) -> bool:
        return index in self.hostile

    def honest(self) -> list[Node]:
        return [node for node in self.nodes if not self.is_hostile(node.index)]

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.queue, (time_ms, self.order, action))

    def transmit(self, sender: ValidatorIndex, receiver: ValidatorIndex, encoded: bytes) -> None:
        rng, swarm = self.random, self.swarm
        is_cut = (sender in self.cut) != (receiver in self.cut)
        if not self.is_calm and (is_cut or rng.random() < swarm.loss):
            return
        copies = 1 if self.is_calm or rng.random() >= swarm.duplication else 2
        for _ in range(copies):
            delay_ms = 1 + rng.randrange(min(swarm.delay_ms, 20) if self.is_calm else swarm.delay_ms)
            self.at(self.now_ms + delay_ms, lambda: self.deliver(sender, receiver, encoded))

    def deliver(self, sender: ValidatorIndex, receiver: ValidatorIndex, encoded: bytes) -> None:
        self.digest.update(b"%d %d %d " % (self.now_ms, sender, receiver) + encoded)
        for node in self.nodes:
            if node.index == receiver and node.is_up:
                node.receive(sender, encoded)

    def run_until(self, end_ms: int, is_done: Callable[[], bool] | None = None) -> bool:
        while self.queue and self.queue[0][0] <= end_ms:
            self.now_ms, _, action = heapq.heappop(self.queue)
            action()
            if is_done is not None and is_done():
                return True
        self.now_ms = end_ms
        return is_done is None or is_done()

    def submit(self) -> None:
        envelope = b"tx %d" % self.submissions
        self.submissions += 1
        self.submitted[envelope] = self.now_ms
        for node in self.nodes:
            delay_ms = self.random.randrange(30)
            node.later(delay_ms, lambda node=node: node.submit(envelope))  # type: ignore[misc] # bound early

    def disturb(self) -> None:
        """One round of chaos: crashes, restarts, partitions, new audiences for twins, transactions."""
        rng, swarm = self.random, self.swarm
        for node in self.nodes:
            if node.is_up and rng.random() < swarm.crash * TICK_MS:
                node.crash()
            elif not node.is_up and rng.random() < 0.1:
                node.start()
            if self.swarm.hostile == "twins" and self.is_hostile(node.index) and rng.random() < 0.05:
                node.peers = [i for i in range(self.count) if rng.random() < 0.6]
        if rng.random() < swarm.partition * TICK_MS:
            self.cut = [i for i in range(self.count) if rng.random() < 0.5] if not self.cut else []
        if rng.random() < 0.3:
            self.submit()

    def run(self, chaos_ms: int = 4000, heal_ms: int = 90_000) -> None:
        """Chaos, then calm; everything submitted must commit everywhere before the calm ends."""
        while self.now_ms < chaos_ms:
            self.disturb()
            self.run_until(self.now_ms + TICK_MS)
        self.is_calm, self.cut = True, []
        for node in self.nodes:
            if self.is_hostile(node.index) and self.random.random() < 0.5:
                node.is_up = False
            elif not node.is_up:
                node.start()
            node.peers = None
        self.submit()
        assert self.run_until(self.now_ms + heal_ms, self.has_converged), self.describe()

    def has_converged(self) -> bool:
        honest = self.honest()
        heights = {len(node.disk.chain) for node in honest}
        if len(heights) != 1 or not heights.pop():
            return False
        if any(node.mempool or node.replica.high_rank[1] > len(node.disk.chain) for node in honest):
            return False
        stored = [e for block, _, _ in honest[0].disk.chain for e in block.envelopes]
        return sorted(stored) == sorted(self.submitted)

    def describe(self) -> str:
        lines = [f"{self.swarm} n={self.count} at {self.now_ms} ms: {len(self.submitted)} submitted"]
        lines += [
            f"{node.name}: up={node.is_up} term={node.replica.term} stored={len(node.disk.chain)} "
            f"high={node.replica.high_rank} pending={len(node.mempool)} {node.replica.stalled}"
            for node in self.nodes
        ]
        return "\n".join(lines)

    def check_commit(self, node: Node, block: Block, proof: CommitProof, roots: Roots) -> None:
        """One block and one result per height, each with a proof that verifies offline."""
        verify_commit_proof(proof, NETWORK, CheapKeys(self.count))
        assert proof.height >= block.header.height
        if self.is_hostile(node.index):
            return
        known = self.chain.setdefault(block.header.height, (block.block_hash, roots))
        assert known == (block.block_hash, roots), f"fork at height {block.header.height} by {node.name}"

    def check_promise(self, node: Node, message: Message) -> None:
        """No honest signature contradicts an earlier one, and each was durable before it left."""
        if self.is_hostile(node.index):
            return
        record = node.disk.decoded
        match message:
            case AppendReply():
                self.check_vote(node, message.vote)
            case Append():
                header = message.block.header
                assert record is not None
                assert record.voted is not None
                assert record.voted.rank >= (header.term, header.height)
                key = (node.index, SignedKind.VOTE_PREPARE, header.term, header.height)
                assert self.promises.setdefault(key, message.block.block_hash) == message.block.block_hash
            case Nudge():
                assert record is not None
                assert record.high_qc.rank >= message.certificate.rank
            case Timeout():
                assert record is not None
                assert record.timeout is not None
                assert record.timeout.term >= message.term
                self.timed_out[node.index] = max(self.timed_out.get(node.index, 0), message.term)

    def check_vote(self, node: Node, vote: Vote) -> None:
        record = node.disk.decoded
        assert record is not None
        key = (node.index, vote.kind, vote.term, vote.height)
        if key not in self.promises:
            assert vote.term > self.timed_out.get(node.index, 0), "a vote after the timeout of its term"
        assert self.promises.setdefault(key, vote.block_hash) == vote.block_hash, "two votes at one rank"
        if vote.kind is SignedKind.VOTE_PREPARE:
            assert record.voted is not None
            assert record.voted.rank >= vote.rank
            is_below = vote.height <= len(node.disk.chain) + len(node.to_store)
            assert vote.block_hash in node.disk.blocks or is_below
        else:
            assert record.high_qc.rank >= vote.rank

    def accuse(self, evidence: ReportEvidence) -> None:
        assert self.is_hostile(evidence.accused), f"an honest validator is accused: {evidence}"
        assert evidence.first.rank == evidence.second.rank
        assert evidence.first.block_hash != evidence.second.block_hash


@pytest.fixture(scope="session")
def new_cluster() -> type[Cluster]:
    """The cluster class; test modules cannot import it."""
    return Cluster


def main(seed: int) -> None:
    """Print the digest of one run."""
    cluster = Cluster(seed)
    cluster.run()
    print(cluster.digest.hexdigest())  # noqa: T201 - the output is the result


if __name__ == "__main__":
    main(int(sys.argv[1]))
