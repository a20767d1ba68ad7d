"""The format of block segments.

    header   magic "TANPOSEG", version u32, first height u64, network id 32, salt 16, checksum 16
    record   magic "TBLK", block length u32, proof length u32, height u64, block hash 32, checksum 16
             block, proof, checksum 16

Checksums are BLAKE2b keyed by the file's random salt, so nothing that a sender puts into a transaction can
pass for a record.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from tanpo.ledger.types import BlockHash, Height, NetworkId

FILE_MAGIC: Final = b"TANPOSEG"
RECORD_MAGIC: Final = b"TBLK"
FORMAT_VERSION: Final = 1
CHECKSUM_BYTES: Final = 16
SALT_BYTES: Final = 16
HEADER_BYTES: Final = 84
RECORD_HEAD_BYTES: Final = 68


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredBlock:
    """A block as it lies in a segment; the bytes mean nothing to this layer."""

    height: Height
    block_hash: BlockHash
    block: bytes
    proof: bytes


def encode_header(first: int, network_id: NetworkId, salt: bytes) -> bytes:
    """Return the header of a file."""
    body = FILE_MAGIC + FORMAT_VERSION.to_bytes(4, "big") + first.to_bytes(8, "big") + network_id + salt
    return body + _checksum(body, salt)


def decode_header(header: bytes, first: int, network_id: NetworkId) -> bytes | None:
    """Return the salt of a file that begins with `first`, or `None` if the header is not whole."""
    salt = header[52:68]
    return salt if header == encode_header(first, network_id, salt) else None


def encode_record(block: StoredBlock, salt: bytes) -> bytes:
    """Return the record of a block."""
    head = b"".join(
        (
            RECORD_MAGIC,
            len(block.block).to_bytes(4, "big"),
            len(block.proof).to_bytes(4, "big"),
            block.height.to_bytes(8, "big"),
            block.block_hash,
        )
    )
    body = head + _checksum(head, salt) + block.block + block.proof
    return body + _checksum(body, salt)


def decode_head(head: bytes, salt: bytes) -> int | None:
    """Return the size of the record that begins with `head`, or `None` if the head does not verify."""
    if len(head) < RECORD_HEAD_BYTES or head[:4] != RECORD_MAGIC or _checksum(head[:52], salt) != head[52:68]:
        return None
    lengths = int.from_bytes(head[4:8], "big") + int.from_bytes(head[8:12], "big")
    return RECORD_HEAD_BYTES + lengths + CHECKSUM_BYTES


def decode_height(head: bytes) -> int:
    """Return the height in the head of a record, which was verified."""
    return int.from_bytes(head[12:20], "big")


def decode_record(record: bytes, salt: bytes) -> StoredBlock | None:
    """Return the block in a record, or `None` if the record is not whole."""
    size = decode_head(record[:RECORD_HEAD_BYTES], salt)
    if (
        size is None
        or len(record) != size
        or _checksum(record[:-CHECKSUM_BYTES], salt) != record[-CHECKSUM_BYTES:]
    ):
        return None
    middle = RECORD_HEAD_BYTES + int.from_bytes(record[4:8], "big")
    return StoredBlock(
        height=Height(decode_height(record)),
        block_hash=BlockHash(record[20:52]),
        block=record[RECORD_HEAD_BYTES:middle],
        proof=record[middle:-CHECKSUM_BYTES],
    )


def _checksum(content: bytes, salt: bytes) -> bytes:
    return blake2b(content, digest_size=CHECKSUM_BYTES, key=salt).digest()
