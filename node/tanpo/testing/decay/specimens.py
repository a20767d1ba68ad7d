"""What decays: a ledger, promises, evidence and backups, each with a reader that knows the truth.

A reader reads all there is, as a node does, and compares it with what was written: every answer must be right
or refused. Where a node goes on with less (LevelDB behind the blocks), the reader lets it go on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Final

from tanpo.ledger.evidence import encode_evidence
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import BlockHash, Epoch, Height, MemberId, MerkleRoot, NetworkId, TxId
from tanpo.ledger.validators import Validator, ValidatorSet
from tanpo.node.evidence import EvidencePool
from tanpo.node.metrics import Metrics
from tanpo.storage import (
    BlockCommit,
    LedgerStore,
    SafetyStore,
    SafetyWrite,
    StoredBlock,
    audit,
)
from tanpo.storage.backup import BackupReader, BackupWriter, Origin
from tanpo.storage.sealing import SealedFile, SealedWriter
from tanpo.testing.accusation import make_double_vote

NETWORK: Final = NetworkId(sha256(b"network").digest())
BLOCKS: Final = 24
PROMISES: Final = 8
SEGMENT_BYTES: Final = 1500
LOG_FILE_BYTES: Final = 1_500
"""So little that the log of the tree has several files, and lost the first ones."""
PASSPHRASE: Final = b"a passphrase for a test"
BACKUP_NAME: Final = "backup"


class Wrong(Exception):
    """A reader got an answer that is not what was written, and was not told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Specimen:
    """Something on disk. `kinds` finds its files, by kind; `read` raises `Wrong` for a wrong answer, a
    `LedgerError` for what is refused, and returns whether anything was found amiss and dropped."""

    name: str
    folder: Path
    kinds: Mapping[str, str]
    read: Callable[[Path], bool]


def make_specimens(folder: Path) -> tuple[Specimen, ...]:
    """Make one of each in a folder."""
    database = {"CURRENT": "CURRENT", "manifest": "MANIFEST-*", "log": "*.log", "table": "*.ldb"}
    ledger, promises, evidence, plain, encrypted = (
        folder / name for name in ("ledger", "promises", "evidence", "plain", "encrypted")
    )
    _write_ledger(ledger)
    _write_promises(promises)
    held = _write_evidence(evidence)
    _write_backup(plain, None)
    _write_backup(encrypted, PASSPHRASE)
    return (
        Specimen(
            name="ledger",
            folder=ledger,
            kinds={
                "segment": "blocks/*.blocks",
                "guard": "guard",
                "network": "network",
                **{f"state {kind}": f"state/{pattern}" for kind, pattern in database.items()},
                "state nodes": "state/*.nodes",
            },
            read=_read_ledger,
        ),
        Specimen(
            name="promises",
            folder=promises,
            kinds={
                "guard": "live/guard",
                **{kind: f"live/db/{pattern}" for kind, pattern in database.items()},
            },
            read=_read_promises,
        ),
        Specimen(
            name="evidence",
            folder=evidence,
            kinds={"held": "evidence/*"},
            read=lambda copy: _read_evidence(copy, held),
        ),
        Specimen(name="plain backup", folder=plain, kinds={"file": BACKUP_NAME}, read=_read_plain),
        Specimen(
            name="encrypted backup", folder=encrypted, kinds={"file": BACKUP_NAME}, read=_read_encrypted
        ),
    )


def _require(is_right: bool, what: str) -> None:
    if not is_right:
        raise Wrong(what)


def _seeded(seed: int) -> Random:
    return Random(seed)  # noqa: S311 - replayed, not secret


def _block(height: int) -> StoredBlock:
    return StoredBlock(
        height=Height(height),
        block_hash=BlockHash(sha256(b"%d" % height).digest()),
        block=_seeded(height).randbytes(120),
        proof=b"proof %d" % height,
    )


def _changes(height: int) -> dict[bytes, bytes | None]:
    source = _seeded(-height)
    return {b"%d" % source.randrange(40): source.choice([None, b"v%d" % height]) for _ in range(10)}


def _state(height: int) -> list[tuple[bytes, bytes]]:
    state: dict[bytes, bytes | None] = {}
    for number in range(height + 1):
        state.update(_changes(number))
    return sorted((key, value) for key, value in state.items() if value is not None)


def _open_ledger(path: Path) -> LedgerStore:
    return LedgerStore.open(
        path, network_id=NETWORK, window=5, segment_bytes=SEGMENT_BYTES, log_file_bytes=LOG_FILE_BYTES
    )


def _initialise(store: LedgerStore) -> None:
    root = MerkleRoot(bytes(32))
    store.initialise(_changes(0), block_hash=BlockHash(NETWORK), receipts_root=root)


def _execute(store: LedgerStore, height: int) -> None:
    changes = _changes(height)
    store.commit(
        BlockCommit(
            height=Height(height),
            block_hash=_block(height).block_hash,
            changes=changes,
            plan=store.tree.begin(Height(height), changes),
            receipts=(b"receipt %d" % height,),
            receipts_root=MerkleRoot(bytes(32)),
            tx_ids=(TxId(b"tx %d" % height),),
            request_digests=(b"request %d" % height,),
            parties=(("member",),),
        )
    )


def _write_ledger(path: Path) -> None:
    """Write several segments, tables and a log."""
    store = _open_ledger(path)
    _initialise(store)
    for height in range(1, BLOCKS + 1):
        store.append_block(_block(height))
        _execute(store, height)
        if height % 6 == 0 and height < BLOCKS:
            store.close()
            store = _open_ledger(path)
    store.close()


def _read_ledger(path: Path) -> bool:
    store = _open_ledger(path)
    try:
        if not store.is_initialised:
            _initialise(store)
        height = store.executed_height
        _require(store.segment_height == BLOCKS, f"blocks to {store.segment_height}")
        _require(store.scan(b"", b"\xff", 1000) == _state(height), f"state at {height}")
        for number in range(1, BLOCKS + 1):
            _require(store.read_block(Height(number)) == _block(number), f"block {number}")
        for number in range(1, height + 1):
            _require(store.get_receipts(Height(number)) == (b"receipt %d" % number,), f"receipts {number}")
            _require(store.find_transaction(TxId(b"tx %d" % number)) == (number, 0), f"position {number}")
            _require(store.find_request(b"request %d" % number) == (number, 0), f"request {number}")
        audit(store)
        for number in range(height + 1, BLOCKS + 1):
            _execute(store, number)
        _require(store.scan(b"", b"\xff", 1000) == _state(BLOCKS), "state after execution")
    finally:
        store.close()
    return height < BLOCKS


def _write_promises(path: Path) -> None:
    SafetyStore.create(path)
    store = SafetyStore.open(path)
    for number in range(1, PROMISES + 1):
        store.save(SafetyWrite(record=b"record %d" % number, blocks={_block(number).block_hash: b"body"}))
        if number == PROMISES // 2:
            store.close()
            store = SafetyStore.open(path)
    store.close()


def _read_promises(path: Path) -> bool:
    store = SafetyStore.open(path)
    try:
        image = store.load()
    finally:
        store.close()
    _require(image.record == b"record %d" % PROMISES, "record")
    _require(set(image.blocks) >= {_block(PROMISES).block_hash}, "blocks")
    return False


_ACCUSED: Final = PrivateKey.generate()
_VALIDATORS: Final = ValidatorSet(
    (Validator(member=MemberId("member"), node="n1", public_key=_ACCUSED.public_key.encoded),)
)


def _open_pool(path: Path, store: LedgerStore) -> EvidencePool:
    return EvidencePool.open(
        path,
        network_id=NETWORK,
        store=store,
        find_validators=lambda epoch: _VALIDATORS if epoch == Epoch(0) else None,
        metrics=Metrics(),
    )


def _write_evidence(path: Path) -> bytes:
    store = _open_ledger(path)
    _initialise(store)
    evidence = make_double_vote(NETWORK, _ACCUSED, 0)
    _open_pool(path, store).add(evidence, "this node")
    store.close()
    return encode_evidence(evidence)


def _read_evidence(path: Path, held: bytes) -> bool:
    store = _open_ledger(path)
    try:
        found = _open_pool(path, store).list_held()
    finally:
        store.close()
    _require(found in ([], [held]), "evidence")
    return not found


def _list_parts() -> list[tuple[str, bytes]]:
    return [(f"file {number}", _seeded(number).randbytes(700)) for number in range(6)]


def _write_backup(folder: Path, passphrase: bytes | None) -> None:
    folder.mkdir()
    origin = Origin(
        network_id="", member="", node="", height=0, block_hash="", state_root="", receipts_root="", epoch=0
    )
    with (folder / BACKUP_NAME).open("wb") as file:
        writer = BackupWriter(SealedWriter(file, passphrase))
        for name, data in _list_parts():
            writer.add(name, data)
        writer.finish(origin, 0)


def _read_plain(folder: Path) -> bool:
    return _read_backup(folder, None)


def _read_encrypted(folder: Path) -> bool:
    return _read_backup(folder, PASSPHRASE)


def _read_backup(folder: Path, passphrase: bytes | None) -> bool:
    reader = BackupReader(SealedFile(path=folder / BACKUP_NAME, passphrase=passphrase))
    _require(list(reader.read()) == _list_parts(), "parts")
    return False
