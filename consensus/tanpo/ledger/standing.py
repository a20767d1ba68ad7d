"""What the members behind a transaction's signatures were by the state after its block: their roles.

Keys are registered by the genesis alone. Roles are kept by the contract `members`, change by a vote, and are
what a contract asks for: so a receipt file proves them at its height.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import PeerFault, Reason
from tanpo.ledger.genesis import MEMBERS_CONTRACT
from tanpo.ledger.membership import ROLES_VARIABLE
from tanpo.ledger.prooffile import SignerStatus, Standing
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.stateproof import verify_partial_tree
from tanpo.ledger.types import MemberId, StateRoot


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberStanding:
    """A member and its roles in the order that the contract keeps them; None if it was no member."""

    member: MemberId
    roles: tuple[str, ...] | None


def list_members(signers: Sequence[SignerStatus]) -> tuple[MemberId, ...]:
    """Return whose keys signed: each member once, in ascending order."""
    return tuple(sorted({one.member for one in signers}))


def verify_standing(
    standing: Standing, members: Sequence[MemberId], state_root: StateRoot
) -> tuple[MemberStanding, ...]:
    """Return the roles of these members in the state with this root.

    Raises:
        LedgerError: the proof does not show them, or shows others.
    """
    if len(standing.roles) != len(members):
        raise PeerFault(
            Reason.PROOF_INVALID,
            "it is of other members than those who signed",
            value=len(standing.roles),
            limit=len(members),
        )
    tree = verify_partial_tree(standing.partial_tree, state_root)
    tree.verify_value(compute_contract_key(MEMBERS_CONTRACT), standing.contract_entry)
    layout = StateLayout.decode(MEMBERS_CONTRACT, standing.contract_entry)
    found: list[MemberStanding] = []
    for member, stored in zip(members, standing.roles, strict=True):
        tree.verify_value(layout.spell_key(ROLES_VARIABLE, member), stored)
        roles = None if stored is None else layout.read_value(ROLES_VARIABLE, stored)
        if roles is not None and not isinstance(roles, tuple):
            raise PeerFault(
                Reason.PROOF_INVALID, "the contract keeps something else than roles", value=member
            )
        found.append(
            MemberStanding(member=member, roles=None if roles is None else tuple(str(role) for role in roles))
        )
    return tuple(found)
