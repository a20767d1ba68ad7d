"""Whose keys signed a transaction, and what those members were, by the state after its block.

The contract `members` keeps keys, roles and CAs, which change: so a receipt file proves them at its height. A
key is of one member for ever, and the state says in which blocks it counted. Signatures rest on keys alone: a
CA says by whose word a member's nodes and clients are let in, and its end ends no key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.genesis import MEMBERS_CONTRACT
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.membership import (
    OWNERS_VARIABLE,
    RECORDS_VARIABLE,
    ROLES_VARIABLE,
    KeyOwner,
    check_stored,
    read_owner,
    read_registration,
)
from tanpo.ledger.prooffile import SignerStatus, Standing
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.stateproof import PartialTree, verify_partial_tree
from tanpo.ledger.types import Height, KeyId, MemberId, StateRoot

_MS: Final = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityStanding:
    """A CA of a member: the block that added it, 0 for the genesis, the SHA-256 of its certificate, DER, and
    from when to when, in Unix milliseconds, that is valid. `certificate` is None for bytes that are none."""

    added: int
    certificate: tuple[bytes, int, int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStanding:
    """What a member was. `roles`, None if it was no member, are in the order that the contract keeps them."""

    member: MemberId
    roles: tuple[str, ...] | None
    name: str = ""
    lei: str = ""
    authorities: tuple[AuthorityStanding, ...] = ()


def list_members(signers: Sequence[SignerStatus]) -> tuple[MemberId, ...]:
    """Return whose keys signed: each member once, in ascending order."""
    return tuple(sorted({one.member for one in signers}))


def verify_owners(
    standing: Standing, key_ids: Sequence[KeyId], height: Height, state_root: StateRoot
) -> tuple[KeyOwner, ...]:
    """Return whose these keys were in the block at `height`, by the state after it, which has this root.

    Raises:
        LedgerError: the proof does not show it, or the keys did not count then.
    """
    if len(standing.owners) != len(key_ids):
        raise _invalid("it is of other keys than those that signed", len(standing.owners), len(key_ids))
    tree, layout = _open(standing, state_root)
    found: list[KeyOwner] = []
    for key_id, stored in zip(key_ids, standing.owners, strict=True):
        tree.verify_value(layout.spell_key(OWNERS_VARIABLE, key_id), stored)
        owner = read_owner(layout, stored)
        if PublicKey.decode(owner.public_key).key_id != key_id:
            raise _invalid("the contract keeps another key under this id", key_id.hex())
        if not owner.added < height or 0 < owner.removed < height:
            span = f"above {owner.added}" + (f", up to {owner.removed}" if owner.removed else "")
            raise _invalid("a key that signed did not count in this block", height, span)
        found.append(owner)
    return tuple(found)


def verify_standing(
    standing: Standing, members: Sequence[MemberId], state_root: StateRoot
) -> tuple[MemberStanding, ...]:
    """Return what these members were in the state with this root.

    Raises:
        LedgerError: the proof does not show it, or shows something else.
    """
    for told in (standing.roles, standing.records):
        if len(told) != len(members):
            raise _invalid("it is of other members than those who signed", len(told), len(members))
    tree, layout = _open(standing, state_root)
    for variable in (ROLES_VARIABLE, RECORDS_VARIABLE):
        check_stored(layout, variable)
    found: list[MemberStanding] = []
    for member, roles, record in zip(members, standing.roles, standing.records, strict=True):
        tree.verify_value(layout.spell_key(ROLES_VARIABLE, member), roles)
        tree.verify_value(layout.spell_key(RECORDS_VARIABLE, member), record)
        found.append(_read_member(layout, member, roles, record))
    return tuple(found)


def _read_member(
    layout: StateLayout, member: MemberId, roles: bytes | None, record: bytes | None
) -> MemberStanding:
    if roles is None or record is None:
        if (roles, record) != (None, None):
            raise _invalid("the contract keeps one half of a member", member)
        return MemberStanding(member=member, roles=None)
    one = read_registration(layout, member, record, layout.read_value(ROLES_VARIABLE, roles))
    return MemberStanding(
        member=member,
        roles=one.roles,
        name=one.name,
        lei=one.lei,
        authorities=tuple(
            AuthorityStanding(added=held.added, certificate=_read_certificate(held.certificate))
            for held in one.authorities
        ),
    )


def _read_certificate(pem: bytes) -> tuple[bytes, int, int] | None:
    """Return the digest and the validity of a certificate, None for bytes of a member that are none."""
    try:
        parsed = x509.load_pem_x509_certificate(pem)
        valid_from, valid_until = parsed.not_valid_before_utc, parsed.not_valid_after_utc
    except (ValueError, x509.InvalidVersion):
        return None
    digest = sha256(parsed.public_bytes(serialization.Encoding.DER)).digest()
    return digest, int(valid_from.timestamp()) * _MS, int(valid_until.timestamp()) * _MS


def _open(standing: Standing, state_root: StateRoot) -> tuple[PartialTree, StateLayout]:
    tree = verify_partial_tree(standing.partial_tree, state_root)
    tree.verify_value(compute_contract_key(MEMBERS_CONTRACT), standing.contract_entry)
    return tree, StateLayout.decode(MEMBERS_CONTRACT, standing.contract_entry)


def _invalid(why: str, value: object, limit: object = "") -> PeerFault:
    return PeerFault(Reason.PROOF_INVALID, why, value=value, limit=limit)
