"""One Twins scenario: who has a twin, who hears whom in each term, and how a run is made of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from tanpo.consensus import Timing
from tanpo.simulator.settings import HostileValidator, Mode, Settings

Groups = tuple[tuple[str, ...], ...]
"""Names of processes that hear each other. Who is in several groups hears, and is heard by, all of them."""

TERM_MS: Final = 1_000
"""Every term waits this long for its leader, whatever happened before: a scenario has many terms."""

TERM_MAX_MS: Final = 3_000
"""What a term may take: complaints, timeouts and late comers. The plan is over when all terms have had it."""

SUBMIT_MS: Final = 300
LATENCY_MS: Final = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class TermPlan:
    """One term of a scenario.

    Proposals, votes and all the rest stay in `groups`; complaints and timeouts in `timeout_groups`. What
    opens a term reaches everybody, as rounds are synchronous in the paper. The leader falls silent, but for
    its timeout, when `silent_after` of its blocks are certified: it alone knows of the last certificate, and
    shows it to its timeout groups. That is what ends a term; a leader of this protocol otherwise stays.
    """

    groups: Groups
    timeout_groups: Groups
    silent_after: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TwinsScenario:
    """A network, and its first terms; from then on everybody hears everybody."""

    name: str
    validator_count: int
    twinned: tuple[int, ...]
    terms: tuple[TermPlan, ...]

    @property
    def processes(self) -> tuple[str, ...]:
        """The names of all processes."""
        return list_processes(self.validator_count, self.twinned)

    def make_settings(self, seed: int) -> Settings:
        """Return a run of the scenario, with no other fault; the seed draws latencies and clients."""
        return Settings(
            seed=seed,
            mode=Mode.LIVENESS,
            reigns=(tuple(map(str, range(self.validator_count))),),
            hostile=tuple(HostileValidator(node=str(index), behaviours=()) for index in self.twinned),
            chaos_ms=len(self.terms) * TERM_MAX_MS,
            latency_ms=LATENCY_MS,
            sync_ms=0,
            submit_ms=SUBMIT_MS,
            timing=Timing(base_timeout_ms=TERM_MS, timeout_max_ms=TERM_MS),
            term_partitions=tuple(term.groups for term in self.terms),
            timeout_partitions=tuple(term.timeout_groups for term in self.terms),
            silent_after=tuple(term.silent_after for term in self.terms),
            term_partition_ms=len(self.terms) * TERM_MAX_MS,
        )


def list_processes(validator_count: int, twinned: tuple[int, ...]) -> tuple[str, ...]:
    """Return the names of the processes: each validator, and after it its twin if it has one."""
    names: list[str] = []
    for index in range(validator_count):
        names += [f"{index}", f"{index}'"] if index in twinned else [f"{index}"]
    return tuple(names)
