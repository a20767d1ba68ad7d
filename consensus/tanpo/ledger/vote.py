"""One validator's vote or timeout, as it travels alone, and its encoding. Many of them make a certificate."""

from __future__ import annotations

from dataclasses import dataclass

from tanpo.ledger.block import HASH_BYTES
from tanpo.ledger.certificate import QuorumCertificate, SignedKind, TimeoutEntry
from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.keys import SIGNATURE_BYTES_MAX
from tanpo.ledger.types import BlockHash, Height, Signature, Term, ValidatorIndex


@dataclass(frozen=True, slots=True, kw_only=True)
class Vote:
    """A signed promise: `VOTE_PREPARE` to vote for no rival block, `VOTE_COMMIT` to hold its certificate."""

    kind: SignedKind
    validator: ValidatorIndex
    term: Term
    height: Height
    block_hash: BlockHash
    signature: Signature

    @property
    def rank(self) -> tuple[Term, Height]:
        """The order of votes inside one epoch."""
        return (self.term, self.height)


def list_votes(certificate: QuorumCertificate) -> list[Vote]:
    """Return the votes that a certificate is made of."""
    return [
        Vote(
            kind=certificate.kind,
            validator=index,
            term=certificate.term,
            height=certificate.height,
            block_hash=certificate.block_hash,
            signature=signature,
        )
        for index, signature in certificate.signatures
    ]


def write_vote(writer: Writer, vote: Vote) -> None:
    """Append a vote."""
    writer.u8(vote.kind).u8(vote.validator).u64(vote.term).u64(vote.height)
    writer.raw(vote.block_hash).blob(vote.signature)


def read_vote(reader: Reader) -> Vote:
    """Read a vote."""
    kind = reader.u8()
    if kind not in (SignedKind.VOTE_PREPARE, SignedKind.VOTE_COMMIT):
        raise malformed("unknown kind of vote", value=kind, limit="1 or 2")
    return Vote(
        kind=SignedKind(kind),
        validator=ValidatorIndex(reader.u8()),
        term=Term(reader.u64()),
        height=Height(reader.u64()),
        block_hash=BlockHash(reader.raw(HASH_BYTES)),
        signature=Signature(reader.blob(SIGNATURE_BYTES_MAX)),
    )


def write_entry(writer: Writer, entry: TimeoutEntry) -> None:
    """Append one validator's timeout; its term stands elsewhere."""
    writer.u8(entry.validator).u64(entry.high_term).u64(entry.high_height)
    writer.raw(entry.high_hash).blob(entry.signature)


def read_entry(reader: Reader) -> TimeoutEntry:
    """Read one validator's timeout."""
    return TimeoutEntry(
        validator=ValidatorIndex(reader.u8()),
        high_term=Term(reader.u64()),
        high_height=Height(reader.u64()),
        high_hash=BlockHash(reader.raw(HASH_BYTES)),
        signature=Signature(reader.blob(SIGNATURE_BYTES_MAX)),
    )
