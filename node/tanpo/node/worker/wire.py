"""What a node and its worker say to each other: frames of a length, a kind and a body in the ledger's codec.

They speak in turns, so that neither waits for the other to read: the node asks (RUN, RUN_LAST, COLLECT), and
the worker has the word until its last frame: of receipts after RUN, else of changes. In between it may READ
keys or LIST entries of an index, and the node answers. OPEN goes ahead of the first RUN of a block and has no
answer. Nothing but bytes, numbers and text crosses.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from struct import Struct
from typing import Final

from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.statekey import KIND_INDEX, SPACE_CONTRACT
from tanpo.ledger.transaction import read_call
from tanpo.ledger.types import BlockHash, Height, TxId
from tanpo.node.contract_sets import CONTRACTS_MAX, ContractSource
from tanpo.node.tasks import Task, TaskKind
from tanpo.vm import SOURCE_BYTES_MAX
from tanpo.vm.indexes import SCAN_MAX

HEADER_BYTES: Final = 5
FRAME_BYTES_MAX: Final = 64 * 1024 * 1024
"""A frame longer than this is a fault: the largest, a block's transactions, are far below."""

CHUNK_BYTES: Final = 4 * 1024 * 1024
"""Longer answers are split; state values are below 2 MiB, so a frame never comes near its limit."""

READS_MAX: Final = 256
"""Keys asked for at once: the node's loop looks them up in a few milliseconds, and then at the network."""

TASKS_MAX: Final = 65_536
KEY_BYTES_MAX: Final = 2_048
VALUE_BYTES_MAX: Final = 2 << 20
PAIRS_MAX: Final = 1 << 20
RECEIPT_BYTES_MAX: Final = 32 << 20
FAULT_BYTES_MAX: Final = 2_048


class Kind(IntEnum):
    """The kinds of frames; those from 16 on are the worker's."""

    OPEN = 1
    RUN = 2
    RUN_LAST = 3
    COLLECT = 4
    ANSWER = 5
    PAGE = 6
    READY = 16
    RECEIPTS = 17
    READ = 18
    CHANGES = 19
    FAULT = 20
    LIST = 21


@dataclass(frozen=True, slots=True, kw_only=True)
class Opening:
    """The block that tasks belong to, and its contracts: a source is empty where the worker has it."""

    block_hash: BlockHash
    parent_hash: BlockHash
    committed_hash: BlockHash
    height: Height
    time_ms: int
    contracts: tuple[ContractSource, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The first `limit` entries of an index with start <= key < stop."""

    start: bytes
    stop: bytes
    limit: int


def encode_frame(kind: Kind, body: bytes) -> bytes:
    """Return a whole frame."""
    return len(body).to_bytes(4, "big") + bytes((kind,)) + body


def decode_header(header: bytes | bytearray) -> tuple[Kind, int]:
    """Return the kind that bytes begin with, and the size of its body. Raises `PeerFault` for no header."""
    size, kind = int.from_bytes(header[:4], "big"), header[4]
    if size > FRAME_BYTES_MAX:
        raise malformed("frame too long", value=size, limit=FRAME_BYTES_MAX)
    if kind not in _KINDS:
        raise malformed("unknown kind of frame", value=kind)
    return Kind(kind), size


_TASK: Final = Struct(">BIQ32s")
"""Kind, place of the caller, gas limit and id of a task."""

_INDEX: Final = bytes((SPACE_CONTRACT, KIND_INDEX))
_KINDS: Final = frozenset(int(kind) for kind in Kind)


def encode_opening(opening: Opening) -> bytes:
    """Return the body of OPEN."""
    writer = Writer().raw(opening.block_hash).raw(opening.parent_hash).raw(opening.committed_hash)
    writer.u64(opening.height).u64(opening.time_ms).u32(len(opening.contracts))
    for contract in opening.contracts:
        writer.text(contract.name).raw(contract.source_hash).u32(contract.language_version)
        writer.blob(contract.source.encode("utf-8"))
    return writer.finish()


def decode_opening(body: bytes) -> Opening:
    """Return what OPEN says."""
    reader = Reader(body)
    opening = Opening(
        block_hash=BlockHash(reader.raw(32)),
        parent_hash=BlockHash(reader.raw(32)),
        committed_hash=BlockHash(reader.raw(32)),
        height=Height(reader.u64()),
        time_ms=reader.u64(),
        contracts=tuple(_read_contract(reader) for _ in range(reader.count(CONTRACTS_MAX))),
    )
    reader.finish()
    return opening


def _read_contract(reader: Reader) -> ContractSource:
    name, source_hash, version = reader.text(64), reader.raw(32), reader.u32()
    source = reader.blob(SOURCE_BYTES_MAX).decode("utf-8")
    return ContractSource(name=name, source=source, source_hash=source_hash, language_version=version)


def encode_tasks(tasks: Sequence[Task]) -> bytes:
    """Return the body of RUN and RUN_LAST: who calls, each once, then the calls."""
    callers: dict[tuple[str, tuple[str, ...]], int] = {}
    for task in tasks:
        callers.setdefault((task.sender, task.signers), len(callers))
    writer = Writer().u32(len(callers))
    for sender, signers in callers:
        writer.text(sender).u8(len(signers))
        for signer in signers:
            writer.text(signer)
    writer.u32(len(tasks))
    for task in tasks:
        caller = callers[task.sender, task.signers]
        writer.raw(_TASK.pack(task.kind, caller, task.gas_limit, task.tx_id)).raw(task.encoded_call)
    return writer.finish()


def decode_tasks(body: bytes) -> list[Task]:
    """Return what RUN and RUN_LAST ask for; their calls are decoded, and not kept encoded."""
    reader = Reader(body)
    callers = [
        (reader.text(64), tuple(reader.text(64) for _ in range(reader.u8())))
        for _ in range(reader.count(TASKS_MAX))
    ]
    tasks: list[Task] = []
    for _ in range(reader.count(TASKS_MAX)):
        kind, caller, gas_limit, tx_id = _TASK.unpack(reader.raw(_TASK.size))
        sender, signers = callers[caller]
        tasks.append(
            Task(
                kind=TaskKind(kind),
                call=read_call(reader),
                encoded_call=b"",
                sender=sender,
                signers=signers,
                tx_id=TxId(tx_id),
                gas_limit=gas_limit,
            )
        )
    reader.finish()
    return tasks


def encode_receipts(receipts: Sequence[bytes], *, is_last: bool, cpu_us: int) -> bytes:
    """Return the body of RECEIPTS; `cpu_us` is what the turn has cost so far, with the last of them."""
    writer = Writer().flag(is_last).u64(cpu_us).u32(len(receipts))
    for receipt in receipts:
        writer.blob(receipt)
    return writer.finish()


def decode_receipts(body: bytes) -> tuple[list[bytes], bool, int]:
    """Return receipts, whether they are the last, and the microseconds of CPU."""
    reader = Reader(body)
    is_last, cpu_us = reader.flag(), reader.u64()
    receipts = [reader.blob(RECEIPT_BYTES_MAX) for _ in range(reader.count(TASKS_MAX))]
    reader.finish()
    return receipts, is_last, cpu_us


def encode_reads(keys: Sequence[bytes]) -> bytes:
    """Return the body of READ."""
    writer = Writer().u32(len(keys))
    for key in keys:
        writer.blob(key)
    return writer.finish()


def decode_reads(body: bytes) -> list[bytes]:
    """Return the keys that READ asks for."""
    reader = Reader(body)
    keys = [reader.blob(KEY_BYTES_MAX) for _ in range(reader.count(READS_MAX))]
    reader.finish()
    return keys


def encode_answer(values: Sequence[bytes | None]) -> bytes:
    """Return the body of ANSWER: values of the first keys asked for."""
    writer = Writer().u32(len(values))
    for value in values:
        _write_optional(writer, value)
    return writer.finish()


def decode_answer(body: bytes) -> list[bytes | None]:
    """Return the values of ANSWER."""
    reader = Reader(body)
    values = [_read_optional(reader) for _ in range(reader.count(READS_MAX))]
    reader.finish()
    return values


def encode_range(one: Range) -> bytes:
    """Return the body of LIST."""
    return Writer().blob(one.start).blob(one.stop).u32(one.limit).finish()


def decode_range(body: bytes) -> Range:
    """Return what LIST asks for.

    Raises:
        PeerFault: it is no range of an index, whose entries have no values, or more than pages ever take.
    """
    reader = Reader(body)
    one = Range(start=reader.blob(KEY_BYTES_MAX), stop=reader.blob(KEY_BYTES_MAX), limit=reader.u32())
    reader.finish()
    if not one.start.startswith(_INDEX) or not one.stop.startswith(_INDEX):
        raise malformed("no range of an index", value=one.start[:64].hex())
    if one.limit > SCAN_MAX:
        raise malformed("too many entries at once", value=one.limit, limit=SCAN_MAX)
    return one


def encode_page(keys: Iterable[bytes]) -> bytes:
    """Return the body of PAGE."""
    return b"".join([part for key in keys for part in (len(key).to_bytes(2, "big"), key)])


def decode_page(body: bytes) -> list[bytes]:
    """Return the keys of PAGE. Raises `PeerFault` for a page that is cut short."""
    keys: list[bytes] = []
    position, end = 0, len(body)
    while position < end:
        start = position + 2
        position = start + int.from_bytes(body[position:start], "big")
        keys.append(body[start:position])
    if position > end:
        raise malformed("truncated", value=f"{end} bytes", limit=f"{position} needed")
    return keys


def encode_changes(changes: Iterable[tuple[bytes, bytes | None]], *, is_last: bool) -> bytes:
    """Return the body of CHANGES."""
    pairs = list(changes)
    writer = Writer().flag(is_last).u32(len(pairs))
    for key, value in pairs:
        writer.blob(key)
        _write_optional(writer, value)
    return writer.finish()


def decode_changes(body: bytes) -> tuple[list[tuple[bytes, bytes | None]], bool]:
    """Return changes, and whether they are the last."""
    reader = Reader(body)
    is_last = reader.flag()
    pairs = [(reader.blob(KEY_BYTES_MAX), _read_optional(reader)) for _ in range(reader.count(PAIRS_MAX))]
    reader.finish()
    return pairs, is_last


def _write_optional(writer: Writer, value: bytes | None) -> None:
    if value is None:
        writer.flag(False)
    else:
        writer.flag(True).blob(value)


def _read_optional(reader: Reader) -> bytes | None:
    return reader.blob(VALUE_BYTES_MAX) if reader.flag() else None
