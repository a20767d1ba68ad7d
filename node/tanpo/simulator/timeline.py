"""What happened, in words: the digest of a run is over these lines; a failing run shows the last of them."""

from __future__ import annotations

from collections import deque
from hashlib import sha256
from typing import Final, assert_never

from tanpo.consensus import Message
from tanpo.consensus.messages import (
    Append,
    AppendReply,
    BlockAnswer,
    Committed,
    GetBlock,
    GetCommitted,
    GetStatus,
    Heartbeat,
    Nudge,
    Status,
    StepDown,
    Suspect,
    TermCertificate,
    Timeout,
)
from tanpo.ledger.certificate import QuorumCertificate, SignedKind, TimeoutCertificate

LINES_KEPT: Final = 400
"""How many lines before a violation are kept: it seldom has older causes."""


class Timeline:
    """The lines of one run. `is_kept`: keep the text, not only its digest."""

    def __init__(self, *, is_kept: bool) -> None:
        self._digest = sha256()
        self._is_kept = is_kept
        self.lines: deque[str] = deque(maxlen=LINES_KEPT)

    @property
    def digest(self) -> str:
        """The digest over everything so far."""
        return self._digest.hexdigest()

    def add(self, now_ms: int, name: str, what: str) -> None:
        """Add one line: who did or met what."""
        line = f"{now_ms:>7} ms  {name:<4} {what}"
        self._digest.update(line.encode())
        if self._is_kept:
            self.lines.append(line)


def describe(message: Message) -> str:
    """Return a message as a few words that tell it from every other."""
    match message:
        case Append() | AppendReply() | Nudge() | Heartbeat():
            return _describe_normal(message)
        case Suspect(term=term):
            return f"suspect term {term}"
        case StepDown(term=term):
            return f"steps down in term {term}"
        case GetStatus() | Status():
            return _describe_status(message)
        case Timeout(term=term, entry=entry, term_certificate=opening):
            high = f"{entry.high_term}/{entry.high_height}"
            return f"timeout of term {term}, lock {high} {entry.high_hash[:3].hex()}{_show_opening(opening)}"
        case TermCertificate(certificate=opening):
            return f"term certificate{_show_opening(opening)}"
        case GetBlock() | BlockAnswer() | GetCommitted() | Committed():
            return _describe_catch_up(message)
        case _:
            assert_never(message)


def _describe_catch_up(message: GetBlock | BlockAnswer | GetCommitted | Committed) -> str:
    match message:
        case GetBlock(height=height, block_hash=block_hash):
            return f"get block {height} {block_hash[:3].hex()}"
        case BlockAnswer(block=block):
            return f"block {block.header.height} {block.block_hash[:3].hex()}"
        case GetCommitted(from_height=from_height):
            return f"get committed from {from_height}"
        case Committed(blocks=blocks, proof=proof):
            heights = f"{blocks[0].header.height}..{blocks[-1].header.height}" if blocks else "none"
            return f"committed {heights} proven by {_show(proof.certificate)}"


def _describe_status(message: GetStatus | Status) -> str:
    if isinstance(message, GetStatus):
        return "asks what we saw of it"
    vote = "no vote" if message.vote is None else f"vote {message.vote.term}/{message.vote.height}"
    seen = f"{vote}, timeout {message.timeout_term}"
    return f"status: term {message.term}, high {_show(message.high_qc)}, saw {seen}"


def _describe_normal(message: Append | AppendReply | Nudge | Heartbeat) -> str:
    match message:
        case Append(block=block, justify=justify, term_certificate=opening):
            header = block.header
            return (
                f"append {header.term}/{header.height} {block.block_hash[:3].hex()} of {header.tx_count} on "
                f"{_show(justify)}{_show_opening(opening)}"
            )
        case AppendReply(vote=vote):
            return f"{_kind(vote.kind)} vote {vote.term}/{vote.height} {vote.block_hash[:3].hex()}"
        case Nudge(certificate=certificate):
            return f"nudge {_show(certificate)}"
        case Heartbeat(term=term, high_qc=high, commit_proof=proof, term_certificate=opening):
            final = "none" if proof is None else f"{proof.height}"
            return f"heartbeat term {term}, high {_show(high)}, final {final}{_show_opening(opening)}"


def _show(certificate: QuorumCertificate) -> str:
    signers = ",".join(str(index) for index, _ in certificate.signatures)
    block = certificate.block_hash[:3].hex()
    return f"{_kind(certificate.kind)} {certificate.term}/{certificate.height} {block} by [{signers}]"


def _show_opening(opening: TimeoutCertificate | None) -> str:
    if opening is None:
        return ""
    locks = ",".join(f"{e.validator}:{e.high_term}/{e.high_height}" for e in opening.entries)
    return f", opened by [{locks}]"


def _kind(kind: SignedKind) -> str:
    return "commit" if kind is SignedKind.VOTE_COMMIT else "prepare"
