"""The files a node proves itself with, checked at start: a wrong one must not show as a handshake error."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.node.config import NodeConfig
from tanpo.node.identity import Caller, CallerVerifier, Role, load_authorities
from tanpo.node.logs import get_logger
from tanpo.node.tls import read_pem

EXPIRY_WARNING: Final = timedelta(days=30)

_KEY_MARKERS: Final = ("PRIVATE KEY", "EC PRIVATE KEY")
_LOG: Final = get_logger("credentials")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCredentials:
    """A node's certificate and key, PEM, and until when they are good; the validator key if it votes."""

    certificate: bytes
    private_key: bytes
    valid_until: datetime
    signing_key: PrivateKey | None


def load_credentials(config: NodeConfig, genesis: Genesis, verifier: CallerVerifier) -> NodeCredentials:
    """Read and check a node's files.

    Raises:
        UsageError: a file cannot be read, or does not belong to this node of this network.
    """
    _check_authority(config, genesis)
    certificate = read_pem(config.tls.certificate, "tls.certificate", ("CERTIFICATE",))
    private_key = _read_key(config.tls.key, "tls.key")
    holder = verifier.verify_holder(certificate)
    expected = Caller(member=MemberId(config.member), role=Role.NODE, name=config.node)
    if holder.caller != expected:
        raise _wrong("tls.certificate", "names another holder", holder.caller, expected)
    _check_pair(certificate, private_key)
    if holder.valid_until - datetime.now(UTC) < EXPIRY_WARNING:
        _LOG.warning("certificate expires soon", valid_until=holder.valid_until.isoformat())
    return NodeCredentials(
        certificate=certificate,
        private_key=private_key,
        valid_until=holder.valid_until,
        signing_key=load_signing_key(config),
    )


def load_signing_key(config: NodeConfig) -> PrivateKey | None:
    """Return the key a node signs votes with, None for one that has none.

    Raises:
        UsageError: the file cannot be read, or holds no P-256 key.
    """
    path = config.signing_key
    return None if path is None else PrivateKey.from_pem(_read_key(path, "signing_key"))


def _check_authority(config: NodeConfig, genesis: Genesis) -> None:
    authorities = load_authorities(genesis)
    authority = authorities.get(MemberId(config.member))
    if authority is None:
        raise _wrong("member", "is not in the genesis", config.member, ", ".join(sorted(authorities)))
    pem = read_pem(config.tls.ca, "tls.ca", ("CERTIFICATE",))
    if _load_certificate(pem, "tls.ca") != authority:
        raise UsageError(
            Reason.GENESIS_MISMATCH,
            f"tls.ca: {config.tls.ca} is not the CA that genesis names for {config.member}",
            value=config.tls.ca,
            limit=authority.subject.rfc4514_string(),
            remedy="use the genesis and the CA of the same network",
        )


def _check_pair(certificate: bytes, private_key: bytes) -> None:
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError):
        raise _wrong("tls.key", "is not an unencrypted private key", "", "PKCS#8 PEM") from None
    if key.public_key() != _load_certificate(certificate, "tls.certificate").public_key():
        raise _wrong("tls.key", "does not belong to tls.certificate", "", "the key of that certificate")


def _load_certificate(pem: bytes, key: str) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError:
        raise _wrong(key, "is not a certificate", "", "a PEM certificate") from None


def _read_key(path: Path, key: str) -> bytes:
    data = read_pem(path, key, _KEY_MARKERS)
    if path.stat().st_mode & 0o077:
        _LOG.warning("private key is readable by others", key=key, path=str(path), remedy=f"chmod 600 {path}")
    return data


def _wrong(key: str, why: str, value: object, limit: object) -> UsageError:
    return UsageError(Reason.CONFIGURATION, f"{key} {why}", value=value, limit=limit, remedy=f"correct {key}")
