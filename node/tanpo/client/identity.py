"""Who the client is to a node: its TLS certificate and key, and the CAs it believes (D14)."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.types import MemberId


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A certificate, its private key and the CAs that nodes' certificates must chain to, all PEM.

    `target_name` is the name expected in a node's certificate when it is not the address dialled, such as
    `node-1.dealer-a.tanpo`. `source` names the certificate in messages, ordinarily its file.
    """

    certificate: bytes
    private_key: bytes = field(repr=False)
    authorities: bytes
    target_name: str = ""
    source: str = "the client certificate"

    @classmethod
    def load(
        cls,
        certificate: Path | str,
        private_key: Path | str,
        authorities: Path | str,
        *,
        target_name: str = "",
    ) -> Identity:
        """Return the identity in three PEM files. Raises `UsageError` naming the file that is unusable."""
        identity = cls(
            certificate=_read(Path(certificate), "certificate"),
            private_key=_read(Path(private_key), "private key"),
            authorities=_read(Path(authorities), "trusted CA file"),
            target_name=target_name,
            source=str(certificate),
        )
        _check_pair(identity)
        return identity

    @property
    def member(self) -> MemberId | None:
        """The member that the certificate names in its URI `tanpo:<member>:<role>:<name>`, if it does."""
        try:
            names = self._leaf().extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        except x509.ExtensionNotFound:
            return None
        for uri in names.get_values_for_type(x509.UniformResourceIdentifier):
            parts = uri.split(":")
            if len(parts) == 4 and parts[0] == "tanpo":
                return MemberId(parts[1])
        return None

    @property
    def valid_until(self) -> datetime:
        """When the certificate expires."""
        return self._leaf().not_valid_after_utc

    def verify_validity(self, now: datetime | None = None) -> None:
        """Raise `UsageError` unless the certificate is valid now: a node would only drop the connection."""
        instant = now or datetime.now(UTC)
        leaf = self._leaf()
        if instant > leaf.not_valid_after_utc:
            raise UsageError(
                Reason.CALLER_UNKNOWN,
                f"the certificate {self.source} has expired",
                value=leaf.not_valid_after_utc.isoformat(),
                limit=f"later than {instant.isoformat(timespec='seconds')}",
                remedy="have your member issue a new one and connect again",
            )
        if instant < leaf.not_valid_before_utc:
            raise UsageError(
                Reason.CALLER_UNKNOWN,
                f"the certificate {self.source} is not valid yet",
                value=leaf.not_valid_before_utc.isoformat(),
                limit=f"earlier than {instant.isoformat(timespec='seconds')}",
                remedy="correct this machine's clock, or wait",
            )

    def _leaf(self) -> x509.Certificate:
        try:
            return x509.load_pem_x509_certificate(self.certificate)
        except ValueError:
            raise _unusable(self.source, "certificate", "is no PEM certificate") from None


def _check_pair(identity: Identity) -> None:
    leaf = identity._leaf()
    try:
        key = serialization.load_pem_private_key(identity.private_key, password=None)
    except (ValueError, TypeError):
        raise _unusable(identity.source, "private key of", "is no unencrypted PEM key") from None
    if key.public_key() != leaf.public_key():
        raise _unusable(identity.source, "private key of", "does not belong to this certificate")
    try:
        x509.load_pem_x509_certificates(identity.authorities)
    except ValueError:
        raise _unusable(identity.source, "trusted CA file beside", "holds no PEM certificate") from None


def _read(path: Path, what: str) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise _unusable(str(path), what, f"cannot be read: {error.strerror}") from None


def _unusable(source: str, what: str, why: str) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION, f"the {what} {source} {why}", value=source, remedy="name the right PEM file"
    )
