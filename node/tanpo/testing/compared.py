"""A session on every engine at once: whatever they do must be the same, down to the gas and the line."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

from tanpo.ledger.values import Fields
from tanpo.vm import ENGINES, CallContext, CompiledContract, Machine, Outcome, Session, StateReader
from tanpo.vm.outcome import CallLike

Changes = Mapping[bytes, bytes | None]


class EnginesDiffer(AssertionError):
    """Two engines gave a call different results: a fault of the machine, not of the contract."""

    def __init__(self, what: str, seen: Mapping[str, str]) -> None:
        self.seen = dict(seen)
        shown = "\n".join(f"  {name}: {text}" for name, text in seen.items())
        super().__init__(f"the engines differ in {what}:\n{shown}")


@lru_cache(maxsize=64)
def build_machines(contracts: tuple[CompiledContract, ...]) -> Mapping[str, Machine]:
    """Return a machine of each engine by name, with these contracts."""
    return {
        name: Machine({one.name: one for one in contracts}, engine=engine) for name, engine in ENGINES.items()
    }


class ComparedSession:
    """Does what a `Session` does, once on every engine, and compares outcomes and changes of the state.

    Raises `EnginesDiffer` as soon as they are not the same.
    """

    def __init__(self, machines: Mapping[str, Machine], reader: StateReader) -> None:
        self._sessions = {name: machine.open_session(reader) for name, machine in machines.items()}

    def run(self, call: CallLike, context: CallContext, gas_limit: int) -> Outcome:
        """Execute one transaction."""
        return self._compare_outcomes(
            f"{call.contract}.{call.entry}", lambda session: session.run(call, context, gas_limit)
        )

    def view(self, call: CallLike, context: CallContext, gas_limit: int) -> Outcome:
        """Answer a query."""
        return self._compare_outcomes(
            f"{call.contract}.{call.entry}", lambda session: session.view(call, context, gas_limit)
        )

    def initialise(self, contract: str, arguments: Fields, context: CallContext, gas_limit: int) -> Outcome:
        """Run the `@init` of a contract."""
        return self._compare_outcomes(
            f"{contract}.@init", lambda session: session.initialise(contract, arguments, context, gas_limit)
        )

    def migrate(self, contract: str, context: CallContext, gas_limit: int) -> Outcome:
        """Run the `@migrate` of a contract."""
        return self._compare_outcomes(
            f"{contract}.@migrate", lambda session: session.migrate(contract, context, gas_limit)
        )

    def restart(self, reader: StateReader) -> None:
        """Begin another block over another state; whatever was not collected is gone."""
        for session in self._sessions.values():
            session.restart(reader)

    def collect_changes(self) -> dict[bytes, bytes | None]:
        """Return the net writes of the session by state key, None for a deletion."""
        found = {name: session.collect_changes() for name, session in self._sessions.items()}
        first, *others = found.values()
        if any(other != first for other in others):
            raise EnginesDiffer("the state", {name: _show_changes(one) for name, one in found.items()})
        return first

    def _compare_outcomes(self, what: str, run: Callable[[Session], Outcome]) -> Outcome:
        found = {name: run(session) for name, session in self._sessions.items()}
        # As text, for equality alone would take True for 1.
        shown = {name: repr(outcome) for name, outcome in found.items()}
        if len(set(shown.values())) != 1:
            raise EnginesDiffer(what, shown)
        return next(iter(found.values()))


def _show_changes(changes: Changes) -> str:
    pairs = (
        f"{key.hex()}={'deleted' if value is None else value.hex()}" for key, value in sorted(changes.items())
    )
    return "{" + ", ".join(pairs) + "}"
