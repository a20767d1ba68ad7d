"""Reading what contracts keep in the state: values, balances, holdings, each proved unless told otherwise.

A view is code, which only nodes run; what it reads is state, which a quorum certifies. So these calls name
the variables of a contract instead of its views. How a contract spells its keys is proved too, once for each
contract: otherwise a node could have the absence of some other key proved.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

from tanpo.api.v1 import ledger_pb2 as ledger
from tanpo.client.answers import lying
from tanpo.client.context import Context
from tanpo.client.following import call_verified
from tanpo.client.plan import Plan, Rpc, call
from tanpo.client.proofs import read_state_proof
from tanpo.ledger.block import Header
from tanpo.ledger.codec import U64_MAX
from tanpo.ledger.contractversion import compute_contract_key
from tanpo.ledger.errors import PeerFault, Reason, TransactionRejected
from tanpo.ledger.lineage import Lineage, decode_header
from tanpo.ledger.proofs import StateProof, compute_epoch_needed, verify_state_proof
from tanpo.ledger.statekey import group_of
from tanpo.ledger.statelayout import StateLayout
from tanpo.ledger.stateproof import PartialTree
from tanpo.ledger.transaction import NAME_PATTERN
from tanpo.ledger.types import Height, StateRoot
from tanpo.ledger.values import Value

STATE_PROOF: Final[Rpc[ledger.GetStateProofRequest, ledger.GetStateProofResponse]] = Rpc(
    "ledger", "GetStateProof"
)

REGISTER: Final = "instruments"
"""The contract of the product that keeps who holds what."""

POSITIONS: Final = "positions"

KEYS_AT_ONCE: Final = 500
"""Keys in one question: half of what a proof may show."""


_ReadEntries: TypeAlias = "Callable[[ledger.GetStateProofResponse, PartialTree | None], dict[bytes, bytes]]"


@dataclass(frozen=True, slots=True, kw_only=True)
class StateValue:
    """What a contract kept in a variable after the block at `height`; `value` is None if there was nothing.

    If `is_verified`, a quorum certified it with the header `certified_by`, and `proof` convinces others; else
    it is the node's word. Records are names and values, dicts pairs.
    """

    contract: str
    variable: str
    key: Value | None
    value: Value | None
    height: Height
    certified_by: Header
    is_verified: bool
    proof: StateProof

    @property
    def state_root(self) -> StateRoot:
        """The root of the state that the value is part of."""
        return self.certified_by.state_root


@dataclass(frozen=True, slots=True, kw_only=True)
class StateListing:
    """All members of a group of an index after the block at `height`, in their order: none is left out."""

    contract: str
    variable: str
    group: Value
    members: tuple[Value, ...]
    height: Height
    certified_by: Header
    is_verified: bool
    proof: StateProof


@dataclass(frozen=True, slots=True, kw_only=True)
class Position:
    """What an account has of one instrument, in its smallest unit."""

    free: int
    locked: int
    pledged_out: int
    pledged_in: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Holdings:
    """All that an account had after the block at `height`, by instrument."""

    account: str
    positions: Mapping[str, Position]
    height: Height
    is_verified: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What one answer shows, checked or not: the values of keys, and the raw keys in the range of a group."""

    height: Height
    entries: Mapping[bytes, bytes]
    group_keys: tuple[bytes, ...]
    header: Header
    proof: StateProof


def value(
    context: Context, contract: str, variable: str, key: Value | None, height: int, *, verified: bool
) -> Plan[StateValue]:
    """Read one value of a contract."""
    layout = yield from load_layout(context, contract, variable, verified=verified)
    spelled = layout.spell_key(variable, key)
    shown = yield from _read_keys(context, [spelled], height, verified=verified)
    stored = shown.entries.get(spelled)
    return StateValue(
        contract=contract,
        variable=variable,
        key=key,
        value=None if stored is None else layout.read_value(variable, stored),
        height=shown.height,
        certified_by=shown.header,
        is_verified=verified,
        proof=shown.proof,
    )


def layout_of(context: Context, contract: str) -> Plan[StateLayout]:
    """Return where a contract keeps what, in its newest certified version."""
    layout = yield from _prove_layout(context, contract, verified=True)
    return layout


def listing(
    context: Context, contract: str, variable: str, group: Value, height: int, *, verified: bool
) -> Plan[StateListing]:
    """List a group of an index of a contract."""
    layout = yield from load_layout(context, contract, variable, verified=verified)
    spelled = layout.spell_group(variable, group)
    request = ledger.GetStateProofRequest(height=check_height(height), group=spelled)
    shown = yield from _ask(
        context, request, lambda answer, tree: _read_group(spelled, answer, tree), verified=verified
    )
    members = tuple(layout.read_member(variable, spelled, key) for key in sorted(shown.entries))
    return StateListing(
        contract=contract,
        variable=variable,
        group=group,
        members=members,
        height=shown.height,
        certified_by=shown.header,
        is_verified=verified,
        proof=shown.proof,
    )


def balance(
    context: Context, account: str, instrument: str, height: int, *, verified: bool
) -> Plan[StateValue]:
    """Read what an account has of an instrument."""
    found = yield from value(context, REGISTER, POSITIONS, (account, instrument), height, verified=verified)
    return found


def holdings(context: Context, account: str, height: int, *, verified: bool) -> Plan[Holdings]:
    """Read all that an account has."""
    listed = yield from listing(context, REGISTER, "instruments_of", account, height, verified=verified)
    layout = yield from load_layout(context, REGISTER, POSITIONS, verified=verified)
    keys = {str(one): layout.spell_key(POSITIONS, (account, one)) for one in listed.members}
    entries: dict[bytes, bytes] = {}
    spelled = list(keys.values())
    for start in range(0, len(spelled), KEYS_AT_ONCE):
        part = spelled[start : start + KEYS_AT_ONCE]
        shown = yield from _read_keys(context, part, listed.height, verified=verified)
        entries.update(shown.entries)
    return Holdings(
        account=account,
        positions={
            name: read_position(layout.read_value(POSITIONS, entries[key]))
            for name, key in keys.items()
            if key in entries
        },
        height=listed.height,
        is_verified=verified,
    )


def ask_verified(context: Context, request: ledger.GetStateProofRequest) -> Plan[Shown]:
    """Ask for keys, and perhaps a group beside them, which the caller verifies; the keys are verified."""
    keys = list(request.keys)
    shown = yield from _ask(
        context, request, lambda answer, tree: _read_entries(keys, answer, tree), verified=True
    )
    return shown


def read_position(found: Value | None) -> Position:
    """Return the position in a value of the register, all zero for none. Raises `PeerFault` for another."""
    fields = {} if found is None else found
    names = ("free", "locked", "pledged_out", "pledged_in")
    if not isinstance(fields, Mapping) or (found is not None and set(fields) != set(names)):
        raise PeerFault(Reason.MALFORMED, "the register keeps positions of another form", value=repr(found))
    return Position(**{name: cast("int", fields.get(name, 0)) for name in names})


def load_layout(context: Context, contract: str, variable: str, *, verified: bool) -> Plan[StateLayout]:
    """Return the layout of a contract: proved, and then known for as long as the client lives."""
    known = context.layouts.get(contract)
    if known is not None and variable in known.variables:
        return known
    layout = yield from _prove_layout(context, contract, verified=verified)
    return layout


def _prove_layout(context: Context, contract: str, *, verified: bool) -> Plan[StateLayout]:
    if not NAME_PATTERN.fullmatch(contract):
        raise _unknown_contract(contract)
    key = compute_contract_key(contract)
    shown = yield from _read_keys(context, [key], 0, verified=verified)
    entry = shown.entries.get(key)
    if entry is None:
        raise _unknown_contract(contract)
    layout = StateLayout.decode(contract, entry)
    if verified:
        context.layouts[contract] = layout
    return layout


def _read_keys(context: Context, keys: list[bytes], height: int, *, verified: bool) -> Plan[Shown]:
    request = ledger.GetStateProofRequest(height=check_height(height), keys=keys)
    shown = yield from _ask(
        context, request, lambda answer, tree: _read_entries(keys, answer, tree), verified=verified
    )
    return shown


def _ask(
    context: Context,
    request: ledger.GetStateProofRequest,
    read: _ReadEntries,
    *,
    verified: bool,
) -> Plan[Shown]:
    """Make the call and check all of its answer, or, if not `verified`, only that it fits the question."""

    def read_verified(answer: ledger.GetStateProofResponse, lineage: Lineage) -> Shown:
        found = verify_state_proof(read_state_proof(answer), lineage, request.height)
        return Shown(
            height=found.height,
            entries=read(answer, found.tree),
            group_keys=tuple(answer.group_keys),
            header=found.certified_by,
            proof=found.proof,
        )

    def read_unverified(answer: ledger.GetStateProofResponse) -> Shown:
        proof = read_state_proof(answer)
        header = decode_header(proof.header)
        if request.height not in (0, answer.height):
            raise lying("the state of another height", value=answer.height, limit=request.height)
        return Shown(
            height=Height(answer.height),
            entries=read(answer, None),
            group_keys=tuple(answer.group_keys),
            header=header,
            proof=proof,
        )

    if not verified:
        return call(context.route, STATE_PROOF, request, read_unverified, context.config.deadline_s)
    return call_verified(
        context,
        STATE_PROOF,
        request,
        lambda answer: compute_epoch_needed(read_state_proof(answer)),
        read_verified,
    )


def _read_entries(
    keys: list[bytes], answer: ledger.GetStateProofResponse, tree: PartialTree | None
) -> dict[bytes, bytes]:
    entries = {entry.key: entry.value for entry in answer.entries}
    if not set(entries) <= set(keys):
        raise lying("keys that were not asked for", value=len(entries), limit=len(keys))
    if tree is not None:
        for key in keys:
            tree.verify_value(key, entries.get(key))
    return entries


def _read_group(
    group: bytes, answer: ledger.GetStateProofResponse, tree: PartialTree | None
) -> dict[bytes, bytes]:
    if tree is None:
        return {key: b"" for key in answer.group_keys if group_of(key) == group}
    members = tree.verify_group(group, answer.group_keys)
    return dict.fromkeys(members, b"")


def check_height(height: int) -> int:
    """Return a height that may be asked for. Raises `TransactionRejected` for any other."""
    if not 0 <= height <= U64_MAX:
        raise TransactionRejected(
            Reason.HEIGHT_UNKNOWN,
            "a height is out of range",
            value=height,
            limit=f"0..{U64_MAX}",
            remedy="ask for 0, the newest height",
        )
    return height


def _unknown_contract(contract: str) -> TransactionRejected:
    return TransactionRejected(
        Reason.CONTRACT_UNKNOWN,
        "there is no such contract",
        value=contract,
        remedy="list the contracts with `tanpo contract list`",
    )
