"""What members agreed to install: put in force, or refused, after the last transaction of that block.

The contract `contracts` decides who may install what. The nodes do it, all in the same block and all alike;
the blocks above run with it. A refusal is state like any other: the contract keeps its code and reasons. What
is announced stands in the receipt of the transaction that completed the agreement.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, cast

from tanpo.ledger.errors import PeerFault, invariant
from tanpo.ledger.plans import (
    CONTRACTS_CONTRACT,
    ContractPlan,
    decode_arguments,
    join_source,
    plan_from_value,
)
from tanpo.ledger.receipt import Event, Receipt, decode_receipt, encode_receipt
from tanpo.ledger.transaction import Call, Transaction
from tanpo.ledger.types import TxId
from tanpo.ledger.values import Fields, Value
from tanpo.node.contract_sets import Programs
from tanpo.node.epochs import VALIDATORS_CONTRACT
from tanpo.node.installing import (
    NODE_CALLS,
    Candidate,
    Installation,
    InstallationRefused,
    check_installation,
    find_place,
)
from tanpo.node.running import BlockRun, Runner, Scene, Steps
from tanpo.node.tasks import Task, TaskKind
from tanpo.node.versions import InstalledContracts

_NO_TX: Final = TxId(bytes(32))


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreed:
    """A proposal that was agreed in a block. `answers` are what nodes are told now, where that must stay."""

    number: int
    tx_id: TxId
    plan: ContractPlan
    source: bytes
    answers: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settled:
    """A block's end: the contracts of the next block, what changed in the state, and what was announced.

    `events` belong to the receipt of the transaction `tx_id`.
    """

    contracts: InstalledContracts
    changes: dict[bytes, bytes | None]
    tx_id: TxId
    events: tuple[Event, ...]


def may_agree(contracts: InstalledContracts, transactions: Sequence[Transaction]) -> bool:
    """Return whether these transactions can have agreed anything: the contract is not called by others."""
    return CONTRACTS_CONTRACT in contracts.compiled and any(
        transaction.call.contract == CONTRACTS_CONTRACT for transaction in transactions
    )


def find_agreed(run: BlockRun, contracts: InstalledContracts) -> Steps[Agreed | None]:
    """Return what a block's transactions agreed, once they have run."""
    agreement = cast("Mapping[str, Value]", (yield from _view(run, CONTRACTS_CONTRACT, "agreed")))
    number = cast("int", agreement["number"])
    if not number:
        return None
    named: Fields = (("number", number),)
    proposal = cast("Mapping[str, Value]", (yield from _view(run, CONTRACTS_CONTRACT, "proposal", named)))
    plan = plan_from_value(proposal["plan"])
    source = join_source((yield from _view(run, CONTRACTS_CONTRACT, "source", named)))
    answers: list[Value] = []
    if plan.contract == VALIDATORS_CONTRACT and plan.contract in contracts.compiled:
        place = cast("Mapping[str, int]", (yield from _view(run, VALIDATORS_CONTRACT, "epoch")))
        for view, arguments in _list_questions(place["number"]):
            answers.append((yield from _view(run, VALIDATORS_CONTRACT, view, arguments)))
    return Agreed(
        number=number,
        tx_id=TxId(cast("bytes", agreement["tx_id"])),
        plan=plan,
        source=source,
        answers=tuple(answers),
    )


def settle_agreed(
    runner: Runner, scene: Scene, agreed: Agreed | None, contracts: InstalledContracts, programs: Programs
) -> Steps[Settled]:
    """Put in force, or refuse, what was agreed; the scene stands on the state behind the transactions."""
    before = replace(scene, contracts=contracts.sources)
    if agreed is None:
        # A worker hears of every block's end, or it would forget what it knows.
        changes = yield from runner.run(before, lambda run: run.collect())
        return Settled(contracts=contracts, changes=changes, tx_id=_NO_TX, events=())
    outcome: Installation | InstallationRefused
    try:
        candidate, arguments = _check(agreed, contracts, scene.height, programs)
    except InstallationRefused as error:
        outcome = error
    else:
        then = replace(scene, contracts=candidate.contracts.sources)
        outcome = yield from runner.run(then, lambda run: _put_in_force(run, agreed, candidate, arguments))
    if isinstance(outcome, InstallationRefused):
        refused = outcome
        outcome = yield from runner.run(before, lambda run: _refuse(run, agreed, refused, contracts))
    return Settled(
        contracts=outcome.contracts, changes=outcome.changes, tx_id=agreed.tx_id, events=outcome.events
    )


def announce(settled: Settled, tx_ids: Sequence[TxId], receipts: Sequence[bytes]) -> tuple[bytes, ...]:
    """Return a block's receipts, encoded, with the announcements of its end."""
    return tuple(
        _extend(receipt, settled.events) if tx_id == settled.tx_id and settled.events else receipt
        for tx_id, receipt in zip(tx_ids, receipts, strict=True)
    )


def _extend(encoded: bytes, events: tuple[Event, ...]) -> bytes:
    receipt = decode_receipt(encoded)
    return encode_receipt(replace(receipt, events=(*receipt.events, *events)))


def _check(
    agreed: Agreed, contracts: InstalledContracts, height: int, programs: Programs
) -> tuple[Candidate, Fields]:
    """Return the contract, checked, and the arguments of its `@init`. Raises `InstallationRefused`."""
    name = agreed.plan.contract
    if name in NODE_CALLS and name not in contracts.compiled:
        what = f"nodes call a contract {name} themselves: only a genesis installs one"
        raise InstallationRefused(name, "NAME_RESERVED", (what,))
    candidate = check_installation(
        agreed.plan, agreed.source, contracts=contracts, height=height, programs=programs
    )
    try:
        return candidate, decode_arguments(agreed.plan.arguments)
    except PeerFault as fault:
        reasons = (f"the arguments are not named values: {fault.message}",)
        raise InstallationRefused(name, "ARGUMENTS_MALFORMED", reasons) from None


def _put_in_force(
    run: BlockRun, agreed: Agreed, candidate: Candidate, arguments: Fields
) -> Steps[Installation | InstallationRefused]:
    """Run `@init` or `@migrate`, and have the contract note it. A run that is refused changes nothing."""
    name = agreed.plan.contract
    kind = TaskKind.MIGRATE if candidate.is_upgrade else TaskKind.INIT
    done = yield from _call(run, kind, name, kind.name.lower(), arguments, agreed.tx_id)
    if not done.succeeded:
        return candidate.refuse(done.code, done.details, find_place(done.contract, done.line))
    if agreed.answers:
        number = cast("Mapping[str, int]", agreed.answers[0])["number"]
        for (view, asked), answer in zip(_list_questions(number), agreed.answers, strict=True):
            told = yield from _call(run, TaskKind.VIEW, name, view, asked, _NO_TX)
            if not told.succeeded or told.value != answer:
                what = f"its view {view} would answer otherwise, and nodes go by it"
                return InstallationRefused(name, "NODES_FAIL", (what,))
    named: Fields = (("number", agreed.number),)
    noted = yield from _call(run, TaskKind.ENTRY, CONTRACTS_CONTRACT, "settle", named, agreed.tx_id)
    if not noted.succeeded:
        what = f"it fails to note what it agreed: {noted.code} at {noted.contract}:{noted.line}"
        return InstallationRefused(name, "NODES_FAIL", (what,))
    changes = yield from run.collect()
    return Installation(
        contracts=candidate.contracts,
        changes={**changes, **candidate.records},
        events=(*done.events, *noted.events),
        gas_used=done.gas_used,
    )


def _refuse(
    run: BlockRun, agreed: Agreed, refused: InstallationRefused, contracts: InstalledContracts
) -> Steps[Installation]:
    named: Fields = (("code", refused.code), ("number", agreed.number), ("reasons", refused.reasons))
    noted = yield from _call(run, TaskKind.ENTRY, CONTRACTS_CONTRACT, "refuse", named, agreed.tx_id)
    invariant(noted.succeeded, f"contracts.refuse failed at height {noted.height}: {noted.code}")
    changes = yield from run.collect()
    return Installation(contracts=contracts, changes=changes, events=noted.events, gas_used=0)


def _list_questions(number: int) -> list[tuple[str, Fields]]:
    """Return what nodes ask the contract of validators in epoch `number`, the epoch itself first."""
    asked: list[tuple[str, Fields]] = [("epoch", ()), ("current", ()), ("pending", ())]
    return [*asked, *(("of_epoch", (("number_of", epoch),)) for epoch in range(number + 1))]


def _view(run: BlockRun, contract: str, view: str, arguments: Fields = ()) -> Steps[Value]:
    receipt = yield from _call(run, TaskKind.VIEW, contract, view, arguments, _NO_TX)
    invariant(receipt.succeeded, f"view {view} of {contract} failed: {receipt.code}")
    return receipt.value


def _call(
    run: BlockRun, kind: TaskKind, contract: str, entry: str, arguments: Fields, tx_id: TxId
) -> Steps[Receipt]:
    """Call a contract as the nodes, within a block."""
    task = Task.of_node(kind, Call(contract=contract, entry=entry, arguments=arguments))
    (encoded,) = yield from run.execute([replace(task, tx_id=tx_id)])
    return decode_receipt(encoded)
