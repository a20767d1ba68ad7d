"""Private keys in files: PKCS#8 PEM that only their owner may read."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.keys import PrivateKey, PublicKey
from tanpo.ledger.types import KeyId, Signature

_FOR_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSigner:
    """A `Signer` whose key was read from a file."""

    path: Path
    key: PrivateKey = field(repr=False)

    @classmethod
    def load(cls, path: Path | str) -> FileSigner:
        """Return the signer of a key file. Raises as `load_key` does."""
        return cls(path=Path(path), key=load_key(path))

    @property
    def key_id(self) -> KeyId:
        """The id of the key that signs."""
        return self.key.key_id

    def sign(self, digest: bytes) -> Signature:
        """Return a DER signature over a 32-byte digest."""
        return self.key.sign(digest)


def load_key(path: Path | str) -> PrivateKey:
    """Return the private key in a file.

    Raises:
        UsageError: it cannot be read, others than its owner may read it, or it holds no P-256 key.
    """
    file = Path(path)
    try:
        with file.open("rb") as stream:
            # Of the open file and not of its name, which could point elsewhere a moment later.
            mode = os.fstat(stream.fileno()).st_mode
            pem = stream.read(_KEY_BYTES_MAX + 1)
    except OSError as error:
        raise _unusable(
            file, f"cannot be read: {error.strerror}", "correct the path or its permissions"
        ) from None
    if mode & _FOR_OTHERS:
        raise UsageError(
            Reason.CONFIGURATION,
            f"key file {file} may be read by others than its owner",
            value=f"mode {stat.S_IMODE(mode):04o}",
            limit="mode 0600",
            remedy=f"run `chmod 600 {file}`, and replace the key if others had access",
        )
    if len(pem) > _KEY_BYTES_MAX:
        raise _unusable(file, "is too large to be one", "name the right file")
    try:
        return PrivateKey.from_pem(pem)
    except UsageError as error:
        raise _unusable(file, f"is unusable: {error.message}", error.remedy) from None


def save_key(path: Path | str, key: PrivateKey) -> None:
    """Write a key to a new file of mode 0600, durably.

    Raises:
        UsageError: the file exists, or cannot be written. An existing file is never touched.
    """
    _write_new(Path(path), key.to_pem(), mode=0o600)


def save_public_key(path: Path | str, key: PublicKey) -> None:
    """Write a public key to a new PEM file. Raises `UsageError` when it exists or cannot be written."""
    _write_new(Path(path), key.to_pem(), mode=0o644)


def _write_new(file: Path, pem: bytes, *, mode: int) -> None:
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(pem)
            stream.flush()
            os.fsync(stream.fileno())
    except FileExistsError:
        raise _unusable(file, "exists already", "choose another name; a key is never overwritten") from None
    except OSError as error:
        raise _unusable(
            file, f"cannot be written: {error.strerror}", "choose a folder you may write"
        ) from None


_KEY_BYTES_MAX: Final = 16 * 1024


def _unusable(file: Path, why: str, remedy: str) -> UsageError:
    return UsageError(Reason.CONFIGURATION, f"key file {file} {why}", value=file, remedy=remedy)
