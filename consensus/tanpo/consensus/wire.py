"""The canonical encoding of messages: one tag byte, then the fields; any bytes give a message or a fault.

Sizes are bounded before anything is allocated, so that a hostile peer costs no more than its bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, assert_never

from tanpo.consensus.messages import (
    COMMITTED_BLOCKS_MAX,
    COMMITTED_HEADERS_MAX,
    Append,
    AppendReply,
    BlockAnswer,
    Committed,
    GetBlock,
    GetCommitted,
    Heartbeat,
    Message,
    Nudge,
    Suspect,
    TermCertificate,
    Timeout,
    Vote,
)
from tanpo.ledger.block import (
    BLOCK_BYTES_MAX,
    HASH_BYTES,
    decode_block,
    encode_block,
    encode_header,
    read_header,
)
from tanpo.ledger.certificate import (
    SignedKind,
    TimeoutCertificate,
    TimeoutEntry,
    read_certificate,
    read_commit_proof,
    read_timeout_certificate,
    write_certificate,
    write_commit_proof,
    write_timeout_certificate,
)
from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.keys import SIGNATURE_BYTES_MAX
from tanpo.ledger.types import BlockHash, Height, Signature, Term, ValidatorIndex

MESSAGE_BYTES_MAX: Final = 14 * 1024 * 1024
"""Longest encoded message: a full `Committed` (its last block may pass the byte limit) and headroom."""

_APPEND: Final = 1
_APPEND_REPLY: Final = 2
_NUDGE: Final = 3
_HEARTBEAT: Final = 4
_SUSPECT: Final = 5
_TIMEOUT: Final = 6
_TERM_CERTIFICATE: Final = 7
_GET_BLOCK: Final = 8
_BLOCK_ANSWER: Final = 9
_GET_COMMITTED: Final = 10
_COMMITTED: Final = 11


def encode_message(message: Message) -> bytes:
    """Return the canonical encoding of a message."""
    writer = Writer()
    match message:
        case Append() | AppendReply() | Nudge() | Heartbeat():
            _write_normal(writer, message)
        case Suspect() | Timeout() | TermCertificate():
            _write_term_change(writer, message)
        case GetBlock() | BlockAnswer() | GetCommitted() | Committed():
            _write_catch_up(writer, message)
        case _:
            assert_never(message)
    return writer.finish()


def decode_message(encoded: bytes) -> Message:
    """Return the message that `encoded` spells, unverified.

    Raises:
        PeerFault: the bytes are not the canonical encoding of any message, or are too many.
    """
    if len(encoded) > MESSAGE_BYTES_MAX:
        raise malformed("message too large", value=len(encoded), limit=MESSAGE_BYTES_MAX)
    reader = Reader(encoded)
    tag = reader.u8()
    read = _READERS.get(tag)
    if read is None:
        raise malformed("unknown kind of message", value=tag, limit=f"1..{len(_READERS)}")
    message = read(reader)
    reader.finish()
    return message


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


def write_timeout(writer: Writer, timeout: Timeout) -> None:
    """Append a timeout."""
    entry = timeout.entry
    writer.u64(timeout.term).u8(entry.validator).u64(entry.high_term).u64(entry.high_height)
    writer.raw(entry.high_hash).blob(entry.signature)
    write_certificate(writer, timeout.high_qc)
    write_optional_timeout_certificate(writer, timeout.term_certificate)


def read_timeout(reader: Reader) -> Timeout:
    """Read a timeout."""
    return Timeout(
        term=Term(reader.u64()),
        entry=TimeoutEntry(
            validator=ValidatorIndex(reader.u8()),
            high_term=Term(reader.u64()),
            high_height=Height(reader.u64()),
            high_hash=BlockHash(reader.raw(HASH_BYTES)),
            signature=Signature(reader.blob(SIGNATURE_BYTES_MAX)),
        ),
        high_qc=read_certificate(reader),
        term_certificate=read_optional_timeout_certificate(reader),
    )


def write_optional_timeout_certificate(writer: Writer, certificate: TimeoutCertificate | None) -> None:
    """Append a flag and, if it is set, a timeout certificate."""
    writer.flag(certificate is not None)
    if certificate is not None:
        write_timeout_certificate(writer, certificate)


def read_optional_timeout_certificate(reader: Reader) -> TimeoutCertificate | None:
    """Read a flag and, if it is set, a timeout certificate."""
    return read_timeout_certificate(reader) if reader.flag() else None


def _write_normal(writer: Writer, message: Append | AppendReply | Nudge | Heartbeat) -> None:
    match message:
        case Append():
            writer.u8(_APPEND).blob(encode_block(message.block))
            write_certificate(writer, message.justify)
            write_optional_timeout_certificate(writer, message.term_certificate)
            writer.blob(message.signature)
        case AppendReply():
            write_vote(writer.u8(_APPEND_REPLY), message.vote)
            writer.u64(message.executed_height)
        case Nudge():
            write_certificate(writer.u8(_NUDGE), message.certificate)
        case Heartbeat():
            writer.u8(_HEARTBEAT).u64(message.term)
            write_certificate(writer, message.high_qc)
            writer.flag(message.commit_proof is not None)
            if message.commit_proof is not None:
                write_commit_proof(writer, message.commit_proof)
            write_optional_timeout_certificate(writer, message.term_certificate)
        case _:
            assert_never(message)


def _write_term_change(writer: Writer, message: Suspect | Timeout | TermCertificate) -> None:
    match message:
        case Suspect():
            writer.u8(_SUSPECT).u64(message.term)
        case Timeout():
            write_timeout(writer.u8(_TIMEOUT), message)
        case TermCertificate():
            write_timeout_certificate(writer.u8(_TERM_CERTIFICATE), message.certificate)
        case _:
            assert_never(message)


def _write_catch_up(writer: Writer, message: GetBlock | BlockAnswer | GetCommitted | Committed) -> None:
    match message:
        case GetBlock():
            writer.u8(_GET_BLOCK).u64(message.height).raw(message.block_hash).u64(message.committed_height)
        case BlockAnswer():
            writer.u8(_BLOCK_ANSWER).blob(encode_block(message.block))
        case GetCommitted():
            writer.u8(_GET_COMMITTED).u64(message.from_height)
        case Committed():
            writer.u8(_COMMITTED).u32(len(message.blocks))
            for block in message.blocks:
                writer.blob(encode_block(block))
            writer.u32(len(message.headers))
            for header in message.headers:
                writer.raw(encode_header(header))
            write_commit_proof(writer, message.proof)
        case _:
            assert_never(message)


def _read_append(reader: Reader) -> Append:
    return Append(
        block=decode_block(reader.blob(BLOCK_BYTES_MAX)),
        justify=read_certificate(reader),
        term_certificate=read_optional_timeout_certificate(reader),
        signature=Signature(reader.blob(SIGNATURE_BYTES_MAX)),
    )


def _read_append_reply(reader: Reader) -> AppendReply:
    return AppendReply(vote=read_vote(reader), executed_height=Height(reader.u64()))


def _read_nudge(reader: Reader) -> Nudge:
    return Nudge(certificate=read_certificate(reader))


def _read_heartbeat(reader: Reader) -> Heartbeat:
    return Heartbeat(
        term=Term(reader.u64()),
        high_qc=read_certificate(reader),
        commit_proof=read_commit_proof(reader) if reader.flag() else None,
        term_certificate=read_optional_timeout_certificate(reader),
    )


def _read_suspect(reader: Reader) -> Suspect:
    return Suspect(term=Term(reader.u64()))


def _read_term_certificate(reader: Reader) -> TermCertificate:
    return TermCertificate(certificate=read_timeout_certificate(reader))


def _read_get_block(reader: Reader) -> GetBlock:
    return GetBlock(
        height=Height(reader.u64()),
        block_hash=BlockHash(reader.raw(HASH_BYTES)),
        committed_height=Height(reader.u64()),
    )


def _read_block_answer(reader: Reader) -> BlockAnswer:
    return BlockAnswer(block=decode_block(reader.blob(BLOCK_BYTES_MAX)))


def _read_get_committed(reader: Reader) -> GetCommitted:
    return GetCommitted(from_height=Height(reader.u64()))


def _read_committed(reader: Reader) -> Committed:
    blocks = tuple(
        decode_block(reader.blob(BLOCK_BYTES_MAX)) for _ in range(reader.count(COMMITTED_BLOCKS_MAX))
    )
    headers = tuple(read_header(reader) for _ in range(reader.count(COMMITTED_HEADERS_MAX)))
    if not blocks:
        raise malformed("no blocks in a batch of committed blocks", value=0, limit="1 or more")
    return Committed(blocks=blocks, headers=headers, proof=read_commit_proof(reader))


_READERS: Final[dict[int, Callable[[Reader], Message]]] = {
    _APPEND: _read_append,
    _APPEND_REPLY: _read_append_reply,
    _NUDGE: _read_nudge,
    _HEARTBEAT: _read_heartbeat,
    _SUSPECT: _read_suspect,
    _TIMEOUT: read_timeout,
    _TERM_CERTIFICATE: _read_term_certificate,
    _GET_BLOCK: _read_get_block,
    _BLOCK_ANSWER: _read_block_answer,
    _GET_COMMITTED: _read_get_committed,
    _COMMITTED: _read_committed,
}
