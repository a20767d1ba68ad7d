"""What must hold after every line of every scenario, whatever its file says.

Honest validators never disagree, never undo a commit, and never sign what contradicts an earlier promise
or is not durable yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from tanpo.consensus import Roots, messages
from tanpo.ledger.block import Block, Header
from tanpo.ledger.certificate import SignedKind, verify_commit_proof
from tanpo.ledger.errors import PeerFault
from tanpo.ledger.types import BlockHash, Height, Term
from tanpo.simulator import Violation
from tanpo.simulator.checks import PromiseBook, Promiser
from tanpo.testing.scenario.archive import NETWORK, Archive
from tanpo.testing.scenario.keys import StoryKeys
from tanpo.testing.scenario.process import Outgoing, Process


class Witness:
    """Remembers every commit and every signature of an honest validator."""

    __slots__ = ("_archive", "_commits", "_counted", "_promises", "_voters")

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._commits: dict[Height, tuple[BlockHash, Roots, str]] = {}
        self._counted: dict[str, list[BlockHash]] = {}
        self._promises = PromiseBook(self._find_header)
        self._voters: dict[tuple[SignedKind, BlockHash], dict[str, list[Term]]] = {}

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
                raise Violation("evidence", f"holds evidence against honest {accused}", process.name)

    def check_message(self, process: Process, outgoing: Outgoing) -> None:
        """Raise `Violation` if an honest process sends a promise that breaks one or is not durable (D1)."""
        disk = process.disk
        promiser = Promiser(
            name=process.name,
            epoch=outgoing.epoch,
            record=disk.record,
            is_durable=lambda block_hash, height: block_hash in disk.blocks or height <= len(disk.chain),
        )
        self._promises.check(promiser, outgoing.message)

    def check_commits(self, processes: Iterable[Process]) -> None:
        """Raise `Violation` if two processes committed different blocks or results, or one undid a commit."""
        for process in processes:
            known = self._counted.setdefault(process.name, [])
            chain = process.disk.chain
            if [one.block.block_hash for one in chain[: len(known)]] != known[: len(chain)]:
                raise Violation("agreement", "undid a commit", process.name)
            for stored in chain[len(known) :]:
                self._check_commit(process, stored.block.header.height, stored.block.block_hash, stored.roots)
                try:
                    keys = StoryKeys(self._archive.sets[stored.proof.certificate.epoch])
                    verify_commit_proof(stored.proof, NETWORK, keys)
                except PeerFault as fault:
                    raise Violation(
                        "proof", f"committed without proof: {fault.message}", process.name
                    ) from None
                known.append(stored.block.block_hash)

    def _check_commit(self, process: Process, height: Height, block_hash: BlockHash, roots: Roots) -> None:
        first_hash, first_roots, first = self._commits.setdefault(height, (block_hash, roots, process.name))
        if first_hash != block_hash:
            names = f"{self._archive.name_of(first_hash)}, {process.name} {self._archive.name_of(block_hash)}"
            raise Violation("agreement", f"at height {height} {first} committed {names}")
        if first_roots != roots and not process.is_diverging:
            raise Violation("results", f"has other results of height {height} than {first}", process.name)

    def _note_vote(self, process: Process, kind: SignedKind, term: Term, block_hash: BlockHash) -> None:
        voters = self._voters.setdefault((kind, block_hash), {})
        voters.setdefault(process.name, []).append(term)

    def _find_header(self, block_hash: BlockHash) -> Header | None:
        block = self._archive.find(self._archive.name_of(block_hash))
        return None if block is None else block.header
