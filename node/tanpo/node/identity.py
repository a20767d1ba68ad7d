"""Who is calling: the identity in a client certificate, bound to the member whose CA issued it.

A certificate names its holder in a URI, `tanpo:<member>:<role>:<name>`, and is believed only when the CA of
*that* member issued it directly. The TLS handshake accepts any member's CA, so without this check every
member could speak for every other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import MemberId
from tanpo.node.authorities import UNREADABLE, Authorities

CALLERS_CACHED_MAX: Final = 1024
"""Certificates remembered; a check costs about 0.2 ms, a look-up a thousandth of that."""

_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,47}")
_URI_PREFIX: Final = "tanpo"


class Role(StrEnum):
    """What a certificate holder may do: run a node, transact, or operate nodes of its member."""

    NODE = "node"
    CLIENT = "client"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True, kw_only=True)
class Caller:
    """The authenticated holder of a certificate."""

    member: MemberId
    role: Role
    name: str

    @property
    def uri(self) -> str:
        """The identity as written in certificates."""
        return f"{_URI_PREFIX}:{self.member}:{self.role}:{self.name}"

    def __str__(self) -> str:
        return f"{self.role} {self.member}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A caller and when its certificate is valid."""

    caller: Caller
    valid_from: datetime
    valid_until: datetime


class CallerVerifier:
    """Turns certificates into callers, given the CAs of each member as they are at each call."""

    __slots__ = ("_authorities", "_holders", "_now")

    def __init__(self, authorities: Authorities, now: Callable[[], datetime] | None = None) -> None:
        self._authorities = authorities
        self._now = now or _utc_now
        self._holders: dict[tuple[int, bytes], Holder] = {}

    @classmethod
    def from_genesis(cls, genesis: Genesis) -> CallerVerifier:
        """Return a verifier for the members that a genesis names."""
        return cls(Authorities.of_genesis(genesis))

    def verify(self, pem: bytes) -> Caller:
        """Return whom a leaf certificate names.

        Raises:
            UsageError: with CALLER_UNKNOWN, when it names nobody, is not valid now, or was not issued by the
                CA of the member it names.
        """
        return self.verify_holder(pem).caller

    def verify_holder(self, pem: bytes) -> Holder:
        """Return whom a leaf certificate names and until when; raises as `verify` does."""
        # A CA that was good when a connection was opened may be no more.
        place = (self._authorities.version, pem)
        holder = self._holders.get(place)
        if holder is None:
            holder = read_holder(pem, self._authorities.find)
            if len(self._holders) >= CALLERS_CACHED_MAX:
                self._holders.pop(next(iter(self._holders)))
            self._holders[place] = holder
        # Checked at every call: a connection may outlive the certificate it was opened with.
        now = self._now()
        if now > holder.valid_until:
            raise _unknown(
                f"the certificate of {holder.caller} has expired",
                value=holder.valid_until.isoformat(),
                limit=f"later than {now.isoformat(timespec='seconds')}",
                remedy="renew the certificate and connect again",
            )
        if now < holder.valid_from:
            raise _unknown(
                f"the certificate of {holder.caller} is not valid yet",
                value=holder.valid_from.isoformat(),
                limit=f"earlier than {now.isoformat(timespec='seconds')}",
                remedy="correct the clock of the machine that issued it, or wait",
            )
        return holder


def find_caller(uri: str) -> Caller | None:
    """Return the identity a URI spells, None when it spells none."""
    prefix, _, rest = uri.partition(":")
    parts = rest.split(":")
    if prefix != _URI_PREFIX or len(parts) != 3 or parts[1] not in tuple(Role):
        return None
    if not (_NAME.fullmatch(parts[0]) and _NAME.fullmatch(parts[2])):
        return None
    return Caller(member=MemberId(parts[0]), role=Role(parts[1]), name=parts[2])


def find_named(pem: bytes) -> Caller | None:
    """Return whom a certificate names, whoever issued it; None if it names no single holder."""
    try:
        return _find_subject(x509.load_pem_x509_certificate(pem))
    except UNREADABLE:
        return None


def read_holder(pem: bytes, find_authorities: Callable[[MemberId], Sequence[x509.Certificate]]) -> Holder:
    """Return whom a certificate names, having checked everything about it but the time."""
    try:
        leaf = x509.load_pem_x509_certificate(pem)
        caller = _find_subject(leaf)
        is_authority = _is_authority(leaf)
    except UNREADABLE:
        raise _unknown(
            "the certificate cannot be read", remedy="present a certificate of your member"
        ) from None
    if caller is None or is_authority:
        raise _unknown(
            "the certificate names no single holder",
            value=leaf.subject.rfc4514_string(),
            limit="one URI tanpo:<member>:<node|client|operator>:<name>, for client authentication, no CA",
            remedy="have your member issue one with `tanpo cert issue`",
        )
    authorities = find_authorities(caller.member)
    if not any(_is_issued_by(leaf, authority) for authority in authorities):
        known = [authority.subject.rfc4514_string() for authority in authorities]
        raise _unknown(
            f"the certificate of {caller} was not issued by the CA of {caller.member}",
            value=leaf.issuer.rfc4514_string(),
            limit=" or ".join(known) or "the CA of a member of this network",
            remedy="present a certificate issued by your own member",
        )
    return Holder(caller=caller, valid_from=leaf.not_valid_before_utc, valid_until=leaf.not_valid_after_utc)


def _find_subject(leaf: x509.Certificate) -> Caller | None:
    try:
        alternatives = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        purposes = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return None
    found = [find_caller(uri) for uri in alternatives.get_values_for_type(x509.UniformResourceIdentifier)]
    if ExtendedKeyUsageOID.CLIENT_AUTH not in purposes or len(found) != 1:
        return None
    return found[0]


def _is_authority(leaf: x509.Certificate) -> bool:
    try:
        return leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        return False


def _is_issued_by(leaf: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        leaf.verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _unknown(message: str, *, value: str = "", limit: str = "", remedy: str) -> UsageError:
    return UsageError(Reason.CALLER_UNKNOWN, message, value=value, limit=limit, remedy=remedy)
