"""The durable record: what a replica must still know after any crash (D2), and its encoding.

Each promise the replica signs is in here before it leaves. The block a vote is for travels beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tanpo.consensus.messages import Timeout
from tanpo.consensus.wire import (
    read_optional_timeout_certificate,
    read_timeout,
    write_optional_timeout_certificate,
    write_timeout,
)
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    TimeoutCertificate,
    read_certificate,
    read_commit_proof,
    write_certificate,
    write_commit_proof,
)
from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.errors import CorruptState, PeerFault, Reason
from tanpo.ledger.types import Epoch, Term
from tanpo.ledger.vote import Vote, read_vote, write_vote

RECORD_VERSION: Final = 2
_CHECKSUM_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableRecord:
    """A replica's promises and certificates.

    `sequence` grows with every record. `justify` is the certificate under our own last proposal,
    `timeout` the last timeout we signed: both are sent again after a restart, never made anew. Nothing is
    signed in terms up to `floor`: what we promised there may be forgotten (D8). `doublings` and `calm` are
    the patience learnt from the chain (T3).
    """

    sequence: int
    epoch: Epoch
    term: Term
    term_certificate: TimeoutCertificate | None
    voted: Vote | None
    justify: QuorumCertificate | None
    timeout: Timeout | None
    high_qc: QuorumCertificate
    commit_proof: CommitProof | None
    floor: Term
    doublings: int
    calm: int


def make_first_record(epoch: Epoch, base: QuorumCertificate) -> DurableRecord:
    """Return the record of a validator that has promised nothing yet in an epoch that starts from `base`."""
    return DurableRecord(
        sequence=0,
        epoch=epoch,
        term=Term(1),
        term_certificate=None,
        voted=None,
        justify=None,
        timeout=None,
        high_qc=base,
        commit_proof=None,
        floor=Term(0),
        doublings=0,
        calm=0,
    )


def encode_record(record: DurableRecord) -> bytes:
    """Return the canonical encoding, ending in its own checksum."""
    writer = Writer().u16(RECORD_VERSION).u64(record.sequence).u64(record.epoch).u64(record.term)
    write_optional_timeout_certificate(writer, record.term_certificate)
    writer.flag(record.voted is not None)
    if record.voted is not None:
        write_vote(writer, record.voted)
    writer.flag(record.justify is not None)
    if record.justify is not None:
        write_certificate(writer, record.justify)
    writer.flag(record.timeout is not None)
    if record.timeout is not None:
        write_timeout(writer, record.timeout)
    write_certificate(writer, record.high_qc)
    writer.flag(record.commit_proof is not None)
    if record.commit_proof is not None:
        write_commit_proof(writer, record.commit_proof)
    writer.u64(record.floor).u8(record.doublings).u8(record.calm)
    encoded = writer.finish()
    return encoded + sha256(encoded).digest()


def decode_record(encoded: bytes) -> DurableRecord:
    """Return the record that `encoded` spells.

    Raises:
        CorruptState: it is not what `encode_record` wrote. Whoever lost his promises must not sign.
    """
    body, checksum = encoded[:-_CHECKSUM_BYTES], encoded[-_CHECKSUM_BYTES:]
    try:
        if sha256(body).digest() != checksum:
            raise malformed("checksum differs")
        reader = Reader(body)
        version = reader.u16()
        if version != RECORD_VERSION:
            raise malformed("unknown record version", value=version, limit=RECORD_VERSION)
        record = _read_record(reader)
        reader.finish()
    except PeerFault as fault:
        raise CorruptState(
            Reason.DATA_CORRUPT,
            f"consensus record is damaged: {fault.message}",
            remedy="do not sign with this validator's key; rejoin with a new one",
        ) from None
    return record


def _read_record(reader: Reader) -> DurableRecord:
    return DurableRecord(
        sequence=reader.u64(),
        epoch=Epoch(reader.u64()),
        term=Term(reader.u64()),
        term_certificate=read_optional_timeout_certificate(reader),
        voted=read_vote(reader) if reader.flag() else None,
        justify=read_certificate(reader) if reader.flag() else None,
        timeout=read_timeout(reader) if reader.flag() else None,
        high_qc=read_certificate(reader),
        commit_proof=read_commit_proof(reader) if reader.flag() else None,
        floor=Term(reader.u64()),
        doublings=reader.u8(),
        calm=reader.u8(),
    )
