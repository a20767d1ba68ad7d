"""A whole run: a network, clients at work on it, one fault after another, and all checks at the end."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
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
from tanpo.testing.chaos.nemesis import Nemesis
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.observer import Observer, StallSample
from tanpo.testing.chaos.operations import History
from tanpo.testing.chaos.probes import Probes
from tanpo.testing.chaos.processes import ClientProcesses, Load
from tanpo.testing.chaos.steps import Step
from tanpo.testing.chaos.terms import TermFigures, compute_figures, measure_term_changes
from tanpo.testing.chaos.workloads import Book

PROGRESS_S: Final = 40.0
"""How soon blocks must follow once faults have stopped: starts of nodes and a few terms that double."""
PROGRESS_BLOCKS: Final = 3
CONVERGED_S: Final = 90.0
FAULT_S: Final = (1.0, 7.0)
REST_S: Final = (0.5, 3.0)
SECOND_FAULT_CHANCE: Final = 0.3
"""How often a second fault comes on top of one that lasts."""
SMALL_DISK_MB: Final = 256


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What to run."""

    folder: Path
    faulty_node: Path
    seconds: float = 120.0
    seed: int = 1
    member_count: int = 4
    base_timeout_ms: int = 1000
    load: Load = field(default_factory=Load)
    proofs_max: int = 2_000
    term_changes: int = 10


@dataclass(slots=True, kw_only=True)
class Result:
    """What came of it."""

    plan: Plan
    faults: Counter[str] = field(default_factory=Counter)
    operations: dict[str, int] = field(default_factory=dict)
    commits: int = 0
    terms: int = 0
    longest_gap_s: float = 0.0
    longest_gap_faults: tuple[str, ...] = ()
    stalls: list[StallSample] = field(default_factory=list)
    audit: Audit | None = None
    registers: list[Finding] = field(default_factory=list)
    figures: TermFigures | None = None
    seconds: float = 0.0
    skipped: list[str] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)

    def to_document(self) -> dict[str, Any]:
        """Return the result, ready for JSON."""
        audit = self.audit or Audit()
        verdicts = Counter(str(one.verdict) for one in self.registers)
        return {
            "nodes": self.plan.member_count,
            "seed": self.plan.seed,
            "seconds": round(self.seconds, 1),
            "faults": dict(sorted(self.faults.items())),
            "operations": self.operations,
            "commits": self.commits,
            "term_changes": self.terms,
            "longest_gap_s": round(self.longest_gap_s, 2),
            "longest_gap_faults": list(self.longest_gap_faults),
            "blocks_compared": audit.blocks,
            "transactions": audit.transactions,
            "proofs_verified": audit.proofs,
            "registers": dict(verdicts),
            "leader_death": None if self.figures is None else asdict(self.figures),
            "why_stalled": [asdict(one) for one in self.stalls],
            "skipped": self.skipped,
            "violations": [asdict(one) for one in self.violations],
        }


async def run_plan(plan: Plan) -> Result:
    """Run a plan to its end, and return what came of it. The folder keeps data, logs and histories."""
    started = time.monotonic()
    result = Result(plan=plan)
    chance = Random(plan.seed)  # noqa: S311  # replayed, not secret
    network = await ChaosNetwork.create(
        plan.folder / "net", plan.member_count, seed=plan.seed, base_timeout_ms=plan.base_timeout_ms
    )
    small = network.members[-1]
    has_small_disk = mount_small_disk(network.data_dir(small), SMALL_DISK_MB)
    if not has_small_disk:
        result.skipped.append("disk full: a small disk takes root and mount; `no room` stands in for it")
    try:
        async with network:
            await network.start()
            book = await open_book(network)
            async with Probes(network) as probes:
                nemesis = Nemesis(
                    network=network,
                    chance=chance,
                    faulty_node=plan.faulty_node,
                    small_disks=(small,) if has_small_disk else (),
                )
                history = await _torment(plan, network, probes, nemesis, result)
                _check(network, history, book, result)
    finally:
        if has_small_disk:
            unmount(network.data_dir(small))
    result.seconds = time.monotonic() - started
    return result


async def _torment(
    plan: Plan, network: ChaosNetwork, probes: Probes, nemesis: Nemesis, result: Result
) -> History:
    """Break and mend for as long as the plan says, then measure, then let the clients finish."""
    clients = ClientProcesses(network=network, folder=plan.folder / "history", seed=plan.seed, load=plan.load)
    async with Observer(network, probes) as observer, clients:
        deadline = time.monotonic() + plan.seconds
        while time.monotonic() < deadline:
            await _fault(network, nemesis, observer, result)
        await _start_all(network, observer, result)
        changes = await measure_term_changes(network, probes, plan.term_changes)
        result.figures = compute_figures(changes, plan.base_timeout_ms)
        codes = await clients.stop()
        if any(codes):
            result.violations.append(
                Violation(check="settled", what=f"exit codes of the clients: {codes}; see their logs")
            )
        result.violations += (
            []
            if not changes or all(one.to_commit_s for one in changes)
            else [Violation(check="progress", what=f"no commit after a leader's death: {changes}")]
        )
        seen = observer.seen
        result.commits, result.terms = seen.height, seen.term - seen.first_term
        result.longest_gap_s, result.longest_gap_faults = seen.longest_gap_s, seen.longest_gap_faults
        result.stalls = seen.stalls
    result.violations += await wait_converged(network, probes, CONVERGED_S)
    result.audit = await audit_chain(
        network,
        probes,
        tuple(observer.seen.tips.values()),
        proofs_max=plan.proofs_max,
        chance=nemesis.chance,
    )
    return clients.load_history()


async def _fault(network: ChaosNetwork, nemesis: Nemesis, observer: Observer, result: Result) -> None:
    """Let one fault, or two at a time, come and go; then there must be progress."""
    steps: list[Step] = [nemesis.choose()]
    if nemesis.chance.random() < SECOND_FAULT_CHANCE:
        second = nemesis.choose()
        if not set(second.victims) & set(steps[0].victims):
            steps.append(second)
    for step in steps:
        observer.faults.append(describe(step))
        result.faults[step.kind] += 1
        await step.apply(network)
        await asyncio.sleep(nemesis.chance.uniform(*FAULT_S) / len(steps))
    for step in reversed(steps):
        await step.heal(network)
    await _start_all(network, observer, result)
    observer.faults.clear()
    await asyncio.sleep(nemesis.chance.uniform(*REST_S))


async def _start_all(network: ChaosNetwork, observer: Observer, result: Result) -> None:
    """Start whatever does not run and may, and see that blocks follow."""
    for member in network.honest:
        network.spawn(member)
    height = observer.seen.height + PROGRESS_BLOCKS
    if not await observer.wait_height(height, PROGRESS_S):
        running = [member for member in network.members if network.is_running(member)]
        result.violations.append(
            Violation(
                check="progress",
                what=f"no height {height} in {PROGRESS_S:.0f} s after {observer.faults}; {running} run",
            )
        )


def _check(network: ChaosNetwork, history: History, book: Book, result: Result) -> None:
    audit = result.audit or Audit()
    result.operations = history.count() | {
        "total": len(history.operations),
        "unknown_at_first": history.unknown_first,
    }
    result.violations += audit.violations
    result.violations += check_logs(network)
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
    options = " ".join(getattr(step, "options", ())) or str(getattr(step, "behaviour", ""))
    return f"{step.kind} {where}{f' ({options})' if options else ''}"
