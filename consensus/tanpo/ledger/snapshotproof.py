"""Why the state root of a snapshot can be trusted: from the validators of the genesis to a header that
carries it.

The header of block h + 1 has the root of the state after block h (D6). It is final by the votes of its epoch,
whose validators follow from those of the genesis, one epoch's end after the other. Besides, whoever joins
needs block h itself, with what makes that final: it is the one that the next blocks follow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tanpo.ledger.block import BLOCK_BYTES_MAX, Block, Header, compute_block_hash, decode_block
from tanpo.ledger.certificate import VALIDATORS_MAX
from tanpo.ledger.codec import Reader, Writer
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import DESCENDANTS_MAX, EpochStep, Lineage, decode_headers
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator

EPOCHS_MAX: Final = 65_536
HEADER_BYTES_MAX: Final = 4_096
COMMIT_PROOF_BYTES_MAX: Final = 64 * 1024
STEP_BYTES_MAX: Final = 256 * 1024

_TAG: Final = b"tanpo/snapshot-proof/1"
_NAME_BYTES_MAX: Final = 256
_KEY_BYTES_MAX: Final = 1_024


@dataclass(frozen=True, slots=True, kw_only=True)
class FinalHeader:
    """A header, those above it up to one that a quorum made final, and the proof of that one."""

    header: bytes
    descendants: tuple[bytes, ...]
    commit_proof: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotProof:
    """What a node shows for a snapshot, unverified.

    `steps` are of all epochs before that of `above`, encoded; `tip` is of the header of `block`, `above` of
    the next.
    """

    steps: tuple[bytes, ...]
    block: bytes
    tip: FinalHeader
    above: FinalHeader


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSnapshot:
    """What is proved: `block` is final, and `header`, which is final too, has the roots of what it did."""

    block: Block
    header: Header


def verify_snapshot_proof(proof: SnapshotProof, genesis: Genesis) -> VerifiedSnapshot:
    """Return what the proof shows, with no trust in anybody but the validators of the genesis.

    Raises:
        PeerFault: it does not stand.
    """
    lineage = Lineage.of_genesis(genesis)
    for encoded in proof.steps:
        lineage.extend(decode_step(encoded))
    block = decode_block(proof.block)
    tip, header = _verify_final(lineage, proof.tip), _verify_final(lineage, proof.above)
    if compute_block_hash(tip) != block.block_hash:
        raise _invalid("its block is not the one that is final", value=block.block_hash.hex())
    if (header.parent_hash, header.height) != (block.block_hash, block.header.height + 1):
        raise _invalid(
            "its header is not the next after its block", value=header.height, limit=block.header.height + 1
        )
    if len(proof.steps) != header.epoch:
        raise _invalid(
            "its epochs do not lead to that of its header", value=len(proof.steps), limit=header.epoch
        )
    return VerifiedSnapshot(block=block, header=header)


def encode_snapshot_proof(proof: SnapshotProof) -> bytes:
    """Return the canonical encoding."""
    writer = Writer().raw(_TAG).u32(len(proof.steps))
    for step in proof.steps:
        writer.blob(step)
    writer.blob(proof.block)
    for final in (proof.tip, proof.above):
        writer.blob(final.header).u32(len(final.descendants))
        for header in final.descendants:
            writer.blob(header)
        writer.blob(final.commit_proof)
    return writer.finish()


def decode_snapshot_proof(encoded: bytes) -> SnapshotProof:
    """Return the proof that `encoded` spells, unverified. Raises `PeerFault` for other bytes."""
    reader = Reader(encoded)
    if reader.raw(len(_TAG)) != _TAG:
        raise _invalid("it is none")
    proof = SnapshotProof(
        steps=tuple(reader.blob(STEP_BYTES_MAX) for _ in range(reader.count(EPOCHS_MAX))),
        block=reader.blob(BLOCK_BYTES_MAX),
        tip=_read_final(reader),
        above=_read_final(reader),
    )
    reader.finish()
    return proof


def encode_step(step: EpochStep) -> bytes:
    """Return the canonical encoding of how one epoch followed another."""
    writer = Writer().blob(step.header).blob(step.commit_proof).u8(len(step.validators))
    for validator in step.validators:
        writer.text(validator.member).text(validator.node).blob(validator.public_key)
    return writer.finish()


def decode_step(encoded: bytes) -> EpochStep:
    """Return the step that `encoded` spells, unverified. Raises `PeerFault` for other bytes."""
    reader = Reader(encoded)
    header, commit_proof = reader.blob(HEADER_BYTES_MAX), reader.blob(COMMIT_PROOF_BYTES_MAX)
    count = reader.u8()
    if count > VALIDATORS_MAX:
        raise _invalid("it names too many validators", value=count, limit=VALIDATORS_MAX)
    validators = tuple(_read_validator(reader) for _ in range(count))
    reader.finish()
    return EpochStep(header=header, commit_proof=commit_proof, validators=validators)


def _verify_final(lineage: Lineage, final: FinalHeader) -> Header:
    headers = decode_headers((final.header, *final.descendants))
    lineage.verify_final(headers, final.commit_proof)
    return headers[0]


def _read_final(reader: Reader) -> FinalHeader:
    return FinalHeader(
        header=reader.blob(HEADER_BYTES_MAX),
        descendants=tuple(reader.blob(HEADER_BYTES_MAX) for _ in range(reader.count(DESCENDANTS_MAX))),
        commit_proof=reader.blob(COMMIT_PROOF_BYTES_MAX),
    )


def _read_validator(reader: Reader) -> Validator:
    return Validator(
        member=MemberId(reader.text(_NAME_BYTES_MAX)),
        node=reader.text(_NAME_BYTES_MAX),
        public_key=reader.blob(_KEY_BYTES_MAX),
    )


def _invalid(why: str, *, value: object = "", limit: object = "") -> PeerFault:
    return PeerFault(
        Reason.PROOF_INVALID,
        f"proof of a snapshot: {why}",
        value=value,
        limit=limit,
        remedy="ask another node",
    )
