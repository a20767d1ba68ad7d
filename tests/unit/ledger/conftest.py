"""A small network to test with: four validators, a signed envelope, a header and certificates on it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from hashlib import sha256

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tanpo.ledger import (
    EMPTY_ROOT,
    BlockFlags,
    BlockHash,
    Call,
    Envelope,
    Epoch,
    Genesis,
    Header,
    Height,
    InstalledContract,
    Member,
    MemberId,
    MerkleRoot,
    NetworkId,
    Parameters,
    PrivateKey,
    QuorumCertificate,
    SignedKind,
    StateRoot,
    Term,
    TimeoutCertificate,
    TimeoutEntry,
    Transaction,
    Validator,
    ValidatorIndex,
    ValidatorSet,
    build_transaction,
    compute_body_hash,
    compute_signed_digest,
    compute_tx_root,
    sign_envelope,
    timeout_bytes,
    vote_bytes,
)

Certify = Callable[[SignedKind, int, int, BlockHash, Iterable[int]], QuorumCertificate]
GiveUp = Callable[[int, QuorumCertificate, Iterable[int]], TimeoutCertificate]


@pytest.fixture(scope="session")
def keys() -> tuple[PrivateKey, ...]:
    return tuple(PrivateKey(ec.derive_private_key(1000 + i, ec.SECP256R1())) for i in range(5))


@pytest.fixture
def genesis(keys: tuple[PrivateKey, ...]) -> Genesis:
    members = tuple(
        Member(
            member=MemberId(f"bank-{index}"),
            name=f"Bank {index}",
            lei="",
            roles=("participant",),
            ca_certificate=b"-----BEGIN CERTIFICATE-----\n",
            keys=(PrivateKey(ec.derive_private_key(2000 + index, ec.SECP256R1())).public_key.encoded,),
        )
        for index in range(4)
    )
    return Genesis(
        network="test",
        time_ms=1_000,
        parameters=Parameters(),
        members=members,
        validators=tuple(
            Validator(member=member.member, node="node-1", public_key=key.public_key.encoded)
            for member, key in zip(members, keys, strict=False)
        ),
        contracts=(InstalledContract(name="cash", source="total: int\n", arguments=(("scale", 2),)),),
    )


@pytest.fixture
def network_id(genesis: Genesis) -> NetworkId:
    return genesis.network_id


@pytest.fixture
def validators(genesis: Genesis) -> ValidatorSet:
    return ValidatorSet(genesis.validators)


@pytest.fixture
def transaction(network_id: NetworkId, keys: tuple[PrivateKey, ...]) -> Transaction:
    return build_transaction(
        network_id=network_id,
        member=MemberId("bank-0"),
        request_id="request-1",
        valid_until_ms=60_000,
        gas_limit=100_000,
        signers=[keys[0].key_id, keys[1].key_id],
        call=Call.create("cash", "transfer", {"to": "bank-1", "amount": 5}),
    )


@pytest.fixture
def envelope(network_id: NetworkId, keys: tuple[PrivateKey, ...], transaction: Transaction) -> Envelope:
    return sign_envelope(network_id, [transaction], keys[:2])


@pytest.fixture
def header(network_id: NetworkId, envelope: Envelope, validators: ValidatorSet) -> Header:
    return Header(
        network_id=network_id,
        epoch=Epoch(0),
        term=Term(2),
        height=Height(9),
        parent_hash=BlockHash(sha256(b"parent").digest()),
        parent_term=Term(2),
        time_ms=2_000,
        proposer=ValidatorIndex(1),
        tx_root=compute_tx_root([tx.tx_id for tx in envelope.transactions]),
        tx_count=1,
        body_hash=compute_body_hash([envelope.encoded]),
        state_root=StateRoot(bytes(32)),
        receipts_root=MerkleRoot(EMPTY_ROOT),
        valset_hash=validators.valset_hash,
        next_valset_hash=validators.valset_hash,
        flags=BlockFlags.NONE,
        evidence_root=EMPTY_ROOT,
    )


@pytest.fixture
def certify(network_id: NetworkId, keys: tuple[PrivateKey, ...]) -> Certify:
    """Return a function that makes the certificate of some validators on (kind, term, height, block)."""

    def make(
        kind: SignedKind, term: int, height: int, block_hash: BlockHash, signers: Iterable[int]
    ) -> QuorumCertificate:
        message = vote_bytes(kind, network_id, Epoch(0), Term(term), Height(height), block_hash)
        return QuorumCertificate(
            kind=kind,
            epoch=Epoch(0),
            term=Term(term),
            height=Height(height),
            block_hash=block_hash,
            signatures=tuple(
                (ValidatorIndex(index), keys[index].sign(compute_signed_digest(message))) for index in signers
            ),
        )

    return make


@pytest.fixture
def give_up(network_id: NetworkId, keys: tuple[PrivateKey, ...]) -> GiveUp:
    """Return a function that makes the timeout certificate of validators that all hold one certificate."""

    def make(term: int, high_qc: QuorumCertificate, signers: Iterable[int]) -> TimeoutCertificate:
        high = (high_qc.term, high_qc.height, high_qc.block_hash)
        digest = compute_signed_digest(timeout_bytes(network_id, Epoch(0), Term(term), *high))
        entries = tuple(
            TimeoutEntry(
                validator=ValidatorIndex(index),
                high_term=high_qc.term,
                high_height=high_qc.height,
                high_hash=high_qc.block_hash,
                signature=keys[index].sign(digest),
            )
            for index in signers
        )
        return TimeoutCertificate(epoch=Epoch(0), term=Term(term), entries=entries, high_qc=high_qc)

    return make
