"""Building a ledger from the chunks of a snapshot, in a folder of its own beside the one that is in use.

Chunks may come in any order. Each enters in one batch, after its tree records, with the root and the mark
that it is in, so a process that is killed at any point goes on with the chunks that are missing. While it
grows, the tree is the canonical one of what is there: at the end its root must be that of the state. Only
then does the folder become a ledger, and only a whole one is moved into place.

    state/    LevelDB: the state, its tree at version h, and
              Jplan              digest of the manifest
              Jroot              root of the tree so far       } while it grows
              J 00 position:u32  this chunk is in              }
    blocks/   the block of the snapshot's height; the next ones follow it
    snapshots/  a copy of the snapshot, see `kept`
    complete  the folder is a ledger: move it into place
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from hashlib import sha256
from itertools import count
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import PeerFault, Reason, invariant
from tanpo.ledger.statechunk import PATH_STOP, Chunk, verify_chunk
from tanpo.ledger.statekey import PATH_DIGITS, wrap_root
from tanpo.ledger.types import Height, MerkleRoot, NetworkId
from tanpo.storage.beginning import stage_beginning
from tanpo.storage.blockfile import StoredBlock
from tanpo.storage.database import Database, scan_keys, seal
from tanpo.storage.files import create_synced, guarded_io, sync_folder
from tanpo.storage.guard import SLOT_BYTES, SLOTS, read_slots
from tanpo.storage.kept import SNAPSHOTS_NAME, move_copies
from tanpo.storage.layout import (
    BLOCKS_NAME,
    GUARD_NAME,
    NETWORK_NAME,
    STATE_NAME,
    Executed,
    Progress,
    decode_progress,
    encode_executed,
    executed_key,
    state_key,
    write_folder,
)
from tanpo.storage.manifest import Manifest
from tanpo.storage.nodelog import NodeLog
from tanpo.storage.reading import TreeSource, read_root
from tanpo.storage.records import (
    EMPTY_ROOT,
    TIP_KEY,
    Root,
    decode_root,
    encode_root,
    root_key,
)
from tanpo.storage.segments import BlockSegments
from tanpo.storage.update import Update

JOINING_NAME: Final = "joining"
REPLACED_PREFIX: Final = "replaced-"
"""With the height of the snapshot: the ledger that it took the place of, for the operator to remove."""

REMEDY: Final = "remove the folder joining/ and join again"

_COMPLETE: Final = "complete"
_PLAN: Final = b"Jplan"
_ROOT: Final = b"Jroot"
_MARK: Final = b"J\x00"
_MARK_STOP: Final = b"J\x01"
_MOVED: Final = (GUARD_NAME, BLOCKS_NAME, STATE_NAME)
_CACHE_BYTES: Final = 32 << 20
_WRITE_BUFFER_BYTES: Final = 32 << 20
"""Larger than a node's: chunks come in order of path, which is no order of key, and sorting them costs
most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrival:
    """What besides the state a ledger begins with: the block of the height, its results' root, and how each
    epoch before ended."""

    block: StoredBlock
    receipts_root: MerkleRoot
    links: tuple[bytes, ...]


class SnapshotBuilder:
    """A ledger that grows from the chunks of one snapshot. `missing` lists those that are not in yet."""

    def __init__(
        self, folder: Path, manifest: Manifest, database: Database, log: NodeLog, root: Root
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._database = database
        self._log = log
        self._root = root
        self._has_tip = read_root(database, manifest.height) is not None
        chunks = range(len(manifest.chunks))
        marks = scan_keys(database, _MARK, _MARK_STOP)
        self._done = set(chunks) if self._has_tip else {int.from_bytes(key[2:], "big") for key in marks}

    @classmethod
    def open(cls, folder: Path, manifest: Manifest) -> SnapshotBuilder:
        """Go on in the folder `folder`, or begin in it: what is there of another snapshot is removed.

        Raises:
            CorruptState: what is there contradicts itself. Unavailable: the disk is full.
        """
        with guarded_io(folder):
            folder.mkdir(parents=True, exist_ok=True)
        database = _open_database(folder)
        if database.get_sealed(_PLAN) != manifest.digest:
            database.close()
            with guarded_io(folder):
                shutil.rmtree(folder)
                folder.mkdir()
            database = _open_database(folder)
            database.write({_PLAN: seal(_PLAN, manifest.digest)}, ())
        root = _load_root(database, manifest.height)
        log = NodeLog.open(database.folder, low=root.low, end=root.end, remedy=REMEDY)
        return cls(folder, manifest, database, log, root)

    @property
    def chunk_count(self) -> int:
        """How many chunks the snapshot has."""
        return len(self._manifest.chunks)

    @property
    def missing(self) -> list[int]:
        """The positions of the chunks that are not in yet."""
        return [position for position in range(len(self._manifest.chunks)) if position not in self._done]

    def check_copy(self, position: int, encoded: bytes) -> None:
        """Raise `PeerFault` unless a chunk is the one that the manifest names: else whoever sent it is at
        fault."""
        place = self._manifest.chunks[position]
        if len(encoded) != place.size or sha256(encoded).digest() != place.digest:
            raise PeerFault(
                Reason.PROOF_INVALID,
                "this is not the chunk that the manifest of the snapshot names",
                value=position,
                limit=place.digest.hex(),
                remedy="ask another node",
            )

    def verify(self, position: int, encoded: bytes) -> Chunk:
        """Return a chunk after checking it against the root. One that the manifest names and that does not
        stand shows that the manifest is false.

        Raises:
            PeerFault: it is no part of the state, or does not end where the manifest has the next one begin.
        """
        chunks = self._manifest.chunks
        chunk = verify_chunk(encoded, self._manifest.state_root, chunks[position].start)
        following = chunks[position + 1].start if position + 1 < len(chunks) else PATH_STOP
        if chunk.stop != following:
            raise PeerFault(
                Reason.PROOF_INVALID,
                "the chunks of the snapshot do not meet",
                value=f"{chunk.stop:064x}",
                limit=f"{following:064x}",
                remedy="ask another node",
            )
        return chunk

    def insert(self, position: int, chunk: Chunk) -> None:
        """Write a verified chunk, once; it is on disk when this returns.

        Raises:
            CorruptState: the disk or the database refuses; stop. Unavailable: the disk is full; the same
            holds.
        """
        if position in self._done:
            return
        update = Update(
            self._root,
            layers=[],
            cache=[{} for _ in range(PATH_DIGITS + 1)],
            source=TreeSource(database=self._database, log=self._log),
        )
        update.apply([path + digest for path, digest in chunk.entries.items()])
        root = update.root
        self._log.append(update.start, update.parts)
        puts: dict[bytes, bytes] = {}
        for key, value in chunk.pairs.items():
            stored = state_key(key)
            puts[stored] = seal(stored, value)
        mark = _mark_key(position)
        puts[mark] = seal(mark, b"")
        puts[_ROOT] = seal(_ROOT, encode_root(root))
        self._database.write(puts, ())
        self._root = root
        self._done.add(position)

    def finish(self, network_id: NetworkId, arrival: Arrival) -> None:
        """Make the folder a ledger once every chunk is in, and close it; `move_in` puts it into place.

        Raises:
            CorruptState: its tree does not have the root of the state. Unavailable: the disk is full.
        """
        invariant(not self.missing, f"{len(self.missing)} chunks of the snapshot are missing")
        height, folder = self._manifest.height, self._folder
        if wrap_root(self._root.slot[3]) != self._manifest.state_root:
            raise self._database.damaged(
                "the tree built from the snapshot does not have its root",
                value=wrap_root(self._root.slot[3]).hex(),
                limit=self._manifest.state_root.hex(),
            )
        with guarded_io(folder):
            (folder / _COMPLETE).unlink(missing_ok=True)
            shutil.rmtree(folder / BLOCKS_NAME, ignore_errors=True)
        write_folder(folder, network_id, Progress(segment_height=height, executed_height=height))
        segments = BlockSegments.open(
            folder / BLOCKS_NAME, network_id=network_id, synced=Height(height - 1), first=height
        )
        segments.append(arrival.block)
        segments.close()
        if not self._has_tip:
            self._write_tip(arrival)
        self.close()
        with guarded_io(folder):
            create_synced(folder / _COMPLETE, _choose_replaced(folder.parent, height).encode("ascii"))

    def close(self) -> None:
        """Close every file; what is in stays."""
        self._log.close()
        self._database.close()

    def _write_tip(self, arrival: Arrival) -> None:
        height = self._manifest.height
        executed = Executed(
            height=height,
            block_hash=arrival.block.block_hash,
            state_root=self._manifest.state_root,
            receipts_root=arrival.receipts_root,
        )
        puts: dict[bytes, bytes] = {}
        for key, payload in (
            (executed_key(height), encode_executed(executed)),
            (root_key(height), encode_root(self._root)),
            (TIP_KEY, height.to_bytes(4, "big")),
        ):
            puts[key] = seal(key, payload)
        stage_beginning(height, arrival.links, puts)
        # `Jplan` stays: should the process be killed now, it tells the next one whose ledger this is.
        self._database.write(puts, [_ROOT, *scan_keys(self._database, _MARK, _MARK_STOP)])


def find_plan(folder: Path) -> bytes | None:
    """Return the digest of the manifest whose ledger grows in a folder, None if none does.

    Raises:
        CorruptState: what is there contradicts itself. Unavailable: the disk is full.
    """
    with guarded_io(folder):
        if not (folder / STATE_NAME).exists():
            return None
    database = _open_database(folder)
    try:
        return database.get_sealed(_PLAN)
    finally:
        database.close()


def move_in(path: Path) -> bool:
    """Put a complete ledger in the place of the one in the folder `path`, and return whether there was one.

    Does what is left to do of a move that a crash cut short. What was there before is kept.

    Raises:
        CorruptState: the disk refuses.
    """
    joining = path / JOINING_NAME
    with guarded_io(path):
        if not (joining / _COMPLETE).exists():
            return False
        replaced = path / (joining / _COMPLETE).read_text("ascii")
        for name in _MOVED:
            if not (joining / name).exists():
                continue  # it is in place already
            if (path / name).exists():
                _set_aside(path / name, replaced / name)
            (joining / name).rename(path / name)
            sync_folder(path)
        move_copies(joining / SNAPSHOTS_NAME, path / SNAPSHOTS_NAME)
        shutil.copyfile(joining / NETWORK_NAME, path / NETWORK_NAME)
        sync_folder(path)
        (joining / _COMPLETE).unlink()  # First: without the rest it would promise what is not there.
        shutil.rmtree(joining)
        sync_folder(path)
    return True


def read_height(path: Path) -> Height:
    """Return how far the ledger in a folder had got by its guard, 0 if there is none or it does not
    verify."""
    guard = path / GUARD_NAME
    with guarded_io(guard):
        content = guard.read_bytes() if guard.exists() else b""
    image = read_slots([content[at : at + SLOT_BYTES] for at in range(0, SLOT_BYTES * SLOTS, SLOT_BYTES)])
    return Height(0) if image is None else Height(max(0, decode_progress(image.payload).executed_height))


def count_replaced(path: Path) -> int:
    """Return how many ledgers that were replaced lie in a folder."""
    with guarded_io(path):
        return sum(1 for _ in path.glob(f"{REPLACED_PREFIX}*"))


def _choose_replaced(path: Path, height: Height) -> str:
    """Return a name that nothing in the folder has yet: what was replaced before stays."""
    names = (f"{REPLACED_PREFIX}{height}" + (f"-{again}" if again else "") for again in count())
    return next(name for name in names if not (path / name).exists())


def _set_aside(old: Path, place: Path) -> None:
    place.parent.mkdir(exist_ok=True)
    old.rename(place)
    sync_folder(place.parent)


def _open_database(folder: Path) -> Database:
    return Database.open(
        folder / STATE_NAME, remedy=REMEDY, cache_bytes=_CACHE_BYTES, write_buffer_bytes=_WRITE_BUFFER_BYTES
    )


def _load_root(database: Database, height: Height) -> Root:
    """Return the root of the tree that is there, whole or growing."""
    whole = read_root(database, height)
    if whole is not None:
        return whole
    record = database.get_sealed(_ROOT)
    root = EMPTY_ROOT if record is None else decode_root(record)
    if root is None:
        raise database.damaged("the root of a growing tree is malformed")
    return root


def _mark_key(position: int) -> bytes:
    return _MARK + position.to_bytes(4, "big")
