"""The guard file: two alternating slots that remember how far we had got, apart from LevelDB.

LevelDB can lose synced writes in silence when its log is damaged or cut. A number written here after each
of its writes shows that. The file never changes size, and each write goes over the older slot, so a power
cut in the middle of one leaves the other.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import invariant
from tanpo.storage.files import create_synced, guarded_io, read_at, write_at

SLOT_BYTES: Final = 4096
"""One page of the file system: the unit that a disk writes whole or not at all, more often than not."""

SLOTS: Final = 2
_DIGEST_BYTES: Final = 16
_HEAD_BYTES: Final = _DIGEST_BYTES + 8 + 2
PAYLOAD_BYTES_MAX: Final = SLOT_BYTES - _HEAD_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardImage:
    """What the slots held at opening: the newest valid one, and how many were valid."""

    sequence: int
    payload: bytes
    valid_slots: int


class GuardFile:
    """An open guard file. `write` numbers its writes; the next goes over the older slot."""

    def __init__(self, path: Path, descriptor: int, sequence: int) -> None:
        self._path = path
        self._descriptor = descriptor
        self._sequence = sequence

    @staticmethod
    def create(path: Path, payload: bytes) -> None:
        """Create the file with both slots at sequence 0, on disk when this returns."""
        with guarded_io(path):
            create_synced(path, encode_slot(0, payload) * SLOTS)

    @classmethod
    def open(cls, path: Path) -> tuple[GuardFile, GuardImage | None]:
        """Open an existing file; the image is `None` if no slot is valid."""
        with guarded_io(path):
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            content = read_at(descriptor, SLOT_BYTES * SLOTS, 0)
        image = read_slots([content[start : start + SLOT_BYTES] for start in (0, SLOT_BYTES)])
        return cls(path, descriptor, 0 if image is None else image.sequence), image

    def write(self, payload: bytes, *, sequence: int | None = None, synced: bool) -> None:
        """Write the next slot, numbered `sequence` or one above the last; on disk if `synced`."""
        number = self._sequence + 1 if sequence is None else sequence
        invariant(number > self._sequence, f"guard sequence {number} is not above {self._sequence}")
        with guarded_io(self._path):
            write_at(self._descriptor, encode_slot(number, payload), number % SLOTS * SLOT_BYTES)
            if synced:
                os.fdatasync(self._descriptor)
        self._sequence = number

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


def read_slots(slots: Sequence[bytes]) -> GuardImage | None:
    """Return what the slots hold, or `None` if no slot is valid."""
    valid = [found for found in map(decode_slot, slots) if found is not None]
    if not valid:
        return None
    sequence, payload = max(valid)
    return GuardImage(sequence=sequence, payload=payload, valid_slots=len(valid))


def encode_slot(sequence: int, payload: bytes) -> bytes:
    """Return the 4 KiB of one slot; its digest covers every byte, padding included."""
    invariant(len(payload) <= PAYLOAD_BYTES_MAX, f"guard payload of {len(payload)} bytes")
    body = sequence.to_bytes(8, "big") + len(payload).to_bytes(2, "big") + payload
    body = body.ljust(SLOT_BYTES - _DIGEST_BYTES, b"\x00")
    return blake2b(body, digest_size=_DIGEST_BYTES).digest() + body


def decode_slot(slot: bytes) -> tuple[int, bytes] | None:
    """Return sequence and payload of one slot, or `None` if it is damaged."""
    body = slot[_DIGEST_BYTES:]
    if len(slot) != SLOT_BYTES or blake2b(body, digest_size=_DIGEST_BYTES).digest() != slot[:_DIGEST_BYTES]:
        return None
    size = int.from_bytes(body[8:10], "big")
    return int.from_bytes(body[:8], "big"), body[10 : 10 + size]
