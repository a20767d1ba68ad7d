"""What a contract call costs, with the state in memory: prints one JSON object.

Run it as `python bench/vm.py [rounds]`.
"""

from __future__ import annotations

import json
import platform
import sys
import time

from tanpo.ledger.transaction import Call
from tanpo.ledger.values import Value
from tanpo.vm import CallContext, Machine, Session, compile_contract

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
def spin(turns: int) -> int:
    total = 0
    for turn in range(turns):
        total = total + turn * 3 % 7
    return total
"""


class Memory:
    """A committed state in a dict, empty here: all state is in the session."""

    def __init__(self) -> None:
        self.entries: dict[bytes, bytes] = {}

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, if any."""
        return self.entries.get(key)

    def scan(self, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return up to `limit` entries with `start <= key < stop`."""
        return sorted(item for item in self.entries.items() if start <= item[0] < stop)[:limit]


CONTEXT = CallContext(
    sender="a", signers=("a", "b", "c", "d"), time_ms=1_700_000_000_000, height=9, tx_id=bytes(32)
)


def measure(session: Session, call: Call, rounds: int) -> dict[str, float]:
    """Return microseconds and gas of one call, the best of five runs."""
    best = float("inf")
    for _ in range(5):
        start = time.process_time()
        for _ in range(rounds):
            outcome = session.run(call, CONTEXT, 1_000_000)
        best = min(best, (time.process_time() - start) / rounds)
        if not outcome.ok:
            raise SystemExit(f"{call.entry}: {outcome}")
    return {
        "us": round(best * 1e6, 2),
        "gas": outcome.gas_used,
        "ns_per_gas": round(best * 1e9 / outcome.gas_used, 1),
    }


def main(rounds: int) -> None:
    """Measure checking, opening and running a contract."""
    start = time.process_time()
    compiled = compile_contract(SOURCE, name="bench", interfaces={})
    checked = time.process_time()
    machine = Machine({"bench": compiled})
    built = time.process_time()
    session = machine.open_session(Memory())
    for member in "abcd":
        for instrument in ("bond", "cash"):
            arguments = {"member": member, "instrument": instrument, "quantity": 10**15}
            session.run(Call.create("bench", "open_position", arguments), CONTEXT, 1_000_000)
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
    figures = {
        "python": platform.python_version(),
        "check_ms": round((checked - start) * 1e3, 2),
        "generate_ms": round((built - checked) * 1e3, 2),
        "open_ms": round((opened - built) * 1e3, 2),
        "transfer": measure(session, transfer, rounds),
        "settle_4_legs": measure(session, Call.create("bench", "settle", {"legs": tuple(legs)}), rounds),
        "loop_1000_turns": measure(
            session, Call.create("bench", "spin", {"turns": 1000}), max(rounds // 100, 1)
        ),
    }
    start = time.process_time()
    changes = session.collect_changes()
    figures["collect_us_per_key"] = round((time.process_time() - start) * 1e6 / len(changes), 2)
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000)
