"""Checks a backup while it is read: that its blocks are one chain, and its state that of the last of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePosixPath
from typing import Final

from tanpo.ledger.block import Block, decode_block
from tanpo.ledger.errors import CorruptState, LedgerError, Reason, UsageError
from tanpo.ledger.genesis import genesis_from_json
from tanpo.ledger.statekey import compute_state_root, path_of, value_hash
from tanpo.ledger.types import BlockHash, Height, NetworkId
from tanpo.storage import StoredBlock
from tanpo.storage.backup import BackupReader, Manifest
from tanpo.storage.beginning import BEGINNING_KEY
from tanpo.storage.blockfile import (
    HEADER_BYTES,
    RECORD_HEAD_BYTES,
    RECORD_MAGIC,
    decode_head,
    decode_header,
    decode_height,
    decode_record,
)
from tanpo.storage.copying import ROWS_NAME, RowReader
from tanpo.storage.database import CHECKSUM_BYTES, seal
from tanpo.storage.layout import BLOCKS_NAME, decode_executed, executed_key
from tanpo.storage.records import TIP_KEY

GENESIS_NAME: Final = "genesis.json"
GENESIS_BYTES_MAX: Final = 256 << 20

Part = Callable[[str, bytes], None]


class Inspector:
    """Hears every part of a backup in order, and at the end the manifest."""

    def __init__(self, name: str, wanted: NetworkId | None) -> None:
        self._name = name
        self._wanted = wanted
        self._current = ""
        self._genesis = bytearray()
        self._network_id: NetworkId | None = None
        self._chain: _ChainReader | None = None
        self._rows = RowReader()
        self._last_key = b""
        self._pairs: list[tuple[bytes, bytes]] = []
        self._executed: dict[bytes, bytes] = {}
        self._beginning = 0

    def hear(self, name: str, data: bytes) -> None:
        """Check one part. Raises `CorruptState` for what is no ledger."""
        if name != self._current:
            self._end_file()
            self._current = name
        if name == GENESIS_NAME:
            self._genesis += data
        elif name.startswith(f"{BLOCKS_NAME}/"):
            self._read_blocks(name, data)
        elif name == ROWS_NAME:
            self._read_rows(data)

    def finish(self, manifest: Manifest) -> None:
        """Compare what was heard with what the manifest says it is."""
        self._end_file()
        origin = manifest.origin
        if self._network_id is None:
            raise self._wrong("it holds no genesis")
        record = self._executed.get(executed_key(origin.height)) if origin.height < 2**32 else None
        tip = self._executed.get(TIP_KEY)
        if record is None or tip is None or int.from_bytes(tip[:4], "big") != origin.height:
            raise self._wrong(f"its state is not that of block {origin.height}")
        executed = decode_executed(Height(origin.height), record)
        height, block_hash = 0, BlockHash(self._network_id)
        if self._chain is not None:
            height, block_hash = self._chain.height, self._chain.block_hash
            is_short = self._chain.first > max(1, self._beginning)
            if self._chain.damaged and (is_short or self._chain.is_lost):
                raise self._wrong(f"block {self._chain.damaged} is damaged")
            if is_short:
                raise self._wrong(f"its blocks begin with {self._chain.first}, and its state follows another")
        for part, found, expected in (
            ("network", self._network_id.hex(), origin.network_id),
            ("height of the last block", height, origin.height),
            ("hash of the last block", block_hash.hex(), origin.block_hash),
            ("hash of the executed block", executed.block_hash.hex(), origin.block_hash),
            ("receipts root", executed.receipts_root.hex(), origin.receipts_root),
            ("recorded state root", executed.state_root.hex(), origin.state_root),
            ("state root", compute_state_root(self._pairs).hex(), origin.state_root),
        ):
            if found != expected:
                raise self._wrong(f"its {part} is {found}, and its manifest says {expected}")

    def _end_file(self) -> None:
        if self._current == GENESIS_NAME:
            try:
                self._network_id = genesis_from_json(self._genesis.decode("utf-8")).network_id
            except (LedgerError, UnicodeDecodeError):
                raise self._wrong("its genesis is none") from None
            self._genesis.clear()
            self._verify_network(self._network_id)
        elif self._current.startswith(f"{BLOCKS_NAME}/") and self._chain is not None:
            self._chain.end_file()
        elif self._current == ROWS_NAME and not self._rows.is_whole:
            raise self._wrong("its state is cut short")

    def _verify_network(self, found: NetworkId) -> None:
        if self._wanted not in (None, found):
            raise UsageError(
                Reason.GENESIS_MISMATCH,
                f"{self._name} is a backup of network {found.hex()}",
                value=found.hex(),
                limit=self._wanted.hex() if self._wanted else "",
                remedy="name the genesis file, or the configuration, of that network; or another backup",
            )

    def _read_blocks(self, name: str, data: bytes) -> None:
        if self._network_id is None:
            raise self._wrong("it holds no genesis before its blocks")
        if self._chain is None:
            self._chain = _ChainReader(self._network_id, self._wrong)
        self._chain.feed(name, data)

    def _read_rows(self, data: bytes) -> None:
        for key, value in self._rows.feed(data):
            if key <= self._last_key:
                raise self._wrong("its state is not in order")
            self._last_key = key
            if key[:1] == b"X":
                if key == TIP_KEY:
                    self._executed[key] = value[CHECKSUM_BYTES:]
                continue
            payload = value[CHECKSUM_BYTES:]
            if seal(key, payload) != value:
                raise self._wrong(f"the checksum of {key[:64].hex()} is wrong")
            if key[:1] == b"S":
                self._pairs.append((path_of(key[1:]), value_hash(payload)))
            elif key == BEGINNING_KEY:
                self._beginning = int.from_bytes(payload, "big")
            elif key[:1] == b"B":
                # The latest alone is asked for in the end, and keys ascend.
                self._executed = {key: payload}

    def _wrong(self, why: str) -> CorruptState:
        return CorruptState(
            Reason.DATA_CORRUPT,
            f"{self._name} is no sound backup: {why}",
            value=self._name,
            remedy="use another backup, and audit the node that this one was made of",
        )


class _ChainReader:
    """Reads segments as they come, and follows the chain from block to block.

    `first` is the first of them. Those of a ledger that joined by a snapshot do not follow genesis, and the
    parent of the first is not there to be compared. What comes before a damaged block counts for nothing:
    `first` is then the first behind it, and a pruned ledger may not need more. `damaged` is the last one that
    is, and `is_lost` says that no sound block came after it.
    """

    def __init__(self, network_id: NetworkId, wrong: Callable[[str], CorruptState]) -> None:
        self.height = Height(0)
        self.first = Height(0)
        self.damaged = Height(0)
        self.block_hash = BlockHash(network_id)
        self._network_id = network_id
        self._wrong = wrong
        self._file = ""
        self._salt: bytes | None = None
        self.is_lost = False
        self._waiting = bytearray()

    def feed(self, name: str, data: bytes) -> None:
        if name != self._file:
            self._file, self._salt = name, None
        self._waiting += data
        if self._salt is None and len(self._waiting) >= HEADER_BYTES:
            self._read_header()
        while self._salt is not None and len(self._waiting) >= RECORD_HEAD_BYTES:
            size = decode_head(bytes(self._waiting[:RECORD_HEAD_BYTES]), self._salt)
            if size is None or not self._is_next():
                self._step_over()
                continue
            if len(self._waiting) < size:
                return
            stored = decode_record(bytes(self._waiting[:size]), self._salt)
            if stored is None:
                self._step_over()
                continue
            self._follow(stored)
            del self._waiting[:size]

    def end_file(self) -> None:
        if self._waiting and not self.is_lost:
            raise self._wrong(f"{self._file} is cut short after block {self.height}")
        self._waiting.clear()

    def _is_next(self) -> bool:
        """Whether the head that waits is of the next block, or of a later one behind a damaged one."""
        height = decode_height(bytes(self._waiting[:RECORD_HEAD_BYTES]))
        return height == self.height + 1 or (self.is_lost and height > self.height)

    def _step_over(self) -> None:
        """Leave out what is damaged, up to where the next record may begin."""
        if not self.is_lost:
            self.damaged, self.is_lost = Height(self.height + 1), True
        at = self._waiting.find(RECORD_MAGIC, 1)
        # Its first bytes may have come already.
        del self._waiting[: at if at >= 0 else len(self._waiting) - len(RECORD_MAGIC) + 1]

    def _read_header(self) -> None:
        stem = PurePosixPath(self._file).stem
        first = int(stem) if stem.isascii() and stem.isdigit() else -1
        if not self.first and first >= 1:
            self.first, self.height = Height(first), Height(first - 1)
        if first == self.height + 1 or (self.is_lost and first > self.height):
            self._begin(first)
            self._salt = decode_header(bytes(self._waiting[:HEADER_BYTES]), first, self._network_id)
        if self._salt is None:
            raise self._wrong(f"{self._file} is not the segment after block {self.height}")
        del self._waiting[:HEADER_BYTES]

    def _begin(self, height: int) -> None:
        """Go on with this block; if damaged ones came before it, it is the first that counts."""
        if self.is_lost:
            self.first, self.height, self.is_lost = Height(height), Height(height - 1), False

    def _follow(self, stored: StoredBlock) -> None:
        self._begin(stored.height)
        height = Height(self.height + 1)
        block = _decode(stored)
        if (
            block is None
            or (stored.height, block.header.height) != (height, height)
            or stored.block_hash != block.block_hash
            or (block.header.parent_hash != self.block_hash and (height > self.first or height == 1))
        ):
            raise self._wrong(f"block {height} is damaged or of another chain")
        self.height, self.block_hash = height, block.block_hash


def inspect_backup(
    reader: BackupReader, name: str, take: Part | None = None, *, network_id: NetworkId | None = None
) -> Manifest:
    """Read and check a whole backup, handing each part on to `take`; return its manifest.

    Raises:
        UsageError, CorruptState: as `BackupReader.read` does, or the backup is not of a sound ledger, or of
            another network than the one wanted (GENESIS_MISMATCH).
    """
    inspector = Inspector(name, network_id)
    for file, data in reader.read():
        inspector.hear(file, data)
        if take is not None:
            take(file, data)
    manifest = reader.manifest
    if manifest is None:
        raise UsageError(Reason.MISUSE, "the backup was not read to its end")
    inspector.finish(manifest)
    return manifest


def _decode(stored: StoredBlock) -> Block | None:
    try:
        return decode_block(stored.block)
    except LedgerError:
        return None
