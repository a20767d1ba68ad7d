"""One block's worth of execution: transactions run one after the other, each all or nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from tanpo.ledger.errors import InvariantViolation, Reason, TransactionRejected, invariant
from tanpo.ledger.receipt import Event
from tanpo.ledger.values import Fields, Value
from tanpo.vm import gas, ir
from tanpo.vm.border import build_exporter, export_value
from tanpo.vm.engine import Instance
from tanpo.vm.gas import can_afford
from tanpo.vm.helpers import Meter, charge
from tanpo.vm.indexes import IndexLayout, IndexState
from tanpo.vm.installed import Contracts, Door, Installed, find_door, find_installed, load_arguments
from tanpo.vm.limits import CALL_DEPTH_MAX, EVENTS_MAX, GAS_LIMIT_MAX
from tanpo.vm.outcome import Abort, CallContext, CallLike, Native, Outcome, StateReader
from tanpo.vm.slots import SlotState, Undoable
from tanpo.vm.typed_helpers import build_copier
from tanpo.vm.types import NOTHING, TupleOf, is_mutable, parts_of

CONTRACT_SENDER: Final = "contract:"
"""How a contract appears as `ctx.sender` of the contract it calls; no member id holds a colon."""


@dataclass(slots=True, kw_only=True)
class _Work:
    """What a session's transactions share: one meter, one list of events, the state, and its reader.

    Slots read through this, so that the next block's reader can take the place of the last one's.
    """

    reader: StateReader
    context: CallContext
    meter: Meter = field(default_factory=lambda: [0])
    started: list[Undoable] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    active: list[str] = field(default_factory=list)
    states: list[SlotState | IndexState] = field(default_factory=list)

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, if any."""
        return self.reader.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start <= key < stop`, keys ascending."""
        return self.reader.scan(start, stop, limit)


class Session:
    """Executes the transactions of one block over one committed state."""

    def __init__(self, contracts: Contracts, reader: StateReader) -> None:
        self._contracts = contracts
        self._instances: dict[str, Instance] = {}
        self._work = _Work(
            reader=reader, context=CallContext(sender="", signers=(), time_ms=0, height=0, tx_id=b"")
        )

    def restart(self, reader: StateReader) -> None:
        """Begin another block over another state; whatever was not collected is gone.

        Opening a contract costs as much as a dozen transactions, so whoever executes blocks in a row keeps
        one session for all of them.
        """
        work = self._work
        invariant(not (work.started or work.events or work.active), "a session restarts between transactions")
        work.reader = reader
        for state in work.states:
            state.clear()

    def run(self, call: CallLike, context: CallContext, gas_limit: int) -> Outcome:
        """Execute one transaction: all of its writes and events, or none."""
        return self._enter(call.contract, "entry", call.entry, call.arguments, context, gas_limit)

    def view(self, call: CallLike, context: CallContext, gas_limit: int) -> Outcome:
        """Answer a query; the state stays as it is."""
        return self._enter(call.contract, "view", call.entry, call.arguments, context, gas_limit)

    def initialise(self, contract: str, arguments: Fields, context: CallContext, gas_limit: int) -> Outcome:
        """Run the `@init` of a contract at its installation; a contract without one takes no arguments."""
        return self._enter(contract, "init", None, arguments, context, gas_limit)

    def migrate(self, contract: str, context: CallContext, gas_limit: int) -> Outcome:
        """Run the `@migrate` of a contract at its upgrade, if it has one."""
        return self._enter(contract, "migrate", None, (), context, gas_limit)

    def collect_changes(self) -> dict[bytes, bytes | None]:
        """Return the net writes of the session by state key, None for a deletion."""
        invariant(not self._work.started, "changes are collected between transactions")
        changes: dict[bytes, bytes | None] = {}
        for state in self._work.states:
            changes.update(state.collect())
        return changes

    def _enter(
        self,
        contract: str,
        kind: str,
        name: str | None,
        arguments: Fields,
        context: CallContext,
        gas_limit: int,
    ) -> Outcome:
        try:
            installed = find_installed(self._contracts, contract)
            if not 0 < gas_limit <= GAS_LIMIT_MAX:
                raise _gas_rejected(gas_limit)
            door = _find_special(installed, kind) if name is None else find_door(installed, kind, name)
        except TransactionRejected as rejection:
            return _refuse(contract, rejection)
        self._work.meter[0] = gas_limit
        self._work.context = context
        try:
            charge(self._work.meter, gas.CALL_BASE)
            loaded = load_arguments(door, arguments, self._work.meter)
            if door.name == "":
                return _succeed(contract, 0, (), ())
            result = self._call(contract, door.name, context.sender, loaded)
            weight = door.weigh_result(result, can_afford(self._work.meter, gas.RESULT_WEIGHT))
            charge(self._work.meter, gas.RESULT_WEIGHT * weight)
            value = export_value(door.export, result)
        except TransactionRejected as rejection:
            return _refuse(contract, rejection)
        except Abort as abort:
            return self._undo(abort, abort.code, abort.details, contract, gas_limit)
        except (ZeroDivisionError, IndexError) as error:
            active = self._work.active
            code = self._instances[active[-1]].find_code(error) if active else ""
            invariant(code != "", f"{type(error).__name__} beside contract {contract}")
            return self._undo(error, code, (), contract, gas_limit)
        except (
            MemoryError,
            RecursionError,
            LookupError,
            TypeError,
            ValueError,
            ArithmeticError,
            NameError,
        ) as error:
            # A fault of this node, not of the transaction: other nodes may well have succeeded.
            raise InvariantViolation(f"{type(error).__name__} while executing contract {contract}") from error
        return self._keep(contract, gas_limit, value)

    def _keep(self, contract: str, gas_limit: int, value: Value) -> Outcome:
        for state in self._work.started:
            state.keep()
        self._work.started.clear()
        events = tuple(self._work.events)
        self._work.events.clear()
        return _succeed(contract, gas_limit - self._work.meter[0], value, events)

    def _undo(self, error: Exception, code: str, details: Fields, contract: str, gas_limit: int) -> Outcome:
        for state in self._work.started:
            state.undo()
        self._work.started.clear()
        self._work.events.clear()
        place, line = contract, 0
        for name in self._work.active:
            found = self._instances[name].find_line(error)
            if found:
                place, line = name, found
        self._work.active.clear()
        return Outcome(
            ok=False,
            code=code,
            details=details,
            contract=place,
            line=line,
            gas_used=min(gas_limit, gas_limit - self._work.meter[0]),
            value=None,
            events=(),
        )

    def _call(self, contract: str, function: str, sender: str, arguments: Sequence[object]) -> object:
        instance = self._instances.get(contract) or self._open(contract)
        context = self._work.context
        self._work.active.append(contract)
        instance.bind(sender, list(context.signers), context.time_ms, context.height, context.tx_id)
        result = instance.functions[function](*arguments)
        self._work.active.pop()
        return result

    def _open(self, contract: str) -> Instance:
        installed = self._contracts[contract]
        instance = installed.program.open(_ContractHost(self._work, installed, self._call))
        self._instances[contract] = instance
        return instance


class _ContractHost:
    """What one contract's instance gets from its session."""

    def __init__(self, work: _Work, installed: Installed, call: Native) -> None:
        self._work = work
        self._installed = installed
        self._name = installed.compiled.name
        self._call = call

    @property
    def meter(self) -> Meter:
        """One cell that holds the gas left."""
        return self._work.meter

    def open_slot(self, slot: ir.Slot) -> Mapping[str, Native]:
        """Return the accessors of a slot of the contract."""
        work, layout = self._work, self._installed.layouts[slot.name]
        state: SlotState | IndexState
        if isinstance(layout, IndexLayout):
            state = IndexState(layout, work.meter, work.started, work)
        else:
            state = SlotState(layout, work.meter, work.started, work)
        work.states.append(state)
        return state.build_accessors()

    def open_event(self, name: str, fields: tuple[str, ...]) -> Native:
        """Return the function that emits an event from a tuple of its values in the order of `fields`."""
        kinds = self._installed.events[name]
        exporters = [build_exporter(kind) for kind in kinds]
        weigh = gas.weigher(TupleOf(kinds))
        meter, events, contract = self._work.meter, self._work.events, self._name
        plain = not any(exporters)

        def emit(values: tuple[Value, ...]) -> None:
            left = meter[0]
            left -= gas.EMIT_WEIGHT * weigh(values, left // gas.EMIT_WEIGHT + 1)
            meter[0] = left
            if left < 0:
                raise Abort("OUT_OF_GAS")
            if len(events) >= EVENTS_MAX:
                raise Abort("VALUE_SIZE", (("events", EVENTS_MAX),))
            if not plain:
                values = tuple([export_value(*pair) for pair in zip(exporters, values, strict=True)])
            events.append(Event(contract, name, tuple(zip(fields, values, strict=True))))

        return emit

    def open_import(self, contract: str, function: str) -> Native:
        """Return the function that calls another contract."""
        active, enter, sender, meter = (
            self._work.active,
            self._call,
            CONTRACT_SENDER + self._name,
            self._work.meter,
        )
        returns = self._installed.handed_back[contract, function]
        shares_parts = any(is_mutable(part) for part in parts_of(returns))
        copy, weigh = build_copier(returns), gas.weigher(returns)

        def call(*arguments: object) -> object:
            if contract in active:
                raise Abort("REENTRANT", (("contract", contract),))
            if len(active) >= CALL_DEPTH_MAX:
                raise Abort("CALL_DEPTH", (("limit", CALL_DEPTH_MAX),))
            result = enter(contract, function, sender, arguments)
            if shares_parts:
                # Parts that were one object inside the callee are separate outside, as in the state.
                charge(meter, gas.PASS_WEIGHT * weigh(result, can_afford(meter, gas.PASS_WEIGHT)))
                return copy(result)
            return result

        return call


_NO_DOOR: Final = Door(name="", parameters=(), export=None, weigh_result=gas.weigher(NOTHING))


def _find_special(installed: Installed, kind: str) -> Door:
    return next(iter(installed.doors[kind].values()), _NO_DOOR)


def _gas_rejected(gas_limit: int) -> TransactionRejected:
    return TransactionRejected(
        Reason.GAS_LIMIT,
        f"gas limit {gas_limit} is outside 1..{GAS_LIMIT_MAX}",
        value=gas_limit,
        limit=GAS_LIMIT_MAX,
        remedy="ask for less gas, or split the transaction",
    )


def _refuse(contract: str, rejection: TransactionRejected) -> Outcome:
    details: Fields = (("limit", rejection.limit), ("value", rejection.value))
    return Outcome(
        ok=False,
        code=str(rejection.reason),
        details=details,
        contract=contract,
        line=0,
        gas_used=0,
        value=None,
        events=(),
    )


def _succeed(contract: str, gas_used: int, value: Value, events: tuple[Event, ...]) -> Outcome:
    return Outcome(True, "", (), contract, 0, gas_used, value, events)
