"""Votes, quorum certificates, timeout certificates and commit proofs, and how each is verified.

Every signed string starts with `tanpo-v1`, a kind byte, the network id and the epoch, so that a signature
made for one purpose, network or epoch proves nothing in another. Signatures are not part of a block's hash.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from enum import IntEnum
from hashlib import sha256
from typing import Final, Protocol

from tanpo.ledger.block import HASH_BYTES, Header, compute_block_hash, encode_header, read_header
from tanpo.ledger.codec import U64_MAX, Reader, Writer, malformed
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.keys import SIGNATURE_BYTES_MAX
from tanpo.ledger.types import BlockHash, Epoch, Height, NetworkId, Signature, Term, ValidatorIndex

VALIDATORS_MAX: Final = 64


class SignedKind(IntEnum):
    """The purpose byte of a signed string."""

    VOTE_PREPARE = 0x01
    VOTE_COMMIT = 0x02
    TIMEOUT = 0x03
    STEP_DOWN = 0x04


@dataclass(frozen=True, slots=True, kw_only=True)
class QuorumCertificate:
    """That a quorum voted (`VOTE_PREPARE` or `VOTE_COMMIT`) for one block; signers strictly ascend."""

    kind: SignedKind
    epoch: Epoch
    term: Term
    height: Height
    block_hash: BlockHash
    signatures: tuple[tuple[ValidatorIndex, Signature], ...]

    @property
    def rank(self) -> tuple[Term, Height]:
        """The order of certificates inside one epoch."""
        return (self.term, self.height)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutEntry:
    """One validator's signed timeout: the rank and block of the highest certificate it held."""

    validator: ValidatorIndex
    high_term: Term
    high_height: Height
    high_hash: BlockHash
    signature: Signature

    @property
    def high_rank(self) -> tuple[Term, Height]:
        """The rank of that certificate."""
        return (self.high_term, self.high_height)


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeoutCertificate:
    """That a quorum gave up on `term`; carries the highest certificate among them. Signers ascend."""

    epoch: Epoch
    term: Term
    entries: tuple[TimeoutEntry, ...]
    high_qc: QuorumCertificate

    @property
    def high_rank(self) -> tuple[Term, Height]:
        """The highest rank that any signer reported."""
        return max(entry.high_rank for entry in self.entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class CommitProof:
    """That a block is final: a commit certificate on it (`child` is None), or a prepare certificate on a
    child of the same term, whose header names it as parent."""

    certificate: QuorumCertificate
    child: Header | None = None

    @property
    def block_hash(self) -> BlockHash:
        """The block that is final, and with it all its ancestors."""
        return self.certificate.block_hash if self.child is None else self.child.parent_hash

    @property
    def height(self) -> Height:
        """The height of that block."""
        return self.certificate.height if self.child is None else Height(self.child.height - 1)

    @property
    def term(self) -> Term:
        """The term of that block."""
        return self.certificate.term if self.child is None else self.child.parent_term


class SignatureChecker(Protocol):
    """Checks signatures of one validator set. Simulations use cheap keys behind it."""

    @property
    def validator_count(self) -> int:
        """How many validators there are."""
        ...

    def verify(self, validator: ValidatorIndex, message: bytes, signature: Signature) -> bool:
        """Return whether the validator signed the message."""
        ...


def compute_faulty_max(validator_count: int) -> int:
    """Return how many faulty validators a set of this size survives (S1)."""
    return (validator_count - 1) // 3


def compute_quorum(validator_count: int) -> int:
    """Return the fewest votes of which any two sets share an honest validator (S1)."""
    return (validator_count + compute_faulty_max(validator_count)) // 2 + 1


def vote_bytes(
    kind: SignedKind, network_id: NetworkId, epoch: Epoch, term: Term, height: Height, block_hash: BlockHash
) -> bytes:
    """Return what a validator signs to vote for a block."""
    return _signed_prefix(kind, network_id, epoch) + Writer().u64(term).u64(height).raw(block_hash).finish()


def timeout_bytes(
    network_id: NetworkId,
    epoch: Epoch,
    term: Term,
    high_term: Term,
    high_height: Height,
    high_hash: BlockHash,
) -> bytes:
    """Return what a validator signs to give up on a term. The high certificate must be in it."""
    body = Writer().u64(term).u64(high_term).u64(high_height).raw(high_hash).finish()
    return _signed_prefix(SignedKind.TIMEOUT, network_id, epoch) + body


def step_down_bytes(network_id: NetworkId, epoch: Epoch, term: Term) -> bytes:
    """Return what a leader signs to give its term away."""
    return _signed_prefix(SignedKind.STEP_DOWN, network_id, epoch) + Writer().u64(term).finish()


def base_certificate(epoch: Epoch, height: Height, block_hash: BlockHash) -> QuorumCertificate:
    """Return what the first block of an epoch extends: the last block of the epoch before, at term 0.

    It has no signatures: that block was made final by the validators of its own epoch.
    """
    return QuorumCertificate(
        kind=SignedKind.VOTE_PREPARE,
        epoch=epoch,
        term=Term(0),
        height=height,
        block_hash=block_hash,
        signatures=(),
    )


def genesis_certificate(network_id: NetworkId) -> QuorumCertificate:
    """Return the certificate that the first block of all extends: rank (0, 0), no signatures."""
    return base_certificate(Epoch(0), Height(0), BlockHash(network_id))


def verify_certificate(
    certificate: QuorumCertificate, network_id: NetworkId, checker: SignatureChecker
) -> None:
    """Raise `PeerFault` unless a quorum of distinct validators signed. A base certificate never passes."""
    message = vote_bytes(
        certificate.kind,
        network_id,
        certificate.epoch,
        certificate.term,
        certificate.height,
        certificate.block_hash,
    )
    _check_quorum([index for index, _ in certificate.signatures], checker.validator_count)
    for index, signature in certificate.signatures:
        if not checker.verify(index, message, signature):
            raise _bad_signature("quorum certificate", index)


def verify_timeout_certificate(
    certificate: TimeoutCertificate,
    network_id: NetworkId,
    checker: SignatureChecker,
    base: QuorumCertificate,
) -> None:
    """Raise `PeerFault` unless a quorum timed out and the high certificate is the highest they name.

    `base` is the epoch's base certificate, which needs no signatures.
    """
    _check_quorum([entry.validator for entry in certificate.entries], checker.validator_count)
    for entry in certificate.entries:
        message = timeout_bytes(
            network_id,
            certificate.epoch,
            certificate.term,
            entry.high_term,
            entry.high_height,
            entry.high_hash,
        )
        if not checker.verify(entry.validator, message, entry.signature):
            raise _bad_signature("timeout certificate", entry.validator)
    high = certificate.high_qc
    if high.epoch != certificate.epoch or high.rank != certificate.high_rank:
        raise PeerFault(
            Reason.PROOF_INVALID,
            "timeout certificate carries another high certificate than its signers name",
            value=high.rank,
            limit=certificate.high_rank,
        )
    if high != base:
        verify_certificate(high, network_id, checker)


def verify_commit_proof(proof: CommitProof, network_id: NetworkId, checker: SignatureChecker) -> None:
    """Raise `PeerFault` unless the proof shows its block final."""
    certificate, child = proof.certificate, proof.child
    wanted = SignedKind.VOTE_COMMIT if child is None else SignedKind.VOTE_PREPARE
    if certificate.kind is not wanted:
        raise PeerFault(Reason.PROOF_INVALID, "commit proof holds the wrong kind of certificate")
    if child is not None and (
        compute_block_hash(child) != certificate.block_hash
        or (child.epoch, child.term, child.height)
        != (certificate.epoch, certificate.term, certificate.height)
        or child.parent_term != child.term
    ):
        raise PeerFault(
            Reason.PROOF_INVALID, "commit proof's child is not certified in its parent's own term"
        )
    verify_certificate(certificate, network_id, checker)


def write_certificate(writer: Writer, certificate: QuorumCertificate) -> None:
    """Append a quorum certificate."""
    writer.u8(certificate.kind).u64(certificate.epoch).u64(certificate.term).u64(certificate.height)
    writer.raw(certificate.block_hash).u8(len(certificate.signatures))
    for index, signature in certificate.signatures:
        writer.u8(index).blob(signature)


def read_certificate(reader: Reader) -> QuorumCertificate:
    """Read a quorum certificate; signers that do not strictly ascend are refused."""
    kind = reader.u8()
    if kind not in (SignedKind.VOTE_PREPARE, SignedKind.VOTE_COMMIT):
        raise malformed("unknown kind of certificate", value=kind, limit="1 or 2")
    certificate = QuorumCertificate(
        kind=SignedKind(kind),
        epoch=Epoch(reader.u64()),
        term=Term(reader.u64()),
        height=Height(reader.u64()),
        block_hash=BlockHash(reader.raw(HASH_BYTES)),
        signatures=tuple(
            (ValidatorIndex(reader.u8()), Signature(reader.blob(SIGNATURE_BYTES_MAX)))
            for _ in range(_validator_count(reader))
        ),
    )
    _check_ascending([index for index, _ in certificate.signatures])
    return certificate


def write_timeout_certificate(writer: Writer, certificate: TimeoutCertificate) -> None:
    """Append a timeout certificate."""
    writer.u64(certificate.epoch).u64(certificate.term).u8(len(certificate.entries))
    for entry in certificate.entries:
        writer.u8(entry.validator).u64(entry.high_term).u64(entry.high_height)
        writer.raw(entry.high_hash).blob(entry.signature)
    write_certificate(writer, certificate.high_qc)


def read_timeout_certificate(reader: Reader) -> TimeoutCertificate:
    """Read a timeout certificate; one without entries or with unordered signers is refused."""
    epoch, term = Epoch(reader.u64()), Term(reader.u64())
    if term == U64_MAX:
        # Whoever takes it at its word computes the term that it opens, which would have no encoding.
        raise malformed("timeout certificate of the last term, which opens none", value=term)
    entries = tuple(
        TimeoutEntry(
            validator=ValidatorIndex(reader.u8()),
            high_term=Term(reader.u64()),
            high_height=Height(reader.u64()),
            high_hash=BlockHash(reader.raw(HASH_BYTES)),
            signature=Signature(reader.blob(SIGNATURE_BYTES_MAX)),
        )
        for _ in range(_validator_count(reader))
    )
    if not entries:
        raise malformed("timeout certificate without entries", value=0, limit="1 or more")
    _check_ascending([entry.validator for entry in entries])
    return TimeoutCertificate(epoch=epoch, term=term, entries=entries, high_qc=read_certificate(reader))


def encode_commit_proof(proof: CommitProof) -> bytes:
    """Return the canonical encoding of a commit proof."""
    writer = Writer()
    write_commit_proof(writer, proof)
    return writer.finish()


def decode_commit_proof(encoded: bytes) -> CommitProof:
    """Return the commit proof that `encoded` spells, unverified. Raises `PeerFault` for other bytes."""
    reader = Reader(encoded)
    proof = read_commit_proof(reader)
    reader.finish()
    return proof


def write_commit_proof(writer: Writer, proof: CommitProof) -> None:
    """Append a commit proof."""
    write_certificate(writer, proof.certificate)
    writer.flag(proof.child is not None)
    if proof.child is not None:
        writer.raw(encode_header(proof.child))


def read_commit_proof(reader: Reader) -> CommitProof:
    """Read a commit proof, unverified."""
    certificate = read_certificate(reader)
    return CommitProof(certificate=certificate, child=read_header(reader) if reader.flag() else None)


def _signed_prefix(kind: SignedKind, network_id: NetworkId, epoch: Epoch) -> bytes:
    return b"tanpo-v1" + Writer().u8(kind).raw(network_id).u64(epoch).finish()


def compute_signed_digest(message: bytes) -> bytes:
    """Return the SHA-256 that the P-256 signature of a signed string covers."""
    return sha256(message).digest()


def _validator_count(reader: Reader) -> int:
    count = reader.u8()
    if count > VALIDATORS_MAX:
        raise malformed("too many signers", value=count, limit=VALIDATORS_MAX)
    return count


def _check_ascending(indices: list[ValidatorIndex]) -> None:
    if any(a >= b for a, b in itertools.pairwise(indices)):
        raise malformed("signers must strictly ascend", value=indices, limit="each once")


def _check_quorum(indices: list[ValidatorIndex], validator_count: int) -> None:
    _check_ascending(indices)
    quorum = compute_quorum(validator_count)
    if len(indices) < quorum:
        raise PeerFault(Reason.PROOF_INVALID, "too few signers", value=len(indices), limit=quorum)
    if indices[-1] >= validator_count:
        raise PeerFault(
            Reason.PROOF_INVALID, "unknown validator", value=indices[-1], limit=validator_count - 1
        )


def _bad_signature(what: str, index: ValidatorIndex) -> PeerFault:
    return PeerFault(Reason.SIGNATURE_INVALID, f"{what}: bad signature of validator {index}", value=index)
