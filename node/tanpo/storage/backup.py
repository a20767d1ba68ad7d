"""The content of a backup: files one after the other, and a manifest that names each with size and SHA-256.

    file       01, name length u16, name
               any number of: 02, length u32, data
               03, size u64, SHA-256 32
    manifest   04, length u32, JSON; nothing follows

It is written in one pass and read in one pass, so neither needs room beside the file itself.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tanpo.ledger.errors import CorruptState, Reason
from tanpo.storage.sealing import SealedFile, SealedWriter

MANIFEST_FORMAT: Final = "tanpo-backup 1"
NAME_BYTES_MAX: Final = 255
DATA_BYTES_MAX: Final = 4 << 20
MANIFEST_BYTES_MAX: Final = 64 << 20

_FILE, _DATA, _END, _MANIFEST = b"\x01", b"\x02", b"\x03", b"\x04"


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a backup is of: a node's ledger after one block. Hashes are hex, as people compare them."""

    network_id: str
    member: str
    node: str
    height: int
    block_hash: str
    state_root: str
    receipts_root: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """A file of a backup."""

    name: str
    size: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What is in a backup, and what it is of. `created_ms` is by the clock of whoever made it."""

    origin: Origin
    created_ms: int
    files: tuple[FileEntry, ...]


class BackupWriter:
    """Writes files part by part; parts of one file follow each other."""

    def __init__(self, out: SealedWriter) -> None:
        self._out = out
        self._name = ""
        self._digest = sha256()
        self._size = 0
        self._files: list[FileEntry] = []

    def add(self, name: str, data: bytes) -> None:
        """Add bytes to the file `name`, and end the one before it if that is another."""
        if name != self._name:
            self._end_file()
            encoded = name.encode("utf-8")
            self._out.write(_FILE + len(encoded).to_bytes(2, "big") + encoded)
            self._name, self._digest, self._size = name, sha256(), 0
        self._out.write(_DATA + len(data).to_bytes(4, "big") + data)
        self._digest.update(data)
        self._size += len(data)

    def finish(self, origin: Origin, created_ms: int) -> Manifest:
        """End the last file and write the manifest."""
        self._end_file()
        manifest = Manifest(origin=origin, created_ms=created_ms, files=tuple(self._files))
        encoded = encode_manifest(manifest)
        self._out.write(_MANIFEST + len(encoded).to_bytes(4, "big") + encoded)
        self._out.finish()
        return manifest

    def _end_file(self) -> None:
        if self._name:
            self._out.write(_END + self._size.to_bytes(8, "big") + self._digest.digest())
            self._files.append(FileEntry(name=self._name, size=self._size, sha256=self._digest.hexdigest()))


class BackupReader:
    """Reads a backup once. `manifest` is there when all parts have been read."""

    def __init__(self, file: SealedFile) -> None:
        self._file = file
        self._chunks = file.read()
        self._waiting = bytearray()
        self.manifest: Manifest | None = None

    def read(self) -> Iterator[tuple[str, bytes]]:
        """Yield the parts of all files in order, each with the name of its file.

        Raises:
            UsageError, CorruptState: as `SealedFile.read` does; or a file is not what its checksum or the
                manifest says.
        """
        files: list[FileEntry] = []
        while (tag := self._take(1)) == _FILE:
            name = self._take_name()
            digest, size = sha256(), 0
            while (tag := self._take(1)) == _DATA:
                data = self._take(self._take_length(4, DATA_BYTES_MAX))
                digest.update(data)
                size += len(data)
                yield name, data
            stored = FileEntry(name=name, size=self._take_length(8, 1 << 62), sha256=self._take(32).hex())
            entry = FileEntry(name=name, size=size, sha256=digest.hexdigest())
            if tag != _END or stored != entry:
                raise self._wrong(f"{name} is not what its checksum says")
            files.append(entry)
        if tag != _MANIFEST:
            raise self._wrong("a part has an unknown mark")
        manifest = decode_manifest(self._take(self._take_length(4, MANIFEST_BYTES_MAX)))
        if manifest is None or self._waiting or next(self._chunks, b""):
            raise self._wrong("its manifest is none")
        if list(manifest.files) != files:
            raise self._wrong("its files are not those of its manifest")
        self.manifest = manifest

    def _take_name(self) -> str:
        name = self._take(self._take_length(2, NAME_BYTES_MAX)).decode("utf-8", "replace")
        parts = name.split("/")
        # A name leads to a file below the folder that is restored into, whoever made the backup.
        if not name.isprintable() or "\\" in name or any(part in ("", ".", "..") for part in parts):
            raise self._wrong(f"it holds a file with the name {name!r}")
        return name

    def _take_length(self, size: int, limit: int) -> int:
        length = int.from_bytes(self._take(size), "big")
        if length > limit:
            raise self._wrong(f"a length of {length} is more than {limit}")
        return length

    def _take(self, size: int) -> bytes:
        while len(self._waiting) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                raise self._wrong("it ends too early")
            self._waiting += chunk
        taken = bytes(self._waiting[:size])
        del self._waiting[:size]
        return taken

    def _wrong(self, why: str) -> CorruptState:
        return CorruptState(
            Reason.DATA_CORRUPT,
            f"{self._file.path} contradicts itself: {why}",
            value=self._file.path,
            remedy="use another backup; this one was made by faulty software, or by somebody else",
        )


def encode_manifest(manifest: Manifest) -> bytes:
    """Return the manifest as JSON."""
    origin = manifest.origin
    document = {
        "format": MANIFEST_FORMAT,
        "created_ms": manifest.created_ms,
        **{name: getattr(origin, name) for name in Origin.__slots__},
        "files": [{name: getattr(file, name) for name in FileEntry.__slots__} for file in manifest.files],
    }
    return json.dumps(document, indent=1, sort_keys=True).encode("utf-8")


def decode_manifest(encoded: bytes) -> Manifest | None:
    """Return the manifest in JSON that `encode_manifest` wrote, `None` if it is not that."""
    try:
        document = json.loads(encoded)
        if document.pop("format") != MANIFEST_FORMAT:
            return None
        files = tuple(FileEntry(**one) for one in document.pop("files"))
        created_ms = document.pop("created_ms")
        manifest = Manifest(origin=Origin(**document), created_ms=created_ms, files=files)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return None
    origin = manifest.origin
    numbers = (created_ms, origin.height, origin.epoch)
    if encode_manifest(manifest) != encoded or any(type(one) is not int or one < 0 for one in numbers):
        return None
    return manifest
