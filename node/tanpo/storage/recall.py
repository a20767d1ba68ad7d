"""What the consensus store decides, without a disk: what a write consists of, and whether what is found at a
start is all that was promised. The store on LevelDB and the simulated disk share it (CONSENSUS.md section 6).

At opening, a database one write ahead of the guard is a crash between the two, and fine: nothing had been
sent. Anything else that does not fit means that a promise may have been forgotten.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final

from tanpo.ledger.types import BlockHash
from tanpo.storage.guard import SLOTS, GuardImage

RECORD_KEY: Final = b"record"
BLOCK_PREFIX: Final = b"block/"
BLOCK_STOP: Final = b"block0"

_DIGEST_BYTES: Final = 16
_HAS_RECORD: Final = b"\x01"


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyWrite:
    """One step of the replica: its record, blocks to add, and blocks it no longer needs."""

    record: bytes
    blocks: Mapping[BlockHash, bytes] = field(default_factory=dict)
    dropped: tuple[BlockHash, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyImage:
    """What the last write left behind; `record` is `None` if there has been none."""

    record: bytes | None
    blocks: dict[BlockHash, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class SafetyBatch:
    """One write as the database and the guard take it: the batch first, synced, then the guard's payload."""

    sequence: int
    puts: Mapping[bytes, bytes]
    deletes: tuple[bytes, ...]
    guard_payload: bytes
    hashes: frozenset[BlockHash]
    """The blocks that the database holds after it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRecord:
    """The database's record of its last write, verified. `payload` is what the guard should hold."""

    sequence: int
    hashes_digest: bytes
    record: bytes | None
    payload: bytes


class Forgotten(Exception):
    """What was promised may have been forgotten. `is_guard`: the guard file shows it, not the database."""

    def __init__(self, what: str, *, value: object = "", limit: object = "", is_guard: bool = False) -> None:
        super().__init__(what)
        self.what = what
        self.value = value
        self.limit = limit
        self.is_guard = is_guard


def build_batch(sequence: int, hashes: Set[BlockHash], write: SafetyWrite) -> SafetyBatch:
    """Return the write number `sequence` over a database that holds the blocks `hashes`."""
    kept = frozenset((hashes | set(write.blocks)) - set(write.dropped))
    puts = {BLOCK_PREFIX + block_hash: seal(block_hash, block) for block_hash, block in write.blocks.items()}
    deletes = tuple(BLOCK_PREFIX + block_hash for block_hash in write.dropped)
    for key in deletes:
        puts.pop(key, None)
    puts[RECORD_KEY] = _encode_record(sequence, kept, _HAS_RECORD + write.record)
    return SafetyBatch(
        sequence=sequence,
        puts=puts,
        deletes=deletes,
        guard_payload=summarise(puts[RECORD_KEY]),
        hashes=kept,
    )


def build_first_batch() -> SafetyBatch:
    """Return write number 0, which makes an empty store."""
    value = _encode_record(0, frozenset(), b"")
    return SafetyBatch(
        sequence=0,
        puts={RECORD_KEY: value},
        deletes=(),
        guard_payload=summarise(value),
        hashes=frozenset(),
    )


def read_record(value: bytes | None) -> StoredRecord:
    """Return the database's record.

    Raises:
        Forgotten: it is missing or damaged.
    """
    if value is None:
        raise Forgotten("the record of the last write is missing")
    payload = _unseal(RECORD_KEY, value)
    record = payload[24:]
    return StoredRecord(
        sequence=int.from_bytes(payload[:8], "big"),
        hashes_digest=payload[8:24],
        record=record[1:] if record else None,
        payload=summarise(value),
    )


def read_image(stored: StoredRecord, rows: Iterable[tuple[bytes, bytes]]) -> SafetyImage:
    """Return what the last write left behind, from the database's block rows.

    Raises:
        Forgotten: a checksum is wrong or a block is missing.
    """
    blocks: dict[BlockHash, bytes] = {}
    for key, value in rows:
        block_hash = BlockHash(key[len(BLOCK_PREFIX) :])
        blocks[block_hash] = _unseal(block_hash, value)
    if _digest_hashes(set(blocks)) != stored.hashes_digest:
        raise Forgotten("the stored blocks are not those of the last write")
    return SafetyImage(record=stored.record, blocks=blocks)


def is_guard_behind(stored: StoredRecord, guard: GuardImage | None) -> bool:
    """Return whether a crash came between database and guard, so that the guard is to be written again.

    Raises:
        Forgotten: guard and database do not show that nothing was forgotten; the node must not vote.
    """
    if guard is None:
        raise Forgotten("neither slot verifies", is_guard=True)
    behind = stored.sequence - guard.sequence
    if behind not in (0, 1):
        raise Forgotten(
            f"the database is at write {stored.sequence}, the guard at write {guard.sequence}",
            value=stored.sequence,
            limit=f"{guard.sequence} or one more",
        )
    # A torn slot is the one of the write that the database has and the guard has not. Any other damaged slot
    # may have held a later write.
    if behind == 0 and guard.valid_slots != SLOTS:
        raise Forgotten("a slot does not verify", is_guard=True)
    if behind == 0 and stored.payload != guard.payload:
        raise Forgotten("the guard counts another write than the database holds")
    return behind == 1


def seal(key: bytes, payload: bytes) -> bytes:
    """Return length, digest over key and payload, payload."""
    digest = blake2b(key + payload, digest_size=_DIGEST_BYTES).digest()
    return len(payload).to_bytes(4, "big") + digest + payload


def summarise(value: bytes) -> bytes:
    """Return what the guard remembers of the database's record."""
    return blake2b(value, digest_size=_DIGEST_BYTES).digest()


def _unseal(key: bytes, value: bytes) -> bytes:
    payload = value[4 + _DIGEST_BYTES :]
    if value != seal(key, payload):
        raise Forgotten("the checksum of a record is wrong", value=key.hex())
    return payload


def _encode_record(sequence: int, hashes: Set[BlockHash], record: bytes) -> bytes:
    return seal(RECORD_KEY, sequence.to_bytes(8, "big") + _digest_hashes(hashes) + record)


def _digest_hashes(hashes: Set[BlockHash]) -> bytes:
    return blake2b(b"".join(sorted(hashes)), digest_size=_DIGEST_BYTES).digest()
