"""Keys and values of the stored tree, and the slots by which a parent knows its children (ADR 26).

In LevelDB, under the prefix `X`:

    XR height:u32           root of a height: its slot, the log's end, the bytes that it reaches
    Xtip                    height:u32

In the log, see `nodelog`, one after the other and found by their position:

    inner     count:u8 x4, position:u48 x4, low:u48 x4, hash:32 x4, crc32 of what is before the hashes
    bucket    1..8 entries, each path:32 and value hash:32

A count of 0 is empty, 1..8 a bucket of that size, `INNER` an inner node. `low` is the lowest position of any
record at or below the child: what no root needs any more lies below the lows of all. A record lies behind all
that it leads to. Of this only hashes are consensus: positions are each node's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias
from zlib import crc32

from tanpo.ledger.statekey import EMPTY

Slot: TypeAlias = tuple[int, bytes, bytes, bytes]
"""What a parent knows of a child: count, position, low, hash. Positions are bytes that compare as numbers."""

INNER: Final = 255
ENTRY_BYTES: Final = 64
PATH_BYTES: Final = 32
POSITION_BYTES: Final = 6
"""A log of 256 TiB: a thousand swaps a second fill it in thousands of years."""

POSITIONS_AT: Final = 4
LOWS_AT: Final = POSITIONS_AT + 4 * POSITION_BYTES
HASHES_AT: Final = LOWS_AT + 4 * POSITION_BYTES
INNER_BYTES: Final = HASHES_AT + 4 * 32
"""Without the checksum, as records are in memory: not a multiple of `ENTRY_BYTES`, so the length of one tells
which kind it is."""
INNER_STORED_BYTES: Final = INNER_BYTES + 4

ROOT_PID: Final = 1
NOWHERE: Final = b"\xff" * POSITION_BYTES
"""Where an empty child is: above every position, so that it never is the lowest."""

EMPTY_SLOT: Final[Slot] = (0, NOWHERE, NOWHERE, EMPTY)
TIP_KEY: Final = b"Xtip"

_HEIGHT_BYTES: Final = 4
_ROOT_BYTES: Final = 1 + 4 * POSITION_BYTES + 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Root:
    """The tree of one height: its root's slot, where the log ended, and how many bytes of it are reached."""

    slot: Slot
    end: int
    live: int

    @property
    def low(self) -> int:
        """No record of this tree, and none that is written after it, lies below this position."""
        return min(self.end, int.from_bytes(self.slot[2], "big"))


EMPTY_ROOT: Final = Root(slot=EMPTY_SLOT, end=0, live=0)


def depth_of(pid: int) -> int:
    """Return the depth of a node, the number of its digits: `pid` is the bit 1 followed by these."""
    return (pid.bit_length() - 1) >> 1


def root_key(height: int) -> bytes:
    """Return the key of the root of a height."""
    return b"XR" + height.to_bytes(_HEIGHT_BYTES, "big")


def height_of(key: bytes) -> int:
    """Return the height in a key made by `root_key`."""
    return int.from_bytes(key[2:], "big")


def encode_position(position: int) -> bytes:
    """Return a position as slots have it."""
    return position.to_bytes(POSITION_BYTES, "big")


def encode_root(root: Root) -> bytes:
    """Return the record of a root."""
    count, position, low, digest = root.slot
    ends = encode_position(root.end) + encode_position(root.live)
    return count.to_bytes(1, "big") + position + low + ends + digest


def decode_root(record: bytes) -> Root | None:
    """Return the root of a root record, or `None` if it is none."""
    if len(record) != _ROOT_BYTES:
        return None
    position, low, end, live = (record[at : at + POSITION_BYTES] for at in range(1, 25, POSITION_BYTES))
    return Root(
        slot=(record[0], position, low, record[25:]),
        end=int.from_bytes(end, "big"),
        live=int.from_bytes(live, "big"),
    )


def encode_inner(slots: list[Slot]) -> bytes:
    """Return the record of an inner node with these four children."""
    counts = bytes(slot[0] for slot in slots)
    positions = b"".join(position for _, position, _, _ in slots)
    lows = b"".join(low for _, _, low, _ in slots)
    return counts + positions + lows + b"".join(digest for _, _, _, digest in slots)


def seal_inner(record: bytes) -> bytes:
    """Return the record of an inner node with its checksum, as it is stored."""
    return record + crc32(record[:HASHES_AT]).to_bytes(4, "big")


def unseal_inner(stored: bytes) -> bytes | None:
    """Return the record of an inner node from what is stored, `None` if the checksum is another."""
    record = stored[:INNER_BYTES]
    return record if stored == seal_inner(record) else None


def child_slot(record: bytes, which: int) -> Slot:
    """Return the slot of a child in the record of an inner node."""
    at_position, at_hash = POSITIONS_AT + POSITION_BYTES * which, HASHES_AT + 32 * which
    at_low = LOWS_AT + POSITION_BYTES * which
    return (
        record[which],
        record[at_position : at_position + POSITION_BYTES],
        record[at_low : at_low + POSITION_BYTES],
        record[at_hash : at_hash + 32],
    )


def find_low(record: bytes) -> bytes:
    """Return the lowest position below an inner node; its own is higher."""
    return min(record[28:34], record[34:40], record[40:46], record[46:52])
