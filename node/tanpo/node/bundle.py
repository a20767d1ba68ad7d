"""What support needs to understand a node, in one archive that may be mailed: without keys, PEM or passwords.

Every text goes through a `Redactor`. Of files that are not text only names and sizes are taken.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import platform
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from tanpo.ledger.errors import LedgerError, Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PublicKey
from tanpo.node.checking import Report, check_node
from tanpo.node.clock import Clock
from tanpo.node.config import NodeConfig, read_config, render_config
from tanpo.node.doctor import examine
from tanpo.node.operator_files import read_operator_file
from tanpo.node.ops_client import NodeReading, find_reading
from tanpo.node.promises import CONSENSUS_NAME
from tanpo.node.redaction import Redactor
from tanpo.storage.guard import SLOT_BYTES, SLOTS, read_slots

LOG_BYTES_MAX: Final = 4 << 20
"""Of the log's end: some hours, or the minutes before a crash at debug."""

FILES_MAX: Final = 10_000
"""Files of the data directory that are listed."""

_PACKAGES: Final = ("tanpo", "grpcio", "protobuf", "cryptography", "plyvel", "pydantic", "structlog")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was written: the names in the archive."""

    path: Path
    entries: tuple[str, ...]


async def write_bundle(target: Path, config_path: Path, log: Path | None, clock: Clock) -> Bundle:
    """Write the archive, whole or not at all, for its owner alone to read.

    Raises:
        UsageError: there is such a file already, or it cannot be written.
    """
    report = check_node(config_path, clock.wall_ms())
    symptoms = await examine(config_path, clock)
    config = report.config
    redactor = Redactor.of_files(_list_secrets(config_path))
    reading = None if config is None else find_reading(config.ops_listen)
    texts = {
        "doctor.json": _spell([asdict(one) for one in symptoms]),
        "versions.json": _spell(_describe_versions()),
        **dict(_describe_configuration(report)),
        **dict(_describe_node(reading)),
    }
    if config is not None:
        texts["data.json"] = _spell(list(_list_files(config.data_dir)))
        texts["votes.json"] = _spell(_describe_votes(config.data_dir / CONSENSUS_NAME))
    if log is not None:
        texts["node.log"] = _read_end(log)
    archive = _pack({name: redactor.redact(text) for name, text in sorted(texts.items())}, clock)
    _save(target, archive)
    return Bundle(path=target, entries=tuple(sorted(texts)))


def _list_secrets(config_path: Path) -> Iterator[Path]:
    """Yield the secret files that a configuration names, be there what it may wrong with it."""
    config = read_config(config_path).config
    if config is None:
        return
    yield config.tls.key
    if config.signing_key is not None:
        yield config.signing_key


def _describe_configuration(report: Report) -> Iterator[tuple[str, str]]:
    found = [
        {"key": one.key, "is_fault": one.is_fault, "reason": one.error.reason, "message": one.error.message}
        | {"value": one.error.value, "limit": one.error.limit, "remedy": one.error.remedy}
        for one in report.findings
    ]
    yield "config-check.json", _spell({"exit_code": report.exit_code.name, "findings": found})
    if report.config is None:
        # As it is written: what is wrong with it is what matters.
        yield "node.toml", _read_end(report.path)
        return
    yield "node.toml", render_config(report.config)
    yield "certificates.json", _spell(list(_describe_certificates(report.config)))
    if report.genesis is not None:
        yield "genesis.json", _spell(_describe_genesis(report.genesis))


def _describe_certificates(config: NodeConfig) -> Iterator[dict[str, Any]]:
    for key, path in (("tls.certificate", config.tls.certificate), ("tls.ca", config.tls.ca)):
        try:
            leaf = x509.load_pem_x509_certificate(read_operator_file(path))
        except (OSError, ValueError) as error:
            yield {"key": key, "problem": type(error).__name__}
            continue
        yield {
            "key": key,
            "subject": leaf.subject.rfc4514_string(),
            "issuer": leaf.issuer.rfc4514_string(),
            "serial": str(leaf.serial_number),
            "valid_from": leaf.not_valid_before_utc.isoformat(),
            "valid_until": leaf.not_valid_after_utc.isoformat(),
        }


def _describe_genesis(genesis: Genesis) -> dict[str, Any]:
    """Return what tells one genesis from another, without the certificates in it."""
    return {
        "network": genesis.network,
        "network_id": genesis.network_id.hex(),
        "time_ms": genesis.time_ms,
        "members": [str(one.member) for one in genesis.members],
        "validators": {
            f"{one.member}/{one.node}": PublicKey.decode(one.public_key).key_id.hex()
            for one in genesis.validators
        },
        "contracts": [one.name for one in genesis.contracts],
    }


def _describe_node(reading: NodeReading | None) -> Iterator[tuple[str, str]]:
    yield (
        "status.json",
        _spell({"answers": reading is not None, "why_stalled": list(reading.obstacles) if reading else []}),
    )
    if reading is not None:
        yield "metrics.txt", reading.text


def _describe_versions() -> dict[str, Any]:
    return {
        "python": sys.version,
        "platform": platform.platform(),
        "cores": os.cpu_count(),
        "packages": {name: _find_version(name) for name in _PACKAGES},
    }


def _find_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _describe_votes(path: Path) -> dict[str, Any]:
    """Return what can be told of the record of promises without opening it, which only its node may do."""
    guard = path / "live" / "guard"
    try:
        content = guard.read_bytes()
    except OSError:
        return {"is_present": False, "beside": _list_names(path)}
    image = read_slots([content[at : at + SLOT_BYTES] for at in range(0, SLOT_BYTES * SLOTS, SLOT_BYTES)])
    return {
        "is_present": True,
        "writes": None if image is None else image.sequence,
        "valid_slots": 0 if image is None else image.valid_slots,
        "beside": _list_names(path),
    }


def _list_names(path: Path) -> list[str]:
    return sorted(one.name for one in path.glob("*"))


def _list_files(folder: Path) -> Iterator[dict[str, Any]]:
    for position, path in enumerate(sorted(folder.rglob("*"))):
        if position >= FILES_MAX:
            yield {"path": f"and more than {FILES_MAX} in all"}
            return
        try:
            found = path.lstat()
        except OSError:
            continue  # LevelDB removes files as it goes.
        yield {
            "path": str(path.relative_to(folder)),
            "bytes": found.st_size,
            "mode": f"{found.st_mode & 0o7777:04o}",
            "changed_s": int(found.st_mtime),
        }


def _read_end(path: Path) -> str:
    try:
        if not path.is_file():
            return "cannot be read: it is no regular file\n"
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - LOG_BYTES_MAX))
            return file.read(LOG_BYTES_MAX).decode("utf-8", "replace")
    except OSError as error:
        return f"cannot be read: {error.strerror}\n"


def _spell(document: object) -> str:
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _pack(texts: dict[str, str], clock: Clock) -> bytes:
    buffer = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=buffer, mode="wb") as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for name, text in texts.items():
            content = text.encode()
            entry = tarfile.TarInfo(f"tanpo-debug/{name}")
            entry.size, entry.mode, entry.mtime = len(content), 0o600, clock.wall_ms() // 1000
            archive.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


def _save(target: Path, content: bytes) -> None:
    try:
        created = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(created, "wb") as file:
            file.write(content)
    except OSError as error:
        if not isinstance(error, FileExistsError):
            target.unlink(missing_ok=True)
        raise _refuse(target, error) from None


def _refuse(target: Path, error: OSError) -> LedgerError:
    return UsageError(
        Reason.CONFIGURATION,
        f"the bundle cannot be written: {error.strerror}",
        value=target,
        limit="a new file in a folder that this user may write to, on a disk with room",
        remedy="name another file with --out",
    )
