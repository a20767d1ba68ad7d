"""Keys and values of the stored tree (STATE.md section 2), under the prefix `X`.

    XN d:u8 pid ver:u32     a node: bucket of 1..8 entries (path, value hash), or inner record
    XR height:u32           root of a height: count:u8, ver:u32, hash:32
    XS height:u32           keys superseded by a block, each len:u8 and the key
    Xtip                    height:u32

`pid` is the bit 1 followed by the node's digits. An inner record holds, for its four children, counts (u8),
versions (u32) and hashes. A count of 0 is empty, 1..8 a bucket of that size, `INNER` an inner node.
"""

from __future__ import annotations

from typing import Final, TypeAlias

from tanpo.ledger.statekey import EMPTY

Slot: TypeAlias = tuple[int, int, bytes]
"""What a parent knows of a child: count, version (the height that wrote its record), hash."""

INNER: Final = 255
ENTRY_BYTES: Final = 64
PATH_BYTES: Final = 32
INNER_BYTES: Final = 148
"""Not a multiple of `ENTRY_BYTES`, so the length of a record tells which kind it is."""

VERSIONS_AT: Final = 4
HASHES_AT: Final = 20

ROOT_PID: Final = 1
EMPTY_SLOT: Final[Slot] = (0, 0, EMPTY)
TIP_KEY: Final = b"Xtip"

_HEIGHT_BYTES: Final = 4
_ROOT_BYTES: Final = 37


def depth_of(pid: int) -> int:
    """Return the depth of a node, the number of its digits."""
    return (pid.bit_length() - 1) >> 1


def node_key(pid: int, version: int) -> bytes:
    """Return the key of a node's record."""
    bits = pid.bit_length()
    return b"XN%c%b%b" % ((bits - 1) >> 1, pid.to_bytes((bits + 7) >> 3, "big"), version.to_bytes(4, "big"))


def root_key(height: int) -> bytes:
    """Return the key of the root of a height."""
    return b"XR" + height.to_bytes(_HEIGHT_BYTES, "big")


def superseded_key(height: int) -> bytes:
    """Return the key of the list of records that a block superseded."""
    return b"XS" + height.to_bytes(_HEIGHT_BYTES, "big")


def height_of(key: bytes) -> int:
    """Return the height in a key made by `root_key` or `superseded_key`."""
    return int.from_bytes(key[2:], "big")


def encode_root(slot: Slot) -> bytes:
    """Return the record of a root."""
    count, version, digest = slot
    return count.to_bytes(1, "big") + version.to_bytes(4, "big") + digest


def decode_root(record: bytes) -> Slot | None:
    """Return the slot of a root record, or `None` if it is none."""
    if len(record) != _ROOT_BYTES:
        return None
    return record[0], int.from_bytes(record[1:5], "big"), record[5:]


def encode_inner(slots: list[Slot]) -> bytes:
    """Return the record of an inner node with these four children."""
    counts = bytes(count for count, _, _ in slots)
    versions = b"".join(version.to_bytes(4, "big") for _, version, _ in slots)
    return counts + versions + b"".join(digest for _, _, digest in slots)


def encode_keys(keys: list[bytes]) -> bytes:
    """Return a list of record keys, none longer than 255 bytes."""
    return b"".join([b"%c%b" % (len(key), key) for key in keys])


def decode_keys(record: bytes) -> list[bytes]:
    """Return the keys that `encode_keys` wrote; the record's checksum has been verified."""
    keys: list[bytes] = []
    position, end = 0, len(record)
    while position < end:
        stop = position + 1 + record[position]
        keys.append(record[position + 1 : stop])
        position = stop
    return keys
