"""Blocks: a header that a quorum signs by its hash, and the body of envelopes it commits to.

The header of height *h* carries the roots **after executing height h-1** (D6): a validator votes for it
only if its own execution of the parent agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntFlag
from hashlib import sha256
from typing import Final

from tanpo.ledger.codec import Reader, Writer, malformed
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.transaction import ENVELOPE_BYTES_MAX
from tanpo.ledger.types import (
    BlockHash,
    Epoch,
    Height,
    MerkleRoot,
    NetworkId,
    StateRoot,
    Term,
    TxId,
    ValidatorIndex,
)

HEADER_VERSION: Final = 1
HASH_BYTES: Final = 32
BLOCK_ENVELOPES_MAX: Final = 4096
BLOCK_EVIDENCE_MAX: Final = 16
EVIDENCE_BYTES_MAX: Final = 64 * 1024
BLOCK_BYTES_MAX: Final = 4 * 1024 * 1024
"""Hard bound on an encoded block; a network's own parameter lies below it."""

EMPTY_ROOT: Final = compute_merkle_root(())


class BlockFlags(IntFlag):
    """Marks of a block. The last block of an epoch names the validators of the next."""

    NONE = 0
    EPOCH_END = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What is hashed and signed. `time_ms` is Unix milliseconds, above the parent's."""

    network_id: NetworkId
    epoch: Epoch
    term: Term
    height: Height
    parent_hash: BlockHash
    parent_term: Term
    time_ms: int
    proposer: ValidatorIndex
    tx_root: MerkleRoot
    tx_count: int
    body_hash: bytes
    state_root: StateRoot
    receipts_root: MerkleRoot
    valset_hash: bytes
    next_valset_hash: bytes
    flags: BlockFlags
    evidence_root: MerkleRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A header, its hash, and the exact bytes of the envelopes and evidence it commits to.

    That the body agrees with the header is checked by `decode_block` for `body_hash` and
    `evidence_root`, and by whoever decodes the envelopes for `tx_root` and `tx_count`.
    """

    header: Header
    block_hash: BlockHash
    envelopes: tuple[bytes, ...]
    evidence: tuple[bytes, ...] = ()

    @classmethod
    def create(cls, header: Header, envelopes: Sequence[bytes], evidence: Sequence[bytes] = ()) -> Block:
        """Return the block of a header that already commits to this body."""
        return cls(
            header=header,
            block_hash=compute_block_hash(header),
            envelopes=tuple(envelopes),
            evidence=tuple(evidence),
        )


def compute_block_hash(header: Header) -> BlockHash:
    """Return the hash by which a block is known, voted for and certified."""
    return BlockHash(sha256(b"tanpo/header/1" + encode_header(header)).digest())


def compute_body_hash(envelopes: Sequence[bytes], evidence: Sequence[bytes] = ()) -> bytes:
    """Return the hash of the exact body, signatures included."""
    return sha256(b"tanpo/body/1" + _encode_body(envelopes, evidence)).digest()


def compute_tx_root(tx_ids: Sequence[TxId]) -> MerkleRoot:
    """Return the Merkle root over a block's transaction ids in order."""
    return compute_merkle_root(tx_ids)


def encode_header(header: Header) -> bytes:
    """Return the canonical encoding: fixed width, so that a header has one spelling."""
    writer = Writer().u16(HEADER_VERSION).raw(header.network_id).u64(header.epoch).u64(header.term)
    writer.u64(header.height).raw(header.parent_hash).u64(header.parent_term).u64(header.time_ms)
    writer.u32(header.proposer).raw(header.tx_root).u32(header.tx_count).raw(header.body_hash)
    writer.raw(header.state_root).raw(header.receipts_root).raw(header.valset_hash)
    return writer.raw(header.next_valset_hash).u8(header.flags).raw(header.evidence_root).finish()


def read_header(reader: Reader) -> Header:
    """Read one header. Raises `PeerFault` for bytes that are none."""
    version = reader.u16()
    if version != HEADER_VERSION:
        raise malformed("unknown header version", value=version, limit=HEADER_VERSION)
    return Header(
        network_id=NetworkId(reader.raw(HASH_BYTES)),
        epoch=Epoch(reader.u64()),
        term=Term(reader.u64()),
        height=Height(reader.u64()),
        parent_hash=BlockHash(reader.raw(HASH_BYTES)),
        parent_term=Term(reader.u64()),
        time_ms=reader.u64(),
        proposer=ValidatorIndex(reader.u32()),
        tx_root=MerkleRoot(reader.raw(HASH_BYTES)),
        tx_count=reader.u32(),
        body_hash=reader.raw(HASH_BYTES),
        state_root=StateRoot(reader.raw(HASH_BYTES)),
        receipts_root=MerkleRoot(reader.raw(HASH_BYTES)),
        valset_hash=reader.raw(HASH_BYTES),
        next_valset_hash=reader.raw(HASH_BYTES),
        flags=_read_flags(reader),
        evidence_root=MerkleRoot(reader.raw(HASH_BYTES)),
    )


def encode_block(block: Block) -> bytes:
    """Return the canonical encoding of a whole block."""
    return encode_header(block.header) + _encode_body(block.envelopes, block.evidence)


def decode_block(encoded: bytes) -> Block:
    """Return the block that `encoded` spells.

    Raises:
        PeerFault: the bytes are no block, are too large, or the body is not the one in the header.
    """
    if len(encoded) > BLOCK_BYTES_MAX:
        raise malformed("block too large", value=len(encoded), limit=BLOCK_BYTES_MAX)
    reader = Reader(encoded)
    header = read_header(reader)
    envelopes = tuple(reader.blob(ENVELOPE_BYTES_MAX) for _ in range(reader.count(BLOCK_ENVELOPES_MAX)))
    evidence = tuple(reader.blob(EVIDENCE_BYTES_MAX) for _ in range(reader.count(BLOCK_EVIDENCE_MAX)))
    reader.finish()
    if compute_body_hash(envelopes, evidence) != header.body_hash:
        raise malformed("body is not the one its header commits to")
    if compute_merkle_root(evidence) != header.evidence_root:
        raise malformed("evidence is not what the header commits to")
    return Block.create(header, envelopes, evidence)


def _encode_body(envelopes: Sequence[bytes], evidence: Sequence[bytes]) -> bytes:
    writer = Writer().u32(len(envelopes))
    for envelope in envelopes:
        writer.blob(envelope)
    writer.u32(len(evidence))
    for item in evidence:
        writer.blob(item)
    return writer.finish()


def _read_flags(reader: Reader) -> BlockFlags:
    value = reader.u8()
    if value > BlockFlags.EPOCH_END:
        raise malformed("unknown block flags", value=value, limit="0 or 1")
    return BlockFlags(value)
