"""The CAs of the members of now: whose certificates are good, and what handshakes trust.

They are those of the committed state; before a node has one, those of the genesis. And it always takes
certificates of its own member from the CA that its operator gave it: a member that is admitted later could
neither start its node nor ask it anything otherwise. Of two CAs with one subject the state says which counts:
nodes that start at different times must not differ in whom they let in.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.membership import Registration, list_genesis_members
from tanpo.ledger.types import MemberId
from tanpo.node.logs import get_logger

Certificates = tuple[x509.Certificate, ...]
Dated = Mapping[x509.Certificate, int]
"""CAs of a member, each with the height of the block that added it."""

Subject = tuple[tuple[str, str], ...]

UNREADABLE: Final = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)
"""What reading a certificate raises that is none, or an odd one; several of these are no `ValueError`.
A member chooses the bytes: one that escaped would end every node that executes the member's transaction."""

_LOG: Final = get_logger("members")


class Authorities:
    """The CAs that count, by member. They may be replaced while the node runs; `version` counts how often."""

    def __init__(self, members: Mapping[MemberId, Certificates], *, own: MemberId | None = None) -> None:
        self._members: dict[MemberId, Dated] = {
            member: dict.fromkeys(certificates, 0) for member, certificates in members.items()
        }
        self._own = own
        self._own_certificates: Certificates = ()
        self._replaced = asyncio.Event()
        self._roots = b""
        self.version = 0
        self._renew()

    @classmethod
    def of_genesis(cls, genesis: Genesis, *, own: MemberId | None = None) -> Authorities:
        """Return the CAs that a genesis names; certificates of `own` may be issued by others too."""
        found = cls({}, own=own)
        found.replace(list_genesis_members(genesis))
        return found

    def replace(self, members: Sequence[Registration]) -> None:
        """Go by the records of these members from now on, and by nothing that was before."""
        self._members = load_dated(members)
        self._renew()

    def trust_own(self, certificate: x509.Certificate) -> None:
        """Take certificates of our own member from this CA as well, and from no other that was given so."""
        self._own_certificates = (certificate,)
        self._renew()

    def find(self, member: MemberId) -> Certificates:
        """Return the CAs whose certificates of a member are good; none for whom we do not know."""
        known = self.find_agreed(member)
        return known if member != self._own else tuple(dict.fromkeys((*known, *self._own_certificates)))

    def find_agreed(self, member: MemberId) -> Certificates:
        """Return the CAs of a member that all others go by too: none for one that is not admitted (yet)."""
        return tuple(self._members.get(member, ()))

    def read_roots(self) -> bytes:
        """Return all of them, PEM, as they are now; safe from any thread."""
        return self._roots

    async def wait_replaced(self) -> None:
        """Wait until others count."""
        await self._replaced.wait()

    def _renew(self) -> None:
        members = sorted({*self._members, *(() if self._own is None else (self._own,))})
        bearers = find_bearers(self._members)
        if self._own is not None:
            # Our operator's word on our own CA goes before the state: nobody's CA cuts our clients off.
            bearers |= {read_subject(one): self._own for one in self._own_certificates}
        self._roots = encode_pem(
            one
            for member in members
            for one in self.find(member)
            if _is_borne(bearers, read_subject(one), member)
        )
        self.version += 1
        self._replaced.set()
        self._replaced = asyncio.Event()


def find_bearers(members: Mapping[MemberId, Dated]) -> dict[Subject, MemberId]:
    """Return which member's CA is meant by each subject: whose was added first, by name where it is a tie.

    A handshake looks a CA up by its subject and may try one alone. So a member that gave its CA the subject
    of another's would cut off all nodes and clients of that one, if both were trusted.
    """
    claims = [
        (added, member, read_subject(certificate))
        for member, certificates in members.items()
        for certificate, added in certificates.items()
    ]
    bearers: dict[Subject, MemberId] = {}
    for _, member, subject in sorted(claims):
        bearers.setdefault(subject, member)
    return bearers


def load_dated(members: Iterable[Registration]) -> dict[MemberId, Dated]:
    """Return the CAs of members that are usable ones, in their order."""
    return {
        one.member: {
            found: held.added
            for held in one.authorities
            if (found := _parse(one.member, held.certificate)) is not None
        }
        for one in members
    }


def read_subject(certificate: x509.Certificate) -> Subject:
    """Return a subject as a handshake compares it: whatever the letters' case and the room between words."""
    return tuple(
        (one.oid.dotted_string, " ".join(str(one.value).casefold().split())) for one in certificate.subject
    )


def encode_pem(certificates: Iterable[x509.Certificate]) -> bytes:
    """Return certificates as PEM, each once."""
    return b"".join(one.public_bytes(serialization.Encoding.PEM) for one in dict.fromkeys(certificates))


def load_authorities(genesis: Genesis) -> dict[MemberId, x509.Certificate]:
    """Return the CA of every member of a genesis. Raises `UsageError` when one is not a certificate."""
    authorities: dict[MemberId, x509.Certificate] = {}
    for member in genesis.members:
        try:
            authorities[member.member] = x509.load_pem_x509_certificate(member.ca_certificate)
        except ValueError:
            raise UsageError(
                Reason.CONFIGURATION,
                f"genesis is unusable: the CA certificate of {member.member} is not PEM",
                value=member.member,
                remedy="make it with `tanpo net` or correct it",
            ) from None
    return authorities


def _is_borne(bearers: Mapping[Subject, MemberId], subject: Subject, member: MemberId) -> bool:
    if bearers[subject] == member:
        return True
    _LOG.warning("a member's CA has the subject of another member's", member=member)
    return False


def _parse(member: MemberId, pem: bytes) -> x509.Certificate | None:
    """Return a CA of the state, None for what is none: it must not spoil the trust in all others."""
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
        is_usable = constraints.ca and isinstance(certificate.public_key(), ec.EllipticCurvePublicKey)
        _read_whole(certificate)
    except UNREADABLE:
        is_usable = False
    if is_usable:
        return certificate
    _LOG.warning("a member's CA is not usable", member=member)
    return None


def _read_whole(certificate: x509.Certificate) -> None:
    """Read what is otherwise read at its first use.

    gRPC leaves off at the first CA that it cannot read, and all members behind that would be shut out.
    """
    for name in (certificate.subject, certificate.issuer):
        name.rfc4514_string()
    _ = certificate.not_valid_before_utc, certificate.not_valid_after_utc, certificate.serial_number
