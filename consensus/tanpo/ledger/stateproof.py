"""Partial trees: what a state holds, and what it does not hold, shown under its root (STATE.md section 3).

One format proves a value, an absence, many keys at once, a range of paths, a whole index group, and carries
the chunks of a snapshot. Nodes stand in pre-order, each a tag byte and its body:

    0 EMPTY          1 HASH hash:32         2 BUCKET n:u8 (path:32 value hash:32) x n
    3 INNER, then its four children        4 PAIRS n:u8 (key length:u16 key value length:u32 value) x n

A `HASH` hides what is below it. Nothing is concluded about a hidden path, neither that it is there nor that
it is not.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from tanpo.ledger.codec import Reader
from tanpo.ledger.errors import PeerFault, Reason, UsageError
from tanpo.ledger.statekey import (
    BUCKET_ENTRIES_MAX,
    EMPTY,
    KEY_BYTES_MAX,
    NO_VALUE_HASH,
    PATH_DIGITS,
    VALUE_BYTES_MAX,
    group_of,
    group_prefix,
    hash_bucket,
    hash_inner,
    path_of,
    value_hash,
    wrap_root,
)
from tanpo.ledger.types import StateRoot

TAG_EMPTY: Final = 0
TAG_HASH: Final = 1
TAG_BUCKET: Final = 2
TAG_INNER: Final = 3
TAG_PAIRS: Final = 4

PROOF_BYTES_MAX: Final = 16 << 20
PROOF_KEYS_MAX: Final = 1_000
"""How many keys one proof may be asked for."""

PATH_BITS: Final = 256
_HASH_BYTES: Final = 32
_GROUP_BITS: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class PathRange:
    """The paths from `start` up to, but without, `stop`, read as integers of 256 bits."""

    start: int
    stop: int

    def contains(self, path: bytes) -> bool:
        """Return whether a path is in the range."""
        return self.start <= int.from_bytes(path, "big") < self.stop


@dataclass(frozen=True, slots=True, kw_only=True)
class PartialTree:
    """What a verified partial tree shows of one state.

    `entries` maps the paths shown to their value hashes, `pairs` the keys shown whole to their values, and
    `hidden` lists what is not shown: ranges that ascend and do not overlap.
    """

    entries: Mapping[bytes, bytes]
    pairs: Mapping[bytes, bytes]
    hidden: tuple[PathRange, ...]

    def get_value_hash(self, key: bytes) -> bytes | None:
        """Return the hash of the value under `key`, or `None` if the state has no such key.

        Raises:
            PeerFault: the tree hides where the key would be (PROOF_INVALID).
        """
        path = path_of(key)
        found = self.entries.get(path)
        if found is None and self.hides(key_range(key)):
            raise _invalid("it does not show the path of the key", value=key[:64].hex())
        return found

    def verify_value(self, key: bytes, value: bytes | None) -> None:
        """Raise `PeerFault` (PROOF_INVALID) unless the state holds `value` under `key`; `None` is nothing."""
        found = self.get_value_hash(key)
        if found != (None if value is None else value_hash(value)):
            shown = "no value" if found is None else "another value"
            raise _invalid(f"it shows {shown} for the key", value=key[:64].hex())

    def verify_group(self, group: bytes, keys: Iterable[bytes]) -> list[bytes]:
        """Return all keys of an index group, sorted, given the raw key of every index entry in its range.

        Index entries have no value, so whatever has one is no member and needs no name. Strangers whose group
        falls into the same range are among `keys` and left out of the answer.

        Raises:
            PeerFault: part of the range is hidden, or a raw key is missing or was not asked for.
        """
        wanted = group_range(group)
        if self.hides(wanted):
            raise _invalid("it does not show the whole group", value=group[:64].hex())
        in_range = {
            path
            for path, digest in self.entries.items()
            if digest == NO_VALUE_HASH and wanted.start <= int.from_bytes(path, "big") < wanted.stop
        }
        given = {path_of(key): key for key in keys}
        if given.keys() != in_range:
            raise _invalid(
                "its raw keys are not those of the range", value=len(given), limit=f"{len(in_range)} keys"
            )
        return sorted(key for key in given.values() if group_of(key) == group)

    def hides(self, wanted: PathRange) -> bool:
        """Return whether a path of the range is hidden."""
        at = bisect_left(self.hidden, wanted.start, key=lambda hidden: hidden.stop - 1)
        return at < len(self.hidden) and self.hidden[at].start < wanted.stop


def key_range(key: bytes) -> PathRange:
    """Return the range that holds the path of a key and no other."""
    path = int.from_bytes(path_of(key), "big")
    return PathRange(start=path, stop=path + 1)


def group_range(group: bytes) -> PathRange:
    """Return the range that holds all members of an index group, and perhaps those of others.

    Raises:
        UsageError: the group is empty, as that of a key that is in no index: those share no range.
    """
    if not group:
        raise UsageError(Reason.MISUSE, "a group has a name", remedy="ask for single keys")
    prefix = int.from_bytes(group_prefix(group), "big")
    shift = PATH_BITS - _GROUP_BITS
    return PathRange(start=prefix << shift, stop=(prefix + 1) << shift)


def node_range(pid: int) -> PathRange:
    """Return the range of a node of the tree: `pid` is the bit 1 followed by the node's digits."""
    bits = pid.bit_length() - 1
    prefix, shift = pid ^ (1 << bits), PATH_BITS - bits
    return PathRange(start=prefix << shift, stop=(prefix + 1) << shift)


def verify_partial_tree(encoded: bytes, state_root: StateRoot) -> PartialTree:
    """Return what a partial tree shows of the state with this root.

    Raises:
        PeerFault: it is not a partial tree of that state (PROOF_INVALID), or no partial tree (MALFORMED).
    """
    if len(encoded) > PROOF_BYTES_MAX:
        raise _invalid("it is too long", value=len(encoded), limit=f"{PROOF_BYTES_MAX} bytes")
    walk = _Walk(encoded)
    tree_hash = walk.read_node(1, 0)
    walk.reader.finish()
    if wrap_root(tree_hash) != state_root:
        raise _invalid("it leads to another root", value=wrap_root(tree_hash).hex(), limit=state_root.hex())
    return PartialTree(entries=walk.entries, pairs=walk.pairs, hidden=tuple(walk.hidden))


class _Walk:
    """Reads nodes in pre-order and hashes them on the way back up."""

    __slots__ = ("entries", "hidden", "pairs", "reader")

    def __init__(self, encoded: bytes) -> None:
        self.reader = Reader(encoded)
        self.entries: dict[bytes, bytes] = {}
        self.pairs: dict[bytes, bytes] = {}
        self.hidden: list[PathRange] = []

    def read_node(self, pid: int, depth: int) -> bytes:
        """Return the hash of the node that comes next."""
        tag = self.reader.u8()
        if tag == TAG_INNER:
            if depth == PATH_DIGITS:
                raise _invalid("it is deeper than a path has digits", limit=PATH_DIGITS)
            return hash_inner(b"".join([self.read_node(pid << 2 | which, depth + 1) for which in range(4)]))
        if tag == TAG_HASH:
            return self._read_hidden(pid)
        if tag == TAG_BUCKET:
            return self._read_bucket(pid, depth)
        if tag == TAG_PAIRS:
            return self._read_pairs(pid, depth)
        if tag == TAG_EMPTY:
            return EMPTY
        raise _invalid("it has a node of an unknown kind", value=tag, limit=f"0..{TAG_PAIRS}")

    def _read_hidden(self, pid: int) -> bytes:
        digest = self.reader.raw(_HASH_BYTES)
        if digest == EMPTY:
            raise _invalid("it hides an empty node")
        self.hidden.append(node_range(pid))
        return digest

    def _read_bucket(self, pid: int, depth: int) -> bytes:
        entries = self.reader.raw(2 * _HASH_BYTES * self._read_count())
        self._add(pid, depth, entries)
        return hash_bucket(entries)

    def _read_pairs(self, pid: int, depth: int) -> bytes:
        parts: list[bytes] = []
        for _ in range(self._read_count()):
            key = self.reader.raw(_check_length("key", self.reader.u16(), KEY_BYTES_MAX))
            value = self.reader.raw(_check_length("value", self.reader.u32(), VALUE_BYTES_MAX))
            self.pairs[key] = value
            parts.append(path_of(key) + value_hash(value))
        entries = b"".join(parts)
        self._add(pid, depth, entries)
        return hash_bucket(entries)

    def _read_count(self) -> int:
        count = self.reader.u8()
        if not 1 <= count <= BUCKET_ENTRIES_MAX:
            raise _invalid("a bucket has a wrong size", value=count, limit=f"1..{BUCKET_ENTRIES_MAX}")
        return count

    def _add(self, pid: int, depth: int, entries: bytes) -> None:
        shift = PATH_BITS - 2 * depth
        prefix = pid ^ (1 << 2 * depth)
        before = b""
        for at in range(0, len(entries), 2 * _HASH_BYTES):
            path = entries[at : at + _HASH_BYTES]
            if path <= before:
                raise _invalid("the paths of a bucket do not ascend", value=path.hex())
            if int.from_bytes(path, "big") >> shift != prefix:
                raise _invalid("a path stands in a bucket that is not its own", value=path.hex())
            self.entries[path] = entries[at + _HASH_BYTES : at + 2 * _HASH_BYTES]
            before = path


def _check_length(what: str, length: int, limit: int) -> int:
    if length > limit:
        raise _invalid(f"a {what} is too long", value=length, limit=f"{limit} bytes")
    return length


def _invalid(why: str, *, value: object = "", limit: object = "") -> PeerFault:
    return PeerFault(
        Reason.PROOF_INVALID, f"state proof: {why}", value=value, limit=limit, remedy="ask another node"
    )
