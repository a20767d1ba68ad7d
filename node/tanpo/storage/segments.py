"""Block segments: append-only checksummed files that hold every block, the truth that all else follows from.

A folder of files named by the first height in them; `blockfile` has their format. Each append is on disk
before the next begins, hence at most one record, the last, can be torn by a crash; whatever else does not
verify is damage. Damage to blocks from before the chain here begins is stepped over: nobody reads them, and
they go with their file.
"""

from __future__ import annotations

import os
from array import array
from bisect import bisect_right
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import CorruptState, LedgerError, Reason, UsageError, invariant
from tanpo.ledger.types import BlockHash, Height, NetworkId
from tanpo.storage.blockfile import (
    CHECKSUM_BYTES,
    HEADER_BYTES,
    RECORD_HEAD_BYTES,
    RECORD_MAGIC,
    SALT_BYTES,
    StoredBlock,
    decode_head,
    decode_header,
    decode_height,
    decode_record,
    encode_header,
    encode_record,
)
from tanpo.storage.files import (
    Leaving,
    corrupt,
    create_synced,
    guarded_io,
    read_at,
    sync_folder,
    system_error,
    write_at,
)

SEGMENT_BYTES_DEFAULT: Final = 64 << 20
"""Past this size the next block opens a new file: small enough to verify at every start."""

SUFFIX: Final = ".blocks"
REMEDY: Final = (
    "move blocks/, state/, guard and network aside and put in their place those of a backup or of another "
    "stopped node, or run `tanpo node join`; leave consensus/ as it is: a validator that starts without it "
    "may vote twice"
)
"""An empty data directory would start too, and that is the trap: it forgets what this validator signed."""


JOINED_REMEDY: Final = (
    "if this node joined by a snapshot or was pruned, and lost state/, run `tanpo node rebuild`; else put "
    "back the files that are missing, from a backup or from another stopped node"
)
"""Blocks that begin later than the chain cannot be executed anew."""


def read_first(folder: Path) -> Height:
    """Return the first block that the files in a folder hold, 1 if there are none.

    Raises:
        CorruptState: a file has a name that no segment has, or the disk refuses.
    """
    with guarded_io(folder):
        return Height(min((_first_height(path) for path in _list_files(folder)), default=1))


def _list_files(folder: Path) -> list[Path]:
    """Return the files of blocks. One that may not be read is not empty, as `Path.glob` would have it."""
    if not folder.exists():
        return []
    return [path for path in folder.iterdir() if path.name.endswith(SUFFIX)]


class Segment:
    """One file: its salt and the offset of each record, and one offset more where the next would go."""

    __slots__ = ("first", "offsets", "path", "salt")

    def __init__(self, path: Path, first: int, salt: bytes) -> None:
        self.path = path
        self.first = first
        self.salt = salt
        self.offsets = array("Q", [HEADER_BYTES])

    @property
    def last(self) -> int:
        """The last height in the file, one below `first` if it holds none."""
        return self.first + len(self.offsets) - 2

    @property
    def end(self) -> int:
        """Where the next record goes."""
        return self.offsets[-1]


class BlockSegments:
    """The segments of one chain, open for appending, or for reading alone: then no file is touched."""

    def __init__(
        self,
        folder: Path,
        network_id: NetworkId,
        segment_bytes: int,
        *,
        first: int = 1,
        is_read_only: bool = False,
    ) -> None:
        self._folder = folder
        self._first = first
        self._is_read_only = is_read_only
        self._network_id = network_id
        self._segment_bytes = segment_bytes
        self._firsts: list[int] = []
        self._indexed: dict[int, Segment] = {}
        self._reader_path: Path | None = None
        self._reader = -1
        self._writer = -1
        self._failure: LedgerError | None = None
        self._holds = 0
        self._leaving = Leaving()
        self.height = Height(first - 1)
        self.passed_over: set[int] = set()
        """Damaged blocks from before the first, as far as their files have been read: nobody needs them, but
        a disk that did that may do more."""

    @classmethod
    def open(
        cls,
        folder: Path,
        *,
        network_id: NetworkId,
        synced: Height,
        segment_bytes: int = SEGMENT_BYTES_DEFAULT,
        is_read_only: bool = False,
        first: int = 1,
    ) -> BlockSegments:
        """Open or create the folder, verify the last file and cut off a torn record at its end.

        `first` is the block that the chain here begins with: not 1 for a ledger that came from a snapshot, or
        was pruned. What the files hold of before it is not read.
        `synced` is the highest block known to have been on disk; what is missing up to there is damage. What
        is opened for reading alone ends before a torn record and leaves it there: it may be one that a
        running node is about to finish.

        Raises:
            CorruptState: a file is damaged, or blocks up to `synced` are missing.
        """
        segments = cls(folder, network_id, segment_bytes, first=first, is_read_only=is_read_only)
        with guarded_io(folder):
            if not folder.exists() and not is_read_only:
                folder.mkdir()
                sync_folder(folder.parent)
            segments._firsts = sorted(_first_height(path) for path in _list_files(folder))
        segments._recover(synced)
        return segments

    def append(self, block: StoredBlock) -> None:
        """Add the next block; it is on disk when this returns.

        Raises:
            UsageError: its height is not the next. Unavailable: the disk is full; stop the process.
        """
        self._check_usable()
        invariant(not self._is_read_only, f"a block for {self._folder}, which is open for reading alone")
        if block.height != self.height + 1:
            raise UsageError(
                Reason.MISUSE,
                f"block {block.height} cannot follow block {self.height}",
                value=block.height,
                limit=self.height + 1,
                remedy="append every block once, in order of height",
            )
        try:
            self._append(block)
        except OSError as error:
            self._failure = system_error(error, self._folder)
            raise self._failure from error
        self.height = block.height

    def read(self, height: Height) -> StoredBlock:
        """Return a stored block.

        Raises:
            UsageError: there is no such height. CorruptState: its record is damaged.
        """
        segment = self._segment_of(height)
        index = height - segment.first
        start, stop = segment.offsets[index], segment.offsets[index + 1]
        with guarded_io(segment.path):
            content = read_at(self._open_reader(segment.path), stop - start, start)
        block = decode_record(content, segment.salt)
        if block is None or block.height != height or len(content) != stop - start:
            raise _damaged(segment.path, start, f"record of block {height} does not verify")
        return block

    def read_hash(self, height: Height) -> BlockHash:
        """Return the hash of a stored block without reading the block."""
        segment = self._segment_of(height)
        start = segment.offsets[height - segment.first]
        with guarded_io(segment.path):
            head = read_at(self._open_reader(segment.path), RECORD_HEAD_BYTES, start)
        if decode_head(head, segment.salt) is None:
            raise _damaged(segment.path, start, f"head of block {height} does not verify")
        return BlockHash(head[20:52])

    def find_path(self, height: Height) -> Path:
        """Return the file that holds a block, or would hold it."""
        position = bisect_right(self._firsts, height) - 1
        return self._path(self._firsts[position]) if position >= 0 else self._folder

    def list_ends(self, height: Height) -> list[tuple[Path, int]]:
        """Return the files that hold the blocks up to one, each with the offset where they end."""
        if height <= 0:
            return []
        last = self._segment_of(height)
        with guarded_io(self._folder):
            full = [self._path(first) for first in self._firsts if first < last.first]
            ends = [(path, path.stat().st_size) for path in full]
        return [*ends, (last.path, last.offsets[height - last.first + 1])]

    def hold(self) -> Callable[[], None]:
        """Keep every file that is there now until the result is called, once: somebody reads them."""
        self._holds += 1

        def release() -> None:
            self._holds -= 1

        return release

    def begin_at(self, first: Height) -> None:
        """Read no block before `first` any more, and remove the files that hold none but those.

        While somebody holds the files none is removed; call it again later. A crash in between leaves some.
        Their names are gone when this returns, and their room piece by piece with the calls that follow.

        Raises:
            CorruptState: the disk refuses.
        """
        self._check_usable()
        invariant(
            self._first <= first <= self.height + 1 and not self._is_read_only,
            f"blocks {self._first}..{self.height} of {self._folder} cannot begin at {first}",
        )
        self._first = first
        passed = bisect_right(self._firsts, first) - 1
        with guarded_io(self._folder):
            self._leaving.shrink()
            if self._holds or passed <= 0:
                return
            for number in self._firsts[:passed]:
                if not self._leaving.has_room:
                    self._leaving.shrink(self._segment_bytes)
                if self._reader_path == self._path(number):
                    self._close_reader()
                self._leaving.add(self._path(number), None)
            sync_folder(self._folder)
        for number in self._firsts[:passed]:
            self._indexed.pop(number, None)
        del self._firsts[:passed]

    def close(self) -> None:
        """Close every file."""
        self._leaving.close()
        self._close_reader()
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self._failure = UsageError(Reason.MISUSE, "the block segments are closed", value=self._folder)

    def _check_usable(self) -> None:
        if self._failure is not None:
            raise self._failure

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:012d}{SUFFIX}"

    def _recover(self, synced: Height) -> None:
        """Find the last whole record, and truncate after it."""
        self._drop_unborn(synced)
        if not self._firsts:
            self._require(synced, self._folder, 0)
            return
        # Files may begin earlier: with blocks that are no longer read.
        if self._firsts[0] > self._first:
            raise corrupt(
                self._folder,
                f"the first file begins with block {self._firsts[0]}, not {self._first}",
                value=self._firsts[0],
                limit=self._first,
                remedy=JOINED_REMEDY if self._first == 1 else REMEDY,
            )
        first = self._firsts[-1]
        segment = self._load(first)
        with guarded_io(segment.path):
            content = segment.path.read_bytes()
        _index_records(segment, content)
        while self._pass_over(segment, content):
            _index_records(segment, content)
        self._indexed[first] = segment
        self.height = Height(segment.last)
        self._require(synced, segment.path, segment.end)
        if segment.end < len(content):
            _verify_torn(segment, content)
        if self._is_read_only:
            return
        with guarded_io(segment.path):
            self._writer = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
            os.ftruncate(self._writer, segment.end)
            # The last record may be whole only in the page cache: its append never returned.
            os.fsync(self._writer)

    def _drop_unborn(self, synced: Height) -> None:
        """Remove a last file whose creation a crash cut short; it never held a block."""
        if not self._firsts or self._firsts[-1] <= synced:
            return
        first = self._firsts[-1]
        path = self._path(first)
        with guarded_io(path):
            if path.stat().st_size <= HEADER_BYTES and self._read_salt(path, first) is None:
                self._firsts.pop()
                if not self._is_read_only:
                    path.unlink()
                    sync_folder(self._folder)

    def _load(self, first: int) -> Segment:
        path = self._path(first)
        with guarded_io(path):
            salt = self._read_salt(path, first)
        if salt is None:
            raise _damaged(path, 0, "the header does not verify")
        return Segment(path, first, salt)

    def _read_salt(self, path: Path, first: int) -> bytes | None:
        with path.open("rb") as file:
            return decode_header(file.read(HEADER_BYTES), first, self._network_id)

    def _require(self, synced: Height, path: Path, offset: int) -> None:
        if self.height < synced:
            raise _damaged(
                path, offset, f"the last whole record is block {self.height}, but block {synced} was stored"
            )

    def _append(self, block: StoredBlock) -> None:
        size = RECORD_HEAD_BYTES + len(block.block) + len(block.proof) + CHECKSUM_BYTES
        if not self._firsts or self._last_is_full(size):
            self._create(block.height)
        segment = self._indexed[self._firsts[-1]]
        if self._writer < 0:
            self._writer = os.open(segment.path, os.O_RDWR | os.O_CLOEXEC)
        try:
            write_at(self._writer, encode_record(block, segment.salt), segment.end)
            os.fdatasync(self._writer)
        except OSError:
            # The next start would cut the torn record off as well; doing so now returns its space.
            os.ftruncate(self._writer, segment.end)
            raise
        segment.offsets.append(segment.end + size)

    def _last_is_full(self, size: int) -> bool:
        segment = self._indexed[self._firsts[-1]]
        return segment.last >= segment.first and segment.end + size > self._segment_bytes

    def _create(self, first: int) -> None:
        salt = os.urandom(SALT_BYTES)
        path = self._path(first)
        create_synced(path, encode_header(first, self._network_id, salt))
        if self._writer >= 0:
            os.close(self._writer)
            self._writer = -1
        self._firsts.append(first)
        self._indexed[first] = Segment(path, first, salt)

    def _segment_of(self, height: Height) -> Segment:
        self._check_usable()
        if not self._first <= height <= self.height:
            raise UsageError(
                Reason.HEIGHT_UNKNOWN,
                f"block {height} is not stored",
                value=height,
                limit=f"{self._first}..{self.height}",
                remedy="ask for a height in that range",
            )
        position = bisect_right(self._firsts, height) - 1
        if position < 0:
            raise _damaged(self._folder, 0, f"the file that holds block {height} is missing")
        first = self._firsts[position]
        segment = self._indexed.get(first)
        if segment is None:
            segment = self._indexed[first] = self._index(position)
        return segment

    def _index(self, position: int) -> Segment:
        """Read the heads of a full file. It must end where the next one begins."""
        first, following = self._firsts[position], self._firsts[position + 1]
        segment = self._load(first)
        path, salt = segment.path, segment.salt
        with guarded_io(path):
            descriptor = self._open_reader(path)
            end = os.fstat(descriptor).st_size
            while segment.end < end:
                size = decode_head(read_at(descriptor, RECORD_HEAD_BYTES, segment.end), salt)
                if size is not None and segment.end + size <= end:
                    segment.offsets.append(segment.end + size)
                elif not self._pass_over(segment, path.read_bytes()):
                    break
        if segment.end != end or segment.last != following - 1:
            raise _damaged(path, segment.end, f"the file ends with block {segment.last}, not {following - 1}")
        return segment

    def _pass_over(self, segment: Segment, content: bytes) -> bool:
        """Step over damage up to the next head of a block no later than the first, and return whether there
        is one: the blocks in between are not read."""
        damaged = segment.last + 1
        at = content.find(RECORD_MAGIC, segment.end + 1) if damaged < self._first else -1
        while at >= 0:
            head = content[at : at + RECORD_HEAD_BYTES]
            # A transaction may hold a copy of a head, of a block before it: nobody can make one of a later.
            following = decode_height(head) if decode_head(head, segment.salt) else 0
            if damaged < following <= self._first:
                self.passed_over.update(range(damaged, following))
                segment.offsets.extend([at] * (following - damaged))
                return True
            at = content.find(RECORD_MAGIC, at + 1)
        return False

    def _open_reader(self, path: Path) -> int:
        """Return a descriptor for reading `path`. One is kept: readers walk along the chain."""
        if self._reader_path != path:
            self._close_reader()
            self._reader = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            self._reader_path = path
        return self._reader

    def _close_reader(self) -> None:
        if self._reader_path is not None:
            os.close(self._reader)
            self._reader_path = None


def _index_records(segment: Segment, content: bytes) -> None:
    """Verify the records of a file and note where each begins, up to the first that is not whole."""
    while True:
        at = segment.end
        size = decode_head(content[at : at + RECORD_HEAD_BYTES], segment.salt)
        block = None if size is None else decode_record(content[at : at + size], segment.salt)
        if size is None or block is None or block.height != segment.last + 1:
            return
        segment.offsets.append(at + size)


def _verify_torn(segment: Segment, content: bytes) -> None:
    """Refuse a tail that holds whole heads: a crash tears the last record only."""
    at = content.find(RECORD_MAGIC, segment.end + 1)
    while at >= 0:
        if decode_head(content[at : at + RECORD_HEAD_BYTES], segment.salt) is not None:
            raise _damaged(segment.path, segment.end, "a damaged record is followed by whole ones")
        at = content.find(RECORD_MAGIC, at + 1)


def _first_height(path: Path) -> int:
    if not path.stem.isdigit():
        raise _damaged(path, 0, "the name of a segment is its first height")
    return int(path.stem)


def _damaged(path: Path, offset: int, what: str) -> CorruptState:
    return corrupt(path, f"{what} (at offset {offset})", value=f"{path.name} offset {offset}", remedy=REMEDY)
