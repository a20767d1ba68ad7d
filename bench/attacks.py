"""What every attack of the corpus costs at 1,000,000 gas, in time and memory: prints JSON, the worst first.

Run it as `python bench/attacks.py [engine]`.
"""

from __future__ import annotations

import sys
import time
import tracemalloc
from pathlib import Path

from measuring import print_figures
from tanpo.testing.attacks import (
    Attack,
    compile_attack,
    find_refusal,
    initialise,
    load_attacks,
    run_attack,
    run_steps,
)
from tanpo.testing.state import MemoryState
from tanpo.vm import ENGINES, Engine, Machine

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "attacks"
SHOWN = 12


def measure_run(attack: Attack, engine: Engine) -> dict[str, object]:
    """Return milliseconds and gas of an attack's calls once its contracts are open."""
    session = Machine(compile_attack(attack), engine=engine).open_session(MemoryState())
    best, gas_used = float("inf"), 0
    for turn in range(4):
        session.restart(MemoryState())
        initialise(attack, session)
        started = time.process_time()
        outcomes = run_steps(attack, session)
        if turn > 0:  # the first opens the contracts
            best = min(best, time.process_time() - started)
        gas_used = sum(outcome.gas_used for outcome in outcomes)
    return {
        "attack": attack.place,
        "ms": round(best * 1e3, 2),
        "gas": gas_used,
        "ns_per_gas": round(best * 1e9 / max(gas_used, 1), 1),
    }


def measure_memory(attack: Attack, engine: Engine) -> dict[str, object]:
    """Return the most memory that an attack's calls held beyond what checking them left, in MB."""
    contracts = compile_attack(attack)
    tracemalloc.start()
    run_attack(attack, contracts, engine)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return {"attack": attack.place, "mb": round(peak / 1e6, 1)}


def measure_check(attack: Attack) -> dict[str, object]:
    """Return how long an attack takes to be refused or accepted."""
    started = time.process_time()
    find_refusal(attack)
    return {"attack": attack.place, "ms": round((time.process_time() - started) * 1e3, 2)}


def main(name: str) -> None:
    """Measure checks and runs of the whole corpus."""
    engine = ENGINES[name]
    attacks = load_attacks(FOLDER)
    checks = [measure_check(attack) for attack in attacks]
    runs = [measure_run(attack, engine) for attack in attacks if attack.steps]
    held = [measure_memory(attack, engine) for attack in attacks if attack.category == "growth"]
    figures = {
        "engine": name,
        "attacks": len(attacks),
        "refused": sum(bool(attack.refused) for attack in attacks),
        "slowest_checks": sorted(checks, key=lambda item: -float(str(item["ms"])))[:SHOWN],
        "heaviest_runs": sorted(held, key=lambda item: -float(str(item["mb"])))[:SHOWN],
        "worst_ns_per_gas": sorted(
            (run for run in runs if int(str(run["gas"])) > 10_000),
            key=lambda item: -float(str(item["ns_per_gas"])),
        )[:SHOWN],
        "slowest_runs": sorted(runs, key=lambda item: -float(str(item["ms"])))[:SHOWN],
    }
    print_figures(figures)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "codegen")
