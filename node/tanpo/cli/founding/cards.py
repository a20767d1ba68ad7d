"""Member cards: what others must know of a member before there is a network, in one public file.

A card is signed with each of the three keys that it names: the CA's, the one that the node votes with, and
the one that signs the member's transactions. So nobody can put another's key on a card of their own. That a
card comes from the member at all is for people to find out: they compare its hash by telephone or on paper.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from pydantic import ValidationError
from tanpo.cli.founding.secrets import MemberSecrets
from tanpo.client.documents import Document, read_document, save_document
from tanpo.ledger.codec import Writer
from tanpo.ledger.errors import PeerFault, Reason, UsageError
from tanpo.ledger.genesis import Member
from tanpo.ledger.keys import ALGORITHM, PrivateKey, PublicKey
from tanpo.ledger.lei import is_lei
from tanpo.ledger.types import MemberId
from tanpo.ledger.validators import Validator
from tanpo.node.config import PeerConfig, split_address

CARD: Final = "tanpo-member-card"
ROLES: Final = (
    "registrar",
    "custodian",
    "issuer",
    "cash_issuer",
    "participant",
    "collateral_agent",
    "price_source",
    "supervisor",
)
"""The roles that the contract `members` knows."""

_DOMAIN: Final = b"tanpo/card/1"
_NAME_MAX: Final = 100
_ADDRESS_MAX: Final = 261
"""The longest host name, a colon and five digits."""
_HOST: Final = re.compile(r"[A-Za-z0-9.-]{1,255}|[0-9a-fA-F:.]{2,45}")
_PORT_MAX: Final = 65535


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is on a card. `validator_key` and `transaction_key` are DER, `ca_certificate` is PEM."""

    member: str
    name: str
    lei: str
    roles: tuple[str, ...]
    ca_certificate: bytes
    node: str
    validator_key: bytes
    transaction_key: bytes
    address: str
    peer_address: str

    @property
    def card_hash(self) -> bytes:
        """The hash that the member's keys sign, and that people compare."""
        writer = Writer().raw(_DOMAIN).text(self.member).text(self.name).text(self.lei).u32(len(self.roles))
        for role in self.roles:
            writer.text(role)
        writer.blob(self.ca_certificate).text(self.node).blob(self.validator_key).blob(self.transaction_key)
        writer.text(self.address).text(self.peer_address)
        return sha256(writer.finish()).digest()

    def to_member(self) -> Member:
        """Return the member as a genesis names it."""
        return Member(
            member=MemberId(self.member),
            name=self.name,
            lei=self.lei,
            roles=self.roles,
            ca_certificate=self.ca_certificate,
            keys=(self.transaction_key,),
        )

    def to_validator(self) -> Validator:
        """Return the member's node as a genesis names it, if it votes from the beginning."""
        return Validator(member=MemberId(self.member), node=self.node, public_key=self.validator_key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """A card that was read from a file, and found to be whole and signed with its own keys."""

    source: str
    facts: Facts


def check_facts(facts: Facts, source: str) -> None:
    """Raise `UsageError`, naming `source`, for a card that no network would take."""
    if not 1 <= len(facts.name) <= _NAME_MAX or not facts.name.isprintable() or facts.name.isspace():
        raise _wrong(source, "the name is not one", facts.name, f"1..{_NAME_MAX} printable characters")
    if not is_lei(facts.lei):
        limit = "20 characters, 0-9 and A-Z, of which the last two check the others (ISO 17442)"
        raise _wrong(source, "the LEI is wrong", facts.lei, limit)
    for position, role in enumerate(facts.roles):
        if role not in ROLES:
            raise _wrong(source, "there is no such role", role, ", ".join(ROLES))
        if role in facts.roles[:position]:
            raise _wrong(source, "a role is named twice", role, "each once")
    for address in (facts.address, facts.peer_address):
        _check_address(facts, address, source)
    if facts.address == facts.peer_address:
        raise _wrong(source, "clients and peers have the same address", facts.address, "a port for each")


def check_host(host: str) -> None:
    """Raise `UsageError` unless a text is a host name or an address, as certificates name them."""
    if not _HOST.fullmatch(host):
        limit = "letters, digits, '-' and '.'; or an IPv4 or IPv6 address"
        raise _wrong("the node", "a host name has a wrong form", host, limit)


def save_card(path: Path, facts: Facts, secrets: MemberSecrets) -> None:
    """Write a card, signed with the keys that it names. Raises `UsageError` if there is such a file."""
    digest = facts.card_hash
    authority = PrivateKey(secrets.authority.private_key)
    save_document(
        path,
        CARD,
        {
            "member": facts.member,
            "name": facts.name,
            "lei": facts.lei,
            "roles": list(facts.roles),
            "ca_certificate": facts.ca_certificate.decode("ascii"),
            "node": facts.node,
            "validator_key": facts.validator_key.hex(),
            "transaction_key": facts.transaction_key.hex(),
            "address": facts.address,
            "peer_address": facts.peer_address,
            "ca_signature": authority.sign(digest).hex(),
            "validator_signature": secrets.validator.sign(digest).hex(),
            "transaction_signature": secrets.transaction.sign(digest).hex(),
        },
    )


def load_card(path: Path) -> Card:
    """Return the card in a file.

    Raises:
        UsageError: there is none, it says what no network would take, or it was changed since it was signed.
    """
    document = read_document(path, CARD)
    facts = Facts(
        member=document.text("member"),
        name=document.text("name"),
        lei=document.text("lei"),
        roles=document.text_list("roles"),
        ca_certificate=document.text("ca_certificate").encode("ascii", "replace"),
        node=document.text("node"),
        validator_key=document.hex("validator_key"),
        transaction_key=document.hex("transaction_key"),
        address=document.text("address"),
        peer_address=document.text("peer_address"),
    )
    source = f"card {path}"
    check_facts(facts, source)
    _verify_signatures(document, facts, source)
    return Card(source=str(path), facts=facts)


def load_authority(facts: Facts, source: str) -> x509.Certificate:
    """Return the CA of a card. Raises `UsageError` unless it is one, and valid now."""
    certificate = load_authority_pem(facts.ca_certificate, source, facts.member)
    now = datetime.now(UTC)
    if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
        limit = f"valid at {now.isoformat(timespec='seconds')}"
        until = certificate.not_valid_after_utc.isoformat()
        raise _wrong(source, "the CA's certificate is not valid now", f"until {until}", limit)
    return certificate


def load_authority_pem(pem: bytes, source: str, member: str) -> x509.Certificate:
    """Return a member's CA. Raises `UsageError`, naming `source`, unless it is one certificate of a CA."""
    try:
        found = x509.load_pem_x509_certificates(pem)
        is_authority = len(found) == 1 and _is_authority(found[0])
    except ValueError:
        is_authority, found = False, []
    if not is_authority:
        raise _wrong(source, "the CA's certificate is not one", member, "one CA certificate, PEM")
    return found[0]


def spell_fingerprint(certificate: x509.Certificate) -> str:
    """Return the SHA-256 fingerprint of a certificate, as `openssl x509 -fingerprint -sha256` prints it."""
    return certificate.fingerprint(hashes.SHA256()).hex(":").upper()


def describe_card(facts: Facts) -> dict[str, object]:
    """Return what a card says, for people who compare it."""
    authority = load_authority(facts, f"card of {facts.member}")
    return {
        "member": facts.member,
        "name": facts.name,
        "lei": facts.lei,
        "roles": ", ".join(facts.roles),
        "card_hash": facts.card_hash.hex(),
        "ca_fingerprint": spell_fingerprint(authority),
        "ca_valid_until": authority.not_valid_after_utc.isoformat(timespec="seconds"),
        "node": facts.node,
        "validator_key_id": PublicKey.decode(facts.validator_key).key_id.hex(),
        "transaction_key_id": PublicKey.decode(facts.transaction_key).key_id.hex(),
        "address": facts.address,
        "peer_address": facts.peer_address,
    }


def _verify_signatures(document: Document, facts: Facts, source: str) -> None:
    try:
        keys = {
            "ca": PublicKey.from_cryptography(load_authority(facts, source).public_key()),
            "validator": PublicKey.decode(facts.validator_key),
            "transaction": PublicKey.decode(facts.transaction_key),
        }
    except PeerFault as error:
        raise _wrong(source, error.message, facts.member, error.limit) from None
    except (ValueError, UnsupportedAlgorithm):
        raise _wrong(source, "the CA's key cannot be read", facts.member, ALGORITHM) from None
    if len({key.encoded for key in keys.values()}) != len(keys):
        raise _wrong(source, "one key has two purposes", facts.member, "a key for each")
    for name, key in keys.items():
        if not key.verify(document.hex(f"{name}_signature"), facts.card_hash):
            raise UsageError(
                Reason.SIGNATURE_INVALID,
                f"{source}: the signature with the {name} key is wrong: it was changed since it was signed",
                value=f"{name}_signature",
                limit=f"a signature over {facts.card_hash.hex()}",
                remedy="have the member send it again",
            )


def _check_address(facts: Facts, address: str, source: str) -> None:
    try:
        PeerConfig(member=facts.member, node=facts.node, address=address)
    except ValidationError as error:
        key = str(error.errors()[0]["loc"][0])
        value = address if key == "address" else getattr(facts, key)
        limit = "HOST:PORT" if key == "address" else "a-z, 0-9, '-' and '_', at most 48, a letter first"
        raise _wrong(source, f"the {key} has a wrong form", value, limit) from None
    if len(address) > _ADDRESS_MAX:
        raise _wrong(source, "an address is too long", address, f"{_ADDRESS_MAX} characters")
    if not 1 <= split_address(address)[1] <= _PORT_MAX:
        raise _wrong(source, "the address has a port that does not exist", address, f"port 1..{_PORT_MAX}")


def _is_authority(certificate: x509.Certificate) -> bool:
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, x509.DuplicateExtension):
        return False


def _wrong(source: str, why: str, value: object, limit: object) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        f"{source}: {why}",
        value=value,
        limit=limit,
        remedy="correct it, or have the member make its card anew (`tanpo member init`)",
    )
