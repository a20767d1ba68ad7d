"""The messages replicas exchange. Received ones are well-formed (`wire.py`) but not yet verified.

The sender of a message is authenticated by the link. Only votes and timeouts are signed promises.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.block import Block, BlockFlags, Header
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    TimeoutCertificate,
    TimeoutEntry,
)
from tanpo.ledger.types import BlockHash, Height, Signature, Term
from tanpo.ledger.vote import Vote

COMMITTED_BYTES_MAX: Final = 8 * 1024 * 1024
"""Most bytes of bodies in one `Committed`: two of the largest blocks, below what links carry."""
COMMITTED_BLOCKS_MAX: Final = 1024
COMMITTED_HEADERS_MAX: Final = 1024
"""Most headers between the last block of a `Committed` and the block of its proof: a proof covers the few
blocks that one certificate commits, and slicing a range never lengthens that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """A proposal: a block, the certificate of its parent, the leader's own vote (its signature on the
    block) and, with the first block of a term, the certificate that opened the term.

    The last block of an epoch may be proposed again to open a later term; then `justify` is the certificate
    of that very block (E4).
    """

    block: Block
    justify: QuorumCertificate
    term_certificate: TimeoutCertificate | None
    signature: Signature

    @property
    def is_repeat(self) -> bool:
        """Whether it proposes a certified block once more."""
        return self.block.block_hash == self.justify.block_hash

    @property
    def term(self) -> Term:
        """The term it is proposed in."""
        if self.is_repeat and self.term_certificate is not None:
            return Term(self.term_certificate.term + 1)
        return self.block.header.term


@dataclass(frozen=True, slots=True, kw_only=True)
class AppendReply:
    """A vote for a proposal or a nudge."""

    vote: Vote


@dataclass(frozen=True, slots=True, kw_only=True)
class Nudge:
    """Asks for `VOTE_COMMIT` on a certified block, so that an idle chain commits it without another."""

    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Where its sender stands: its term and what proves it, its highest certificate and commit proof."""

    term: Term
    high_qc: QuorumCertificate
    commit_proof: CommitProof | None
    term_certificate: TimeoutCertificate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """An unsigned complaint about the leader of a term; f+1 of them start a timeout."""

    term: Term


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeout:
    """A signed promise to vote no more in `term`, with the highest certificate its sender holds."""

    term: Term
    entry: TimeoutEntry
    high_qc: QuorumCertificate
    term_certificate: TimeoutCertificate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TermCertificate:
    """Opens the term after the one that a quorum gave up."""

    certificate: TimeoutCertificate


@dataclass(frozen=True, slots=True, kw_only=True)
class StepDown:
    """The leader's signed word that it gives its term away: nobody need wait until it is suspected."""

    term: Term
    signature: Signature


@dataclass(frozen=True, slots=True, kw_only=True)
class GetStatus:
    """Asks, after a start, what others have seen of the sender. `nonce` ties the answer to this start."""

    nonce: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """What its sender has seen of the asker in this epoch - the highest vote and timeout - and how far it is.

    Not signed: the link says whose word it is, and it is given to the asker alone. The term is proven as in
    a heartbeat, so that a liar cannot silence the asker for ever.
    """

    nonce: int
    term: Term
    high_qc: QuorumCertificate
    term_certificate: TimeoutCertificate | None
    vote: Vote | None
    timeout_term: Term
    timeout: TimeoutEntry | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GetBlock:
    """Asks for one block that a certificate names. `committed_height` is the asker's own."""

    height: Height
    block_hash: BlockHash
    committed_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockAnswer:
    """The block asked for."""

    block: Block


@dataclass(frozen=True, slots=True, kw_only=True)
class GetCommitted:
    """Asks for committed blocks from a height on."""

    from_height: Height


@dataclass(frozen=True, slots=True, kw_only=True)
class Committed:
    """Consecutive committed blocks. `headers` lead from the last of them to the block of `proof`; there
    are none when the proof is for that block itself."""

    blocks: tuple[Block, ...]
    headers: tuple[Header, ...]
    proof: CommitProof


Message = (
    Append
    | AppendReply
    | Nudge
    | Heartbeat
    | Suspect
    | Timeout
    | TermCertificate
    | StepDown
    | GetStatus
    | Status
    | GetBlock
    | BlockAnswer
    | GetCommitted
    | Committed
)


def build_committed(stored: Iterable[tuple[Block, CommitProof]]) -> Committed | None:
    """Return the answer to `ServeCommitted`, None when nothing provable is stored there.

    `stored` yields the blocks from the wanted height on, in height order, each with the proof of its
    `CommitBlock`; no more of it is read than needed, so it may read from disk lazily. The answer ends with
    the epoch: blocks of the next one are of use only to those who have its validators from this one.
    """
    blocks: list[Block] = []
    headers: list[Header] = []
    provable: Committed | None = None
    proof: CommitProof | None = None
    size = 0
    for block, block_proof in stored:
        size += sum(map(len, block.envelopes)) + sum(map(len, block.evidence))
        has_room = not headers and len(blocks) < COMMITTED_BLOCKS_MAX and size <= COMMITTED_BYTES_MAX
        if has_room or not blocks:
            blocks.append(block)
            proof = block_proof
        elif proof is not None and block.header.height <= proof.height:
            headers.append(block.header)
        else:
            break
        if block.header.height == proof.height:
            provable = Committed(blocks=tuple(blocks), headers=tuple(headers), proof=proof)
        if block.header.flags & BlockFlags.EPOCH_END:
            break
    return provable
