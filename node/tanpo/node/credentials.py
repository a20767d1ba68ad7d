"""The files a node proves itself with, checked at start: a wrong one must not show as a handshake error."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.x509.oid import ExtendedKeyUsageOID
from tanpo.ledger.errors import LedgerError, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import load_authorities
from tanpo.node.config import NodeConfig
from tanpo.node.findings import Finding, fault, raise_first, warning
from tanpo.node.identity import Caller, Role, find_named, read_holder
from tanpo.node.pki import compute_host_name
from tanpo.node.tls import read_pem

EXPIRY_WARNING: Final = timedelta(days=30)
"""Time enough to have a certificate issued, whatever the CA's office hours."""

_KEY_MARKERS: Final = ("PRIVATE KEY", "EC PRIVATE KEY")
_ISSUE_REMEDY: Final = "have the member's CA issue one (`tanpo cert issue`)"


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeCredentials:
    """A node's certificate and key, PEM, and until when they are good; the validator key if it votes."""

    certificate: bytes
    private_key: bytes
    valid_until: datetime
    signing_key: PrivateKey | None


class CurrentCredentials:
    """The credentials that a running node shows. They may be replaced: whoever connects next sees others."""

    def __init__(self, value: NodeCredentials) -> None:
        self._value = value
        self._replaced = asyncio.Event()

    @property
    def value(self) -> NodeCredentials:
        """The credentials now."""
        return self._value

    def replace(self, value: NodeCredentials) -> None:
        """Show others from now on."""
        self._value = value
        self._replaced.set()
        self._replaced = asyncio.Event()

    async def wait_replaced(self) -> None:
        """Wait until they are replaced: whoever holds connections for long opens them anew then."""
        await self._replaced.wait()

    def read_pair(self) -> tuple[bytes, bytes]:
        """Return certificate and key as they are now; safe from any thread."""
        value = self._value
        return value.certificate, value.private_key


def load_credentials(config: NodeConfig, genesis: Genesis) -> NodeCredentials:
    """Read and check a node's files.

    Raises:
        UsageError: a file cannot be read, or does not belong to this node of this network.
    """
    findings = [
        *check_authority(config, genesis),
        *check_certificate(config),
        *check_signing_key(config, genesis),
    ]
    raise_first(findings)
    certificate = read_pem(config.tls.certificate, "tls.certificate", ("CERTIFICATE",))
    return NodeCredentials(
        certificate=certificate,
        private_key=read_pem(config.tls.key, "tls.key", _KEY_MARKERS),
        valid_until=read_valid_until(config.tls.certificate, "tls.certificate"),
        signing_key=load_signing_key(config),
    )


def load_signing_key(config: NodeConfig) -> PrivateKey | None:
    """Return the key a node signs votes with, None for one that has none.

    Raises:
        UsageError: the file cannot be read, or holds no P-256 key.
    """
    path = config.signing_key
    if path is None:
        return None
    pem = read_pem(path, "signing_key", _KEY_MARKERS)
    try:
        return PrivateKey.from_pem(pem)
    except UsageError as error:
        raise UsageError(
            error.reason,
            f"signing_key: {path}: {error.message}",
            value=path,
            limit=error.limit,
            remedy="let signing_key name the key that the validators list for this node; `tanpo key "
            "generate` makes a new one",
        ) from None


def check_authority(config: NodeConfig, genesis: Genesis) -> Iterator[Finding]:
    """Find what is wrong with the node's member and its CA, by the genesis.

    The members may have admitted this one since, or it may have another CA: only the state knows. So what
    differs is told, and a node starts all the same.
    """
    try:
        authorities = load_authorities(genesis)
    except LedgerError as error:
        yield Finding(key="genesis", error=error)
        return
    try:
        found = load_own_authority(config)
    except LedgerError as error:
        yield Finding(key="tls.ca", error=error)
        return
    authority = authorities.get(MemberId(config.member))
    if authority is None:
        yield warning(
            "member",
            "is not in the genesis: peers let this node in if the members have admitted it since",
            value=config.member,
            limit=", ".join(sorted(authorities)),
            remedy="compare with `tanpo member list`, or correct member",
        )
    elif found != authority:
        yield warning(
            "tls.ca",
            f"is not the CA that genesis names for {config.member}: it counts if the members know it by now",
            value=spell_authority(found),
            limit=spell_authority(authority),
            remedy="compare with `tanpo member list`, or use the genesis and the CA of the same network",
        )
    yield from _check_time("tls.ca", found.not_valid_before_utc, found.not_valid_after_utc)


def load_own_authority(config: NodeConfig) -> x509.Certificate:
    """Return the CA of the node's own member. Raises `UsageError` if its file holds none."""
    return parse_certificate(read_pem(config.tls.ca, "tls.ca", ("CERTIFICATE",)), "tls.ca")


def check_certificate(config: NodeConfig) -> Iterator[Finding]:
    """Find what is wrong with the node's certificate and key."""
    leaf: x509.Certificate | None = None
    try:
        pem = read_pem(config.tls.certificate, "tls.certificate", ("CERTIFICATE",))
        leaf = parse_certificate(pem, "tls.certificate")
        yield from _check_holder(config, pem)
        yield from _check_leaf(config, leaf)
    except LedgerError as error:
        yield Finding(key="tls.certificate", error=error)
    try:
        private_key = read_pem(config.tls.key, "tls.key", _KEY_MARKERS)
    except LedgerError as error:
        yield Finding(key="tls.key", error=error)
        return
    yield from _check_mode(config.tls.key, "tls.key")
    yield from _check_pair(config, private_key, leaf)


def is_open_to_others(mode: int, *, owner: int, reader: int) -> bool:
    """Return whether more than the node may read or change a secret file with this mode and owner.

    An orchestrator mounts secrets as root's, for the group of the container to read, which is the node's own.
    """
    is_mounted = owner == 0 and reader != 0
    return bool(mode & (0o037 if is_mounted else 0o077))


def check_signing_key(config: NodeConfig, genesis: Genesis | None) -> Iterator[Finding]:
    """Find what is wrong with the key that the node signs votes with; without a genesis, with it alone."""
    try:
        key = load_signing_key(config)
    except LedgerError as error:
        yield Finding(key="signing_key", error=error)
        return
    named = {(one.member, one.node): one.public_key for one in (genesis.validators if genesis else ())}
    expected = named.get((MemberId(config.member), config.node))
    if key is None or config.signing_key is None:
        if expected is not None:
            yield warning(
                "signing_key",
                "is missing, and genesis names this node a validator: it will only follow",
                limit="the validator's key",
                remedy="name the key, unless the members have replaced this validator since",
            )
        return
    yield from _check_mode(config.signing_key, "signing_key")
    if expected is not None and expected != key.public_key.encoded:
        yield warning(
            "signing_key",
            "is not the key that genesis names for this node: it votes only if the members changed it since",
            value=key.key_id.hex(),
            remedy="compare with `tanpo validator list`",
        )
    holder = next((name for name, encoded in named.items() if encoded == key.public_key.encoded), None)
    if holder is not None and holder != (MemberId(config.member), config.node):
        yield warning(
            "signing_key",
            f"is the key that genesis names for {holder[0]}/{holder[1]}: this node does not vote with it, "
            "and two processes with one key can fork the chain",
            value=key.key_id.hex(),
            limit="a key of this node's own, in one place only",
            remedy="see that this is the right file, and make another key if it is not",
        )


def read_serial(certificate: bytes) -> str:
    """Return the serial number of a PEM certificate that was checked, as openssl shows it."""
    return f"{x509.load_pem_x509_certificate(certificate).serial_number:X}"


def read_valid_until(path: Path, key: str) -> datetime:
    """Return when a certificate expires. Raises `UsageError` if it cannot be read."""
    return parse_certificate(read_pem(path, key, ("CERTIFICATE",)), key).not_valid_after_utc


def spell_authority(certificate: x509.Certificate) -> str:
    """Return a CA as messages name it: two of one member may have the same subject."""
    digest = certificate.fingerprint(hashes.SHA256()).hex()
    return f"{certificate.subject.rfc4514_string()}, SHA-256 {digest[:16]}"


def _check_holder(config: NodeConfig, pem: bytes) -> Iterator[Finding]:
    expected = Caller(member=MemberId(config.member), role=Role.NODE, name=config.node)
    named = find_named(pem)
    if named is not None and named != expected:
        # Before its issuer: another member's certificate is of another CA too.
        yield fault("tls.certificate", "names another holder", value=named, limit=expected)
        return
    try:
        authority = load_own_authority(config)
    except LedgerError:
        return  # What is wrong with it is found where it is looked at.
    try:
        read_holder(pem, lambda _: (authority,))
    except LedgerError as error:
        yield fault(
            "tls.certificate",
            f"is not accepted: {error.message}",
            value=error.value or config.tls.certificate,
            limit=error.limit,
            remedy=_ISSUE_REMEDY,
        )


def _check_leaf(config: NodeConfig, leaf: x509.Certificate) -> Iterator[Finding]:
    host_name = compute_host_name(MemberId(config.member), config.node)
    names = _list_host_names(leaf)
    if host_name not in names:
        yield fault(
            "tls.certificate",
            "does not have the host name that peers and clients expect",
            value=", ".join(names) or "none",
            limit=host_name,
            remedy=_ISSUE_REMEDY,
        )
    if not _may_serve(leaf):
        yield fault(
            "tls.certificate",
            "is not for server authentication",
            value="extended key usage without serverAuth",
            limit="clientAuth and serverAuth",
            remedy=_ISSUE_REMEDY,
        )
    yield from _check_time("tls.certificate", leaf.not_valid_before_utc, leaf.not_valid_after_utc)


def _check_time(key: str, valid_from: datetime, valid_until: datetime) -> Iterator[Finding]:
    now = datetime.now(UTC)
    if now > valid_until:
        yield fault(
            key,
            "has expired",
            value=valid_until.isoformat(),
            limit=f"later than {now.isoformat(timespec='seconds')}",
            remedy=f"{_ISSUE_REMEDY}, or set this machine's clock",
        )
    elif now < valid_from:
        yield fault(
            key,
            "is not valid yet",
            value=valid_from.isoformat(),
            limit=f"earlier than {now.isoformat(timespec='seconds')}",
            remedy="set the clock of this machine, or of the one that issued it, and wait",
        )
    elif valid_until - now < EXPIRY_WARNING:
        yield warning(
            key,
            f"expires in {(valid_until - now).days} days",
            value=valid_until.isoformat(),
            limit=f"more than {EXPIRY_WARNING.days} days",
            remedy=f"{_ISSUE_REMEDY}, and run `tanpo cert rotate`",
        )


def _check_pair(config: NodeConfig, private_key: bytes, leaf: x509.Certificate | None) -> Iterator[Finding]:
    path = config.tls.key
    try:
        key = serialization.load_pem_private_key(private_key, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        yield fault("tls.key", "is not an unencrypted private key", value=path, limit="PKCS#8 PEM")
        return
    if leaf is not None and key.public_key() != leaf.public_key():
        limit = f"the key of {config.tls.certificate}"
        yield fault("tls.key", "does not belong to tls.certificate", value=path, limit=limit)


def _check_mode(path: Path, key: str) -> Iterator[Finding]:
    found = path.stat()
    if is_open_to_others(found.st_mode, owner=found.st_uid, reader=os.geteuid()):
        yield warning(
            key,
            "is readable by others",
            value=f"mode {found.st_mode & 0o777:04o}",
            limit="mode 0600",
            remedy=f"chmod 600 {path}",
        )


def _list_host_names(leaf: x509.Certificate) -> list[str]:
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return alternatives.get_values_for_type(x509.DNSName)


def _may_serve(leaf: x509.Certificate) -> bool:
    try:
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (x509.ExtensionNotFound, ValueError):
        return False
    return ExtendedKeyUsageOID.SERVER_AUTH in purposes


def parse_certificate(pem: bytes, key: str) -> x509.Certificate:
    """Return the certificate in PEM that a configuration key names. Raises `UsageError` if it is none."""
    try:
        return x509.load_pem_x509_certificate(pem)
    except (ValueError, x509.InvalidVersion):
        raise fault(key, "is not a certificate", limit="a PEM certificate").error from None
