"""Putting a contract in force: everything that is checked, from genesis or by a vote, before it may run.

It happens whole or not at all: what a failed installation wrote is never merged into the state. All nodes
decide alike, so a refusal is made of names, codes and lines alone: every version of Python has the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from tanpo.ledger.contractversion import (
    ContractVersion,
    compute_contract_key,
    compute_version_key,
    encode_version,
)
from tanpo.ledger.errors import Reason, TransactionRejected, UsageError, clip
from tanpo.ledger.genesis import MEMBERS_CONTRACT, Genesis
from tanpo.ledger.membership import RECORDS_VARIABLE, STORED_AS, members_to_arguments
from tanpo.ledger.plans import CONTRACTS_CONTRACT, ContractPlan
from tanpo.ledger.receipt import Event
from tanpo.ledger.values import Fields, Value
from tanpo.node.contract_sets import CONTRACTS_MAX, Programs
from tanpo.node.epochs import VALIDATORS_CONTRACT, check_genesis
from tanpo.node.versions import InstalledContracts
from tanpo.storage import Overlay
from tanpo.vm import (
    GAS_LIMIT_MAX,
    GAS_TABLE_VERSION,
    LANGUAGE_VERSION,
    CallContext,
    CompiledContract,
    ContractRefused,
    StateReader,
    describe_layout,
    find_upgrade_breaks,
    list_places,
)

NODE_CALLS: Final[Mapping[str, tuple[str, ...]]] = {
    CONTRACTS_CONTRACT: ("agreed", "proposal", "refuse", "settle", "source"),
    MEMBERS_CONTRACT: (),
    VALIDATORS_CONTRACT: ("begin_epoch", "current", "epoch", "of_epoch", "pending", "refuse_pending"),
}
"""What nodes call themselves: upgrades keep these, and only a genesis installs a contract of such a name.

They call nothing of `members`: they read what it keeps.
"""

REASONS_MAX: Final = 32
REASON_CHARACTERS_MAX: Final = 1_000
"""What the state keeps of a refusal: half of what one entry of the state may weigh."""


class InstallationRefused(TransactionRejected):
    """A contract may not be put in force. `code` says why in a word, and `reasons` are all there are."""

    def __init__(self, contract: str, code: str, reasons: tuple[str, ...]) -> None:
        more = f", and {len(reasons) - 1} more" if len(reasons) > 1 else ""
        super().__init__(
            Reason.CONTRACT_REFUSED,
            f"contract {clip(contract)} is refused: {code}: {clip(reasons[0])}{more}",
            value=contract,
            limit=code,
            remedy="correct what is named and propose it again; `tanpo contract dry-run` checks it first",
        )
        self.code = code
        kept = [reason[:REASON_CHARACTERS_MAX] for reason in reasons[:REASONS_MAX]]
        self.reasons = (*kept, f"and {len(reasons) - REASONS_MAX} more")[: len(reasons)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """A contract put in force: the contracts from now on, what changed in the state, what was announced."""

    contracts: InstalledContracts
    changes: dict[bytes, bytes | None]
    events: tuple[Event, ...]
    gas_used: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A contract that was checked, and is in force once its `@init` or `@migrate` has run in `contracts`.

    `records` are what the state then holds of versions.
    """

    plan: ContractPlan
    contracts: InstalledContracts
    records: dict[bytes, bytes | None]

    @property
    def is_upgrade(self) -> bool:
        """Whether it takes the place of another."""
        return self.plan.version > 1

    def refuse(self, code: str, details: Fields, place: str) -> InstallationRefused:
        """Return the refusal for what its `@init` or `@migrate` ended with."""
        named = ", ".join(f"{name}={_spell(value)}" for name, value in details)
        kind = "MIGRATE_FAILED" if self.is_upgrade else "INIT_FAILED"
        reason = code + (f" at {place}" if place else "") + (f" ({named})" if named else "")
        return InstallationRefused(self.plan.contract, kind, (reason,))


def check_installation(
    plan: ContractPlan, source: bytes, *, contracts: InstalledContracts, height: int, programs: Programs
) -> Candidate:
    """Check a contract against those in force, all but what its `@init` or `@migrate` does.

    Raises:
        InstallationRefused: it may not be put in force, with every reason found.
    """
    name, before = plan.contract, contracts.versions.get(plan.contract)
    _check_plan(plan, before, len(contracts.versions))
    if sha256(source).digest() != plan.source_hash:
        raise InstallationRefused(name, "SOURCE_HASH", ("the source is not the one that the plan names",))
    compiled = _compile(source, plan, contracts, programs)
    if before is not None:
        _check_upgrade(contracts.compiled[name], compiled, before.layout, contracts)
    if name == MEMBERS_CONTRACT:
        _check_members(describe_layout(compiled))
    version = ContractVersion(
        name=name,
        version=plan.version,
        height=height,
        language_version=plan.language_version,
        gas_table_version=plan.gas_table_version,
        replaces=plan.replaces,
        imports=compiled.handles,
        layout={**(before.layout if before else {}), **describe_layout(compiled)},
        source=compiled.source,
    )
    then = contracts.replace(version, compiled)
    programs.adopt(then.sources, then.compiled, then.machine)
    records: dict[bytes, bytes | None] = {compute_contract_key(name): encode_version(version)}
    if before is not None:
        records[compute_version_key(name, before.version)] = encode_version(before)
    return Candidate(plan=plan, contracts=then, records=records)


def install(
    plan: ContractPlan,
    source: bytes,
    arguments: Fields,
    *,
    contracts: InstalledContracts,
    state: StateReader,
    context: CallContext,
    programs: Programs,
) -> Installation:
    """Check a contract, run its `@init` or `@migrate` in this process, and put it in force.

    Nothing is written to `state`: the changes are for the caller to keep.

    Raises:
        InstallationRefused: it may not be put in force, with every reason found.
    """
    candidate = check_installation(
        plan, source, contracts=contracts, height=context.height, programs=programs
    )
    session = candidate.contracts.machine.open_session(state)
    if candidate.is_upgrade:
        outcome = session.migrate(plan.contract, context, GAS_LIMIT_MAX)
    else:
        outcome = session.initialise(plan.contract, arguments, context, GAS_LIMIT_MAX)
    if not outcome.ok:
        raise candidate.refuse(outcome.code, outcome.details, find_place(outcome.contract, outcome.line))
    return Installation(
        contracts=candidate.contracts,
        changes={**session.collect_changes(), **candidate.records},
        events=outcome.events,
        gas_used=outcome.gas_used,
    )


def find_place(contract: str, line: int) -> str:
    """Return where a call failed, nothing if it was refused before it ran."""
    return f"{contract}:{line}" if line else ""


def install_genesis(genesis: Genesis, programs: Programs) -> dict[bytes, bytes | None]:
    """Return the state that genesis begins with: its contracts' source, and what their `@init` wrote.

    Raises:
        UsageError: a contract is refused, or those that nodes call themselves do not fit the genesis.
    """
    state, contracts = Overlay(EmptyState()), InstalledContracts()
    for contract in genesis.contracts:
        context = CallContext(
            sender="", signers=(), time_ms=genesis.time_ms, height=0, tx_id=genesis.network_id
        )
        source = contract.source.encode("utf-8")
        is_register = contract.name == MEMBERS_CONTRACT
        try:
            installation = install(
                ContractPlan.create(
                    contract.name,
                    source,
                    language_version=LANGUAGE_VERSION,
                    gas_table_version=GAS_TABLE_VERSION,
                ),
                source,
                members_to_arguments(genesis) if is_register else contract.arguments,
                contracts=contracts,
                state=state,
                context=context,
                programs=programs,
            )
        except InstallationRefused as refused:
            raise UsageError(
                Reason.CONFIGURATION,
                f"contract {contract.name} of the genesis is refused: {refused.code}",
                value="; ".join(refused.reasons),
                remedy="correct the contract or its arguments; see contracts/README.md",
            ) from None
        state.apply(installation.changes)
        contracts = installation.contracts
    check_genesis(contracts.machine.open_session(state), genesis)
    _check_callable(contracts)
    return dict(state.changes)


class EmptyState:
    """The state before genesis."""

    def get(self, _key: bytes) -> bytes | None:
        """Return None: there is nothing yet."""
        return None

    def scan(self, _start: bytes, _stop: bytes, _limit: int) -> list[tuple[bytes, bytes]]:
        """Return nothing."""
        return []


def _check_callable(contracts: InstalledContracts) -> None:
    """Raise `UsageError` unless the contract of that name, if any, is one that nodes can put in force by."""
    compiled = contracts.compiled.get(CONTRACTS_CONTRACT)
    missing = [
        name for name in NODE_CALLS[CONTRACTS_CONTRACT] if compiled and not compiled.interface.find(name)
    ]
    if missing:
        raise UsageError(
            Reason.CONFIGURATION,
            f"the genesis installs another contract as {CONTRACTS_CONTRACT}, which nodes call themselves",
            value=f"without {', '.join(missing)}",
            remedy="install the product's contract of this name, or give this one another name",
        )


def _check_plan(plan: ContractPlan, before: ContractVersion | None, count: int) -> None:
    """Refuse a plan for a version of the language that there is not, or made for another version than now."""
    supported = (LANGUAGE_VERSION, GAS_TABLE_VERSION)
    if (plan.language_version, plan.gas_table_version) != supported:
        what = f"language {plan.language_version} with gas table {plan.gas_table_version}"
        only = f"; nodes run language {LANGUAGE_VERSION} with gas table {GAS_TABLE_VERSION}"
        raise InstallationRefused(plan.contract, "VERSION_UNKNOWN", (what + only,))
    current, number = (before.source_hash, before.version) if before else (b"", 0)
    if (plan.replaces, plan.version) != (current, number + 1):
        what = f"the plan is version {plan.version} in place of {plan.replaces.hex() or 'nothing'}"
        now = f"; in force is version {number}, {current.hex() or 'nothing'}"
        raise InstallationRefused(plan.contract, "REPLACES_ANOTHER", (what + now,))
    if plan.source_hash == current:
        raise InstallationRefused(plan.contract, "SOURCE_UNCHANGED", ("this source is in force",))
    if before is None and count >= CONTRACTS_MAX:
        raise InstallationRefused(plan.contract, "CONTRACT_COUNT", (f"there are {CONTRACTS_MAX} contracts",))


def _compile(
    source: bytes, plan: ContractPlan, contracts: InstalledContracts, programs: Programs
) -> CompiledContract:
    name = plan.contract
    try:
        # Every byte beyond ASCII becomes a character beyond ASCII, and is refused for what it is.
        return programs.compile_source(
            source.decode("latin-1"), name=name, interfaces=contracts.list_interfaces(name)
        )
    except ContractRefused as refused:
        raise InstallationRefused(name, "CONTRACT_REFUSED", list_places(refused.faults)) from None


def _check_upgrade(
    old: CompiledContract, new: CompiledContract, stored: Mapping[str, str], contracts: InstalledContracts
) -> None:
    """Refuse an upgrade that changes what is stored, or what others or nodes use, with every such change."""
    needed = NODE_CALLS.get(old.name, ())
    breaks = find_upgrade_breaks(old, new, stored=stored, contracts=contracts.compiled, needed=needed)
    if breaks:
        raise InstallationRefused(old.name, breaks[0].code, tuple(one.message for one in breaks))


def _check_members(layout: Mapping[str, str]) -> None:
    """Refuse a contract of members that keeps them in a form that nodes would fail to read, all of them."""
    if RECORDS_VARIABLE not in layout:
        return
    reasons = tuple(
        f"nodes read {variable} as {kind}; it would be {layout.get(variable, 'gone')}"
        for variable, kind in STORED_AS.items()
        if layout.get(variable) != kind
    )
    if reasons:
        raise InstallationRefused(MEMBERS_CONTRACT, "NODES_FAIL", reasons)


def _spell(value: Value) -> str:
    # What counts as printable beyond ASCII depends on the version of Python.
    return value.hex() if isinstance(value, bytes) else ascii(value)
