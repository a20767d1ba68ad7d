"""The snapshots that a node keeps for those who join: made in the background, each once, the newest two kept.

One more stays while somebody is joining by it. The one that the ledger itself begins with stays too, for
`tanpo node rebuild` and `audit`: see `kept`.

    making/partitions   which state is being cut, and the hash of each partition
    making/p0000 ...    its pairs, see `partition`       making/c000000 ...  its chunks so far
    HEIGHT/manifest     see `manifest`                   HEIGHT/proof        why its root can be trusted
    HEIGHT/c000000 ...  its chunks, by position

Nothing here is the truth: what is damaged or half made is thrown away and made anew from the state. So files
are written under another name and renamed; a checksum covers each. But pruning relies on what is offered: a
node that forgot the blocks below its snapshots, and lost state and snapshots to one power cut, could not make
its state anew. So a snapshot is on disk before it is offered: `sync`, then `publish`.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Generator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, TypeAlias

from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.errors import PeerFault, Reason, Unavailable
from tanpo.ledger.statechunk import CHUNK_BYTES, CHUNK_BYTES_MAX, PATH_STOP, verify_chunk
from tanpo.ledger.statekey import wrap_root
from tanpo.ledger.types import BlockHash, Height, StateRoot
from tanpo.storage.database import FrozenView
from tanpo.storage.files import corrupt, guarded_io, sync_file, sync_folder, write_synced
from tanpo.storage.kept import (
    MANIFEST_NAME,
    PROOF_NAME,
    chunk_path,
    find_kept,
    seal_file,
    snapshot_name,
    unseal,
)
from tanpo.storage.layout import STATE_START, STATE_STOP
from tanpo.storage.manifest import CHUNKS_MAX, ChunkPlace, Manifest
from tanpo.storage.partition import PartitionFile, choose_depth, write_partitions
from tanpo.storage.snapshot_making import ChunkCutter, PartitionDamaged, PartitionedState

Making: TypeAlias = Generator[None, None, tuple[ChunkPlace, ...] | None]
"""The making of a snapshot: a pause after each step, its chunks at the end."""

KEPT: Final = 2
"""Finished snapshots that stay, used or not: whoever begins with the older one has until the next is
finished to ask for a chunk."""

IN_USE_S: Final = 600.0
"""Somebody who asked for a chunk so lately is joining, even if his process was just killed."""

HELD_S_MAX: Final = 6 * 3600.0
"""How long one snapshot at most stays for those who join by it: it takes the room of the state once more, and
a pruned node keeps the blocks above it."""

_MAKING: Final = "making"
_PARTITIONS: Final = "partitions"
_TAG: Final = b"tanpo/partitions/1"
_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Which state a snapshot is made of."""

    height: Height
    state_root: StateRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """A finished snapshot, and the bytes that prove its root."""

    manifest: Manifest
    proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class _Held:
    """An old snapshot that stays for a while because somebody is joining by it."""

    height: Height
    until_s: float


class SnapshotStore:
    """The folder of a node's snapshots. Calls block; none of them but `make` and `sync` takes long."""

    def __init__(
        self,
        folder: Path,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        base: Height = Height(0),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder = folder
        self._base = base
        self._clock_s = clock_s
        self._making = folder / _MAKING
        self._chunk_bytes = chunk_bytes
        self._offers: list[Offer] = []
        self._read_s: dict[Height, float] = {}
        self._held: _Held | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        chunk_bytes: int = CHUNK_BYTES,
        base: Height = Height(0),
        clock_s: Callable[[], float] = time.monotonic,
    ) -> SnapshotStore:
        """Open the folder; what is not whole in it is removed, and what is older than what stays.

        `base` is the height of the snapshot that the ledger begins with: it stays, however old it is.

        Raises:
            CorruptState, Unavailable: the disk refuses.
        """
        store = cls(folder, chunk_bytes=chunk_bytes, base=base, clock_s=clock_s)
        with guarded_io(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for path in sorted(folder.iterdir(), reverse=True):
                offer = _read_offer(path) if path.name.isdigit() else None
                if offer is not None:
                    store._offers.append(offer)
                elif path.name != _MAKING:
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        store._drop_old()
        return store

    @property
    def offers(self) -> tuple[Offer, ...]:
        """The finished snapshots, newest first."""
        return tuple(self._offers)

    @property
    def needed(self) -> Height:
        """The blocks above this height stay for those who join, and to make the state anew; 0 for all.

        That is the oldest snapshot by which somebody may join, once there are the newest two.
        """
        if len(self._offers) < KEPT:
            return Height(0)
        oldest = self._offers[KEPT - 1].manifest.height
        return oldest if self._held is None else min(oldest, self._held.height)

    def find_draft(self) -> Draft | None:
        """Return the state whose snapshot was begun and can be finished, whatever the state is now."""
        marker = self._read_marker()
        return None if marker is None else marker[0]

    def make(
        self, draft: Draft, view: FrozenView | None
    ) -> Generator[None, None, tuple[ChunkPlace, ...] | None]:
        """Make the chunks of a state, in steps of about a millisecond; call `publish` with them.

        `view` is of the state at that height; it is closed here. Without one, what was begun is finished; the
        result is None if that turns out to be damaged.

        Raises:
            CorruptState: the state does not have its root: the node must stop. Unavailable: the disk is full.
        """
        try:
            if view is not None:
                yield from self._partition(draft, view)
        finally:
            if view is not None:
                view.close()
        marker = self._read_marker()
        if marker is None or marker[0] != draft:
            return None
        state = PartitionedState(self._making, marker[1])
        try:
            root = wrap_root((yield from state.prepare()))
            if root == draft.state_root:
                return (yield from self._cut(state, draft))
        except PartitionDamaged:
            self.abandon()
            return None
        raise corrupt(
            self._folder.parent,
            f"the state of height {draft.height} does not have its root",
            value=root.hex(),
            limit=draft.state_root.hex(),
            remedy="run `tanpo node rebuild`, or join the network again with `tanpo node join`",
        )

    def sync(self) -> None:
        """Put on disk what `make` made. It may run in a thread: nothing else touches that until `publish`.

        Raises:
            CorruptState: the disk refuses: the node must stop. Unavailable: it is full.
        """
        with guarded_io(self._making):
            for path in self._making.glob("c*"):
                sync_file(path)

    def publish(
        self, draft: Draft, header_hash: BlockHash, chunks: tuple[ChunkPlace, ...], proof: bytes
    ) -> Manifest:
        """Offer what `make` made and `sync` put on disk, and remove what is older than what stays."""
        manifest = Manifest(
            height=draft.height, header_hash=header_hash, state_root=draft.state_root, chunks=chunks
        )
        final = self._folder / snapshot_name(draft.height)
        with guarded_io(self._folder):
            for path in self._making.glob("p*"):
                path.unlink()
            write_synced(self._making / PROOF_NAME, seal_file(proof))
            write_synced(self._making / MANIFEST_NAME, seal_file(manifest.encoded))
            sync_folder(self._making)
            shutil.rmtree(final, ignore_errors=True)
            self._making.rename(final)
            sync_folder(self._folder)
        self._offers = [offer for offer in self._offers if offer.manifest.height != draft.height]
        self._offers.insert(0, Offer(manifest=manifest, proof=proof))
        self._drop_old()
        return manifest

    def abandon(self) -> None:
        """Throw away what is being made."""
        with guarded_io(self._making):
            shutil.rmtree(self._making, ignore_errors=True)

    def read_chunk(self, digest: bytes, position: int) -> bytes:
        """Return a chunk of the snapshot whose manifest has this digest.

        Raises:
            Unavailable: it is not here (any more): NOT_FOUND.
        """
        offer = next((one for one in self._offers if one.manifest.digest == digest), None)
        if offer is None or position >= len(offer.manifest.chunks):
            raise _not_found(f"{digest.hex()} {position}")
        place = offer.manifest.chunks[position]
        path = chunk_path(self._folder / snapshot_name(offer.manifest.height), position)
        with guarded_io(path):
            content = path.read_bytes() if path.exists() else b""
        if len(content) != place.size or sha256(content).digest() != place.digest:
            # Better none than one that others take for a lie; the next one is made from the state.
            self._remove(offer)
            raise _not_found(f"{digest.hex()} {position}")
        self._read_s[offer.manifest.height] = self._clock_s()
        return content

    def _drop_old(self) -> None:
        """Remove what is older than the newest two, but for the base and one that is in use."""
        now_s = self._clock_s()
        for old in reversed(self._offers[KEPT:]):
            height = old.manifest.height
            if height != self._base and not self._holds(height, now_s):
                self._remove(old)

    def _holds(self, height: Height, now_s: float) -> bool:
        """Return whether this old snapshot stays for those who join by it. The oldest in use does, alone."""
        is_in_use = height in self._read_s and now_s - self._read_s[height] <= IN_USE_S
        if self._held is None and is_in_use:
            self._held = _Held(height=height, until_s=now_s + HELD_S_MAX)
        held = self._held
        return held is not None and held.height == height and is_in_use and now_s < held.until_s

    def _remove(self, offer: Offer) -> None:
        self._offers.remove(offer)
        height = offer.manifest.height
        self._read_s.pop(height, None)
        if self._held is not None and self._held.height == height:
            self._held = None
        with guarded_io(self._folder):
            shutil.rmtree(self._folder / snapshot_name(height), ignore_errors=True)

    def _partition(self, draft: Draft, view: FrozenView) -> Generator[None, None, None]:
        self.abandon()
        with guarded_io(self._making):
            self._making.mkdir(parents=True)
        pairs = ((key[1:], value) for key, value in view.scan(STATE_START, STATE_STOP))
        files = yield from write_partitions(self._making, pairs, choose_depth(view.size))
        writer = Writer().raw(_TAG).u64(draft.height).raw(draft.state_root).u32(len(files))
        for file in files:
            writer.u64(file.size).raw(file.digest)
        with guarded_io(self._making):
            _write(self._making / _PARTITIONS, seal_file(writer.finish()))

    def _cut(self, state: PartitionedState, draft: Draft) -> Generator[None, None, tuple[ChunkPlace, ...]]:
        """Cut every chunk that is not there yet."""
        cutter = ChunkCutter(state, self._chunk_bytes)
        places: list[ChunkPlace] = []
        start = 0
        while start < PATH_STOP:
            path = chunk_path(self._making, len(places))
            encoded, stop = self._find_chunk(path, draft, start)
            if not encoded:
                encoded, stop = yield from cutter.cut(start)
                with guarded_io(path):
                    _write(path, encoded)
            places.append(ChunkPlace(start=start, size=len(encoded), digest=sha256(encoded).digest()))
            start = stop
            yield
            if len(places) > CHUNKS_MAX:
                raise Unavailable(
                    Reason.TOO_LARGE, "the state is too large for a snapshot", limit=f"{CHUNKS_MAX} chunks"
                )
        return tuple(places)

    def _find_chunk(self, path: Path, draft: Draft, start: int) -> tuple[bytes, int]:
        """Return a chunk that an earlier attempt left, and where it ends; nothing if there is none."""
        with guarded_io(path):
            if not path.exists() or path.stat().st_size > CHUNK_BYTES_MAX:
                return b"", start
            encoded = path.read_bytes()
        try:
            return encoded, verify_chunk(encoded, draft.state_root, start).stop
        except PeerFault:
            return b"", start

    def _read_marker(self) -> tuple[Draft, tuple[PartitionFile, ...]] | None:
        path = self._making / _PARTITIONS
        with guarded_io(path):
            content = unseal(path)
        if content is None:
            return None
        reader = Reader(content)
        reader.raw(len(_TAG))
        draft = Draft(height=Height(reader.u64()), state_root=StateRoot(reader.raw(_HASH_BYTES)))
        files = tuple(
            PartitionFile(size=reader.u64(), digest=reader.raw(_HASH_BYTES)) for _ in range(reader.u32())
        )
        return draft, files


def _read_offer(folder: Path) -> Offer | None:
    kept = find_kept(folder)
    return None if kept is None else Offer(manifest=kept.manifest, proof=kept.proof)


def _write(path: Path, content: bytes) -> None:
    """Write a file that is there whole or not at all, whenever the process is killed."""
    unfinished = path.with_suffix(".new")
    unfinished.write_bytes(content)
    unfinished.replace(path)


def _not_found(value: str) -> Unavailable:
    return Unavailable(
        Reason.NOT_FOUND,
        "this chunk of a snapshot is not here",
        value=value,
        limit="the snapshots that the node lists",
        remedy="list the snapshots again, or ask another node",
    )
