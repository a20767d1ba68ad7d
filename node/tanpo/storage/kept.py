"""The finished snapshots of a node, read without touching them, and the copy that joining leaves there.

A ledger that came from a snapshot can be executed anew from that one alone: so whoever joins keeps it, and it
stays as long as the ledger begins with it. What a copy holds is believed no more than what a peer sends.

    HEIGHT/manifest     see `manifest`                   HEIGHT/proof        why its root can be trusted
    HEIGHT/c000000 ...  its chunks, by position
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from tanpo.storage.files import corrupt, guarded_io, sync_folder, write_synced
from tanpo.storage.manifest import Manifest, decode_manifest

SNAPSHOTS_NAME: Final = "snapshots"
"""The folder in a node's data directory."""

MANIFEST_NAME: Final = "manifest"
PROOF_NAME: Final = "proof"

_HASH_BYTES: Final = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class KeptSnapshot:
    """A snapshot in a folder of its own, with the bytes that prove its root: both unverified."""

    folder: Path
    manifest: Manifest
    proof: bytes

    def read_chunk(self, position: int) -> bytes:
        """Return a chunk.

        Raises:
            CorruptState: it is missing or damaged.
        """
        path = chunk_path(self.folder, position)
        place = self.manifest.chunks[position]
        with guarded_io(path):
            content = path.read_bytes() if path.exists() else b""
        if len(content) != place.size or sha256(content).digest() != place.digest:
            raise corrupt(
                path,
                "the chunk of a snapshot is missing or damaged",
                value=sha256(content).hexdigest(),
                limit=place.digest.hex(),
                remedy=f"remove {self.folder} and run the command again: it takes another snapshot",
            )
        return content


def list_kept(folder: Path) -> list[KeptSnapshot]:
    """Return the finished snapshots in a folder, the oldest first; those whose head is damaged are left out.

    Raises:
        CorruptState: the disk refuses.
    """
    with guarded_io(folder):
        paths = sorted(path for path in folder.glob("*") if path.name.isdigit())
        found = [find_kept(path) for path in paths]
    return [one for one in found if one is not None]


def find_kept(folder: Path) -> KeptSnapshot | None:
    """Return the snapshot in the folder of its height, None if its head is missing or damaged."""
    encoded, proof = unseal(folder / MANIFEST_NAME), unseal(folder / PROOF_NAME)
    if encoded is None or proof is None:
        return None
    return KeptSnapshot(folder=folder, manifest=decode_manifest(encoded), proof=proof)


class SnapshotCopy:
    """The copy of a snapshot that grows in the folder `folder` while a node joins by it.

    A chunk is on disk when `add` returns. It takes no part in joining: what is wrong with it is found out
    when it is read.
    """

    def __init__(self, folder: Path, manifest: Manifest) -> None:
        self._folder = folder / snapshot_name(manifest.height)
        self._manifest = manifest

    def add(self, position: int, encoded: bytes) -> None:
        """Add a chunk that was verified.

        Raises:
            CorruptState, Unavailable: the disk refuses.
        """
        with guarded_io(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            write_synced(chunk_path(self._folder, position), encoded)

    def finish(self, proof: bytes) -> None:
        """Add the head, by which the copy is one; it is dropped if it lacks a chunk.

        Raises:
            CorruptState, Unavailable: the disk refuses.
        """
        with guarded_io(self._folder):
            sizes = [_size_of(chunk_path(self._folder, at)) for at in range(len(self._manifest.chunks))]
            if sizes != [chunk.size for chunk in self._manifest.chunks]:
                # The join was begun by software that kept none.
                shutil.rmtree(self._folder, ignore_errors=True)
                return
            write_synced(self._folder / PROOF_NAME, seal_file(proof))
            write_synced(self._folder / MANIFEST_NAME, seal_file(self._manifest.encoded))
            sync_folder(self._folder)


def move_copies(source: Path, target: Path) -> None:
    """Move finished copies from one folder of snapshots to another; what is there of the same height goes.

    Called again after a crash, it does what is left to do. Errors of the disk are the caller's to turn.
    """
    for path in sorted(source.glob("*")):
        target.mkdir(exist_ok=True)
        place = target / path.name
        if place.exists():
            shutil.rmtree(place)
        path.rename(place)
        sync_folder(target)


def snapshot_name(height: int) -> str:
    """Return the name of a snapshot's folder."""
    return f"{height:010d}"


def chunk_path(folder: Path, position: int) -> Path:
    """Return the file of a chunk."""
    return folder / f"c{position:06d}"


def seal_file(content: bytes) -> bytes:
    """Return what a file holds whose content `unseal` gives back if it is undamaged."""
    return sha256(content).digest() + content


def unseal(path: Path) -> bytes | None:
    """Return what `seal_file` covered, None if it is missing or damaged. It raises what the disk does."""
    content = path.read_bytes() if path.exists() else b""
    body = content[_HASH_BYTES:]
    return body if sha256(body).digest() == content[:_HASH_BYTES] else None


def _size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else -1
