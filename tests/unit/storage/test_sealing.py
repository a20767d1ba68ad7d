"""Sealed files: what was written is read again, and every change to it is noticed."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from tanpo.ledger.errors import CorruptState, LedgerError, Reason, UsageError
from tanpo.storage.backup import BackupReader, BackupWriter, Origin
from tanpo.storage.sealing import CHUNK_BYTES, HEADER_BYTES, SEAL_BYTES, SealedFile, SealedWriter

PASSPHRASE = b"correct horse battery"
CONTENT = random.Random(1).randbytes(2 * CHUNK_BYTES + 1000)
CHUNK = 4 + CHUNK_BYTES + SEAL_BYTES


def write(path: Path, content: bytes, passphrase: bytes | None) -> Path:
    with path.open("wb") as file:
        writer = SealedWriter(file, passphrase)
        for at in range(0, len(content), 100_000):
            writer.write(content[at : at + 100_000])
        writer.finish()
    return path


def read(path: Path, passphrase: bytes | None = None) -> bytes:
    return b"".join(SealedFile(path=path, passphrase=passphrase).read())


@pytest.mark.parametrize(
    ("passphrase", "size"),
    [
        *((None, size) for size in (0, 1, CHUNK_BYTES, CHUNK_BYTES + 1, len(CONTENT))),
        (PASSPHRASE, 0),
        (PASSPHRASE, len(CONTENT)),
    ],
)
def test_what_was_written_is_read(tmp_path: Path, passphrase: bytes | None, size: int) -> None:
    path = write(tmp_path / "sealed", CONTENT[:size], passphrase)
    assert read(path, passphrase) == CONTENT[:size]
    if passphrase and size > 1:
        assert CONTENT[:16] not in path.read_bytes()


@pytest.mark.parametrize("cut", [0, 5, HEADER_BYTES, HEADER_BYTES + 3, HEADER_BYTES + CHUNK, -1])
def test_a_file_that_is_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    path = write(tmp_path / "sealed", CONTENT, None)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(LedgerError):
        read(path)


@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
def test_chunks_that_are_left_out_exchanged_or_added_are_refused(
    tmp_path: Path, passphrase: bytes | None
) -> None:
    path = write(tmp_path / "sealed", CONTENT, passphrase)
    whole = path.read_bytes()
    header, first, second = whole[:HEADER_BYTES], *_cut(whole)
    last = whole[HEADER_BYTES + 2 * CHUNK :]
    for wrong in (first + last, second + first + last, first + second + last + last):
        path.write_bytes(header + wrong)
        with pytest.raises(CorruptState) as caught:
            read(path, passphrase)
        assert "offset" in caught.value.message


def _cut(whole: bytes) -> tuple[bytes, bytes]:
    start = HEADER_BYTES
    return whole[start : start + CHUNK], whole[start + CHUNK : start + 2 * CHUNK]


def test_every_flipped_bit_of_a_small_file_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path / "sealed", b"content", None)
    whole = path.read_bytes()
    for position in range(len(whole) * 8):
        damaged = bytearray(whole)
        damaged[position // 8] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(LedgerError):
            read(path)


def test_the_wrong_passphrase_or_none_is_named(tmp_path: Path) -> None:
    path = write(tmp_path / "sealed", CONTENT, PASSPHRASE)
    with pytest.raises(CorruptState, match="the passphrase is another"):
        read(path, b"another passphrase")
    with pytest.raises(UsageError, match="is encrypted"):
        read(path)
    assert write(tmp_path / "again", CONTENT, PASSPHRASE).read_bytes() != path.read_bytes()


def test_a_file_cannot_make_its_reader_use_all_memory(tmp_path: Path) -> None:
    path = write(tmp_path / "sealed", b"", PASSPHRASE)
    whole = bytearray(path.read_bytes())
    whole[10] = 40
    path.write_bytes(whole)
    with pytest.raises(CorruptState, match="offset 10"):
        read(path, PASSPHRASE)


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a//b", "a\\b", "a\nb", ".", "", "x" * 256])
def test_a_backup_names_no_file_outside_its_folder(tmp_path: Path, name: str) -> None:
    origin = Origin(
        network_id="", member="", node="", height=0, block_hash="", state_root="", receipts_root="", epoch=0
    )
    path = tmp_path / "sealed"
    with path.open("wb") as file:
        writer = BackupWriter(SealedWriter(file, None))
        writer._name = "another"
        writer.add(name, b"data")
        writer.finish(origin, 0)
    with pytest.raises(CorruptState) as caught:
        list(BackupReader(SealedFile(path=path)).read())
    assert caught.value.reason is Reason.DATA_CORRUPT
