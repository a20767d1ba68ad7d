"""A file of sealed chunks: every byte is authenticated, and none can be left out, repeated or put elsewhere.

    header   magic "TANPOBAK", version u8, kind u8 (0 plain, 1 encrypted), log2 n u8, r u8, p u8, salt 16
    chunk    length u32, its highest bit set in the last one; body of that length; seal 16

A chunk's seal covers its number, whether it is the last, and the header. Plain files carry BLAKE2b, which
finds damage; encrypted ones AES-256-GCM under a key that scrypt derives from a passphrase and the file's own
salt, so a key seals one file and its chunks' numbers can be nonces.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from tanpo.ledger.errors import CorruptState, Reason, UsageError

MAGIC: Final = b"TANPOBAK"
FORMAT_VERSION: Final = 1
CHUNK_BYTES: Final = 1 << 20
SEAL_BYTES: Final = 16
SALT_BYTES: Final = 16
HEADER_BYTES: Final = len(MAGIC) + 5 + SALT_BYTES

SCRYPT_LOG2_N: Final = 17
SCRYPT_R: Final = 8
SCRYPT_P: Final = 1
"""128 MiB and a third of a second for each guess at a passphrase."""
SCRYPT_LOG2_N_MAX: Final = 20
"""What a file may ask of a reader: 1 GiB. More would be an attack and no backup."""

_LAST: Final = 1 << 31
_PLAIN, _ENCRYPTED = 0, 1


class Seal(Protocol):
    """Seals and opens chunks under one file's header."""

    def seal(self, number: int, plain: bytes, *, is_last: bool) -> bytes:
        """Return the body of a chunk and its seal."""
        ...

    def open(self, number: int, sealed: bytes, *, is_last: bool) -> bytes | None:
        """Return what was sealed, `None` if this is not it."""
        ...


class PlainSeal:
    """Finds damage; keeps no secret."""

    def __init__(self, header: bytes) -> None:
        self._header = header

    def seal(self, number: int, plain: bytes, *, is_last: bool) -> bytes:
        """Return the chunk and its checksum."""
        return plain + self._compute(number, plain, is_last)

    def open(self, number: int, sealed: bytes, *, is_last: bool) -> bytes | None:
        """Return the chunk if its checksum is right."""
        plain = sealed[:-SEAL_BYTES]
        return plain if self._compute(number, plain, is_last) == sealed[-SEAL_BYTES:] else None

    def _compute(self, number: int, plain: bytes, is_last: bool) -> bytes:
        digest = blake2b(self._header + _encode_place(number, is_last), digest_size=SEAL_BYTES)
        digest.update(plain)
        return digest.digest()


class EncryptedSeal:
    """AES-256-GCM."""

    def __init__(self, header: bytes, passphrase: bytes) -> None:
        log2_n, r, p = header[10], header[11], header[12]
        kdf = Scrypt(salt=header[-SALT_BYTES:], length=32, n=1 << log2_n, r=r, p=p)
        self._cipher = AESGCM(kdf.derive(passphrase))
        self._header = header

    def seal(self, number: int, plain: bytes, *, is_last: bool) -> bytes:
        """Return the chunk, encrypted."""
        return self._cipher.encrypt(_encode_place(number, is_last), plain, self._header)

    def open(self, number: int, sealed: bytes, *, is_last: bool) -> bytes | None:
        """Return the chunk, decrypted, if it is the one that was sealed."""
        try:
            return self._cipher.decrypt(_encode_place(number, is_last), sealed, self._header)
        except InvalidTag:
            return None


class SealedWriter:
    """Writes a stream of bytes as sealed chunks; `finish` seals the last one."""

    def __init__(self, file: BinaryIO, passphrase: bytes | None) -> None:
        kind = _PLAIN if passphrase is None else _ENCRYPTED
        header = MAGIC + bytes((FORMAT_VERSION, kind, SCRYPT_LOG2_N, SCRYPT_R, SCRYPT_P))
        header += os.urandom(SALT_BYTES)
        self._seal: Seal = PlainSeal(header) if passphrase is None else EncryptedSeal(header, passphrase)
        self._file = file
        self._waiting = bytearray()
        self._number = 0
        file.write(header)

    def write(self, content: bytes) -> None:
        """Add bytes to the stream."""
        self._waiting += content
        while len(self._waiting) > CHUNK_BYTES:
            self._put(bytes(self._waiting[:CHUNK_BYTES]), is_last=False)
            del self._waiting[:CHUNK_BYTES]

    def finish(self) -> None:
        """Seal what is left as the last chunk."""
        self._put(bytes(self._waiting), is_last=True)

    def _put(self, plain: bytes, *, is_last: bool) -> None:
        length = len(plain) | (_LAST if is_last else 0)
        self._file.write(length.to_bytes(4, "big"))
        self._file.write(self._seal.seal(self._number, plain, is_last=is_last))
        self._number += 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """A sealed file on disk, to be read from its beginning as often as need be."""

    path: Path
    passphrase: bytes | None = None

    def read(self) -> Iterator[bytes]:
        """Yield the chunks in order.

        Raises:
            UsageError: it is no such file, or it is encrypted and no passphrase is given.
            CorruptState: it is damaged or cut short, or the passphrase is another.
        """
        with self.path.open("rb") as file:
            seal = self._open_seal(file.read(HEADER_BYTES))
            number, is_last = 0, False
            while not is_last:
                offset = file.tell()
                head = int.from_bytes(file.read(4), "big")
                length, is_last = head & ~_LAST, bool(head & _LAST)
                sealed = file.read(length + SEAL_BYTES) if length <= CHUNK_BYTES else b""
                plain = None
                if len(sealed) == length + SEAL_BYTES:
                    plain = seal.open(number, sealed, is_last=is_last)
                if plain is None:
                    raise self._damaged(offset, number)
                yield plain
                number += 1
            if file.read(1):
                raise self._damaged(file.tell() - 1, number)

    def _open_seal(self, header: bytes) -> Seal:
        if len(header) < HEADER_BYTES or header[:8] != MAGIC or header[8] != FORMAT_VERSION:
            raise UsageError(
                Reason.VERSION_UNKNOWN,
                f"{self.path} is no backup that this version reads",
                value=header[:9].hex(),
                limit=(MAGIC + bytes((FORMAT_VERSION,))).hex(),
                remedy="name a file that `tanpo node backup create` made; its first bytes may be damaged",
            )
        kind, log2_n, r, p = header[9:13]
        if kind not in (_PLAIN, _ENCRYPTED) or (r, p) != (SCRYPT_R, SCRYPT_P):
            raise self._damaged(9, 0)
        if not 14 <= log2_n <= SCRYPT_LOG2_N_MAX:
            raise self._damaged(10, 0)
        if kind == _PLAIN:
            return PlainSeal(header)
        if self.passphrase is None:
            raise UsageError(
                Reason.CONFIGURATION,
                f"{self.path} is encrypted",
                value=self.path,
                limit="the passphrase that it was made with",
                remedy="name the file that holds it with --passphrase-file",
            )
        return EncryptedSeal(header, self.passphrase)

    def _damaged(self, offset: int, number: int) -> CorruptState:
        also = " or the passphrase is another" if self.passphrase is not None and number == 0 else ""
        return CorruptState(
            Reason.DATA_CORRUPT,
            f"{self.path} is damaged or cut short at offset {offset}{also}",
            value=f"offset {offset}",
            limit="what `tanpo node backup create` wrote",
            remedy="use another copy of this backup, or another backup",
        )


def _encode_place(number: int, is_last: bool) -> bytes:
    """Return the 12 bytes that stand for a chunk's place; no other chunk of the file has them."""
    return number.to_bytes(8, "big") + bytes((0, 0, 0, is_last))
