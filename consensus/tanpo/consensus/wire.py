"""The canonical encoding of messages: epoch, one tag byte, the fields; any bytes give a message or a fault.

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
    GetStatus,
    Heartbeat,
    Message,
    Nudge,
    Status,
    StepDown,
    Suspect,
    TermCertificate,
    Timeout,
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
    TimeoutCertificate,
    read_certificate,
    read_commit_proof,
    read_timeout_certificate,
    write_certificate,
    write_commit_proof,
    write_timeout_certificate,
)
from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.keys import SIGNATURE_BYTES_MAX
from tanpo.ledger.types import BlockHash, Epoch, Height, Signature, Term
from tanpo.ledger.vote import read_entry, read_vote, write_entry, write_vote

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
_STEP_DOWN: Final = 12
_GET_STATUS: Final = 13
_STATUS: Final = 14


def encode_message(message: Message, epoch: Epoch) -> bytes:
    """Return the canonical encoding of a message of a replica in this epoch."""
    writer = Writer().u64(epoch)
    match message:
        case Append() | AppendReply() | Nudge() | Heartbeat():
            _write_normal(writer, message)
        case Suspect() | Timeout() | TermCertificate() | StepDown():
            _write_term_change(writer, message)
        case GetStatus() | Status():
            _write_status(writer, message)
        case GetBlock() | BlockAnswer() | GetCommitted() | Committed():
            _write_catch_up(writer, message)
        case _:
            assert_never(message)
    return writer.finish()


def decode_message(encoded: bytes) -> tuple[Epoch, Message]:
    """Return the epoch and the message that `encoded` spells, unverified.

    Raises:
        PeerFault: the bytes are not the canonical encoding of any message, or are too many.
    """
    if len(encoded) > MESSAGE_BYTES_MAX:
        raise malformed("message too large", value=len(encoded), limit=MESSAGE_BYTES_MAX)
    reader = Reader(encoded)
    epoch, tag = Epoch(reader.u64()), reader.u8()
    read = _READERS.get(tag)
    if read is None:
        raise malformed("unknown kind of message", value=tag, limit=f"1..{len(_READERS)}")
    message = read(reader)
    reader.finish()
    return epoch, message


def write_timeout(writer: Writer, timeout: Timeout) -> None:
    """Append a timeout."""
    write_entry(writer.u64(timeout.term), timeout.entry)
    write_certificate(writer, timeout.high_qc)
    write_optional_timeout_certificate(writer, timeout.term_certificate)


def read_timeout(reader: Reader) -> Timeout:
    """Read a timeout."""
    return Timeout(
        term=Term(reader.u64()),
        entry=read_entry(reader),
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


def _write_term_change(writer: Writer, message: Suspect | Timeout | TermCertificate | StepDown) -> None:
    match message:
        case Suspect():
            writer.u8(_SUSPECT).u64(message.term)
        case Timeout():
            write_timeout(writer.u8(_TIMEOUT), message)
        case TermCertificate():
            write_timeout_certificate(writer.u8(_TERM_CERTIFICATE), message.certificate)
        case StepDown():
            writer.u8(_STEP_DOWN).u64(message.term).blob(message.signature)
        case _:
            assert_never(message)


def _write_status(writer: Writer, message: GetStatus | Status) -> None:
    match message:
        case GetStatus():
            writer.u8(_GET_STATUS).u64(message.nonce)
        case Status():
            writer.u8(_STATUS).u64(message.nonce).u64(message.term)
            write_certificate(writer, message.high_qc)
            write_optional_timeout_certificate(writer, message.term_certificate)
            writer.flag(message.vote is not None)
            if message.vote is not None:
                write_vote(writer, message.vote)
            writer.u64(message.timeout_term).flag(message.timeout is not None)
            if message.timeout is not None:
                write_entry(writer, message.timeout)
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
    return AppendReply(vote=read_vote(reader))


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


def _read_step_down(reader: Reader) -> StepDown:
    return StepDown(term=Term(reader.u64()), signature=Signature(reader.blob(SIGNATURE_BYTES_MAX)))


def _read_get_status(reader: Reader) -> GetStatus:
    return GetStatus(nonce=reader.u64())


def _read_status(reader: Reader) -> Status:
    return Status(
        nonce=reader.u64(),
        term=Term(reader.u64()),
        high_qc=read_certificate(reader),
        term_certificate=read_optional_timeout_certificate(reader),
        vote=read_vote(reader) if reader.flag() else None,
        timeout_term=Term(reader.u64()),
        timeout=read_entry(reader) if reader.flag() else None,
    )


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
    _STEP_DOWN: _read_step_down,
    _GET_STATUS: _read_get_status,
    _STATUS: _read_status,
}
