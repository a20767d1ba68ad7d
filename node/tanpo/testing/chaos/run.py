"""A whole run: a network, clients at work on it, one fault after another, and all checks at the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final

from tanpo.testing.chaos.audit import Audit, audit_chain, check_logs, wait_converged
from tanpo.testing.chaos.book import open_book
from tanpo.testing.chaos.checks import (
    Violation,
    check_bank,
    check_freshness,
    check_order,
    check_sets,
    check_settled,
)
from tanpo.testing.chaos.damage import mount_small_disk, unmount
from tanpo.testing.chaos.linearizability import Finding, Verdict, check_registers
from tanpo.testing.chaos.nemesis import FaultSource, Nemesis, Script
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.observer import Observer, Sightings, check_stalls
from tanpo.testing.chaos.operations import History, State
from tanpo.testing.chaos.probes import Probes
from tanpo.testing.chaos.processes import ClientProcesses, Load
from tanpo.testing.chaos.repair import ensure_running
from tanpo.testing.chaos.steps import Kill, Pause, Step
from tanpo.testing.chaos.terms import (
    TermFigures,
    check_term_changes,
    compute_figures,
    measure_term_changes,
)
from tanpo.testing.chaos.workloads import Book

PROGRESS_S: Final = 40.0
"""How soon blocks must follow once faults have stopped: starts of nodes and a few terms that double."""
PROGRESS_BLOCKS: Final = 3
CONVERGED_S: Final = 90.0
FAULT_S: Final = (1.0, 7.0)
REST_S: Final = (0.5, 3.0)
SMALL_DISK_MB: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run. A fault lasts between the two times of `fault_s`."""

    folder: Path
    faulty_node: Path
    seconds: float = 120.0
    seed: int = 1
    member_count: int = 4
    base_timeout_ms: int = 1000
    fault_s: tuple[float, float] = FAULT_S
    load: Load = field(default_factory=Load)
    proofs_max: int = 2_000
    term_changes: int = 10


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of it."""

    plan: Plan
    faults: Counter[str] = field(default_factory=Counter)
    operations: dict[str, int] = field(default_factory=dict)
    answered: Counter[str] = field(default_factory=Counter)
    watched: Sightings = field(default_factory=Sightings)
    audit: Audit = field(default_factory=Audit)
    registers: list[Finding] = field(default_factory=list)
    figures: TermFigures | None = None
    seconds: float = 0.0
    skipped: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def accuse(self, check: str, what: str) -> None:
        """Note a violation."""
        self.violations.append(Violation(check=check, what=what))

    def to_document(self) -> dict[str, Any]:
        """Return the result, ready for JSON."""
        audit, watched = self.audit, self.watched
        verdicts = Counter(str(one.verdict) for one in self.registers)
        return {
            "nodes": self.plan.member_count,
            "seed": self.plan.seed,
            "seconds": round(self.seconds, 1),
            "faults": dict(sorted(self.faults.items())),
            "operations": self.operations,
            "ok_by_action": dict(sorted(self.answered.items())),
            "commits": watched.height,
            "term_changes": watched.term - watched.first_term,
            "longest_gap_s": round(watched.longest_gap_s, 2),
            "longest_gap_faults": list(watched.longest_gap_faults),
            "blocks_compared": audit.blocks,
            "transactions": audit.transactions,
            "proofs_verified": audit.proofs,
            "registers": dict(verdicts),
            "leader_death": None if self.figures is None else self.figures.to_document(),
            "resident_mb_max": watched.resident_bytes_max >> 20,
            "stalls_asked": len(watched.stalls),
            "stalls_that_name_all_missing": sum(one.names_all for one in watched.stalls),
            "why_stalled": [asdict(one) for one in watched.stalls],
            "skipped": self.skipped,
            "violations": [asdict(one) for one in self.violations],
        }


async def run_plan(plan: Plan, script: Script | None = None) -> Result:
    """Run a plan to its end, and return what came of it. The folder keeps data, logs and histories.

    Without a script, faults are drawn from the plan's seed.
    """
    started = time.monotonic()
    result = Result(plan=plan)
    network = await ChaosNetwork.create(
        plan.folder / "net", plan.member_count, seed=plan.seed, base_timeout_ms=plan.base_timeout_ms
    )
    small_disks = _make_small_disks(network, result) if script is None else ()
    chance = Random(plan.seed)  # noqa: S311  # replayed, not secret
    source: FaultSource = script or Nemesis(
        network=network, chance=chance, faulty_node=plan.faulty_node, small_disks=small_disks
    )
    try:
        async with network:
            await network.start()
            book = await open_book(network)
            async with Probes(network) as probes:
                history = await _torment(network, probes, source, result)
                result.audit = await _audit(network, probes, result)
        _check(network, history, book, result)
    finally:
        for member in small_disks:
            unmount(network.data_dir(member))
    result.seconds = time.monotonic() - started
    return result


def _make_small_disks(network: ChaosNetwork, result: Result) -> tuple[str, ...]:
    member = network.members[-1]
    if mount_small_disk(network.data_dir(member), SMALL_DISK_MB):
        return (member,)
    result.skipped.append("disk full: a small disk takes root and mount; `no room` stands in for it")
    return ()


async def _torment(network: ChaosNetwork, probes: Probes, source: FaultSource, result: Result) -> History:
    """Measure, break and mend for as long as the plan says, then let the clients finish.

    The leaders' deaths come first: once a node has lied it may have to fall silent for good (SPEC D6), and a
    leader that dies beside it is one failure more than the network survives.
    """
    plan = result.plan
    chance = Random(f"{plan.seed}:times")  # noqa: S311  # replayed, not secret
    clients = ClientProcesses(network=network, folder=plan.folder / "history", seed=plan.seed, load=plan.load)
    async with Observer(network, probes) as observer, clients:
        # The first sighting also tells who leads.
        if not await observer.wait_height(1, PROGRESS_S):
            result.accuse("progress", "no node says that it committed anything")
        changes = await measure_term_changes(network, probes, plan.term_changes, chance)
        result.figures = compute_figures(changes, plan.base_timeout_ms)
        result.violations += check_term_changes(changes, result.figures)
        deadline = time.monotonic() + plan.seconds
        while time.monotonic() < deadline and not source.is_done:
            steps = source.choose(observer.seen.leader)
            await _fault(network, steps, chance, observer, result)
            await asyncio.sleep(chance.uniform(*REST_S))
        if any(codes := await clients.stop()):
            result.accuse("settled", f"exit codes of the clients are {codes}; see their logs")
    result.watched = observer.seen
    return clients.load_history()


async def _fault(
    network: ChaosNetwork, steps: Sequence[Step], chance: Random, observer: Observer, result: Result
) -> None:
    """Let faults come and go; then there must be progress."""
    for step in steps:
        result.faults[step.kind] += 1
        await step.apply(network)
        observer.faults.append(describe(step))
        if isinstance(step, Kill | Pause):
            observer.missing.note_broken(step.victims, time.monotonic())
        await asyncio.sleep(chance.uniform(*result.plan.fault_s) / len(steps))
    observer.missing.note_mended()
    for step in reversed(steps):
        await step.heal(network)
    await _recover(network, chance, observer, result)
    observer.faults.clear()


async def _recover(network: ChaosNetwork, chance: Random, observer: Observer, result: Result) -> None:
    """Do what an operator does, and see that blocks follow."""
    for failure in await ensure_running(network, chance):
        result.accuse("start", failure)
    height = observer.seen.height + PROGRESS_BLOCKS
    if not await observer.wait_height(height, PROGRESS_S):
        running = [member for member in network.members if network.is_running(member)]
        result.accuse(
            "progress",
            f"no height {height} in {PROGRESS_S:.0f} s after {observer.faults}; {running} run",
        )


async def _audit(network: ChaosNetwork, probes: Probes, result: Result) -> Audit:
    plan = result.plan
    result.violations += await wait_converged(network, probes, CONVERGED_S)
    chance = Random(f"{plan.seed}:proofs")  # noqa: S311  # replayed, not secret
    sightings = tuple(result.watched.tips.values())
    return await audit_chain(network, probes, sightings, proofs_max=plan.proofs_max, chance=chance)


def _check(network: ChaosNetwork, history: History, book: Book, result: Result) -> None:
    audit = result.audit
    result.operations = history.count() | {
        "total": len(history.operations),
        "unknown_at_first": history.unknown_first,
    }
    result.answered = Counter(str(one.action) for one in history.operations if one.state is State.OK)
    result.violations += audit.violations
    result.violations += check_logs(network)
    result.violations += check_stalls(result.watched.stalls)
    found, result.registers = check_history(history, audit, book, network.renewals)
    result.violations += found


def check_history(
    history: History, audit: Audit, book: Book, renewals: Mapping[str, list[int]]
) -> tuple[list[Violation], list[Finding]]:
    """Run every check of a history against itself and against the chain."""
    registers = check_registers(history.operations)
    violations = [
        Violation(check=f"register {one.verdict}", what=f"{one.key}: {one.explanation}")
        for one in registers
        if one.verdict is not Verdict.LINEARIZABLE
    ]
    violations += check_bank(history, sum(book.opening.values()))
    violations += check_sets(history)
    violations += check_settled(history, audit.requests)
    violations += check_order(history, audit.requests, book.opening)
    violations += check_freshness(history, renewals)
    return violations, registers


def describe(step: Step) -> str:
    """Return a fault in a few words."""
    pairs = getattr(step, "pairs", ())
    where = ", ".join(f"{one}>{other}" for one, other in pairs) or ", ".join(step.victims) or "all wires"
    options = " ".join(getattr(step, "options", ())) or str(
        getattr(step, "behaviour", "") or getattr(step, "where", "")
    )
    return f"{step.kind} {where}{f' ({options})' if options else ''}"
