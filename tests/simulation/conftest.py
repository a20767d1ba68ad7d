"""A deterministic cluster: real replicas and wire format on virtual time, simulated disks, links and keys.

One seed decides everything. `python tests/simulation/conftest.py SEED` prints the digest of that run, so
that two processes with different hash seeds can be compared.
"""

from __future__ import annotations

import heapq
import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import Any, Final, NamedTuple

import pytest
import tanpo.consensus as tc
from tanpo.consensus import messages
from tanpo.consensus.record import DurableRecord, decode_record
from tanpo.consensus.wire import decode_message, encode_message
from tanpo.ledger import certificate as cert
from tanpo.ledger import types as t
from tanpo.ledger.block import EMPTY_ROOT, Block, BlockFlags, Header, compute_body_hash
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.vote import Vote

NETWORK: Final = t.NetworkId(sha256(b"simulated network").digest())
EPOCH: Final = t.Epoch(0)
PREPARE, COMMIT = cert.SignedKind.VOTE_PREPARE, cert.SignedKind.VOTE_COMMIT
GENESIS_MS: Final = 1_700_000_000_000
GENESIS: Final = tc.genesis_start(NETWORK, GENESIS_MS, t.StateRoot(bytes(32)), EMPTY_ROOT).tip
TIMING: Final = tc.Timing(base_timeout_ms=200, timeout_max_ms=3200, request_timeout_ms=400)
PROMISES: Final = (messages.Append, messages.AppendReply, messages.Nudge, messages.Timeout)
TICK_MS: Final = 20
LIMITS: Final = Parameters(block_transactions_max=8)


def sign(validator: int, message: bytes) -> t.Signature:
    """A signature that only this test can make: cheap, and checkable by all."""
    return t.Signature(sha256(b"key %d " % validator + message).digest()[:12])


class CheapKeys(NamedTuple):
    validator_count: int

    def verify(self, validator: t.ValidatorIndex, message: bytes, signature: t.Signature) -> bool:
        return signature == sign(validator, message)


@dataclass
class Disk:
    """What survives a crash: the record, the uncommitted blocks, the chain with proofs and results."""

    record: bytes | None = None
    decoded: DurableRecord | None = None
    blocks: dict[t.BlockHash, Block] = field(default_factory=dict)
    chain: list[tuple[Block, cert.CommitProof, tc.Roots]] = field(default_factory=list)


class Swarm(NamedTuple):
    """How hostile one run is: rates, and most milliseconds of each delay."""

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

    def __init__(self, cluster: Cluster, name: str, index: t.ValidatorIndex) -> None:
        self.cluster, self.name, self.index = cluster, name, index
        self.disk = Disk()
        self.skew_ms = cluster.random.randrange(-100, 101)
        self.incarnation = 0
        self.peers: list[int] | None = None
        self.start()

    def start(self) -> None:
        disk, cluster = self.disk, self.cluster
        self.incarnation += 1
        self.is_up = True
        self.overlays: dict[t.BlockHash, tc.Roots] = {}
        self.syncing: list[tc.Persist] = []
        self.held_back: list[tuple[int, tc.Effect]] = []
        self.asked = self.synced = 0
        self.to_store: list[tuple[Block, cert.CommitProof, tc.Roots]] = []
        self.mempool = list(cluster.submitted)
        tip = GENESIS
        if disk.chain:
            block, proof, roots = disk.chain[-1]
            header = block.header
            tip = tc.CommittedTip(
                height=header.height,
                block_hash=block.block_hash,
                term=header.term,
                time_ms=header.time_ms,
                roots=roots,
                proof=proof,
            )
        self.tip_height = tip.height
        self.overlays[tip.block_hash] = tip.roots
        self.replica = tc.Replica(
            tc.ReplicaConfig(
                network_id=NETWORK,
                epoch=EPOCH,
                validator=self.index,
                validator_count=cluster.count,
                valset_hash=bytes(32),
                parameters=LIMITS,
                timing=TIMING,
            ),
            CheapKeys(cluster.count),
            lambda message: sign(self.index, message),
            self,
            tc.ReplicaStart(tip=tip, record=disk.record, blocks=tuple(disk.blocks.values())),
        )
        self.later(cluster.random.randrange(TICK_MS), self.tick)

    def crash(self) -> None:
        """Lose whatever was not synced, and perhaps sync the last write without sending (torn off)."""
        for persist in self.syncing[: self.cluster.random.randrange(len(self.syncing) + 1)]:
            self.write(persist)
        self.is_up = False
        self.incarnation += 1

    def select(self, ancestors: Sequence[Block], time_ms: int, limits: Parameters) -> tc.Payload:
        used = {e for block in ancestors for e in block.envelopes}
        used |= {e for block, _, _ in self.disk.chain + self.to_store for e in block.envelopes}
        chosen = [e for e in self.mempool if e not in used][: limits.block_transactions_max]
        chosen.sort(reverse=self.name.endswith("'"))  # A twin proposes another block than its sibling.
        return tc.Payload(envelopes=tuple(chosen), tx_root=compute_merkle_root(chosen), tx_count=len(chosen))

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
            tc.Ticked(
                **self.times(),
                has_pending=bool(self.mempool),
                has_overdue=bool(self.mempool) and age_ms > TIMING.request_timeout_ms,
            )
        )
        self.later(TICK_MS, self.tick)

    def times(self) -> dict[str, Any]:
        now_ms = self.cluster.now_ms
        return {"now_ms": now_ms, "wall_ms": GENESIS_MS + now_ms + self.skew_ms}

    def submit(self, envelope: bytes) -> None:
        self.mempool.append(envelope)
        self.step(tc.TransactionsPending(**self.times()))

    def receive(self, sender: t.ValidatorIndex, encoded: bytes) -> None:
        epoch, message = decode_message(encoded)
        self.step(tc.Received(sender=sender, epoch=epoch, message=message, **self.times()))

    def step(self, event: tc.Event) -> None:
        if not self.is_up:
            return
        for effect in self.replica.step(event):
            self.apply(effect)
        self.release()

    def apply(self, effect: tc.Effect) -> None:
        match effect:
            case tc.ReportEvidence():
                assert self.cluster.is_hostile(effect.evidence.accused), f"{self.name} accuses {effect}"
            case tc.ReportFault():
                assert self.cluster.is_hostile(effect.sender), f"{self.name} accuses {effect}"
            case tc.Halt():
                raise AssertionError(f"{self.name} halted: {effect.reason}")
            case tc.DiscardBlocks():
                for block_hash in effect.block_hashes:
                    self.overlays.pop(block_hash, None)
            case _:
                self.perform(effect)

    def perform(self, effect: tc.Effect) -> None:
        match effect:
            case tc.Persist():
                self.asked += 1
                self.syncing.append(effect)
                self.later(self.cluster.random.randrange(self.cluster.swarm.sync_ms + 1), self.sync)
            case tc.Send() | tc.Broadcast() | tc.CommitBlock():
                self.held_back.append((self.asked, effect))
            case tc.CheckBlock():
                self.check(effect)
            case tc.ExecuteBlock():
                self.execute(effect.block)
            case tc.ServeCommitted():
                stored = ((b, p) for b, p, _ in self.disk.chain[effect.from_height - 1 :])
                answer = tc.build_committed(stored)
                if answer is not None:
                    self.held_back.append((self.asked, tc.Send(to=effect.to, message=answer)))

    def check(self, effect: tc.CheckBlock) -> None:
        fault = "bad body" if b"bad" in effect.block.envelopes else None
        seen = {e for block in effect.ancestors for e in block.envelopes}
        seen |= {e for block, _, _ in self.disk.chain for e in block.envelopes}
        fault = "repeated" if seen & set(effect.block.envelopes) else fault
        block_hash = effect.block.block_hash
        self.later(
            self.pause(),
            lambda: self.step(tc.BlockChecked(block_hash=block_hash, fault=fault, **self.times())),
        )

    def pause(self) -> int:
        return self.cluster.random.randrange(self.cluster.swarm.execution_ms + 1)

    def execute(self, block: Block) -> None:
        parent = self.overlays.get(block.header.parent_hash)
        assert parent is not None, f"{self.name} executes height {block.header.height} without its parent"
        digest = sha256(parent.state_root + b"".join(block.envelopes)).digest()
        receipts = t.MerkleRoot(sha256(b"receipts" + digest).digest())
        roots = tc.Roots(state_root=t.StateRoot(digest), receipts_root=receipts)
        self.overlays[block.block_hash] = roots
        self.cluster.results[block.block_hash] = roots
        self.cluster.blocks[block.block_hash] = block
        result: Any = {"state_root": roots.state_root, "receipts_root": roots.receipts_root}
        result["block_hash"] = block.block_hash
        self.later(self.pause(), lambda: self.step(tc.BlockExecuted(**result, **self.times())))

    def commit(self, effect: tc.CommitBlock) -> None:
        height = effect.block.header.height
        assert height == self.tip_height + 1, f"{self.name} commits {height} after {self.tip_height}"
        self.tip_height = height
        roots = self.overlays[effect.block.block_hash]
        self.cluster.check_commit(self, effect.block, effect.proof, roots)
        self.to_store.append((effect.block, effect.proof, roots))
        self.later(self.pause(), self.store)

    def store(self) -> None:
        self.disk.chain.append(self.to_store.pop(0))
        height = t.Height(len(self.disk.chain))
        self.step(tc.CommitStored(height=height, **self.times()))

    def sync(self) -> None:
        self.write(self.syncing.pop(0))
        self.synced += 1
        self.release()

    def write(self, persist: tc.Persist) -> None:
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
            if isinstance(effect, tc.CommitBlock):
                self.commit(effect)
            elif isinstance(effect, tc.Send):
                self.emit([effect.to], effect.message)
            elif isinstance(effect, tc.Broadcast):
                self.emit([t.ValidatorIndex(i) for i in range(self.cluster.count)], effect.message)

    def emit(self, receivers: list[t.ValidatorIndex], message: messages.Message) -> None:
        self.cluster.check_promise(self, message)
        encoded = encode_message(message, EPOCH)
        for receiver in receivers:
            if receiver != self.index and (self.peers is None or receiver in self.peers):
                self.cluster.transmit(self.index, receiver, encoded)


class Puppet(Node):
    """A hostile validator. It votes for everything, names old locks in its timeouts, withholds what it
    learns, and as leader extends any certificate it ever saw, with different blocks to different nodes."""

    def start(self) -> None:
        super().start()
        self.openings: dict[int, cert.TimeoutCertificate] = {}
        self.ballots: dict[tuple[int, t.BlockHash], dict[int, t.Signature]] = {}

    def receive(self, sender: t.ValidatorIndex, encoded: bytes) -> None:
        _, message = decode_message(encoded)
        match message:
            case messages.Append():
                self.cluster.leaked.append(message.justify)
                self.cluster.blocks[message.block.block_hash] = message.block
                header = message.block.header
                claim: Any = {"term": header.term, "height": header.height}
                self.vote(PREPARE, block_hash=message.block.block_hash, **claim)
            case messages.AppendReply():
                self.tally(sender, message.vote)
            case messages.Nudge():
                qc = message.certificate
                self.cluster.leaked.append(qc)
                self.vote(COMMIT, term=qc.term, height=qc.height, block_hash=qc.block_hash)
            case messages.Suspect() | messages.Timeout():
                self.lie(message.term)
            case messages.TermCertificate():
                self.openings[message.certificate.term + 1] = message.certificate
            case _:
                super().receive(sender, encoded)

    def tick(self) -> None:
        super().tick()
        terms = [1, *self.openings][-3:]
        term = self.cluster.random.choice(terms)
        if (term - 1) % self.cluster.count == self.index and self.cluster.random.random() < 0.3:
            self.propose(t.Term(term), self.cluster.random.choice(self.cluster.leaked[-20:]))

    def tally(self, sender: t.ValidatorIndex, vote: Vote) -> None:
        claim: Any = {"term": vote.term, "height": vote.height, "block_hash": vote.block_hash}
        votes = self.ballots.setdefault((vote.kind, vote.block_hash), {})
        if len(votes) >= cert.compute_quorum(self.cluster.count):
            return
        votes[sender] = vote.signature
        message = cert.vote_bytes(vote.kind, NETWORK, EPOCH, **claim)
        votes |= {i: sign(i, message) for i in self.cluster.hostile}
        if len(votes) < cert.compute_quorum(self.cluster.count):
            return
        signatures = tuple((t.ValidatorIndex(i), votes[i]) for i in sorted(votes))
        qc = cert.QuorumCertificate(kind=vote.kind, epoch=EPOCH, signatures=signatures, **claim)
        news: Any = {"high_qc": qc, "commit_proof": cert.CommitProof(certificate=qc)}
        shown: messages.Message = messages.Nudge(certificate=qc)
        if vote.kind is COMMIT:
            shown = messages.Heartbeat(term=vote.term, term_certificate=None, **news)
        self.cluster.leaked.append(qc)
        if self.cluster.random.random() < 0.5:
            self.emit(self.audience(), shown)
        if self.cluster.random.random() < 0.7:
            self.propose(vote.term, qc)

    def audience(self) -> list[t.ValidatorIndex]:
        rng = self.cluster.random
        share = rng.choice([0.3, 0.6, 0.8, 1])
        honest = [i for i in range(self.cluster.count) if not self.cluster.is_hostile(i)]
        return [t.ValidatorIndex(i) for i in honest if rng.random() < share]

    def propose(self, term: t.Term, justify: cert.QuorumCertificate) -> None:
        parent = self.cluster.blocks.get(justify.block_hash)
        roots = self.cluster.results.get(justify.block_hash)
        if justify.term > term or roots is None:
            return
        for copy in range(self.cluster.random.choice([1, 1, 2])):
            envelopes = self.cluster.random.choice([(), (b"forged %d" % copy,), (b"bad",)])
            header = Header(
                network_id=NETWORK,
                epoch=EPOCH,
                term=term,
                height=t.Height(justify.height + 1),
                parent_hash=justify.block_hash,
                parent_term=justify.term,
                time_ms=max(self.times()["wall_ms"], parent.header.time_ms + 1 if parent else GENESIS_MS + 1),
                proposer=self.index,
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
            block = Block.create(header, envelopes)
            self.cluster.blocks[block.block_hash] = block
            ballot = cert.vote_bytes(PREPARE, NETWORK, EPOCH, term, header.height, block.block_hash)
            opening, signature = self.opening(term, justify), sign(self.index, ballot)
            append = messages.Append(
                block=block, justify=justify, term_certificate=opening, signature=signature
            )
            self.emit(self.audience(), append)

    def opening(self, term: int, lock: cert.QuorumCertificate) -> cert.TimeoutCertificate | None:
        """What opened a term; sometimes forged, so that nobody seems to hold a higher lock."""
        found = self.openings.get(term)
        if found is None or self.cluster.random.random() < 0.5:
            return found
        high: Any = {"high_term": lock.term, "high_height": lock.height, "high_hash": lock.block_hash}
        entries = tuple(replace(entry, **high) for entry in found.entries)
        return replace(found, entries=entries, high_qc=lock)

    def vote(self, kind: cert.SignedKind, **claim: Any) -> None:
        signature = sign(self.index, cert.vote_bytes(kind, NETWORK, EPOCH, **claim))
        vote = Vote(kind=kind, validator=self.index, signature=signature, **claim)
        self.emit(self.audience(), messages.AppendReply(vote=vote, executed_height=vote.height))

    def lie(self, term: t.Term) -> None:
        qc, opening = self.cluster.random.choice(self.cluster.leaked[-20:]), self.openings.get(term)
        if qc.term > term:
            return
        high: Any = {"high_term": qc.term, "high_height": qc.height, "high_hash": qc.block_hash}
        signature = sign(self.index, cert.timeout_bytes(NETWORK, EPOCH, term, **high))
        entry = cert.TimeoutEntry(validator=self.index, signature=signature, **high)
        lie = messages.Timeout(term=term, entry=entry, high_qc=qc, term_certificate=opening)
        self.emit(self.audience(), lie)


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
            hostile=rng.choice(["", "", "twins", "puppets", "puppets"]) if hostile is None else hostile,
        )
        self.now_ms = self.order = 0
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.submitted: dict[bytes, int] = {}
        self.cut: list[int] = []
        self.is_calm = False
        self.digest = sha256()
        self.chain: dict[int, tuple[t.BlockHash, tc.Roots]] = {}
        self.blocks: dict[t.BlockHash, Block] = {}
        self.results: dict[t.BlockHash, tc.Roots] = {GENESIS.block_hash: GENESIS.roots}
        self.promises: dict[tuple[int, cert.SignedKind, int, int], t.BlockHash] = {}
        self.timed_out: dict[int, int] = {}
        faulty_max = cert.compute_faulty_max(self.count) if self.swarm.hostile else 0
        self.leaked = [cert.genesis_certificate(NETWORK)]
        self.hostile = sorted(rng.sample(range(self.count), faulty_max))
        self.nodes: list[Node] = []
        for index in map(t.ValidatorIndex, range(self.count)):
            if self.is_hostile(index) and self.swarm.hostile == "twins":
                self.nodes += [Node(self, f"{index}", index), Node(self, f"{index}'", index)]
            elif self.is_hostile(index):
                self.nodes.append(Puppet(self, f"{index}!", index))
            else:
                self.nodes.append(Node(self, f"{index}", index))

    def is_hostile(self, index: int) -> bool:
        return index in self.hostile

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        self.order += 1
        heapq.heappush(self.queue, (time_ms, self.order, action))

    def transmit(self, sender: t.ValidatorIndex, receiver: t.ValidatorIndex, encoded: bytes) -> None:
        rng, swarm = self.random, self.swarm
        is_cut = (sender in self.cut) != (receiver in self.cut) or rng.random() < swarm.loss
        if is_cut and not self.is_calm:
            return
        copies = 1 if self.is_calm or rng.random() >= swarm.duplication else 2
        for _ in range(copies):
            delay_ms = 1 + rng.randrange(min(swarm.delay_ms, 20) if self.is_calm else swarm.delay_ms)
            self.at(self.now_ms + delay_ms, lambda: self.deliver(sender, receiver, encoded))

    def deliver(self, sender: t.ValidatorIndex, receiver: t.ValidatorIndex, encoded: bytes) -> None:
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
        envelope = b"tx %d" % len(self.submitted)
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
        honest = [node for node in self.nodes if not self.is_hostile(node.index)]
        heights = {len(node.disk.chain) for node in honest}
        if len(heights) != 1 or not heights.pop():
            return False
        if any(node.mempool or node.replica.high_rank[1] > len(node.disk.chain) for node in honest):
            return False
        stored = [e for block, _, _ in honest[0].disk.chain for e in block.envelopes]
        return sorted(e for e in stored if e.startswith(b"tx")) == sorted(self.submitted)

    def describe(self) -> str:
        lines = [f"{self.swarm} n={self.count} at {self.now_ms} ms: {len(self.submitted)} submitted"]
        lines += [
            f"{node.name}: up={node.is_up} term={node.replica.term} stored={len(node.disk.chain)} "
            f"high={node.replica.high_rank} pending={len(node.mempool)} {node.replica.stalled}"
            for node in self.nodes
        ]
        return "\n".join(lines)

    def check_commit(self, node: Node, block: Block, proof: cert.CommitProof, roots: tc.Roots) -> None:
        """One block and one result per height, each with a proof that verifies offline."""
        cert.verify_commit_proof(proof, NETWORK, CheapKeys(self.count))
        assert proof.height >= block.header.height
        if self.is_hostile(node.index):
            return
        known = self.chain.setdefault(block.header.height, (block.block_hash, roots))
        assert known == (block.block_hash, roots), f"fork at height {block.header.height} by {node.name}"

    def check_promise(self, node: Node, message: messages.Message) -> None:
        """No honest signature contradicts an earlier one, and each was durable before it left."""
        record = node.disk.decoded
        if self.is_hostile(node.index) or record is None:
            assert not isinstance(message, PROMISES) or self.is_hostile(node.index), "nothing is durable"
            return
        match message:
            case messages.AppendReply():
                self.check_vote(node, record, message.vote)
            case messages.Append():
                header = message.block.header
                self.note_vote(node, PREPARE, header.term, header.height, message.block.block_hash)
                assert record.voted is not None
                assert record.voted.rank >= (header.term, header.height)
            case messages.Nudge():
                assert record.high_qc.rank >= message.certificate.rank
            case messages.Timeout():
                assert record.timeout is not None
                assert record.timeout.term >= message.term
                self.timed_out[node.index] = max(self.timed_out.get(node.index, 0), message.term)

    def check_vote(self, node: Node, record: DurableRecord, vote: Vote) -> None:
        self.note_vote(node, vote.kind, vote.term, vote.height, vote.block_hash)
        if vote.kind is COMMIT:
            assert record.high_qc.rank >= vote.rank
            return
        assert record.voted is not None
        assert record.voted.rank >= vote.rank
        is_below = vote.height <= len(node.disk.chain) + len(node.to_store)
        assert vote.block_hash in node.disk.blocks or is_below

    def note_vote(
        self, node: Node, kind: cert.SignedKind, term: int, height: int, block_hash: t.BlockHash
    ) -> None:
        key = (node.index, kind, term, height)
        if key not in self.promises:
            assert term > self.timed_out.get(node.index, 0), "a vote after the timeout of its term"
        assert self.promises.setdefault(key, block_hash) == block_hash, "two votes at one rank"
        if kind is PREPARE and self.blocks[block_hash].header.parent_term < term:
            opening = self.promises.setdefault((node.index, kind, term, 0), block_hash)
            assert opening == block_hash, "votes for two first blocks of one term"


@pytest.fixture(scope="session")
def new_cluster() -> type[Cluster]:
    """The cluster class; test modules cannot import it."""
    return Cluster


if __name__ == "__main__":
    (run := Cluster(int(sys.argv[1]))).run()
    print(run.digest.hexdigest())  # noqa: T201 - the output is the result
