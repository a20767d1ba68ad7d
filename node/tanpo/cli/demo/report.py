"""The end of the demo: one JSON object, or tables that a banker understands."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tanpo.cli.demo.audit import Conservation
from tanpo.cli.demo.journal import Journal, compute_percentile
from tanpo.cli.demo.stream import STREAM_CHAPTER, StreamResult
from tanpo.cli.output import Column, build_table, print_table
from tanpo.cli.samples import Catalog
from tanpo.client import NodeStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoReport:
    """Everything the demo found; it exists only if every check held."""

    statuses: dict[str, NodeStatus]
    journal: Journal
    stream: StreamResult
    conservation: list[Conservation]

    @property
    def height(self) -> int:
        """The height of every node."""
        return next(iter(self.statuses.values())).height

    def compute_finality_ms(self, percent: float) -> float:
        """Return a percentile over every transaction of the demo, those that met the dead leader included."""
        latencies = [step.latency_ms for step in self.journal.steps]
        return round(compute_percentile([*latencies, *self.stream.latencies_ms], percent), 1)

    def to_json(self) -> dict[str, Any]:
        """Return the demo's JSON object."""
        return {
            "nodes": list(self.statuses),
            "height": self.height,
            "state_roots": {member: one.state_root.hex() for member, one in self.statuses.items()},
            "steps": [step.to_json() for step in self.journal.steps],
            "finality_ms": {"p50": self.compute_finality_ms(50), "p99": self.compute_finality_ms(99)},
            "swaps_committed": len(self.stream.swaps) + self.swaps_before_stream,
            "leader_killed_at_height": self.stream.killed_at_height,
            "committed_after_kill": self.stream.committed_after_kill,
            "conservation": {
                one.instrument: {"minted": one.minted, "burned": one.burned, "held": one.held}
                for one in self.conservation
            },
        }

    @property
    def swaps_before_stream(self) -> int:
        """How many swaps the other chapters settled."""
        return sum(step.is_swap and step.status == "committed" for step in self.journal.steps)


def print_report(report: DemoReport, catalog: Catalog) -> None:
    """Print what a banker wants to know: what was done, what each instrument adds up to, that all agree."""
    chapters = [
        {
            "chapter": chapter,
            "fact": fact,
            "count": count or "",
            "time": f"{slowest:,.0f} ms" if count else "",
        }
        for chapter, fact, count, slowest in _summarise(report)
    ]
    print_table(
        build_table(
            chapters,
            (
                Column(heading="Step", key="chapter"),
                Column(heading="Transactions", key="count", is_number=True),
                Column(heading="Slowest", key="time", is_number=True),
                Column(heading="Result", key="fact"),
            ),
            title="What was done",
        )
    )
    print_table(
        build_table(
            [_describe(one, catalog) for one in report.conservation],
            (
                Column(heading="Instrument", key="id"),
                Column(heading="Name", key="name"),
                Column(heading="Minted", key="minted", is_number=True),
                Column(heading="Redeemed", key="burned", is_number=True),
                Column(heading="Held by all", key="held", is_number=True),
                Column(heading="", key="unit"),
            ),
            title="\nConservation: minted less redeemed is held, for every instrument",
        )
    )
    stream = report.stream
    root = next(iter(report.statuses.values())).state_root.hex()
    print_table(
        f"\nAll {len(report.statuses)} nodes are at height {report.height} with state root {root[:16]}…\n"
        f"Final after {report.compute_finality_ms(50):.0f} ms at the median, "
        f"{report.compute_finality_ms(99):,.0f} ms at the 99th percentile, the leader's death included.\n"
        f"{stream.leader} was killed at height {stream.killed_at_height}; the next swap was final "
        f"{stream.seconds_to_commit:.1f} s later, {stream.committed_after_kill} in all after it.\n"
        f"{len(stream.swaps) + report.swaps_before_stream:,} swaps settled. Every check held."
    )


def _summarise(report: DemoReport) -> list[tuple[str, str, int, float]]:
    rows = []
    for chapter, fact in report.journal.facts.items():
        latencies = [step.latency_ms for step in report.journal.steps if step.chapter == chapter]
        if chapter == STREAM_CHAPTER:
            latencies = list(report.stream.latencies_ms)
        rows.append((chapter, fact, len(latencies), max(latencies, default=0.0)))
    return rows


def _describe(sums: Conservation, catalog: Catalog) -> dict[str, str]:
    what = catalog.get_instrument(sums.instrument)
    unit = what.currency if what.kind in ("bond", "deposit_token") else "units"
    return {
        "id": sums.instrument,
        "name": what.name,
        "minted": _spell(sums.minted, what.decimals),
        "burned": _spell(sums.burned, what.decimals) if sums.burned else "",
        "held": _spell(sums.held, what.decimals),
        "unit": unit,
    }


def _spell(quantity: int, decimals: int) -> str:
    """Return a quantity in whole units, thousands apart."""
    whole, part = divmod(quantity, 10**decimals)
    return f"{whole:,}.{part:0{decimals}d}" if decimals else f"{whole:,}"
