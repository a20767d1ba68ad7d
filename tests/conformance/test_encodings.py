"""Golden bytes. Whoever changes one of them makes a state-breaking change: two versions of the node would
no longer understand each other's blocks, or no longer agree on an id, a hash or a root.

`encodings.json` holds the bytes by name. It is edited by hand, from the message of the failing test.
"""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tanpo.ledger.block import (
    EMPTY_ROOT,
    Block,
    BlockFlags,
    Header,
    compute_block_hash,
    compute_body_hash,
    compute_tx_root,
    encode_block,
    encode_header,
)
from tanpo.ledger.certificate import (
    CommitProof,
    QuorumCertificate,
    SignedKind,
    TimeoutCertificate,
    TimeoutEntry,
    encode_commit_proof,
    genesis_certificate,
    step_down_bytes,
    timeout_bytes,
    vote_bytes,
    write_certificate,
    write_timeout_certificate,
)
from tanpo.ledger.codec import Writer
from tanpo.ledger.genesis import (
    Genesis,
    InstalledContract,
    Member,
    Parameters,
    encode_genesis,
    genesis_from_json,
    genesis_to_json,
)
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.merkle import compute_merkle_root
from tanpo.ledger.receipt import Event, Receipt, encode_receipt
from tanpo.ledger.transaction import (
    Call,
    Envelope,
    build_transaction,
    compute_request_digest,
    decode_envelope,
    sign_envelope,
)
from tanpo.ledger.types import (
    BlockHash,
    Epoch,
    Height,
    MemberId,
    MerkleRoot,
    NetworkId,
    Signature,
    StateRoot,
    Term,
    ValidatorIndex,
)
from tanpo.ledger.validators import Validator, compute_valset_hash
from tanpo.ledger.values import Value, decode_value, encode_value

GOLDEN: dict[str, str] = json.loads(Path(__file__).with_name("encodings.json").read_text())

NETWORK = NetworkId(sha256(b"golden network").digest())
ALICE = PrivateKey(ec.derive_private_key(0xA11CE, ec.SECP256R1()))
BOB = PrivateKey(ec.derive_private_key(0xB0B, ec.SECP256R1()))


def digest_of(label: str) -> bytes:
    return sha256(label.encode()).digest()


def make_envelope() -> Envelope:
    legs: Value = (
        {"from": "dealer-a", "instrument": "DE0001102580", "quantity": 1_000_000, "to": "dealer-b"},
        {"from": "dealer-b", "instrument": "EUR", "quantity": 98_125_000, "to": "dealer-a"},
    )
    transactions = [
        build_transaction(
            network_id=NETWORK,
            member=MemberId("dealer-a"),
            request_id=f"golden-{number}",
            valid_until_ms=1_800_000_000_000,
            gas_limit=200_000,
            signers=[ALICE.key_id, BOB.key_id],
            call=Call.create("settlement", "swap", {"reference": f"swap-{number}", "legs": legs}),
        )
        for number in (1, 2)
    ]
    return sign_envelope(NETWORK, transactions, [ALICE, BOB])


def make_header(*, height: int = 7, parent_term: int = 3, flags: BlockFlags = BlockFlags.NONE) -> Header:
    envelope = make_envelope()
    return Header(
        network_id=NETWORK,
        epoch=Epoch(0),
        term=Term(3),
        height=Height(height),
        parent_hash=BlockHash(digest_of("parent")),
        parent_term=Term(parent_term),
        time_ms=1_799_999_999_000,
        proposer=ValidatorIndex(2),
        tx_root=compute_tx_root([tx.tx_id for tx in envelope.transactions]),
        tx_count=2,
        body_hash=compute_body_hash([envelope.encoded]),
        state_root=StateRoot(digest_of("state")),
        receipts_root=MerkleRoot(digest_of("receipts")),
        valset_hash=digest_of("valset"),
        next_valset_hash=digest_of("next valset"),
        flags=flags,
        evidence_root=EMPTY_ROOT,
    )


def make_certificate(kind: SignedKind = SignedKind.VOTE_PREPARE) -> QuorumCertificate:
    header = make_header()
    signatures = tuple((ValidatorIndex(index), Signature(digest_of(f"vote {index}"))) for index in (0, 1, 3))
    return QuorumCertificate(
        kind=kind,
        epoch=Epoch(0),
        term=Term(3),
        height=Height(7),
        block_hash=compute_block_hash(header),
        signatures=signatures,
    )


def make_timeout_certificate() -> TimeoutCertificate:
    qc = make_certificate()
    entries = tuple(
        TimeoutEntry(
            validator=ValidatorIndex(index),
            high_term=Term(3),
            high_height=Height(5 + index),
            high_hash=BlockHash(digest_of(f"high {index}")),
            signature=Signature(digest_of(f"timeout {index}")),
        )
        for index in (0, 1, 2)
    )
    return TimeoutCertificate(epoch=Epoch(0), term=Term(4), entries=entries, high_qc=qc)


def make_receipt(*, succeeded: bool) -> Receipt:
    event = Event(contract="settlement", name="Settled", fields=(("legs", 2), ("reference", "swap-1")))
    return Receipt(
        tx_id=make_envelope().transactions[0].tx_id,
        height=Height(7),
        index=1,
        succeeded=succeeded,
        code="" if succeeded else "INSUFFICIENT",
        details=() if succeeded else (("available", -5), ("leg", 1), ("required", 2**200)),
        contract="settlement",
        line=0 if succeeded else 41,
        gas_used=12_345,
        value=("done", True) if succeeded else (),
        events=(event,) if succeeded else (),
    )


def make_genesis() -> Genesis:
    members = tuple(
        Member(
            member=MemberId(name),
            name=name.title(),
            lei="5299000J2N45DDNE4Y28",
            roles=("participant", "custodian"),
            ca_certificate=b"-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
            keys=(key.public_key.encoded,),
        )
        for name, key in (("dealer-a", ALICE), ("dealer-b", BOB))
    )
    validators = tuple(
        Validator(
            member=MemberId(f"dealer-{letter}"),
            node="node-1",
            public_key=PrivateKey(ec.derive_private_key(number, ec.SECP256R1())).public_key.encoded,
        )
        for letter, number in (("a", 0xAAA), ("b", 0xBBB))
    )
    contract = InstalledContract(
        name="instruments", source="count: int\n", arguments=(("owner", "dealer-a"), ("salt", b"\x00\xff"))
    )
    return Genesis(
        network="golden",
        time_ms=1_799_000_000_000,
        parameters=Parameters(),
        members=members,
        validators=validators,
        contracts=(contract,),
    )


def encode_certificates() -> tuple[bytes, bytes]:
    quorum, timeout = Writer(), Writer()
    write_certificate(quorum, make_certificate())
    write_timeout_certificate(timeout, make_timeout_certificate())
    return quorum.finish(), timeout.finish()


def collect_encodings() -> dict[str, bytes]:
    envelope, header, genesis = make_envelope(), make_header(), make_genesis()
    quorum, timeout = encode_certificates()
    in_term = CommitProof(certificate=make_certificate(), child=header)
    explicit = CommitProof(certificate=make_certificate(SignedKind.VOTE_COMMIT))
    first = envelope.transactions[0]
    return {
        "key_id": ALICE.key_id,
        "transaction": first.payload,
        "tx_id": first.tx_id,
        "request_digest": compute_request_digest(first.member, first.request_id),
        "envelope": envelope.encoded,
        "envelope_digest": envelope.digest,
        "envelope_signed_hash": envelope.signed_hash,
        "header": encode_header(header),
        "block_hash": compute_block_hash(header),
        "ending_block_hash": compute_block_hash(make_header(flags=BlockFlags.EPOCH_END)),
        "body_hash": header.body_hash,
        "tx_root": header.tx_root,
        "empty_root": EMPTY_ROOT,
        "block": encode_block(Block.create(header, [envelope.encoded])),
        "vote_prepare": vote_bytes(
            SignedKind.VOTE_PREPARE, NETWORK, Epoch(1), Term(2), Height(3), header.parent_hash
        ),
        "vote_commit": vote_bytes(
            SignedKind.VOTE_COMMIT, NETWORK, Epoch(1), Term(2), Height(3), header.parent_hash
        ),
        "timeout_vote": timeout_bytes(NETWORK, Epoch(1), Term(5), Term(4), Height(3), header.parent_hash),
        "step_down": step_down_bytes(NETWORK, Epoch(1), Term(9)),
        "genesis_certificate": genesis_certificate(NETWORK).block_hash,
        "quorum_certificate": quorum,
        "timeout_certificate": timeout,
        "commit_proof_in_term": encode_commit_proof(in_term),
        "commit_proof_explicit": encode_commit_proof(explicit),
        "receipt_succeeded": encode_receipt(make_receipt(succeeded=True)),
        "receipt_failed": encode_receipt(make_receipt(succeeded=False)),
        "genesis": encode_genesis(genesis),
        "network_id": genesis.network_id,
        "valset_hash": compute_valset_hash(genesis.validators),
    }


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_encoding_is_the_golden_one(name: str) -> None:
    assert collect_encodings()[name].hex() == GOLDEN[name]


def test_every_encoding_has_a_golden_one() -> None:
    assert collect_encodings().keys() == GOLDEN.keys()


def test_golden_envelope_decodes_to_what_was_signed() -> None:
    envelope = decode_envelope(NETWORK, bytes.fromhex(GOLDEN["envelope"]))

    assert envelope == make_envelope()
    for signer, signature in envelope.signatures:
        key = ALICE if signer == ALICE.key_id else BOB
        assert key.public_key.verify(signature, envelope.digest)


def test_genesis_keeps_its_network_id_through_json() -> None:
    assert genesis_from_json(genesis_to_json(make_genesis())).network_id.hex() == GOLDEN["network_id"]


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (False, "00"),
        (True, "01"),
        (0, "0200"),
        (1, "020101"),
        (-1, "0201ff"),
        (127, "02017f"),
        (128, "02020080"),
        (-128, "020180"),
        (-129, "0202ff7f"),
        (2**255 - 1, "0220" + "7f" + "ff" * 31),
        (-(2**255) + 1, "0220" + "80" + "00" * 30 + "01"),
        ("", "030000"),
        ("担保", "030006e68b85e4bf9d"),
        (b"", "0400000000"),
        (b"\x00\x01", "04000000020001"),
        ((), "0500000000"),
        ((1, "a"), "0500000002020101" + "03000161"),
        ({}, "0600000000"),
        ({"b": 1, "a": (True,)}, "0600000002" + "000161" + "050000000101" + "000162" + "020101"),
    ],
)
def test_value_has_its_golden_spelling(value: Value, encoded: str) -> None:
    assert encode_value(value).hex() == encoded
    assert decode_value(bytes.fromhex(encoded)) == value


@pytest.mark.parametrize(
    ("leaf_count", "root"),
    [
        (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
        (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
        (2, "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"),
        (3, "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77"),
        (4, "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"),
        (5, "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4"),
        (6, "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef"),
        (7, "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c"),
        (8, "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328"),
    ],
)
def test_merkle_root_agrees_with_certificate_transparency(leaf_count: int, root: str) -> None:
    """The reference vectors of RFC 6962, whose tree RFC 9162 kept."""
    leaves = [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]

    assert compute_merkle_root([bytes.fromhex(leaf) for leaf in leaves[:leaf_count]]).hex() == root
