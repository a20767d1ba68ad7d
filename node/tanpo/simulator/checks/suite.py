"""All checkers of one run, told of everything that happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tanpo.consensus import CommitBlock, Message, ReportFault
from tanpo.consensus.messages import Append, AppendReply, Status
from tanpo.consensus.record import decode_record
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import SignedKind, compute_faulty_max, compute_quorum
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.evidence import Evidence, decode_evidence, encode_evidence, verify_evidence
from tanpo.ledger.types import BlockHash
from tanpo.ledger.vote import Vote
from tanpo.simulator.addresses import number_of, resolve
from tanpo.simulator.application import BAD_PREFIX, State
from tanpo.simulator.checks.agreement import Agreement
from tanpo.simulator.checks.attribution import Attribution
from tanpo.simulator.checks.beginnings import Beginnings
from tanpo.simulator.checks.justification import Justifications
from tanpo.simulator.checks.memory import check_memory
from tanpo.simulator.checks.promises import PromiseBook, Promiser
from tanpo.simulator.checks.quorums import Quorums
from tanpo.simulator.checks.rebirths import Rebirths
from tanpo.simulator.checks.results import check_results
from tanpo.simulator.checks.times import Times
from tanpo.simulator.violation import Violation

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process


MEMORY_TICKS: Final = 10
"""Ticks of all nodes between two looks at a replica's memory: what grows without end is seen anyway."""


LAG_MAX: Final = 8
"""How far a vote may be above what its voter has stored (L1)."""


class Disagreement(Exception):
    """Above f, honest nodes were made to disagree, and enough validators are accused: the run is over."""


class Checks:
    """The checkers. Only honest processes are checked; hostile ones may do as they please."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        settings = cluster.settings
        self.agreement = Agreement(
            network_id=cluster.network_id,
            genesis_ms=cluster.genesis_ms,
            precision_ms=settings.timing.precision_ms,
        )
        self._nodes_max = 2 * max(reign.validator_count for reign in cluster.reigns) + len(settings.nodes)
        self._ticks = 0
        self._times = Times(settings.timing)
        self._quorums = Quorums(cluster.network_id, lambda epoch: cluster.reigns[epoch].keys)
        self._rebirths = Rebirths()
        self._beginnings = Beginnings(settings.timing.base_timeout_ms)
        self.justifications = Justifications(cluster.network_id)
        self._committed: set[bytes] = set()
        self._promises = PromiseBook(cluster.annals.find_header)
        self._attribution: Attribution | None = None
        if settings.is_beyond:
            self._attribution = Attribution(
                cluster.annals.find_header, cluster.reigns[0].keys, cluster.network_id
            )

    def on_start(self, process: Process) -> None:
        """Check that a replica starts where it was."""
        replica, durable = process.replica, process.safety.record
        if not process.is_honest:
            return
        if replica.committed_height != process.chain.height:
            raise Violation("restart", "starts at another height than the stored one", process.name)
        known = None if durable is None else decode_record(durable)
        self._beginnings.note_start(process.name, known, process.now_ms)
        if known is None:
            return
        is_same_epoch = known.epoch == replica.epoch
        if is_same_epoch and (replica.term < known.term or replica.high_rank < known.high_qc.rank):
            raise Violation("restart", f"starts below term {known.term} or its lock", process.name)

    def on_loss(self, process: Process, *, is_known: bool) -> None:
        """Check that only a disk that may forget does; it may not even know that it did (D6, D7)."""
        if process.is_honest:
            raise Violation("restart", "a crash made the store believe that it forgot", process.name)
        self._rebirths.note_loss(process.name, is_known=is_known)

    def on_say(self, process: Process, message: Message) -> None:
        """Check a message that is about to leave."""
        if self._attribution is not None and process.index is not None:
            self._attribution.note(process.index, message)
        if process.node not in self._cluster.hostile:
            self._rebirths.check(process.name, process.replica.epoch, message)
        if not process.is_honest:
            return
        promiser = Promiser(
            name=process.name,
            epoch=process.replica.epoch,
            record=process.safety.record,
            is_durable=lambda block_hash, height: (
                block_hash in process.safety.blocks
                or height <= process.chain.height
                or self._is_dead(process, block_hash, height)
            ),
        )
        self._promises.check(promiser, message)
        quorum = compute_quorum(process.reign.validator_count)
        self._beginnings.check(process.name, message, process.now_ms, quorum)
        self._quorums.check(process.name, message)
        if isinstance(message, AppendReply) and message.vote.kind is SignedKind.VOTE_PREPARE:
            self._check_vote(process, message.vote)

    def on_delivered(self, sender: Process, receiver: Process, message: Message) -> None:
        """Note what an honest node receives, for when it must show who broke the protocol."""
        if isinstance(message, Status):
            self._beginnings.note_answer(receiver.name, sender.name)
        if isinstance(message, Append) and receiver.is_honest:
            tip_term = _find_tip_term(receiver, message.block.header.epoch)
            self._times.note_arrival(receiver.name, message.block.block_hash, receiver.wall_ms, tip_term)
        if self._attribution is not None and receiver.is_honest:
            self._attribution.note(number_of(receiver, sender), message)

    def on_commit(self, process: Process, job: CommitBlock, state: State | None) -> None:
        """Check a commit."""
        if process.node in self._cluster.hostile:
            return
        if state is None:
            raise Violation("order", f"commits height {job.block.header.height} unexecuted", process.name)
        self.on_clock(process)
        is_first = False
        try:
            is_first = self.agreement.check_commit(
                process.name,
                job.block,
                job.proof,
                state.roots,
                tip_height=process.chain.height,
                keys=self._cluster.reigns[job.block.header.epoch].keys,
            )
        except Violation as violation:
            self._excuse(violation)
        if is_first:
            self._check_body(process, job.block)
            fault = self._cluster.application.find_fault(state)
            if fault is not None:
                raise Violation("conservation", fault, process.name)

    def on_evidence(self, process: Process, evidence: Evidence) -> bytes:
        """Check that nobody honest is accused and that the evidence stands by itself; return it encoded."""
        if process.node not in self._cluster.hostile:
            self._check_accused(process.name, evidence)
        return encode_evidence(evidence)

    def on_fault(self, process: Process, effect: ReportFault) -> None:
        """Check that nobody honest is said to break the protocol."""
        if not process.is_honest:
            return
        blamed = {one.node for one in resolve(process, effect.sender)}
        if not blamed & self._cluster.faulty:
            raise Violation("fault", f"blames {sorted(blamed)}: {effect.fault.message}", process.name)

    def on_halt(self, process: Process, reason: str) -> None:
        """No honest node stops itself, unless too many are faulty."""
        if process.node not in self._cluster.hostile:
            self._excuse(Violation("halt", reason, process.name))

    def on_clock(self, process: Process) -> None:
        """Note what a clock shows: no block may be ahead of them all."""
        if process.node not in self._cluster.hostile:
            self.agreement.latest_wall_ms = max(self.agreement.latest_wall_ms, process.wall_ms)
            self._times.note_clock(process.name, process.wall_ms)

    def on_tick(self, process: Process) -> None:
        """Check what must hold at any time."""
        self.on_clock(process)
        if process.is_honest and process.is_up:
            self._cluster.annals.note_term(process.replica.epoch, process.replica.term)
            self._ticks += 1
            if self._ticks % MEMORY_TICKS == 0:
                check_memory(process.name, process.replica, len(process.safety.blocks), self._nodes_max)

    def _is_dead(self, process: Process, block_hash: BlockHash, height: int) -> bool:
        """Whether a process committed another block of this height: then it may let go of this one (D3)."""
        is_decided = height <= process.replica.committed_height
        return is_decided and not self.agreement.is_committed(block_hash, height)

    def _check_vote(self, process: Process, vote: Vote) -> None:
        self.on_clock(process)
        is_behind = process.replica.committed_height > process.chain.height
        if is_behind and vote.height > process.chain.height + LAG_MAX:
            what = f"votes for height {vote.height}, {process.chain.height} is stored"
            raise Violation("lag", what, process.name)
        header = self._cluster.annals.find_header(vote.block_hash)
        if header is None:
            return
        results = self._cluster.annals.results.get(header.parent_hash)
        if results is not None and header.term == vote.term:
            check_results(process.name, header, results, process.reign.valset_hash)
        self.justifications.check_vote(
            process.name, vote, header, base=process.base_certificate, keys=process.reign.keys
        )
        if header.term == vote.term:  # a repeated block was looked at before (E4)
            parent = self._cluster.annals.find_header(header.parent_hash)
            parent_time_ms = None if parent is None else parent.time_ms
            self._times.check_vote(process.name, header, vote.block_hash, parent_time_ms)

    def _check_body(self, process: Process, block: Block) -> None:
        """Nothing malformed is ever committed, and nothing twice."""
        for envelope in block.envelopes:
            if envelope.startswith(BAD_PREFIX):
                raise Violation("body", f"height {block.header.height} holds what is malformed", process.name)
            if envelope in self._committed:
                raise Violation("body", f"height {block.header.height} repeats {envelope!r}", process.name)
            self._committed.add(envelope)
        for encoded in block.evidence:
            evidence = decode_evidence(encoded)
            self._cluster.luck.note(f"evidence/{type(evidence).__name__}")
            self._check_accused(process.name, evidence)

    def _check_accused(self, name: str, evidence: Evidence) -> None:
        reign = self._cluster.reigns[evidence.epoch]
        node = reign.nodes[evidence.accused]
        if node not in self._cluster.faulty:
            raise Violation("evidence", f"accuses {node}, who is honest, of {type(evidence).__name__}", name)
        try:
            verify_evidence(evidence, self._cluster.network_id, reign.keys)
        except PeerFault as fault:
            raise Violation("evidence", f"{fault.message}, against {node}", name) from None

    def _excuse(self, violation: Violation) -> None:
        """Accept a fork above f if it shows who made it, and end the run; raise it otherwise."""
        if self._attribution is None:
            raise violation
        accused = self._attribution.find_accused()
        count = self._cluster.settings.validator_count
        nodes = self._cluster.reigns[0].nodes  # there is one epoch only when more than f are faulty
        if any(nodes[index] not in self._cluster.faulty for index in accused):
            raise Violation("attribution", f"a fork accuses honest validators: {accused}") from violation
        if len(accused) <= compute_faulty_max(count):
            raise Violation(
                "attribution", f"a fork accuses only {accused} of {count} ({violation})"
            ) from violation
        raise Disagreement(str(violation))


def _find_tip_term(process: Process, epoch: int) -> int:
    """Return the term of the stored tip, 0 if no block of this epoch is stored."""
    tip = process.chain.blocks[-1].block.header if process.chain.blocks else None
    return tip.term if tip is not None and tip.epoch == epoch else 0
