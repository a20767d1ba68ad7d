"""State keys, and the commitment to the state that every header carries (STATE.md section 1).

A key opens with the space it belongs to and its kind. The group of an index key (everything before the
member) decides the first 16 bits of its path in the tree, so that one proof can list a whole group.

    contract data   space 0x01 | kind 0x00 | contract | slot | key ...
    index entry     space 0x01 | kind 0x01 | group length u16 | group | member
    system record   space 0x02 | kind 0x00 | name ...

The group of an index entry is `contract | slot | indexed value`, each length-prefixed by its writer.
`compute_state_root` is the definition, written for reading; `tanpo.storage` maintains the same root.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import sha256
from typing import Final

from tanpo.ledger.types import StateRoot

SPACE_CONTRACT: Final = 0x01
SPACE_SYSTEM: Final = 0x02
KIND_PLAIN: Final = 0x00
KIND_INDEX: Final = 0x01

KEY_BYTES_MAX: Final = 1024
VALUE_BYTES_MAX: Final = 1 << 20
BUCKET_ENTRIES_MAX: Final = 8
PATH_DIGITS: Final = 128
EMPTY: Final = bytes(32)

_GROUP_START: Final = 4


def index_key(group: bytes, member: bytes) -> bytes:
    """Return the key of `member` in the index group `group` (at most 65,535 bytes)."""
    return b"\x01\x01" + len(group).to_bytes(2, "big") + group + member


def group_of(key: bytes) -> bytes:
    """Return the group of a key, empty for ordinary keys. Fixed at genesis for every network."""
    if len(key) < _GROUP_START or key[1] != KIND_INDEX:
        return b""
    return key[_GROUP_START : _GROUP_START + int.from_bytes(key[2:4], "big")]


def group_prefix(group: bytes) -> bytes:
    """Return the first two bytes of the paths of all members of an index group."""
    return sha256(b"\x12" + group).digest()[:2]


def path_of(key: bytes) -> bytes:
    """Return the 32-byte path of a key in the tree."""
    digest = sha256(b"\x10" + key).digest()
    group = group_of(key)
    return sha256(b"\x12" + group).digest()[:2] + digest[2:] if group else digest


def value_hash(value: bytes) -> bytes:
    """Return the hash under which a value enters its bucket."""
    return sha256(b"\x11" + value).digest()


NO_VALUE_HASH: Final = sha256(b"\x11").digest()
"""The hash of an empty value: what every index entry has, and no other entry that a contract can write."""


def hash_bucket(entries: bytes) -> bytes:
    """Return the hash of 1..8 concatenated (path, value hash) pairs in ascending order of path."""
    return sha256(b"\x00" + entries).digest()


def hash_inner(children: bytes) -> bytes:
    """Return the hash of four concatenated child hashes, `EMPTY` for an empty child."""
    return sha256(b"\x01" + children).digest()


def wrap_root(tree_hash: bytes) -> StateRoot:
    """Return the state root for the hash of the tree's top node."""
    return StateRoot(sha256(b"\x02tanpo-state-1" + tree_hash).digest())


def digit(path: bytes, depth: int) -> int:
    """Return the two-bit digit of `path` at `depth` (0..127), most significant first."""
    return path[depth >> 2] >> (6 - 2 * (depth & 3)) & 3


def compute_state_root(pairs: Iterable[tuple[bytes, bytes]]) -> StateRoot:
    """Return the root of a whole state given as (path, value hash) pairs with distinct paths."""
    return wrap_root(_hash_entries(sorted(pairs), 0))


def _hash_entries(entries: list[tuple[bytes, bytes]], depth: int) -> bytes:
    if not entries:
        return EMPTY
    if len(entries) <= BUCKET_ENTRIES_MAX:
        return hash_bucket(b"".join(path + digest for path, digest in entries))
    children: tuple[list[tuple[bytes, bytes]], ...] = ([], [], [], [])
    for entry in entries:
        children[digit(entry[0], depth)].append(entry)
    return hash_inner(b"".join(_hash_entries(child, depth + 1) for child in children))


def compute_stop(prefix: bytes) -> bytes:
    """Return the least key that is above every key with this prefix, which has a byte below ff."""
    stripped = prefix.rstrip(b"\xff")
    return stripped[:-1] + bytes((stripped[-1] + 1,))
