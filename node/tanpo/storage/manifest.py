"""The manifest of a snapshot: which state it is of, and where each of its chunks begins.

    "tanpo/snapshot/1" height:u64 header hash:32 state root:32 count:u32
    then of each chunk: start:32 size:u32 sha256:32

The header is that of the block above, the first whose header carries the root. Every byte is a function of
the chain, so all honest nodes have the same manifest of a height. A manifest proves nothing: each chunk is
verified against a root that a quorum signed. Its hashes tell a node that sends bad chunks from one that only
copied them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Final

from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.statechunk import CHUNK_BYTES_MAX
from tanpo.ledger.types import BlockHash, Height, StateRoot

CHUNKS_MAX: Final = 1 << 17
"""Chunks of one snapshot: some 128 GB of state."""

_TAG: Final = b"tanpo/snapshot/1"
_HASH_BYTES: Final = 32
_HEIGHT_MAX: Final = 2**32 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkPlace:
    """One chunk: the cursor it begins at, its size in bytes and its SHA-256."""

    start: int
    size: int
    digest: bytes


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a snapshot consists of. `chunks` begin at cursor 0 and ascend."""

    height: Height
    header_hash: BlockHash
    state_root: StateRoot
    chunks: tuple[ChunkPlace, ...]

    @cached_property
    def encoded(self) -> bytes:
        """The one encoding."""
        writer = Writer().raw(_TAG).u64(self.height).raw(self.header_hash).raw(self.state_root)
        writer.u32(len(self.chunks))
        for chunk in self.chunks:
            writer.raw(chunk.start.to_bytes(_HASH_BYTES, "big")).u32(chunk.size).raw(chunk.digest)
        return writer.finish()

    @cached_property
    def digest(self) -> bytes:
        """SHA-256 of the encoding, by which nodes name a snapshot."""
        return sha256(self.encoded).digest()

    @property
    def size(self) -> int:
        """Bytes of all chunks."""
        return sum(chunk.size for chunk in self.chunks)


def decode_manifest(encoded: bytes) -> Manifest:
    """Return the manifest that `encoded` spells. Raises `PeerFault` (MALFORMED) for other bytes."""
    reader = Reader(encoded)
    if reader.raw(len(_TAG)) != _TAG:
        raise malformed("not a manifest of a snapshot")
    height = reader.u64()
    if height > _HEIGHT_MAX:
        raise malformed("a snapshot is of no height that can be", value=height, limit=_HEIGHT_MAX)
    header_hash, state_root = reader.raw(_HASH_BYTES), reader.raw(_HASH_BYTES)
    chunks = tuple(_read_place(reader) for _ in range(reader.count(CHUNKS_MAX)))
    reader.finish()
    starts = [chunk.start for chunk in chunks]
    if not starts or starts[0] or any(a >= b for a, b in pairwise(starts)):
        raise malformed("the chunks of a snapshot do not ascend from cursor 0", value=len(starts))
    return Manifest(
        height=Height(height),
        header_hash=BlockHash(header_hash),
        state_root=StateRoot(state_root),
        chunks=chunks,
    )


def _read_place(reader: Reader) -> ChunkPlace:
    start, size = int.from_bytes(reader.raw(_HASH_BYTES), "big"), reader.u32()
    if not 1 <= size <= CHUNK_BYTES_MAX:
        raise malformed("a chunk has a size that no chunk has", value=size, limit=CHUNK_BYTES_MAX)
    return ChunkPlace(start=start, size=size, digest=reader.raw(_HASH_BYTES))
