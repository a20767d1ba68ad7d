"""The CAs of the members are bytes that a member chose: none of them harms the trust in the others."""

from __future__ import annotations

import base64
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc.aio
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tanpo.ledger.errors import UsageError
from tanpo.ledger.genesis import Genesis, Member, Parameters
from tanpo.ledger.membership import MemberAuthority, Registration
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import Authorities
from tanpo.node.config import NodeConfig, PeerConfig
from tanpo.node.credentials import NodeCredentials
from tanpo.node.dialling import find_peers
from tanpo.node.identity import CallerVerifier, Role
from tanpo.node.pki import Authority, create_authority, issue_certificate
from tanpo.node.tls import load_channel_credentials, load_rotating_server_credentials

# The names decide who comes first where nothing else does: the attacker's does.
VICTIM, ATTACKER = MemberId("victim"), MemberId("attacker")
VERSION_3 = b"\xa0\x03\x02\x01\x02"
UNSUPPORTED_NAME = x509.UnrecognizedExtension(
    x509.ObjectIdentifier("2.5.29.17"), bytes.fromhex("3004a3020500")
)


@pytest.fixture(scope="module")
def victim() -> Authority:
    return create_authority(VICTIM, "testnet")


@pytest.fixture(scope="module")
def attacker() -> Authority:
    return create_authority(ATTACKER, "testnet")


def make_ca(subject: x509.Name, like: x509.Certificate, *extensions: x509.ExtensionType) -> bytes:
    """Return a CA with a key of its own that claims to have the key of another."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(7)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            like.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value, critical=False
        )
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def replace_der(pem: bytes, old: bytes, new: bytes) -> bytes:
    der = x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)
    assert len(old) == len(new)
    assert old in der
    text = base64.encodebytes(der.replace(old, new, 1))
    return b"-----BEGIN CERTIFICATE-----\n" + text + b"-----END CERTIFICATE-----\n"


def register(member: MemberId, *authorities: bytes, added: int = 0) -> Registration:
    dated = tuple(MemberAuthority(certificate=one, added=added) for one in authorities)
    return Registration(member=member, name=member, lei="", roles=(), authorities=dated, keys=())


def make_genesis(*authorities: Authority) -> Genesis:
    members = tuple(
        Member(
            member=one.member, name="x", lei="", roles=(), ca_certificate=one.certificate_pem, keys=(b"x",)
        )
        for one in authorities
    )
    return Genesis(
        network="testnet",
        time_ms=0,
        parameters=Parameters(),
        members=members,
        validators=(),
        contracts=(),
    )


async def connect(roots: bytes, authority: Authority) -> bytes:
    """Return the answer to a node of a member from a server that trusts these CAs."""
    leaf = issue_certificate(authority, Role.NODE, "n1")

    async def answer(request: bytes, _: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        return request

    handlers = {"Echo": grpc.unary_unary_rpc_method_handler(answer)}
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tanpo.Test", handlers),))
    port = server.add_secure_port(
        "127.0.0.1:0",
        load_rotating_server_credentials(lambda: roots, lambda: (leaf.certificate, leaf.private_key)),
    )
    await server.start()
    credentials = load_channel_credentials(authority.certificate_pem, leaf.certificate, leaf.private_key)
    try:
        async with grpc.aio.secure_channel(f"localhost:{port}", credentials) as channel:
            return bytes(await channel.unary_unary("/tanpo.Test/Echo", None, None)(b"here", timeout=20))
    finally:
        await server.stop(0)


@pytest.mark.parametrize("version", [b"\x00", b"\x01", b"\x04", b"\x7f"])
def test_a_ca_of_a_version_that_there_is_not_is_no_ca_and_ends_nothing(
    victim: Authority, attacker: Authority, version: bytes
) -> None:
    odd = replace_der(attacker.certificate_pem, VERSION_3, VERSION_3[:-1] + version)
    authorities = Authorities.of_genesis(make_genesis(victim, attacker))
    authorities.replace([register(ATTACKER, odd), register(VICTIM, victim.certificate_pem)])
    assert authorities.find(ATTACKER) == ()
    assert authorities.read_roots() == victim.certificate_pem


def test_a_ca_with_a_name_of_a_kind_that_is_not_read_is_no_ca_and_ends_nothing(victim: Authority) -> None:
    odd = make_ca(name("odd"), victim.certificate, UNSUPPORTED_NAME)
    authorities = Authorities.of_genesis(make_genesis(victim))
    authorities.replace([register(ATTACKER, odd), register(VICTIM, victim.certificate_pem)])
    assert authorities.read_roots() == victim.certificate_pem


def test_a_certificate_with_a_name_of_a_kind_that_is_not_read_is_refused(victim: Authority) -> None:
    odd = make_ca(name("odd"), victim.certificate, UNSUPPORTED_NAME)
    with pytest.raises(UsageError, match="cannot be read"):
        CallerVerifier(Authorities({VICTIM: (victim.certificate,)})).verify(odd)


async def test_a_ca_whose_subject_is_no_text_does_not_cut_off_the_members_behind_it(
    victim: Authority,
) -> None:
    odd = replace_der(make_ca(name("oddly"), victim.certificate), b"\x0c\x05oddly", b"\x0c\x05od\xff\xfey")
    authorities = Authorities.of_genesis(make_genesis(victim))
    authorities.replace([register(ATTACKER, odd), register(VICTIM, victim.certificate_pem)])
    assert await connect(authorities.read_roots(), victim) == b"here"


@pytest.mark.parametrize("since", [0, 40])
async def test_a_ca_that_looks_like_another_members_does_not_cut_that_one_off(
    victim: Authority, attacker: Authority, since: int
) -> None:
    twin = make_ca(victim.certificate.subject, victim.certificate)
    authorities = Authorities.of_genesis(make_genesis(attacker))
    authorities.replace(
        [register(ATTACKER, twin, added=since + 1), register(VICTIM, victim.certificate_pem, added=since)]
    )
    assert authorities.read_roots() == victim.certificate_pem
    assert await connect(authorities.read_roots(), victim) == b"here"


def test_nodes_that_start_at_different_times_trust_the_same_of_two_cas_with_one_subject(
    victim: Authority, attacker: Authority
) -> None:
    twin = make_ca(victim.certificate.subject, victim.certificate)
    members = [register(VICTIM, victim.certificate_pem, added=7), register(ATTACKER, twin, added=9)]
    genesis = make_genesis(attacker)
    ran_on, restarted, saw_the_other = (Authorities.of_genesis(genesis) for _ in range(3))
    ran_on.replace(members[:1])
    saw_the_other.replace(members[1:])
    for one in (ran_on, restarted, saw_the_other):
        one.replace(members)
        assert one.read_roots() == victim.certificate_pem


def test_of_two_cas_that_one_block_added_the_first_by_its_members_name_counts(victim: Authority) -> None:
    twin = make_ca(victim.certificate.subject, victim.certificate)
    pair = [register(VICTIM, victim.certificate_pem, added=7), register(ATTACKER, twin, added=7)]
    for members in (pair, pair[::-1]):
        authorities = Authorities({})
        authorities.replace(members)
        assert authorities.read_roots() == twin


def test_a_node_takes_its_own_members_ca_from_its_operator_whoever_had_the_subject_first(
    victim: Authority,
) -> None:
    twin = make_ca(victim.certificate.subject, victim.certificate)
    authorities = Authorities({}, own=VICTIM)
    authorities.trust_own(victim.certificate)
    authorities.replace(
        [register(ATTACKER, twin, added=1), register(VICTIM, victim.certificate_pem, added=7)]
    )
    assert authorities.read_roots() == victim.certificate_pem


def test_subjects_are_compared_as_a_handshake_does(victim: Authority) -> None:
    (known,) = victim.certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    shouted = x509.Name(
        [
            x509.NameAttribute(one.oid, f"  {str(one.value).upper()}" if one is known else str(one.value))
            for one in victim.certificate.subject
        ]
    )
    authorities = Authorities.of_genesis(make_genesis(victim))
    twin = make_ca(shouted, victim.certificate)
    authorities.replace([register(ATTACKER, twin, added=1), register(VICTIM, victim.certificate_pem)])
    assert authorities.read_roots() == victim.certificate_pem


def test_a_subject_is_free_again_when_its_member_has_gone(victim: Authority) -> None:
    twin = make_ca(victim.certificate.subject, victim.certificate)
    authorities = Authorities.of_genesis(make_genesis(victim))
    authorities.replace([register(ATTACKER, twin)])
    assert authorities.read_roots() == twin


def test_members_may_share_a_ca(victim: Authority) -> None:
    shared = victim.certificate_pem
    authorities = Authorities.of_genesis(make_genesis(victim))
    authorities.replace([register(ATTACKER, shared), register(VICTIM, shared)])
    assert authorities.read_roots() == shared
    assert len(authorities.find(ATTACKER)) == 1


def test_the_file_of_a_peers_ca_is_needed_only_until_the_state_names_one(
    victim: Authority, attacker: Authority, tmp_path: Path
) -> None:
    leaf = issue_certificate(attacker, Role.NODE, "n1")
    credentials = NodeCredentials(
        certificate=leaf.certificate,
        private_key=leaf.private_key,
        valid_until=datetime.now(UTC),
        signing_key=None,
    )
    peer = PeerConfig(member=VICTIM, node="n1", address="localhost:1", ca=tmp_path / "gone.pem")
    config = NodeConfig.model_construct(peers=(peer,))
    authorities = Authorities.of_genesis(make_genesis(attacker))
    with pytest.raises(UsageError, match="cannot read"):
        find_peers(config, authorities, credentials)
    authorities.replace([register(VICTIM, victim.certificate_pem)])
    (found,) = find_peers(config, authorities, credentials)
    assert found.authorities == victim.certificate_pem
