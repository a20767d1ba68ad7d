"""Whose keys signed a transaction, and what those members were, by the state after its block.

The contract `members` keeps keys and roles, which change: so a receipt file proves them at its height. A key
is of one member for ever, and the state says in which blocks it counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.genesis import MEMBERS_CONTRACT
from tanpo.ledger.keys import PublicKey
from tanpo.ledger.membership import OWNERS_VARIABLE, ROLES_VARIABLE, KeyOwner, read_owner
from tanpo.ledger.prooffile import SignerStatus, Standing
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.stateproof import PartialTree, verify_partial_tree
from tanpo.ledger.types import Height, KeyId, MemberId, StateRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStanding:
    """A member and its roles in the order that the contract keeps them; None if it was no member."""

    member: MemberId
    roles: tuple[str, ...] | None


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
    """Return the roles of these members in the state with this root.

    Raises:
        LedgerError: the proof does not show them, or shows others.
    """
    if len(standing.roles) != len(members):
        raise _invalid("it is of other members than those who signed", len(standing.roles), len(members))
    tree, layout = _open(standing, state_root)
    found: list[MemberStanding] = []
    for member, stored in zip(members, standing.roles, strict=True):
        tree.verify_value(layout.spell_key(ROLES_VARIABLE, member), stored)
        roles = None if stored is None else layout.read_value(ROLES_VARIABLE, stored)
        if roles is not None and not isinstance(roles, tuple):
            raise _invalid("the contract keeps something else than roles", member)
        found.append(
            MemberStanding(member=member, roles=None if roles is None else tuple(str(role) for role in roles))
        )
    return tuple(found)


def _open(standing: Standing, state_root: StateRoot) -> tuple[PartialTree, StateLayout]:
    tree = verify_partial_tree(standing.partial_tree, state_root)
    tree.verify_value(compute_contract_key(MEMBERS_CONTRACT), standing.contract_entry)
    return tree, StateLayout.decode(MEMBERS_CONTRACT, standing.contract_entry)


def _invalid(why: str, value: object, limit: object = "") -> PeerFault:
    return PeerFault(Reason.PROOF_INVALID, why, value=value, limit=limit)
