"""What must hold after every line of every scenario, whatever its file says.

Honest validators never disagree, never undo a commit, and never sign what contradicts an earlier promise
or is not durable yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tanpo.consensus import Roots, messages
from tanpo.consensus.messages import Timeout
from tanpo.consensus.record import DurableRecord, decode_record
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import SignedKind, verify_commit_proof
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import BlockHash, Epoch, Height, Term, ValidatorIndex
from tanpo.ledger.vote import Vote
from tanpo.testing.scenario.archive import NETWORK, Archive
from tanpo.testing.scenario.contents import find_leader_vote
from tanpo.testing.scenario.keys import StoryKeys
from tanpo.testing.scenario.process import Outgoing, Process


class Violation(Exception):
    """Honest validators disagreed or broke a promise: the protocol is broken, not the scenario."""


class Witness:
    """Remembers every commit and every signature of an honest validator."""

    __slots__ = ("_archive", "_commits", "_counted", "_timed_out", "_voted", "_voters")

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._commits: dict[Height, tuple[BlockHash, Roots, str]] = {}
        self._counted: dict[str, list[BlockHash]] = {}
        self._voted: dict[tuple[str, Epoch, SignedKind, Term, Height], BlockHash] = {}
        self._voters: dict[tuple[SignedKind, BlockHash], dict[str, list[Term]]] = {}
        self._timed_out: dict[tuple[str, Epoch], Term] = {}

    def list_voters(self, kind: SignedKind, block: Block, term: Term | None) -> list[str]:
        """Return who sent a vote of one kind for a block, in a term if one is given."""
        voters = self._voters.get((kind, block.block_hash), {})
        return sorted(name for name, terms in voters.items() if term is None or term in terms)

    def note_message(self, process: Process, outgoing: Outgoing) -> None:
        """Remember a vote that a process sends, honest or not."""
        match outgoing.message:
            case messages.Append() as append:
                self._note_vote(process, SignedKind.VOTE_PREPARE, append.term, append.block.block_hash)
            case messages.AppendReply(vote=vote):
                self._note_vote(process, vote.kind, vote.term, vote.block_hash)
            case messages.Nudge(certificate=certificate):
                self._note_vote(process, SignedKind.VOTE_COMMIT, certificate.term, certificate.block_hash)
            case _:
                return  # It is no vote.

    def check_accused(self, process: Process, faulty: Sequence[str]) -> None:
        """Raise `Violation` if a process holds evidence against a validator that did nothing wrong (G4)."""
        for accused in process.evidence.values():
            if accused not in faulty:
                raise Violation(f"{process.name} holds evidence against honest {accused}")

    def check_message(self, process: Process, outgoing: Outgoing) -> None:
        """Raise `Violation` if an honest process sends a promise that breaks one or is not durable (D1)."""
        epoch = outgoing.epoch
        match outgoing.message:
            case messages.Append() as append:
                index = ValidatorIndex(self._archive.sets[epoch].index(process.key))
                self._check_vote(process, epoch, find_leader_vote(append, index))
            case messages.AppendReply(vote=vote):
                self._check_vote(process, epoch, vote)
            case messages.Timeout() as timeout:
                self._check_timeout(process, epoch, timeout)
            case _:
                return  # It promises nothing.

    def check_commits(self, processes: Iterable[Process]) -> None:
        """Raise `Violation` if two processes committed different blocks or results, or one undid a commit."""
        for process in processes:
            known = self._counted.setdefault(process.name, [])
            chain = process.disk.chain
            if [one.block.block_hash for one in chain[: len(known)]] != known[: len(chain)]:
                raise Violation(f"{process.name} undid a commit")
            for stored in chain[len(known) :]:
                self._check_commit(process, stored.block.header.height, stored.block.block_hash, stored.roots)
                try:
                    keys = StoryKeys(self._archive.sets[stored.proof.certificate.epoch])
                    verify_commit_proof(stored.proof, NETWORK, keys)
                except PeerFault as fault:
                    raise Violation(f"{process.name} committed without proof: {fault.message}") from None
                known.append(stored.block.block_hash)

    def _check_commit(self, process: Process, height: Height, block_hash: BlockHash, roots: Roots) -> None:
        first_hash, first_roots, first = self._commits.setdefault(height, (block_hash, roots, process.name))
        if first_hash != block_hash:
            names = f"{self._archive.name_of(first_hash)}, {process.name} {self._archive.name_of(block_hash)}"
            raise Violation(f"at height {height} {first} committed {names}")
        if first_roots != roots and not process.is_diverging:
            raise Violation(f"{first} and {process.name} have other results of height {height}")

    def _note_vote(self, process: Process, kind: SignedKind, term: Term, block_hash: BlockHash) -> None:
        voters = self._voters.setdefault((kind, block_hash), {})
        voters.setdefault(process.name, []).append(term)

    def _check_vote(self, process: Process, epoch: Epoch, vote: Vote) -> None:
        claim = (process.name, epoch, vote.kind, vote.term, vote.height)
        block = self._archive.name_of(vote.block_hash)
        if claim not in self._voted and vote.term <= self._timed_out.get((process.name, epoch), 0):
            raise Violation(f"{process.name} voted for {block} after giving up term {vote.term} (R1)")
        first = self._voted.setdefault(claim, vote.block_hash)
        if first != vote.block_hash:
            raise Violation(f"{process.name} voted for {self._archive.name_of(first)} and for {block} (R2)")
        record = _read_record(process, epoch)
        if vote.kind is SignedKind.VOTE_PREPARE:
            is_durable = record is not None and record.voted is not None and record.voted.rank >= vote.rank
        else:
            is_durable = record is not None and record.high_qc.rank >= vote.rank
        if not is_durable:
            raise Violation(f"{process.name} voted for {block} before that was durable (D1)")

    def _check_timeout(self, process: Process, epoch: Epoch, timeout: Timeout) -> None:
        record = _read_record(process, epoch)
        is_durable = record is not None and record.timeout is not None and record.timeout.term >= timeout.term
        if not is_durable:
            raise Violation(f"{process.name} gave up term {timeout.term} before that was durable (D1)")
        known = self._timed_out.get((process.name, epoch), Term(0))
        self._timed_out[process.name, epoch] = max(known, timeout.term)


def _read_record(process: Process, epoch: Epoch) -> DurableRecord | None:
    """Return the promises on disk, if they are of this epoch."""
    record = None if process.disk.record is None else decode_record(process.disk.record)
    return record if record is not None and record.epoch == epoch else None
