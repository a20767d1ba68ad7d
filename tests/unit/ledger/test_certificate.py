from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from hashlib import sha256

import pytest
from tanpo.ledger import (
    BlockHash,
    CommitProof,
    Epoch,
    Header,
    Height,
    NetworkId,
    PeerFault,
    QuorumCertificate,
    Reader,
    Reason,
    Signature,
    SignedKind,
    Term,
    TimeoutCertificate,
    ValidatorIndex,
    ValidatorSet,
    Writer,
    compute_block_hash,
    compute_faulty_max,
    compute_quorum,
    decode_commit_proof,
    encode_commit_proof,
    genesis_certificate,
    read_certificate,
    read_timeout_certificate,
    step_down_bytes,
    timeout_bytes,
    verify_certificate,
    verify_commit_proof,
    verify_timeout_certificate,
    vote_bytes,
    write_certificate,
    write_timeout_certificate,
)

Certify = Callable[[SignedKind, int, int, BlockHash, Iterable[int]], QuorumCertificate]
GiveUp = Callable[[int, QuorumCertificate, Iterable[int]], TimeoutCertificate]

PREPARE, COMMIT = SignedKind.VOTE_PREPARE, SignedKind.VOTE_COMMIT
BLOCK = BlockHash(sha256(b"block").digest())
OTHER = BlockHash(sha256(b"another block").digest())


@pytest.fixture
def certificate(certify: Certify) -> QuorumCertificate:
    return certify(PREPARE, 2, 9, BLOCK, (0, 1, 3))


@pytest.fixture
def timeout(certify: Certify, give_up: GiveUp) -> TimeoutCertificate:
    return give_up(5, certify(PREPARE, 2, 9, BLOCK, (0, 1, 2)), (1, 2, 3))


@pytest.fixture
def in_term(certify: Certify, header: Header) -> CommitProof:
    qc = certify(PREPARE, header.term, header.height, compute_block_hash(header), (0, 1, 2))
    return CommitProof(certificate=qc, child=header)


@pytest.mark.parametrize(
    ("validator_count", "faulty_max", "quorum"),
    [
        (1, 0, 1),
        (2, 0, 2),
        (3, 0, 2),
        (4, 1, 3),
        (5, 1, 4),
        (6, 1, 4),
        (7, 2, 5),
        (8, 2, 6),
        (9, 2, 6),
        (10, 3, 7),
        (11, 3, 8),
        (12, 3, 8),
        (13, 4, 9),
        (14, 4, 10),
        (15, 4, 10),
        (16, 5, 11),
    ],
)
def test_quorum_of_every_size_of_network(validator_count: int, faulty_max: int, quorum: int) -> None:
    """S1, as a table."""
    assert compute_faulty_max(validator_count) == faulty_max
    assert compute_quorum(validator_count) == quorum


@pytest.mark.parametrize("count", range(1, 65))
def test_two_quorums_share_an_honest_validator_and_the_honest_suffice(count: int) -> None:
    """S1: safety needs 2q - n > f, progress needs n - f >= q; and q is the least such."""
    faulty, quorum = compute_faulty_max(count), compute_quorum(count)

    assert 2 * quorum - count >= faulty + 1
    assert count - faulty >= quorum
    assert 2 * (quorum - 1) - count < faulty + 1


def test_signed_strings_of_different_purposes_differ(network_id: NetworkId) -> None:
    epoch, term, height = Epoch(0), Term(2), Height(9)
    signed = [
        vote_bytes(PREPARE, network_id, epoch, term, height, BLOCK),
        vote_bytes(COMMIT, network_id, epoch, term, height, BLOCK),
        timeout_bytes(network_id, epoch, term, term, height, BLOCK),
        step_down_bytes(network_id, epoch, term),
        vote_bytes(PREPARE, network_id, Epoch(1), term, height, BLOCK),
        vote_bytes(PREPARE, NetworkId(bytes(32)), epoch, term, height, BLOCK),
    ]

    assert len(set(signed)) == len(signed)
    assert all(message.startswith(b"tanpo-v1") for message in signed)
    assert {message[len(b"tanpo-v1")] for message in signed} == set(SignedKind)  # no purpose without use


def test_certificate_of_a_quorum_verifies(
    certificate: QuorumCertificate, network_id: NetworkId, validators: ValidatorSet
) -> None:
    verify_certificate(certificate, network_id, validators)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": COMMIT},
        {"epoch": Epoch(1)},
        {"term": Term(3)},
        {"height": Height(10)},
        {"block_hash": OTHER},
    ],
)
def test_every_field_of_a_certificate_is_signed(
    certificate: QuorumCertificate, network_id: NetworkId, validators: ValidatorSet, change: dict[str, int]
) -> None:
    with pytest.raises(PeerFault) as caught:
        verify_certificate(replace(certificate, **change), network_id, validators)  # type: ignore[arg-type] # fields by name

    assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_certificate_of_another_network_is_refused(
    certificate: QuorumCertificate, validators: ValidatorSet
) -> None:
    with pytest.raises(PeerFault) as caught:
        verify_certificate(certificate, NetworkId(bytes(32)), validators)

    assert caught.value.reason is Reason.SIGNATURE_INVALID


def test_certificate_short_of_a_quorum_is_refused(
    certify: Certify, network_id: NetworkId, validators: ValidatorSet
) -> None:
    with pytest.raises(PeerFault) as caught:
        verify_certificate(certify(PREPARE, 2, 9, BLOCK, (0, 1)), network_id, validators)

    assert (caught.value.reason, caught.value.value, caught.value.limit) == (Reason.PROOF_INVALID, "2", "3")


@pytest.mark.parametrize("signers", [(0, 0, 1), (1, 0, 2), (0, 1, 1)])
def test_a_validator_counts_once(
    certify: Certify, network_id: NetworkId, validators: ValidatorSet, signers: tuple[int, ...]
) -> None:
    with pytest.raises(PeerFault, match="ascend"):
        verify_certificate(certify(PREPARE, 2, 9, BLOCK, signers), network_id, validators)


def test_signer_outside_the_set_is_refused(
    certify: Certify, network_id: NetworkId, validators: ValidatorSet
) -> None:
    with pytest.raises(PeerFault, match="unknown validator"):
        verify_certificate(certify(PREPARE, 2, 9, BLOCK, (0, 1, 4)), network_id, validators)


def test_one_bad_signature_spoils_a_certificate(
    certificate: QuorumCertificate, network_id: NetworkId, validators: ValidatorSet
) -> None:
    (first, signature), *rest = certificate.signatures
    swapped = ((first, rest[0][1]), *rest)

    with pytest.raises(PeerFault) as caught:
        verify_certificate(replace(certificate, signatures=swapped), network_id, validators)

    assert caught.value.reason is Reason.SIGNATURE_INVALID
    assert signature != rest[0][1]


def test_genesis_certificate_proves_nothing(network_id: NetworkId, validators: ValidatorSet) -> None:
    with pytest.raises(PeerFault, match="too few signers"):
        verify_certificate(genesis_certificate(network_id), network_id, validators)


def test_timeout_certificate_of_a_quorum_verifies(
    timeout: TimeoutCertificate, network_id: NetworkId, validators: ValidatorSet
) -> None:
    verify_timeout_certificate(timeout, network_id, validators, genesis_certificate(network_id))
    assert timeout.high_rank == (2, 9)


def test_timeout_certificate_on_genesis_verifies(
    give_up: GiveUp, network_id: NetworkId, validators: ValidatorSet
) -> None:
    certificate = give_up(1, genesis_certificate(network_id), (0, 1, 2))

    verify_timeout_certificate(certificate, network_id, validators, genesis_certificate(network_id))


def test_genesis_of_another_network_is_no_high_certificate(
    give_up: GiveUp, network_id: NetworkId, validators: ValidatorSet
) -> None:
    certificate = give_up(1, genesis_certificate(NetworkId(bytes(32))), (0, 1, 2))

    with pytest.raises(PeerFault, match="too few signers"):
        verify_timeout_certificate(certificate, network_id, validators, genesis_certificate(network_id))


def test_timeout_certificate_short_of_a_quorum_is_refused(
    timeout: TimeoutCertificate, network_id: NetworkId, validators: ValidatorSet
) -> None:
    with pytest.raises(PeerFault, match="too few signers"):
        verify_timeout_certificate(
            replace(timeout, entries=timeout.entries[:2]),
            network_id,
            validators,
            genesis_certificate(network_id),
        )


def test_timeout_of_another_term_is_refused(
    timeout: TimeoutCertificate, network_id: NetworkId, validators: ValidatorSet
) -> None:
    with pytest.raises(PeerFault, match="bad signature"):
        verify_timeout_certificate(
            replace(timeout, term=Term(6)), network_id, validators, genesis_certificate(network_id)
        )


@pytest.mark.parametrize("change", [{"high_term": Term(1)}, {"high_height": Height(8)}, {"high_hash": OTHER}])
def test_reported_high_certificate_is_signed(
    timeout: TimeoutCertificate, network_id: NetworkId, validators: ValidatorSet, change: dict[str, int]
) -> None:
    """Left unsigned, the chain forks within seconds of simulation."""
    first = replace(timeout.entries[0], **change)  # type: ignore[arg-type] # fields by name
    forged = replace(timeout, entries=(first, *timeout.entries[1:]))

    with pytest.raises(PeerFault, match="bad signature"):
        verify_timeout_certificate(forged, network_id, validators, genesis_certificate(network_id))


def test_timeout_certificate_must_carry_the_highest_certificate_it_names(
    timeout: TimeoutCertificate, certify: Certify, network_id: NetworkId, validators: ValidatorSet
) -> None:
    lower = certify(PREPARE, 2, 8, BLOCK, (0, 1, 2))

    with pytest.raises(PeerFault, match="another high certificate"):
        verify_timeout_certificate(
            replace(timeout, high_qc=lower), network_id, validators, genesis_certificate(network_id)
        )


def test_high_certificate_itself_is_verified(
    timeout: TimeoutCertificate, certify: Certify, network_id: NetworkId, validators: ValidatorSet
) -> None:
    unsigned = certify(PREPARE, 2, 9, BLOCK, (0, 1))

    with pytest.raises(PeerFault, match="too few signers"):
        verify_timeout_certificate(
            replace(timeout, high_qc=unsigned), network_id, validators, genesis_certificate(network_id)
        )


def test_high_certificate_of_another_epoch_is_refused(
    timeout: TimeoutCertificate, network_id: NetworkId, validators: ValidatorSet
) -> None:
    other = replace(timeout.high_qc, epoch=Epoch(1))

    with pytest.raises(PeerFault, match="another high certificate"):
        verify_timeout_certificate(
            replace(timeout, high_qc=other), network_id, validators, genesis_certificate(network_id)
        )


def test_child_in_its_parents_term_proves_the_parent_final(
    in_term: CommitProof, header: Header, network_id: NetworkId, validators: ValidatorSet
) -> None:
    verify_commit_proof(in_term, network_id, validators)
    assert (in_term.block_hash, in_term.height, in_term.term) == (header.parent_hash, 8, 2)


def test_commit_certificate_proves_its_block_final(
    certify: Certify, network_id: NetworkId, validators: ValidatorSet
) -> None:
    proof = CommitProof(certificate=certify(COMMIT, 2, 9, BLOCK, (1, 2, 3)))

    verify_commit_proof(proof, network_id, validators)
    assert (proof.block_hash, proof.height, proof.term) == (BLOCK, 9, 2)


def test_child_of_a_later_term_proves_nothing(
    certify: Certify, header: Header, network_id: NetworkId, validators: ValidatorSet
) -> None:
    """The same-term rule, Raft's figure 8: without it the chain forks."""
    child = replace(header, parent_term=Term(1))
    qc = certify(PREPARE, child.term, child.height, compute_block_hash(child), (0, 1, 2))

    with pytest.raises(PeerFault, match="own term"):
        verify_commit_proof(CommitProof(certificate=qc, child=child), network_id, validators)


def test_prepare_certificate_alone_proves_nothing(
    certificate: QuorumCertificate, network_id: NetworkId, validators: ValidatorSet
) -> None:
    with pytest.raises(PeerFault, match="wrong kind"):
        verify_commit_proof(CommitProof(certificate=certificate), network_id, validators)


def test_commit_certificate_with_a_child_is_the_wrong_kind(
    certify: Certify, header: Header, network_id: NetworkId, validators: ValidatorSet
) -> None:
    qc = certify(COMMIT, header.term, header.height, compute_block_hash(header), (0, 1, 2))

    with pytest.raises(PeerFault, match="wrong kind"):
        verify_commit_proof(CommitProof(certificate=qc, child=header), network_id, validators)


@pytest.mark.parametrize(
    "change", [{"parent_hash": OTHER}, {"height": Height(10)}, {"time_ms": 1}, {"term": Term(3)}]
)
def test_child_must_be_the_certified_block(
    in_term: CommitProof,
    header: Header,
    network_id: NetworkId,
    validators: ValidatorSet,
    change: dict[str, int],
) -> None:
    other = replace(header, **change)  # type: ignore[arg-type] # fields by name

    with pytest.raises(PeerFault, match="own term"):
        verify_commit_proof(replace(in_term, child=other), network_id, validators)


def test_child_whose_place_is_not_the_certified_one_is_refused(
    in_term: CommitProof, network_id: NetworkId, validators: ValidatorSet
) -> None:
    moved = replace(in_term.certificate, height=Height(8))

    with pytest.raises(PeerFault, match="own term"):
        verify_commit_proof(replace(in_term, certificate=moved), network_id, validators)


def test_commit_proof_short_of_a_quorum_is_refused(
    in_term: CommitProof, network_id: NetworkId, validators: ValidatorSet
) -> None:
    short = replace(in_term.certificate, signatures=in_term.certificate.signatures[:2])

    with pytest.raises(PeerFault, match="too few signers"):
        verify_commit_proof(replace(in_term, certificate=short), network_id, validators)


def test_commit_proofs_round_trip(in_term: CommitProof, certify: Certify) -> None:
    for proof in (in_term, CommitProof(certificate=certify(COMMIT, 2, 9, BLOCK, (1, 2, 3)))):
        assert decode_commit_proof(encode_commit_proof(proof)) == proof


def test_timeout_certificate_round_trips(timeout: TimeoutCertificate) -> None:
    writer = Writer()
    write_timeout_certificate(writer, timeout)
    reader = Reader(writer.finish())

    assert read_timeout_certificate(reader) == timeout
    reader.finish()


def test_timeout_certificate_without_entries_is_not_read(timeout: TimeoutCertificate) -> None:
    writer = Writer()
    write_timeout_certificate(writer, replace(timeout, entries=()))

    with pytest.raises(PeerFault, match="without entries"):
        read_timeout_certificate(Reader(writer.finish()))


@pytest.mark.parametrize("kind", [0, 3, 4, 255])
def test_certificate_of_another_kind_is_not_read(certificate: QuorumCertificate, kind: int) -> None:
    writer = Writer()
    write_certificate(writer, certificate)

    with pytest.raises(PeerFault, match="kind of certificate"):
        read_certificate(Reader(bytes([kind]) + writer.finish()[1:]))


@pytest.mark.parametrize("indices", [(1, 0), (1, 1), (0, 2, 1)])
def test_certificate_with_unordered_signers_is_not_read(
    certificate: QuorumCertificate, indices: tuple[int, ...]
) -> None:
    writer = Writer()
    signatures = tuple((ValidatorIndex(index), Signature(b"s")) for index in indices)
    write_certificate(writer, replace(certificate, signatures=signatures))

    with pytest.raises(PeerFault, match="ascend"):
        read_certificate(Reader(writer.finish()))


def test_certificate_with_more_signers_than_validators_may_exist_is_not_read(
    certificate: QuorumCertificate,
) -> None:
    writer = Writer()
    signatures = tuple((ValidatorIndex(index), Signature(b"s")) for index in range(65))
    write_certificate(writer, replace(certificate, signatures=signatures))

    with pytest.raises(PeerFault, match="too many signers"):
        read_certificate(Reader(writer.finish()))
