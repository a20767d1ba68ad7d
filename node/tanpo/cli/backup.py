"""What `tanpo node backup` does, between the client of a running node and the files of a stopped one."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Final, cast

from tanpo.cli.upkeep import load_node
from tanpo.client import BackupData, BackupOrigin, Client, load_genesis, load_profile
from tanpo.ledger.errors import Reason, UsageError
from tanpo.node.backup_record import BackupRecord, save_record
from tanpo.node.backups import open_stopped, read_keys, write_backup
from tanpo.node.config import NodeConfig
from tanpo.node.credentials import load_signing_key
from tanpo.node.data_checks import find_record_path
from tanpo.node.inspecting import inspect_backup
from tanpo.node.restoring import Restoration, restore_backup
from tanpo.storage.backup import BackupReader, Manifest, Origin
from tanpo.storage.files import guarded_io
from tanpo.storage.sealing import SealedFile

PASSPHRASE_BYTES_MIN: Final = 12
PASSPHRASE_BYTES_MAX: Final = 1024
"""Shorter ones are guessed; scrypt makes each guess dear, but not that dear."""


def create_backup(
    file: Path, *, profile: Path | None, config: Path | None, passphrase_file: Path | None, with_keys: bool
) -> Manifest:
    """Write a backup of a running node, by an operator's profile, or of a stopped one, by its configuration.

    Raises:
        UsageError: not one of both is given, secret files are asked for without encryption, or what is asked
            for cannot be done. Unavailable: the node cannot be reached, or the disk is full.
    """
    passphrase = load_passphrase(passphrase_file)
    if (profile is None) == (config is None):
        raise UsageError(
            Reason.MISUSE,
            "a backup is either of a running node or of a stopped one",
            value="both" if profile else "neither",
            limit="-p PROFILE or --config CONFIG",
            remedy="name an operator's profile if the node runs, and its TOML file if it is stopped",
        )
    if with_keys and (passphrase is None or config is None):
        raise UsageError(
            Reason.MISUSE,
            "secret files are copied from where they are, and never in the clear",
            value="--with-keys",
            limit="with --config and --passphrase-file",
            remedy="give both, or leave --with-keys out",
        )
    created_ms = time.time_ns() // 1_000_000
    if profile is not None:
        return _back_up_running(file, profile, passphrase, created_ms)
    return _back_up_stopped(file, cast(Path, config), passphrase, created_ms, with_keys=with_keys)


def verify_backup(file: Path, *, genesis: Path | None, passphrase_file: Path | None) -> Manifest:
    """Check a whole backup. Raises `UsageError` or `CorruptState` unless it can be restored."""
    wanted = None if genesis is None else load_genesis(genesis).network_id
    sealed = _open(file, passphrase_file)
    with guarded_io(file):
        return inspect_backup(BackupReader(sealed), str(file), network_id=wanted)


def restore_node(
    file: Path, config_path: Path, *, passphrase_file: Path | None, keys_dir: Path | None
) -> Manifest:
    """Restore a backup into the empty data directory that a configuration names.

    Raises:
        UsageError: the directory is not empty, or the backup is of another network.
        CorruptState: the backup is damaged. Unavailable: the disk is full.
    """
    config, genesis = load_node(config_path)
    return restore_backup(
        _open(file, passphrase_file),
        Restoration(
            data_dir=config.data_dir,
            network_id=genesis.network_id,
            signing_key=load_signing_key(config),
            keys_dir=keys_dir,
        ),
    )


def load_passphrase(path: Path | None) -> bytes | None:
    """Return the first line of a file that nobody else may read, `None` without a file."""
    if path is None:
        return None
    with path.open("rb") as file:
        mode = os.fstat(file.fileno()).st_mode
        line = file.read(PASSPHRASE_BYTES_MAX + 2).split(b"\n", 1)[0].rstrip(b"\r")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise UsageError(
            Reason.CONFIGURATION,
            f"passphrase file {path} may be read by others than its owner",
            value=f"mode {stat.S_IMODE(mode):04o}",
            limit="mode 0600",
            remedy=f"run `chmod 600 {path}`, and choose another passphrase if others had access",
        )
    if not PASSPHRASE_BYTES_MIN <= len(line) <= PASSPHRASE_BYTES_MAX:
        raise UsageError(
            Reason.CONFIGURATION,
            f"the first line of {path} is no passphrase",
            value=f"{len(line)} bytes",
            limit=f"{PASSPHRASE_BYTES_MIN} to {PASSPHRASE_BYTES_MAX} bytes",
            remedy="write a long random one, and keep it apart from the backups",
        )
    return line


def describe_backup(file: Path, manifest: Manifest) -> dict[str, object]:
    """Return what a backup is, as commands print it."""
    origin = manifest.origin
    return {
        "file": str(file),
        "bytes": file.stat().st_size,
        "created_ms": manifest.created_ms,
        "network_id": origin.network_id,
        "member": origin.member,
        "node": origin.node,
        "epoch": origin.epoch,
        "height": origin.height,
        "block_hash": origin.block_hash,
        "state_root": origin.state_root,
        "files": len(manifest.files),
    }


def _back_up_running(file: Path, profile: Path, passphrase: bytes | None, created_ms: int) -> Manifest:
    with Client(load_profile(profile)) as client:
        parts = client.admin.stream_backup()
        origin = cast(BackupOrigin, next(parts))
        return write_backup(
            file,
            _read_origin(origin),
            ((part.name, part.data) for part in parts if isinstance(part, BackupData)),
            passphrase=passphrase,
            created_ms=created_ms,
        )


def _back_up_stopped(
    file: Path, config_path: Path, passphrase: bytes | None, created_ms: int, *, with_keys: bool
) -> Manifest:
    config, genesis = load_node(config_path)
    secrets = read_keys(_list_secrets(config_path, config)) if with_keys else iter(())
    with open_stopped(config.data_dir, genesis, config.member, config.node) as source:
        manifest = write_backup(
            file, source.origin, chain(source.parts, secrets), passphrase=passphrase, created_ms=created_ms
        )
    origin = manifest.origin
    record = BackupRecord(height=origin.height, block_hash=origin.block_hash, created_ms=created_ms)
    save_record(find_record_path(config), record)
    return manifest


def _list_secrets(config_path: Path, config: NodeConfig) -> Iterator[tuple[str, Path]]:
    yield "node.toml", config_path
    yield "tls.ca.pem", config.tls.ca
    yield "tls.certificate.pem", config.tls.certificate
    yield "tls.key.pem", config.tls.key
    if config.signing_key is not None:
        yield "signing_key.pem", config.signing_key


def _read_origin(origin: BackupOrigin) -> Origin:
    return Origin(
        network_id=origin.network_id.hex(),
        member=str(origin.member),
        node=origin.node,
        height=origin.height,
        block_hash=origin.block_hash.hex(),
        state_root=origin.state_root.hex(),
        receipts_root=origin.receipts_root.hex(),
        epoch=origin.epoch,
    )


def _open(file: Path, passphrase_file: Path | None) -> SealedFile:
    return SealedFile(path=file, passphrase=load_passphrase(passphrase_file))
