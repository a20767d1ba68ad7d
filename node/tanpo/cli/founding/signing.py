"""The members' signatures over a genesis. Its hash is the network id, which is what they sign."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final

from tanpo.cli.founding.cards import Facts
from tanpo.client.documents import read_document, save_document
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis, Member
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.transaction import Signer
from tanpo.ledger.types import NetworkId

SIGNATURE: Final = "tanpo-genesis-signature"

_DOMAIN: Final = b"tanpo/genesis-signature/1"


@dataclass(frozen=True, slots=True, kw_only=True)
class GenesisSignature:
    """What a file says: that a member signed the genesis of this id. Unverified."""

    source: str
    network: str
    network_id: bytes
    member: str
    signature: bytes


def compute_digest(network_id: NetworkId, member: str) -> bytes:
    """Return what a member signs."""
    return sha256(_DOMAIN + network_id + member.encode("utf-8")).digest()


def check_card(genesis: Genesis, facts: Facts, source: str) -> None:
    """Raise `UsageError` unless a genesis says of a member just what its card says."""
    member = next((one for one in genesis.members if one.member == facts.member), None)
    if member is None:
        names = ", ".join(one.member for one in genesis.members)
        raise _differing(f"{source}: the genesis has no such member", facts.member, names)
    wanted = facts.to_member()
    for field in ("name", "lei", "roles", "ca_certificate", "keys"):
        if getattr(member, field) != getattr(wanted, field):
            what = _WORDS[field]
            shown, limit = _show(member, field), _show(wanted, field)
            raise _differing(f"{source}: the genesis has another {what} for {facts.member}", shown, limit)
    named = [one for one in genesis.validators if one.member == facts.member]
    if named and named != [facts.to_validator()]:
        shown = ", ".join(_show_key(one.node, one.public_key) for one in named)
        limit = _show_key(facts.node, facts.validator_key)
        raise _differing(f"{source}: the genesis has another validator for {facts.member}", shown, limit)


def save_signature(path: Path, genesis: Genesis, facts: Facts, signer: Signer) -> None:
    """Sign a genesis for the member of a card, and write the signature to a new file.

    Raises:
        UsageError: the genesis says something else than the card, the key is not the member's, or the file
            exists.
    """
    check_card(genesis, facts, f"card of {facts.member}")
    key_id = PublicKey.decode(facts.transaction_key).key_id
    if signer.key_id != key_id:
        raise UsageError(
            Reason.SIGNATURE_FOREIGN,
            f"this is not the key that signs for {facts.member}",
            value=signer.key_id.hex(),
            limit=key_id.hex(),
            remedy="sign with the transaction key that the card names",
        )
    save_document(
        path,
        SIGNATURE,
        {
            "network": genesis.network,
            "network_id": genesis.network_id.hex(),
            "member": facts.member,
            "key_id": key_id.hex(),
            "signature": signer.sign(compute_digest(genesis.network_id, facts.member)).hex(),
        },
    )


def load_signature(path: Path) -> GenesisSignature:
    """Return the signature in a file, unverified. Raises `UsageError` when there is none."""
    document = read_document(path, SIGNATURE)
    return GenesisSignature(
        source=str(path),
        network=document.text("network"),
        network_id=document.hex("network_id"),
        member=document.text("member"),
        signature=document.hex("signature"),
    )


def verify_signatures(genesis: Genesis, signatures: Iterable[GenesisSignature]) -> tuple[str, ...]:
    """Return the members, all of whom signed a genesis.

    Raises:
        UsageError: one did not, or a signature is wrong, of another genesis, or of somebody else.
    """
    members = {str(one.member): one for one in genesis.members}
    signed: set[str] = set()
    for one in signatures:
        _verify_one(genesis, members.get(one.member), one, members)
        signed.add(one.member)
    missing = [name for name in members if name not in signed]
    if missing:
        raise UsageError(
            Reason.SIGNATURE_MISSING,
            f"{len(missing)} of {len(members)} members did not sign this genesis",
            value=", ".join(missing),
            limit="all members",
            remedy="have them look at it (`tanpo genesis show`), sign it, and send their signatures",
        )
    return tuple(members)


def _verify_one(
    genesis: Genesis, member: Member | None, one: GenesisSignature, members: Iterable[str]
) -> None:
    if one.network_id != genesis.network_id:
        named = "of the same name" if one.network == genesis.network else f"of the name {one.network}"
        raise UsageError(
            Reason.SIGNATURE_FOREIGN,
            f"{one.source}: {one.member} signed another genesis, {named}",
            value=f"network id {one.network_id.hex()}",
            limit=f"network id {genesis.network_id.hex()}",
            remedy="find out who has which file: all members sign the same one, and the others are removed",
        )
    if member is None:
        raise UsageError(
            Reason.SIGNATURE_FOREIGN,
            f"{one.source}: the signature is of nobody in the genesis",
            value=one.member,
            limit=", ".join(members),
            remedy="leave it out",
        )
    digest = compute_digest(genesis.network_id, one.member)
    if not any(PublicKey.decode(key).verify(one.signature, digest) for key in member.keys):
        raise UsageError(
            Reason.SIGNATURE_INVALID,
            f"{one.source}: the signature of {one.member} is wrong: no key of its made it",
            value=one.signature.hex(),
            limit=", ".join(_list_key_ids(member.keys)),
            remedy="have the member sign again",
        )


_WORDS: Final = {
    "name": "name",
    "lei": "LEI",
    "roles": "list of roles",
    "ca_certificate": "CA",
    "keys": "transaction key",
}


def _show(member: Member, field: str) -> str:
    """Return what a genesis has in a field, as people compare it."""
    match field:
        case "keys":
            return ", ".join(_list_key_ids(member.keys))
        case "ca_certificate":
            return f"PEM with SHA-256 {sha256(member.ca_certificate).hexdigest()}"
        case "roles":
            return ", ".join(member.roles)
    return str(getattr(member, field))


def _show_key(node: str, public_key: bytes) -> str:
    return f"{node} with key {PublicKey.decode(public_key).key_id.hex()}"


def _list_key_ids(keys: Sequence[bytes]) -> list[str]:
    return [PublicKey.decode(key).key_id.hex() for key in keys]


def _differing(why: str, value: object, limit: object) -> UsageError:
    return UsageError(
        Reason.CONFIGURATION,
        why,
        value=value,
        limit=limit,
        remedy="sign nothing; have the coordinator make the proposal anew from the cards",
    )
