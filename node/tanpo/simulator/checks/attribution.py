"""Who broke the protocol, from signed messages alone: after a fork, at least f+1 validators must show.

Three contradictions, which no honest validator signs (SPEC G1 to G3): two votes at one rank, votes for two
first blocks of one term, and a timeout that names less than a vote of its own or an earlier term proves its
signer to have been locked on. Apart from the product's own search, to have a second opinion.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Final

from tanpo.consensus import Message
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    Committed,
    Heartbeat,
    Nudge,
    TermCertificate,
    Timeout,
)
from tanpo.ledger.block import Header
from tanpo.ledger.certificate import (
    QuorumCertificate,
    SignatureChecker,
    SignedKind,
    TimeoutCertificate,
    TimeoutEntry,
    timeout_bytes,
    vote_bytes,
)
from tanpo.ledger.types import BlockHash, Epoch, NetworkId, Term, ValidatorIndex
from tanpo.ledger.vote import Vote, list_votes

FIRST_EPOCH: Final = Epoch(0)

Rank = tuple[int, int]


class Attribution:
    """The signed statements of one epoch that honest validators have received or made. A statement counts
    only with the signature of whom it names: the adversary shows whatever it likes."""

    def __init__(
        self,
        find_header: Callable[[BlockHash], Header | None],
        keys: SignatureChecker,
        network_id: NetworkId,
        epoch: Epoch = FIRST_EPOCH,
    ) -> None:
        self._find_header = find_header
        self._keys = keys
        self._network_id = network_id
        self._epoch = epoch
        self._votes: dict[int, set[tuple[SignedKind, int, int, BlockHash]]] = defaultdict(set)
        self._timeouts: dict[int, set[tuple[int, Rank]]] = defaultdict(set)

    def note(self, sender: int, message: Message) -> None:
        """Remember what a message shows."""
        match message:
            case AppendReply(vote=vote):
                self._note_vote(vote)
            case Append(block=block, justify=justify, term_certificate=opening):
                leader_vote = Vote(
                    kind=SignedKind.VOTE_PREPARE,
                    validator=ValidatorIndex(sender),
                    term=message.term,
                    height=block.header.height,
                    block_hash=block.block_hash,
                    signature=message.signature,
                )
                self._note_vote(leader_vote)
                self._note_certificates((justify,), opening)
            case Nudge(certificate=certificate):
                self._note_certificates((certificate,), None)
            case TermCertificate(certificate=opening):
                self._note_certificates((), opening)
            case Timeout(term=term, entry=entry, high_qc=high, term_certificate=opening):
                self._note_timeout(term, entry)
                self._note_certificates((high,), opening)
            case Heartbeat(high_qc=high, commit_proof=proof, term_certificate=opening):
                self._note_certificates((high, *(() if proof is None else (proof.certificate,))), opening)
            case Committed(proof=proof):
                self._note_certificates((proof.certificate,), None)
            case _:
                pass

    def find_accused(self) -> tuple[int, ...]:
        """Return every validator whose statements contradict each other."""
        return tuple(index for index in sorted(self._votes) if self._is_contradictory(index))

    def _note_certificates(
        self, certificates: Iterable[QuorumCertificate], opening: TimeoutCertificate | None
    ) -> None:
        if opening is not None:
            for entry in opening.entries:
                self._note_timeout(opening.term, entry)
            certificates = (*certificates, opening.high_qc)
        for one in certificates:
            for vote in list_votes(one):
                self._note_vote(vote)

    def _note_vote(self, vote: Vote) -> None:
        claim = (vote.kind, vote.term, vote.height, vote.block_hash)
        if claim in self._votes[vote.validator]:
            return
        if self._keys.verify(
            vote.validator, vote_bytes(vote.kind, self._network_id, self._epoch, *claim[1:]), vote.signature
        ):
            self._votes[vote.validator].add(claim)

    def _note_timeout(self, term: Term, entry: TimeoutEntry) -> None:
        high = (entry.high_term, entry.high_height)
        message = timeout_bytes(self._network_id, self._epoch, term, *high, entry.high_hash)
        if self._keys.verify(entry.validator, message, entry.signature):
            self._timeouts[entry.validator].add((term, high))

    def _is_contradictory(self, index: int) -> bool:
        blocks: dict[tuple[int, int], BlockHash] = {}
        openings: dict[int, BlockHash] = {}
        locks: list[tuple[int, Rank]] = []
        for kind, term, height, block_hash in sorted(self._votes[index]):
            if kind is SignedKind.VOTE_COMMIT:
                locks.append((term, (term, height)))
            elif blocks.setdefault((term, height), block_hash) != block_hash:
                return True
            header = self._find_header(block_hash)
            if header is None or kind is SignedKind.VOTE_COMMIT:
                continue
            locks.append((term, (header.parent_term, height - 1)))
            is_first = header.parent_term < term
            if is_first and openings.setdefault(term, block_hash) != block_hash:
                return True
        return any(
            term >= vote_term and high < lock
            for term, high in sorted(self._timeouts[index])
            for vote_term, lock in locks
        )
