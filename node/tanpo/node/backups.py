"""Backups of a node's ledger: what is in one, how it is written whole or not at all, and how it is put back.

A backup holds genesis, blocks, state and evidence after one block. It never holds `consensus/`: what a
validator promised since would be missing, and an older memory is what makes a validator sign twice. So a
restored validator has amnesia, and is marked so (ADR 8).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, genesis_to_json
from tanpo.ledger.types import Epoch, MemberId
from tanpo.node.contract_sets import Programs
from tanpo.node.epochs import load_epoch
from tanpo.node.evidence import EVIDENCE_NAME
from tanpo.node.inspecting import GENESIS_NAME
from tanpo.node.versions import load_contracts
from tanpo.storage import LedgerStore
from tanpo.storage.backup import BackupWriter, Manifest, Origin
from tanpo.storage.copying import PART_BYTES, copy_ledger
from tanpo.storage.files import guarded_io, sync_folder
from tanpo.storage.layout import read_progress
from tanpo.storage.sealing import SealedWriter

KEYS_NAME: Final = "keys"
PARTIAL_SUFFIX: Final = ".partial"


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupSource:
    """What a backup is made from: the block it is of, and its files in parts. Closing those ends it."""

    origin: Origin
    parts: Generator[tuple[str, bytes], None, None]


def copy_node(
    store: LedgerStore, genesis: Genesis, data_dir: Path, *, member: MemberId | str, node: str, epoch: Epoch
) -> BackupSource:
    """Return the source of a backup of an open ledger as it is now; the store may go on meanwhile."""
    copied = copy_ledger(store)
    executed = copied.executed
    return BackupSource(
        origin=Origin(
            network_id=genesis.network_id.hex(),
            member=str(member),
            node=node,
            height=executed.height,
            block_hash=executed.block_hash.hex(),
            state_root=executed.state_root.hex(),
            receipts_root=executed.receipts_root.hex(),
            epoch=epoch,
        ),
        parts=_read_all(genesis, copied.parts, data_dir),
    )


@contextmanager
def open_stopped(data_dir: Path, genesis: Genesis, member: str, node: str) -> Iterator[BackupSource]:
    """Return the source of a backup of a stopped node.

    Raises:
        UsageError: there is no ledger, it is of another network, or the node runs.
        CorruptState: it is damaged.
    """
    read_progress(data_dir, genesis.network_id)
    store = LedgerStore.open(data_dir, network_id=genesis.network_id)
    try:
        epoch = Epoch(0)
        if store.is_initialised:
            epoch = load_epoch(store, load_contracts(store, Programs()).machine, genesis).epoch
        yield copy_node(store, genesis, data_dir, member=member, node=node, epoch=epoch)
    finally:
        store.close()


def read_keys(files: Iterable[tuple[str, Path]]) -> Iterator[tuple[str, bytes]]:
    """Yield secret files as parts of a backup, by the names they get in it."""
    for name, path in files:
        with guarded_io(path):
            yield f"{KEYS_NAME}/{name}", path.read_bytes()


def write_backup(
    target: Path,
    origin: Origin,
    parts: Iterable[tuple[str, bytes]],
    *,
    passphrase: bytes | None,
    created_ms: int,
) -> Manifest:
    """Write a backup to a new file: under the name `target` it is whole and on disk, or not there.

    Raises:
        UsageError: the file exists, or another process writes it. Unavailable: the disk is full.
    """
    _refuse_existing(target)
    partial = target.with_name(target.name + PARTIAL_SUFFIX)
    with guarded_io(partial):
        descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            _lock(descriptor, partial)
            try:
                file.truncate()
                writer = BackupWriter(SealedWriter(file, passphrase))
                for name, data in parts:
                    writer.add(name, data)
                manifest = writer.finish(origin, created_ms)
                file.flush()
                os.fsync(descriptor)
                _refuse_existing(target)
                partial.rename(target)
                sync_folder(target.parent)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
    return manifest


def _read_all(
    genesis: Genesis, ledger: Iterator[tuple[str, bytes]], data_dir: Path
) -> Generator[tuple[str, bytes], None, None]:
    encoded = genesis_to_json(genesis).encode("utf-8")
    for at in range(0, len(encoded), PART_BYTES):
        yield GENESIS_NAME, encoded[at : at + PART_BYTES]
    yield from ledger
    folder = data_dir / EVIDENCE_NAME
    for path in sorted(folder.iterdir()) if folder.exists() else ():
        # A piece that enters a block meanwhile is removed, and is in the chain then.
        with suppress(FileNotFoundError):
            yield f"{EVIDENCE_NAME}/{path.name}", path.read_bytes()


def _lock(descriptor: int, partial: Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise UsageError(
            Reason.DATA_LOCKED,
            f"another process writes {partial}",
            value=partial,
            limit="one backup to a file",
            remedy="wait for it, or choose another name",
        ) from None


def _refuse_existing(target: Path) -> None:
    if target.exists():
        raise UsageError(
            Reason.CONFIGURATION,
            f"{target} exists already",
            value=target,
            limit="a new file",
            remedy="choose another name; a backup is never overwritten",
        )
