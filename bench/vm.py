"""What a contract call costs, with the state in memory: prints one JSON object.

Run it as `python bench/vm.py [rounds]`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

from measuring import CONTEXT, GAS_LIMIT, best_ns, print_figures
from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.testing import MemoryState
from tanpo.vm import Machine, Session, compile_contract

SOURCE = """
@record
class Position:
    free: int
    pledged: int
    locked: int
    updated: int

@record
class Leg:
    giver: str
    taker: str
    instrument: str
    quantity: int

positions: Map[tuple[str, str], Position]
frozen: Map[str, bool]
moves: int

@entry
def open_position(member: str, instrument: str, quantity: int) -> None:
    positions[(member, instrument)] = Position(quantity, 0, 0, ctx.time)
    moves = 0

def move(giver: str, taker: str, instrument: str, quantity: int) -> None:
    require(quantity > 0, "QUANTITY", quantity=quantity)
    require(not frozen.get(giver, False) and not frozen.get(taker, False), "FROZEN")
    source = positions[(giver, instrument)]
    require(source.free >= quantity, "INSUFFICIENT", instrument=instrument, missing=quantity - source.free)
    source.free -= quantity
    source.updated = ctx.time
    positions[(giver, instrument)] = source
    target = positions[(taker, instrument)]
    target.free += quantity
    target.updated = ctx.time
    positions[(taker, instrument)] = target

@entry
def transfer(taker: str, instrument: str, quantity: int) -> int:
    move(ctx.sender, taker, instrument, quantity)
    moves += 1
    frozen[taker] = False
    emit("Transferred", giver=ctx.sender, instrument=instrument, quantity=quantity, taker=taker)
    return quantity

@entry
def settle(legs: list[Leg]) -> int:
    require(0 < len(legs) <= 16, "LEGS")
    for leg in legs:
        require(leg.giver in ctx.signers, "NOT_SIGNED", giver=leg.giver)
        move(leg.giver, leg.taker, leg.instrument, leg.quantity)
    emit("Settled", legs=len(legs))
    return len(legs)

@entry
"""

SPIN = """
def spin(turns: int) -> int:
    total = 0
    for turn in range(turns):
        total = total + turn * 3 % 7
    return total
"""
TURNS = 10_000


def compare_loop(session: Session) -> float:
    """Return how many times as long as in CPython a loop takes that does nothing but compute."""
    plain: dict[str, Callable[[int], int]] = {}
    exec(SPIN, plain)
    call = Call.create("bench", "spin", {"turns": TURNS})
    metered = best_ns(lambda: session.run(call, CONTEXT, GAS_LIMIT), 30)
    return metered / best_ns(lambda: plain["spin"](TURNS), 30)


def measure(session: Session, call: Call, rounds: int) -> dict[str, float]:
    """Return microseconds and gas of one call, the best of five runs."""
    outcome = session.run(call, CONTEXT, GAS_LIMIT)
    if not outcome.ok:
        raise SystemExit(f"{call.entry}: {outcome}")

    def run() -> None:
        for _ in range(rounds):
            session.run(call, CONTEXT, GAS_LIMIT)

    best = best_ns(run, 5) / rounds
    return {
        "us": round(best / 1e3, 2),
        "gas": outcome.gas_used,
        "ns_per_gas": round(best / outcome.gas_used, 1),
    }


def main(rounds: int) -> None:
    """Measure checking, opening and running a contract."""
    start = time.process_time()
    compiled = compile_contract(SOURCE + SPIN, name="bench", interfaces={})
    checked = time.process_time()
    machine = Machine({"bench": compiled})
    built = time.process_time()
    session = machine.open_session(MemoryState())
    for member in "abcd":
        for instrument in ("bond", "cash"):
            arguments = {"member": member, "instrument": instrument, "quantity": 10**15}
            session.run(Call.create("bench", "open_position", arguments), CONTEXT, GAS_LIMIT)
    opened = time.process_time()
    legs: list[Value] = [
        {"giver": giver, "taker": taker, "instrument": instrument, "quantity": 5}
        for giver, taker, instrument in (
            ("a", "b", "bond"),
            ("b", "a", "cash"),
            ("c", "d", "bond"),
            ("d", "c", "cash"),
        )
    ]
    transfer = Call.create("bench", "transfer", {"taker": "b", "instrument": "bond", "quantity": 5})
    figures: dict[str, object] = {
        "check_ms": round((checked - start) * 1e3, 2),
        "generate_ms": round((built - checked) * 1e3, 2),
        "open_ms": round((opened - built) * 1e3, 2),
        "transfer": measure(session, transfer, rounds),
        "settle_4_legs": measure(session, Call.create("bench", "settle", {"legs": tuple(legs)}), rounds),
        "loop_1000_turns": measure(
            session, Call.create("bench", "spin", {"turns": 1000}), max(rounds // 100, 1)
        ),
    }
    figures["loop_against_cpython"] = round(compare_loop(session), 2)
    start = time.process_time()
    changes = session.collect_changes()
    figures["collect_us_per_key"] = round((time.process_time() - start) * 1e6 / len(changes), 2)
    print_figures(figures)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
