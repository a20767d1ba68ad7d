"""Certificates: a member's CA and the ECDSA P-256 certificates it issues to nodes, clients and operators.

Each member is its own CA (D14). Only node certificates carry host names: a client whose certificate had one
could pose as a node of its member.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import MemberId
from tanpo.node.identity import Caller, Role, find_caller

AUTHORITY_VALIDITY: Final = timedelta(days=3650)
"""A CA is on the ledger, and all certificates and profiles of its member go by it: it is replaced rarely."""

CERTIFICATE_VALIDITY: Final = timedelta(days=397)
"""The longest that current CA practice allows for a leaf."""

CLOCK_SLACK: Final = timedelta(minutes=5)
"""How far a new certificate's validity reaches back, for machines whose clocks are behind."""

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_COMMON_NAME_MAX: Final = 64
_MARK_DIGITS: Final = 8
"""What a CA's common name has room for behind the longest name of a member; a CA is made a few times."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuedCertificate:
    """A certificate and its private key, both PEM."""

    certificate: bytes
    private_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRequest:
    """A certificate signing request and the private key of whoever makes it, both PEM."""

    request: bytes
    private_key: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Authority:
    """A member's CA."""

    member: MemberId
    certificate: x509.Certificate
    private_key: ec.EllipticCurvePrivateKey

    @property
    def certificate_pem(self) -> bytes:
        """The certificate as it stands in the genesis."""
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def private_key_pem(self) -> bytes:
        """The private key as unencrypted PKCS#8 PEM."""
        return _encode_key(self.private_key)

    @classmethod
    def load(cls, member: MemberId, certificate: bytes, private_key: bytes) -> Authority:
        """Return the CA in two PEM files. Raises `UsageError` when they are not a P-256 CA."""
        try:
            parsed = x509.load_pem_x509_certificate(certificate)
            key = serialization.load_pem_private_key(private_key, password=None)
        except (ValueError, TypeError):
            raise _unusable("the CA's files are not PEM") from None
        if not isinstance(key, ec.EllipticCurvePrivateKey) or key.public_key() != parsed.public_key():
            raise _unusable("the CA's key does not belong to its certificate")
        return cls(member=member, certificate=parsed, private_key=key)


def create_authority(
    member: MemberId, network: str, *, valid_for: timedelta = AUTHORITY_VALIDITY
) -> Authority:
    """Return a new CA for a member. Its subject is its own, also beside the member's earlier ones: nodes
    trust whose CA had a subject first, and nobody can have had this one."""
    private_key = ec.generate_private_key(ec.SECP256R1())
    key_digest = x509.SubjectKeyIdentifier.from_public_key(private_key.public_key())
    mark = key_digest.digest.hex()[:_MARK_DIGITS]
    name = x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, network[:_COMMON_NAME_MAX]),
            x509.NameAttribute(NameOID.COMMON_NAME, f"{member} CA {mark}"),
        ]
    )
    now = datetime.now(UTC)
    usage = _key_usage(signs_certificates=True)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SLACK)
        .not_valid_after(now + valid_for)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(key_digest, critical=False)
        .sign(private_key, hashes.SHA256())
    )
    return Authority(member=member, certificate=certificate, private_key=private_key)


def compute_host_name(member: MemberId, node: str) -> str:
    """Return the name that peers and clients expect in a node's certificate, whatever its address."""
    return f"{node}.{member}.tanpo"


def issue_certificate(
    authority: Authority,
    role: Role,
    name: str,
    *,
    dns_names: Iterable[str] = (),
    member: MemberId | None = None,
    valid_from: datetime | None = None,
    valid_for: timedelta = CERTIFICATE_VALIDITY,
) -> IssuedCertificate:
    """Return a new certificate and key for a holder of the authority's member.

    A node's certificate also names `<node>.<member>.tanpo`, loopback and `dns_names` (names or addresses).
    `member` differs from the authority's only in tests of what must be refused.
    """
    caller = Caller(member=member or authority.member, role=role, name=name)
    _check_name(caller)
    private_key = ec.generate_private_key(ec.SECP256R1())
    starts = valid_from or datetime.now(UTC) - CLOCK_SLACK
    issuer_key = authority.private_key.public_key()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(_compute_subject(caller))
        .issuer_name(authority.certificate.subject)
        .public_key(private_key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(starts)
        .not_valid_after(starts + valid_for)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(_compute_purposes(caller), critical=False)
        .add_extension(_compute_alternatives(caller, dns_names), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key), critical=False)
        .sign(authority.private_key, hashes.SHA256())
    )
    return IssuedCertificate(
        certificate=certificate.public_bytes(serialization.Encoding.PEM), private_key=_encode_key(private_key)
    )


def create_request(caller: Caller, dns_names: Iterable[str] = ()) -> CertificateRequest:
    """Return a new key, and the request with which any CA issues what `issue_certificate` would."""
    _check_name(caller)
    private_key = ec.generate_private_key(ec.SECP256R1())
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(_compute_subject(caller))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(_compute_purposes(caller), critical=False)
        .add_extension(_compute_alternatives(caller, dns_names), critical=False)
        .sign(private_key, hashes.SHA256())
    )
    return CertificateRequest(
        request=request.public_bytes(serialization.Encoding.PEM), private_key=_encode_key(private_key)
    )


def _check_name(caller: Caller) -> None:
    if find_caller(caller.uri) is None:
        raise _unusable(
            f"{caller.name!r} of {caller.member!r} is not a name: use a-z, 0-9, '-' and '_', at most 48, "
            "a letter first"
        )


def _compute_subject(caller: Caller) -> x509.Name:
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, caller.member),
            x509.NameAttribute(NameOID.COMMON_NAME, caller.name),
        ]
    )


def _compute_purposes(caller: Caller) -> x509.ExtendedKeyUsage:
    serving = [ExtendedKeyUsageOID.SERVER_AUTH] if caller.role is Role.NODE else []
    return x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH, *serving])


def _compute_alternatives(caller: Caller, dns_names: Iterable[str]) -> x509.SubjectAlternativeName:
    alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(caller.uri)]
    if caller.role is Role.NODE:
        hosts = dict.fromkeys((compute_host_name(caller.member, caller.name), *_LOOPBACK, *dns_names))
        alternatives += [_general_name(host) for host in hosts]
    return x509.SubjectAlternativeName(alternatives)


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    address: IPv4Address | IPv6Address
    try:
        address = ip_address(host)
    except ValueError:
        return x509.DNSName(host)
    return x509.IPAddress(address)


def _encode_key(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _unusable(why: str) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION, f"cannot issue certificates: {why}", remedy="correct it, or make a CA anew"
    )
