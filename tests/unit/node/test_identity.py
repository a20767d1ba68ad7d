from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import Authorities
from tanpo.node.identity import CALLERS_CACHED_MAX, Caller, CallerVerifier, Role, find_caller
from tanpo.node.pki import Authority, create_authority, issue_certificate

ALPHA, BETA = MemberId("alpha"), MemberId("beta")


@pytest.fixture(scope="module")
def alpha() -> Authority:
    return create_authority(ALPHA, "testnet")


@pytest.fixture(scope="module")
def beta() -> Authority:
    return create_authority(BETA, "testnet")


@pytest.fixture
def verifier(alpha: Authority, beta: Authority) -> CallerVerifier:
    return CallerVerifier(Authorities({ALPHA: (alpha.certificate,), BETA: (beta.certificate,)}))


def make_leaf(
    authority: Authority,
    uris: list[str],
    *,
    ca: bool = False,
    purpose: bool = True,
    alternatives: bool = True,
) -> bytes:
    """Return a leaf as a hostile CA could issue it."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
    )
    if alternatives:
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(uri) for uri in uris]
        names = names or [x509.DNSName("x")]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    usage = ExtendedKeyUsageOID.CLIENT_AUTH if purpose else ExtendedKeyUsageOID.SERVER_AUTH
    builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
    return builder.sign(authority.private_key, hashes.SHA256()).public_bytes(Encoding.PEM)


@pytest.mark.parametrize("role", list(Role))
def test_caller_is_who_the_certificate_names(alpha: Authority, verifier: CallerVerifier, role: Role) -> None:
    issued = issue_certificate(alpha, role, "desk-1")
    assert verifier.verify(issued.certificate) == Caller(member=ALPHA, role=role, name="desk-1")


def test_uri_of_a_caller_spells_it() -> None:
    caller = Caller(member=ALPHA, role=Role.OPERATOR, name="ops")
    assert caller.uri == "tanpo:alpha:operator:ops"
    assert find_caller(caller.uri) == caller


@pytest.mark.parametrize(
    "uri",
    [
        "",
        "tanpo:",
        "tanpo:alpha",
        "tanpo:alpha:client",
        "tanpo:alpha:root:x",
        "tanpo:alpha:client:",
        "tanpo:alpha:client:x:y",
        "tanpo:Alpha:client:x",
        "tanpo::client:x",
        "https:alpha:client:x",
        "tanpo:alpha:client:x/../y",
        "tanpo:alpha:client:" + "x" * 49,
    ],
)
def test_other_uris_name_nobody(uri: str) -> None:
    assert find_caller(uri) is None


def test_certificate_of_one_ca_that_names_another_member_is_refused(
    beta: Authority, verifier: CallerVerifier
) -> None:
    forged = issue_certificate(beta, Role.OPERATOR, "mallory", member=ALPHA)
    with pytest.raises(UsageError, match="not issued by the CA of alpha") as caught:
        verifier.verify(forged.certificate)
    assert caught.value.reason is Reason.CALLER_UNKNOWN


def test_certificate_of_a_member_that_is_not_in_the_network_is_refused(verifier: CallerVerifier) -> None:
    stranger = create_authority(MemberId("stranger"), "testnet")
    with pytest.raises(UsageError, match="not issued by the CA of stranger"):
        verifier.verify(issue_certificate(stranger, Role.CLIENT, "x").certificate)


def test_certificate_below_an_intermediate_is_refused(alpha: Authority, verifier: CallerVerifier) -> None:
    intermediate = create_authority(ALPHA, "testnet")  # same name, another key
    with pytest.raises(UsageError, match="not issued by the CA of alpha"):
        verifier.verify(issue_certificate(intermediate, Role.CLIENT, "x").certificate)


@pytest.mark.parametrize(
    ("uris", "ca", "purpose", "alternatives"),
    [
        ([], False, True, True),
        ([], False, True, False),
        (["tanpo:alpha:client:a", "tanpo:beta:client:b"], False, True, True),
        (["tanpo:alpha:client:a", "https://example.com"], False, True, True),
        (["tanpo:alpha:client:a"], True, True, True),
        (["tanpo:alpha:client:a"], False, False, True),
    ],
    ids=["no name", "no names at all", "two holders", "another uri", "a CA", "not for clients"],
)
def test_certificate_that_names_no_single_holder_is_refused(
    alpha: Authority, verifier: CallerVerifier, uris: list[str], ca: bool, purpose: bool, alternatives: bool
) -> None:
    leaf = make_leaf(alpha, uris, ca=ca, purpose=purpose, alternatives=alternatives)
    with pytest.raises(UsageError, match="names no single holder"):
        verifier.verify(leaf)


@pytest.mark.parametrize(
    "pem", [b"", b"garbage", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_bytes_that_are_no_certificate_are_refused(verifier: CallerVerifier, pem: bytes) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        verifier.verify(pem)


def test_validity_is_checked_at_every_call_and_not_only_at_the_first(
    alpha: Authority, beta: Authority
) -> None:
    now = [datetime.now(UTC)]
    verifier = CallerVerifier(Authorities({ALPHA: (alpha.certificate,)}), now=lambda: now[0])
    pem = issue_certificate(alpha, Role.CLIENT, "x", valid_for=timedelta(hours=1)).certificate
    assert verifier.verify(pem).name == "x"
    now[0] += timedelta(hours=2)
    with pytest.raises(UsageError, match="has expired") as caught:
        verifier.verify(pem)
    assert "renew" in caught.value.remedy
    now[0] -= timedelta(days=2)
    with pytest.raises(UsageError, match="not valid yet"):
        verifier.verify(pem)


def test_remembered_callers_are_bounded(
    alpha: Authority, verifier: CallerVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tanpo.node.identity.CALLERS_CACHED_MAX", 3)
    for number in range(5):
        verifier.verify(issue_certificate(alpha, Role.CLIENT, f"c{number}").certificate)
    assert len(verifier._holders) == 3
    assert CALLERS_CACHED_MAX > 3


def test_a_certificate_that_was_good_is_refused_once_its_ca_counts_no_more(
    alpha: Authority, beta: Authority
) -> None:
    authorities = Authorities({ALPHA: (alpha.certificate,), BETA: (beta.certificate,)})
    verifier = CallerVerifier(authorities)
    issued = issue_certificate(alpha, Role.CLIENT, "desk-1")
    assert verifier.verify(issued.certificate).member == ALPHA
    authorities.replace([])
    with pytest.raises(UsageError, match="was not issued by the CA of alpha"):
        verifier.verify(issued.certificate)
