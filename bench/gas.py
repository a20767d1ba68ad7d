"""What one gas buys, for every row of the gas table: prints JSON, the dearest in time first.

Run it as `python bench/gas.py [gas]`; so much `gas` is spent on each measurement, or 100,000.
Each statement runs in a loop, and an empty loop is taken off. A program is no more than its statements, so
none can take more time for its gas than the worst. State is in memory; collecting what was written counts.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, is_dataclass

from gas_rows import PRELUDE, ROWS, SIZES, Row
from measuring import CONTEXT, GAS_LIMIT, best_ns, print_figures
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing import MemoryState
from tanpo.vm import ENGINES, CompiledContract, Machine, Outcome, Session, compile_contract, ir

RUNS = {"codegen": 7, "closures": 3}
NS_PER_GAS_MAX = 100

CALLEE = """
@entry
def take(n: int) -> int:
    return n

@entry
def take_list(xs: list[int]) -> int:
    return 1

@entry
def give(n: int) -> list[list[int]]:
    xs = [0 for i in range(n)]
    return [xs]
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Spent:
    """What a run took: nanoseconds and gas."""

    ns: float
    gas: float


Values = Mapping[str, tuple[str, Value]]
_EMPTY = Row("", "pass")
HELD = ("grown: list[int] = []", "keyed: dict[int, int] = {}")
COPIES = 8
"""How often a statement stands in the loop, so that the loop itself weighs little."""


def _names(text: str) -> set[str]:
    """Return the names in a piece of source, those in its texts left out."""
    return set(re.findall(r"\b[a-z]\w*\b", re.sub(r'(?<!f)"[^"]*"', "", text)))


def _uses(text: str, name: str) -> bool:
    return name in _names(text)


def _rows_of(row: Row) -> tuple[str, ...]:
    return (row.names,) if isinstance(row.names, str) else row.names


def _find_parts(node: object) -> Iterator[str]:
    """Yield the operations and the kinds of statements and expressions inside a part of a program."""
    if isinstance(node, ir.Op):
        yield node.op
    if isinstance(node, tuple):
        for part in node:
            yield from _find_parts(part)
    elif is_dataclass(node):
        yield type(node).__name__
        for field in fields(node):
            yield from _find_parts(getattr(node, field.name))


class Bench:
    """Both engines over one prepared state."""

    def __init__(self, gas: int) -> None:
        self._gas = gas
        self._callee = compile_contract(CALLEE, name="callee", interfaces={})
        self._state = MemoryState()
        session = self._open(self._compile(Row("", "pass"), SIZES["small"], 1), "codegen")
        for start in range(0, 1_000, 5):
            call = Call.create("bench", "prepare", {"start": start})
            outcome = session.run(call, CONTEXT, GAS_LIMIT)
            if not outcome.ok:
                raise SystemExit(f"the state could not be prepared: {outcome}")
        self._state.apply(session.collect_changes().items())
        self._turns = {engine: self._measure(_EMPTY, {}, engine, {}) for engine in ENGINES}

    def measure(self, row: Row) -> Iterator[dict[str, object]]:
        """Yield what a row costs in each size that makes a difference to it."""
        seen: list[Values] = []
        for size, changed in SIZES.items():
            values = {**SIZES["large" if size == "wide" else "small"], **changed}
            used = {name: value for name, value in values.items() if _uses(row.body, name)}
            if used in seen:
                continue
            seen.append(used)
            spent = {engine: self._measure(row, used, engine, self._turns) for engine in ENGINES}
            found = {f"ns_per_gas_{engine}": round(one.ns / one.gas, 1) for engine, one in spent.items()}
            generated = spent["codegen"]
            yield {
                "statement": row.body.replace("\n", "; "),
                "size": size,
                "rows": [row.names] if isinstance(row.names, str) else list(row.names),
                "gas": round(generated.gas, 1),
                "ns": round(generated.ns),
                "ns_per_gas": found.pop("ns_per_gas_codegen"),
                **found,
            }

    def _measure(self, row: Row, values: Values, engine: str, turns: Mapping[str, Spent]) -> Spent:
        """Return what one statement takes, or one call of a row that is a whole call."""
        arguments = {name: value for name, (_, value) in values.items()}
        if row.returns:
            session = self._open(self._compile(row, values, 1), engine)
            return self._spend(session, row, 0, arguments, engine)
        copies = min(COPIES, row.turns_max) if "i" not in _names(row.body) else 1
        session = self._open(self._compile(row, values, copies), engine)
        nothing = self._spend(session, row, 0, arguments, engine)
        one = self._run(session, row, 1, arguments).gas_used - nothing.gas
        count = max(min(row.turns_max // copies, int(self._gas // one)), 1)
        spent = self._spend(session, row, count, arguments, engine)
        empty = turns.get(engine, Spent(ns=0, gas=0))
        return Spent(
            ns=((spent.ns - nothing.ns) / count - empty.ns) / copies,
            gas=((spent.gas - nothing.gas) / count - empty.gas) / copies,
        )

    def _compile(self, row: Row, values: Values, copies: int) -> CompiledContract:
        """Return the contract whose `main` runs a row in each turn, or once if it is a whole call."""
        parameters = "".join(
            f", {name}: {kind}" for name, (kind, _) in values.items() if _uses(row.body, name)
        )
        lines = row.body.split("\n")
        if not row.returns:
            lines = [*HELD, "for i in range(turns):"] + [f"    {line}" for line in lines * copies]
        head = f"@entry\ndef main(turns: int{parameters}) -> {row.returns or 'None'}:\n"
        source = PRELUDE + head + "".join(f"    {line}\n" for line in lines)
        compiled = compile_contract(source, name="bench", interfaces={"callee": self._callee.interface})
        main = next(body for body in compiled.unit.functions if body.name == "main")
        known = set(_find_parts(main)) | {
            part for body in compiled.unit.functions for part in _find_parts(body)
        }
        missing = [name for name in _rows_of(row) if re.fullmatch(r"[\w.]+", name) and name not in known]
        if missing:
            raise SystemExit(f"{row.body!r} does not hold {', '.join(missing)}")
        return compiled

    def _open(self, compiled: CompiledContract, engine: str) -> Session:
        machine = Machine({"callee": self._callee, "bench": compiled}, engine=ENGINES[engine])
        return machine.open_session(self._state)

    def _run(self, session: Session, row: Row, turns: int, arguments: Mapping[str, Value]) -> Outcome:
        session.restart(self._state)
        outcome = session.run(Call.create("bench", "main", {"turns": turns, **arguments}), CONTEXT, GAS_LIMIT)
        if not outcome.ok and not row.may_fail:
            raise SystemExit(f"{row.body!r} for {turns} turns: {outcome}")
        return outcome

    def _spend(
        self, session: Session, row: Row, turns: int, arguments: Mapping[str, Value], engine: str
    ) -> Spent:
        """Return what one call takes, the best of several runs, each in a block of its own."""
        call = Call.create("bench", "main", {"turns": turns, **arguments})
        gas = self._run(session, row, turns, arguments).gas_used

        def run() -> None:
            session.run(call, CONTEXT, GAS_LIMIT)
            session.collect_changes()

        return Spent(ns=best_ns(run, RUNS[engine], before=lambda: session.restart(self._state)), gas=gas)


def main(gas: int) -> None:
    """Measure every row and print."""
    bench = Bench(gas)
    found = [figure for row in ROWS for figure in bench.measure(row)]
    found.sort(key=lambda figure: -float(str(figure["ns_per_gas"])))
    worst = found[0]
    print_figures(
        {
            "gas_per_measurement": gas,
            "limit_ns_per_gas": NS_PER_GAS_MAX,
            "worst": worst,
            "above_the_limit": sum(float(str(one["ns_per_gas"])) > NS_PER_GAS_MAX for one in found),
            "measurements": found,
        }
    )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
