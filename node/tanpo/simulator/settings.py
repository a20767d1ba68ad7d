"""What one run is like: how many validators, which faults at which rates, who is hostile and how.

A seed draws its own settings (a *swarm*): a run without loss but full of crashes finds what a run with a bit
of everything never would.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Final

from tanpo.consensus import Timing
from tanpo.ledger.certificate import compute_faulty_max
from tanpo.ledger.validators import keeps_quorum
from tanpo.simulator.faults import FaultKind
from tanpo.simulator.hostile import BEHAVIOURS
from tanpo.simulator.streams import Streams

SIZES: Final = (1, 4, 4, 4, 4, 4, 4, 5, 5, 6, 7, 7, 10, 13)
"""Validator counts as they are drawn: small ones often, because they cost little and find most."""

BEYOND_SHARE: Final = 0.03
"""How many runs have one hostile validator more than the protocol survives, to see that forks accuse."""

MOST_FAULTY_SHARE: Final = 0.7
"""How many runs have as many faulty validators as the protocol survives."""

CONTRACTS_SHARE: Final = 0.15
"""How many runs of small networks execute real contracts: they cost more."""

WIRE_SHARE: Final = 0.2
"""How many runs encode and decode every message."""

EPOCHS: Final = "epochs"
CONTRACTS: Final = "contracts"
"""What else can be switched off."""

EPOCHS_SHARE: Final = 0.3
"""How many runs change their validators."""

STYLES: Final = (
    "hostile",
    "hostile",
    "conspiracy",
    "conspiracy",
    "heirs",
    "forgers",
    "liars",
    "twins",
    "mixed",
    "victims",
)
"""What the faulty validators of a run are; in a conspiracy all behave alike. Heirs, forgers and liars lead
one after the other: what one hides, the next can bring forward, and what the first say is listed first."""

SHARED_BEHAVIOURS: Final = {
    "beyond": ("collude", "equivocate", "lie-in-timeouts", "vote-for-everything"),
    "heirs": ("hoard",),
    "forgers": ("forge-locks",),
    "liars": ("repeat-old-certificates", "true-then-lie"),
}
"""What those do who do not behave at random; beyond what is survived, what is most likely to make a fork."""

REIGN_MIN: Final = 4
REIGN_MAX: Final = 16

SAFETY_MS: Final = 30_000
CHAOS_MS: Final = 14_000
"""How long faults last before a core heals, in the mode that demands progress."""

RATES: Final[dict[FaultKind, Sequence[float]]] = {
    FaultKind.LOSS: (0.01, 0.05, 0.2),
    FaultKind.DELAY: (0.05, 0.3),
    FaultKind.DUPLICATION: (0.05, 0.3),
    FaultKind.REORDERING: (0.1, 0.5),
    FaultKind.PARTITION: (0.1, 0.3),
    FaultKind.ONE_WAY: (0.1, 0.3),
    FaultKind.CRASH: (0.1, 0.4),
    FaultKind.CRASH_BEFORE_SYNC: (0.005, 0.03),
    FaultKind.CRASH_AFTER_SYNC: (0.005, 0.03),
    FaultKind.TORN_WRITE: (0.5, 1.0),
    FaultKind.BIT_ROT: (0.3, 0.8),
    FaultKind.CHAIN_ROT: (0.05, 0.3),
    FaultKind.DISK_LOSS: (0.3, 0.8),
    FaultKind.OLD_BACKUP: (0.3, 0.8),
    FaultKind.CLOCK_SKEW: (0.5, 1.0),
    FaultKind.CLOCK_JUMP: (0.05, 0.3),
    FaultKind.SLOW_NODE: (0.05, 0.3),
    FaultKind.SLOW_DISK: (0.1, 0.5),
    FaultKind.EXECUTION_LAG: (0.1, 0.5),
    FaultKind.DRAIN: (0.1, 0.4),
}
"""The rates a fault that is on may have; they are explained in `faults.py`."""


class Mode(StrEnum):
    """What is demanded of a run."""

    SAFETY = "safety"
    """Faults never heal; nothing may ever contradict anything."""
    LIVENESS = "liveness"
    """A random core of a quorum heals; then what was submitted commits in time. The others never heal."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostileValidator:
    """A validator in the adversary's hands, and what it does; with no behaviour at all it runs as twins."""

    node: str
    behaviours: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything but the seed's own random streams that decides a run.

    `reigns` are the validator sets, one for each epoch (`reigns.py`). `victims` are validators whose disks
    may forget: they count against f, like hostile ones; `rejoining` is the one that may sign again.
    `term_partitions` has, for each term from the first on, groups of process names that hear each other only
    while the sender is in that term, for at most `term_partition_ms`: without a quorum in any group the term
    would never end. A process may be in several groups. Later terms have no partition. `timeout_partitions`
    are the same for complaints and timeouts, if those are to reach others; then what opens a term reaches
    everybody, so that all go through the terms together. `silent_after` has, for each term, how many of its
    blocks are certified when its leader falls silent but for complaints and timeouts: nobody else learns of
    the last certificate from it.
    """

    seed: int
    mode: Mode = Mode.SAFETY
    reigns: tuple[tuple[str, ...], ...] = (("0", "1", "2", "3"),)
    rates: tuple[tuple[FaultKind, float], ...] = ()
    hostile: tuple[HostileValidator, ...] = ()
    victims: tuple[str, ...] = ()
    rejoining: str | None = None
    chaos_ms: int = SAFETY_MS
    latency_ms: int = 5
    submit_ms: int = 1_000
    sync_ms: int = 2
    has_contracts: bool = False
    is_on_wire: bool = False
    timing: Timing = field(default_factory=Timing)
    term_partitions: tuple[tuple[tuple[str, ...], ...], ...] = ()
    timeout_partitions: tuple[tuple[tuple[str, ...], ...], ...] = ()
    silent_after: tuple[int, ...] = ()
    term_partition_ms: int = 3_000

    @property
    def validator_count(self) -> int:
        """How many validators there are in the first epoch."""
        return len(self.reigns[0])

    @property
    def nodes(self) -> tuple[str, ...]:
        """The names of all nodes that are a validator at some time."""
        names = dict.fromkeys(token.partition("#")[0] for reign in self.reigns for token in reign)
        return tuple(names)

    @property
    def faulty(self) -> frozenset[str]:
        """The nodes that count against f."""
        return frozenset(one.node for one in self.hostile) | frozenset(self.victims)

    @property
    def is_beyond(self) -> bool:
        """Whether more validators are faulty than the protocol survives."""
        return len(self.faulty) > compute_faulty_max(self.validator_count)

    def get_rate(self, kind: FaultKind) -> float:
        """Return the rate of a kind of fault; 0 when it is off."""
        return next((rate for known, rate in self.rates if known is kind), 0.0)

    def without(self, names: Collection[str]) -> Settings:
        """Return the same settings with something off: kinds of fault, behaviours of hostile validators,
        `epochs` or `contracts`."""
        hostile = [
            replace(one, behaviours=tuple(b for b in one.behaviours if b not in names))
            for one in self.hostile
            if (FaultKind.HOSTILE if one.behaviours else FaultKind.TWINS) not in names
        ]
        return replace(
            self,
            rates=tuple((kind, rate) for kind, rate in self.rates if kind not in names),
            # Without its last behaviour a hostile validator is an honest one, not twins.
            hostile=tuple(new for new in hostile if new.behaviours or new in self.hostile),
            reigns=self.reigns[:1] if EPOCHS in names else self.reigns,
            has_contracts=self.has_contracts and CONTRACTS not in names,
        )

    def list_faults(self) -> tuple[str, ...]:
        """Return what `without` can switch off here, the largest parts first."""
        behaviours = {name for one in self.hostile for name in one.behaviours}
        found: list[str] = []
        if behaviours:
            found.append(FaultKind.HOSTILE)
        if any(not one.behaviours for one in self.hostile):
            found.append(FaultKind.TWINS)
        if len(self.reigns) > 1:
            found.append(EPOCHS)
        if self.has_contracts:
            found.append(CONTRACTS)
        return (*found, *(kind for kind, _ in self.rates), *sorted(behaviours))


def draw_settings(seed: int, mode: Mode) -> Settings:
    """Return the settings that a seed stands for."""
    rng = Streams(seed).get(f"settings/{mode}")
    count = rng.choice(SIZES)
    intensity = rng.choice((0.2, 0.5, 0.8))
    rates = [(kind, rng.choice(choices), rng.random() < intensity) for kind, choices in RATES.items()]
    faulty_max = compute_faulty_max(count)
    is_beyond = mode is Mode.SAFETY and count > 1 and rng.random() < BEYOND_SHARE
    faulty_count = faulty_max if rng.random() < MOST_FAULTY_SHARE else rng.randint(0, faulty_max)
    faulty = rng.sample(range(count), faulty_max + 1 if is_beyond else faulty_count)
    style = "beyond" if is_beyond else rng.choice(STYLES)
    if style in ("heirs", "forgers", "liars"):
        faulty = list(range(faulty_max))
    hostile = _draw_all_hostile(rng, faulty, style)
    victims = tuple(sorted(str(i) for i, one in zip(faulty, hostile, strict=True) if one is None))
    first = tuple(str(index) for index in range(count))
    has_epochs = count > 1 and not is_beyond and rng.random() < EPOCHS_SHARE
    return Settings(
        seed=seed,
        mode=mode,
        reigns=draw_reigns(rng, first, {str(index) for index in faulty}) if has_epochs else (first,),
        rates=tuple((kind, rate) for kind, rate, is_on in rates if is_on),
        hostile=tuple(sorted((one for one in hostile if one is not None), key=lambda one: one.node)),
        victims=victims,
        rejoining=rng.choice(victims) if victims and rng.random() < 0.5 else None,
        chaos_ms=SAFETY_MS if mode is Mode.SAFETY else CHAOS_MS,
        latency_ms=rng.choice((1, 5, 20, 60)),
        submit_ms=rng.choice((200, 500, 1_500)),
        sync_ms=rng.choice((0, 2, 15)),
        has_contracts=count <= 5 and rng.random() < CONTRACTS_SHARE,
        is_on_wire=rng.random() < WIRE_SHARE,
        timing=Timing(timeout_max_ms=rng.choice((4_000, 8_000, 60_000))),
    )


def draw_reigns(
    rng: random.Random, first: tuple[str, ...], faulty: AbstractSet[str]
) -> tuple[tuple[str, ...], ...]:
    """Return up to three changes of validators, each allowed by E2, with at most f faulty ones in any set."""
    reigns = [first]
    spare = len(first)
    for number in range(1, 2 + rng.randrange(3)):
        now = reigns[-1]
        at = rng.randrange(len(now))
        renewed = f"{now[at].partition('#')[0]}#{number}"
        options = (
            (*now, str(spare)),
            now[:at] + now[at + 1 :],
            (*now[:at], str(spare), *now[at + 1 :]),
            (*now[:at], renewed, *now[at + 1 :]),
        )
        then = rng.choice(options)
        if _is_allowed(now, then, faulty):
            spare += 1
            reigns.append(then)
    return tuple(reigns)


def _is_allowed(now: tuple[str, ...], then: tuple[str, ...], faulty: AbstractSet[str]) -> bool:
    if not REIGN_MIN <= len(then) <= REIGN_MAX:
        return False
    is_tolerable = sum(t.partition("#")[0] in faulty for t in then) <= compute_faulty_max(len(then))
    kept = sum(token in now for token in then)
    return is_tolerable and keeps_quorum(len(now), kept, len(then))


def _draw_all_hostile(rng: random.Random, faulty: Sequence[int], style: str) -> list[HostileValidator | None]:
    shared = SHARED_BEHAVIOURS.get(style)
    if style == "conspiracy":
        shared = _draw_behaviours(rng)
    if shared is None:
        return [_draw_hostile(rng, str(index), style) for index in faulty]
    return [HostileValidator(node=str(index), behaviours=shared) for index in faulty]


def _draw_hostile(rng: random.Random, node: str, style: str) -> HostileValidator | None:
    """Return how a faulty validator behaves, None if only its disk is bad."""
    kind = rng.choice(("hostile", "twins", "victims")) if style == "mixed" else style
    if kind == "victims":
        return None
    if kind == "twins":
        return HostileValidator(node=node, behaviours=())
    return HostileValidator(node=node, behaviours=_draw_behaviours(rng))


def _draw_behaviours(rng: random.Random) -> tuple[str, ...]:
    return tuple(sorted(rng.sample(sorted(BEHAVIOURS), rng.randint(1, 5))))
