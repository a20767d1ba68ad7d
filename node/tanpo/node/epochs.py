"""Who votes, and from which block on: the contract `validators`, as the nodes read it and drive it.

The contract decides who may be replaced. A node calls it where only nodes may: at the last block of an
epoch it puts the pending validators in force, and it drops pending ones that no epoch could start with. All
nodes do so at the same height, so it is part of the state like any transaction. A network whose genesis
installs no such contract keeps its validators for ever.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from tanpo.consensus import BaseBlock
from tanpo.ledger.block import BlockFlags, Header, compute_block_hash, decode_block
from tanpo.ledger.errors import CorruptState, LedgerError, Reason, UsageError, invariant
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.lineage import decode_header
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.snapshotproof import decode_step
from tanpo.ledger.transaction import Call, Transaction
from tanpo.ledger.types import BlockHash, Epoch, Height
from tanpo.ledger.validators import (
    ValidatorSet,
    compute_valset_hash,
    validators_from_value,
    verify_change,
)
from tanpo.ledger.values import Fields, Value
from tanpo.node.logs import get_logger
from tanpo.node.running import BlockRun, Steps
from tanpo.node.tasks import Task, TaskKind
from tanpo.storage import LedgerStore
from tanpo.vm import GAS_LIMIT_MAX, CallContext, Machine, Session

VALIDATORS_CONTRACT: Final = "validators"

SETS_CACHED_MAX: Final = 16
"""Validator sets kept parsed: a key costs 50 us to parse, and what is asked for is mostly the latest."""

_LOG = get_logger("epochs")


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochStart:
    """The epoch of the block above the committed tip: its number, the block it starts from (None for genesis)
    and its validators. `pending_valset` is the hash of the set that the tip's state wants next."""

    epoch: Epoch
    base: BaseBlock | None
    validators: ValidatorSet
    pending_valset: bytes | None


def begin_epoch(run: BlockRun) -> Steps[None]:
    """Put the pending validators in force before the transactions of an epoch's last block."""
    yield from _ask(run, TaskKind.ENTRY, "begin_epoch")


def settle_pending(run: BlockRun, header: Header, transactions: Sequence[Transaction]) -> Steps[bytes | None]:
    """Return the hash of the validator set that the state wants after a block's transactions, or None.

    A set that no epoch could start with is dropped from the state: the contract cannot tell a key that is no
    point of its curve.
    """
    # Nothing else can have changed it: the contract is not called by others, and no set stays pending.
    if not any(transaction.call.contract == VALIDATORS_CONTRACT for transaction in transactions):
        return None
    pending = validators_from_value((yield from _ask(run, TaskKind.VIEW, "pending")))
    if not pending:
        return None
    current = validators_from_value((yield from _ask(run, TaskKind.VIEW, "current")))
    try:
        verify_change(current, pending)
    except LedgerError as error:
        _LOG.error("validators refused", height=header.height, why=str(error), remedy=error.remedy)
        yield from _ask(run, TaskKind.ENTRY, "refuse_pending")
        return None
    return compute_valset_hash(pending)


def load_epoch(store: LedgerStore, machine: Machine, genesis: Genesis) -> EpochStart:
    """Return the epoch that goes on above the committed tip.

    Raises:
        CorruptState: the state and the stored blocks name different epochs.
    """
    if not _is_installed(genesis):
        return EpochStart(
            epoch=Epoch(0), base=None, validators=ValidatorSet(genesis.validators), pending_valset=None
        )
    session = machine.open_session(store)
    place = cast("Mapping[str, int]", _view(session, "epoch", store.executed_height, genesis.time_ms))
    epoch, base_height = Epoch(place["number"]), Height(place["base_height"])
    current, pending = (
        validators_from_value(_view(session, view, store.executed_height, genesis.time_ms))
        for view in ("current", "pending")
    )
    validators = ValidatorSet(current)
    _check_tip(store, epoch, validators)
    base = None
    if epoch:
        base = BaseBlock(height=base_height, block_hash=_find_base_hash(store, epoch, base_height))
    return EpochStart(
        epoch=epoch,
        base=base,
        validators=validators,
        pending_valset=compute_valset_hash(pending) if pending else None,
    )


class Lineage:
    """The validators of every epoch so far, from the state, by the machine that `get_machine` has for it."""

    def __init__(self, store: LedgerStore, get_machine: Callable[[], Machine], genesis: Genesis) -> None:
        self._store = store
        self._get_machine = get_machine
        self._genesis = genesis
        self._known: dict[Epoch, ValidatorSet] = {}

    def find(self, epoch: Epoch) -> ValidatorSet | None:
        """Return the validators of an epoch, None when it has not begun here."""
        known = self._known.get(epoch)
        if known is not None:
            return known
        if _is_installed(self._genesis):
            session = self._get_machine().open_session(self._store)
            arguments = (("number_of", int(epoch)),)
            value = _view(session, "of_epoch", self._store.executed_height, self._genesis.time_ms, arguments)
            validators = validators_from_value(value)
        else:
            validators = () if epoch else self._genesis.validators
        if not validators:
            return None
        if len(self._known) >= SETS_CACHED_MAX:
            self._known.pop(next(iter(self._known)))
        self._known[epoch] = ValidatorSet(validators)
        return self._known[epoch]


def check_genesis(session: Session, genesis: Genesis) -> None:
    """Raise `UsageError` unless the contract, just installed, starts with the validators of the genesis."""
    if not _is_installed(genesis):
        return
    call = Call(contract=VALIDATORS_CONTRACT, entry="current", arguments=())
    outcome = session.view(call, _context(0, genesis.time_ms), GAS_LIMIT_MAX)
    named = validators_from_value(outcome.value or ()) if outcome.ok else ()
    if named != genesis.validators:
        raise UsageError(
            Reason.CONFIGURATION,
            f"genesis names other validators than its contract {VALIDATORS_CONTRACT} starts with",
            value=", ".join(f"{one.member}/{one.node}" for one in named),
            limit=", ".join(f"{one.member}/{one.node}" for one in genesis.validators),
            remedy="give the contract the validators of the genesis, in the same order",
        )


def _is_installed(genesis: Genesis) -> bool:
    return any(contract.name == VALIDATORS_CONTRACT for contract in genesis.contracts)


def _find_base_hash(store: LedgerStore, epoch: Epoch, height: Height) -> BlockHash:
    """Return the hash of the block that an epoch starts from, which may lie before all that is stored."""
    link = store.beginning.find_link(Epoch(epoch - 1))
    if link is None:
        return store.read_block(height).block_hash
    return compute_block_hash(decode_header(decode_step(link).header))


def _check_tip(store: LedgerStore, epoch: Epoch, validators: ValidatorSet) -> None:
    """Raise `CorruptState` unless the stored tip belongs to the epoch that the state names."""
    if not store.executed_height:
        return
    tip = decode_block(store.read_block(store.executed_height).block).header
    is_end = bool(tip.flags & BlockFlags.EPOCH_END)
    expected = (Epoch(tip.epoch + 1), tip.next_valset_hash) if is_end else (tip.epoch, tip.valset_hash)
    if (epoch, validators.valset_hash) != expected:
        raise CorruptState(
            Reason.DATA_CORRUPT,
            "the state names another epoch, or other validators, than the last block",
            value=epoch,
            limit=expected[0],
            remedy="run the software version the network runs; if it does, put blocks/, state/, guard and "
            "network of another stopped node in place of these, and leave consensus/ as it is",
        )


def _view(session: Session, view: str, height: int, time_ms: int, arguments: Fields = ()) -> Value:
    call = Call(contract=VALIDATORS_CONTRACT, entry=view, arguments=arguments)
    outcome = session.view(call, _context(height, time_ms), GAS_LIMIT_MAX)
    invariant(outcome.ok and outcome.value is not None, f"view {view} of validators failed: {outcome.code}")
    return cast("Value", outcome.value)


def _ask(run: BlockRun, kind: TaskKind, entry: str) -> Steps[Value]:
    """Call the contract as the node, within a block, and return the result."""
    call = Call(contract=VALIDATORS_CONTRACT, entry=entry, arguments=())
    (encoded,) = yield from run.execute([Task.of_node(kind, call)])
    receipt = decode_receipt(encoded)
    invariant(receipt.succeeded, f"validators.{entry} failed at height {receipt.height}: {receipt.code}")
    return receipt.value


def _context(height: int, time_ms: int) -> CallContext:
    # No member is called "", so no transaction can pass for a node.
    return CallContext(sender="", signers=(), time_ms=time_ms, height=height, tx_id=bytes(32))
