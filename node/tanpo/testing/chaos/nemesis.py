"""Chooses what to break next, from one seed. The steps themselves are in `steps`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Final, Protocol

from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.steps import (
    Behaviour,
    Cut,
    CutLinks,
    DamageData,
    FillDisk,
    Kill,
    Part,
    Pause,
    Step,
    Substitute,
    TurnByzantine,
    Weather,
)

SKEW_MS_MAX: Final = 20_000
"""Far beyond what clocks may differ by: the node's proposals are refused, and it must harm nobody."""
SMALL_SKEW_MS: Final = 400
"""Within what clocks may differ by."""
SECOND_FAULT_CHANCE: Final = 0.3
BEYOND_FAULTY_CHANCE: Final = 0.25
"""How often more nodes fail than the network can do without: it must stop, lose nothing, and go on."""
LEADER_CHANCE: Final = 0.4
"""How often a fault meets the leader: it is where most can go wrong."""
ROOM_BYTES: Final = 200_000
"""How much a node without room may still add to its largest file."""


class FaultSource(Protocol):
    """Where faults come from: one seed, or a script."""

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be broken."""
        ...

    def choose(self, leader: str) -> Sequence[Step]:
        """Return the faults that come next, together; `leader` leads now."""
        ...


@dataclass(slots=True, kw_only=True)
class Script:
    """Faults written down beforehand, each as a function of who leads when its turn comes."""

    faults: list[Callable[[str], Step]]

    @property
    def is_done(self) -> bool:
        """Whether all of them had their turn."""
        return not self.faults

    def choose(self, leader: str) -> Sequence[Step]:
        """Return the next fault."""
        return (self.faults.pop(0)(leader),)


@dataclass(slots=True, kw_only=True)
class Nemesis:
    """A source of faults. `faulty_node` is the program of nodes that lie or whose clock is wrong.

    `small_disks` are the members whose data lies on a disk small enough to fill.
    """

    network: ChaosNetwork
    chance: Random
    faulty_node: Path
    small_disks: tuple[str, ...] = ()
    leader: str = ""

    @property
    def is_done(self) -> bool:
        """Whether nothing more is to be broken: there is always something."""
        return False

    def choose(self, leader: str) -> Sequence[Step]:
        """Return one fault, or two for different nodes that come on top of each other."""
        self.leader = leader
        first = self._choose_one()
        if self.chance.random() < SECOND_FAULT_CHANCE:
            second = self._choose_one()
            # Not two of a kind: each may take the last share of f that is left.
            if first.kind != second.kind and not set(first.victims) & set(second.victims):
                return (first, second)
        return (first,)

    def _choose_one(self) -> Step:
        choices: list[tuple[int, Callable[[], Step]]] = [
            (5, self._kill),
            (4, self._pause),
            (4, self._cut),
            (3, self._cut_one_way),
            (2, self._isolate),
            (2, self._weather),
            (2, self._skew),
            (2, self._damage_chain),
            (1, self._leave_no_room),
        ]
        if self.small_disks:
            choices.append((2, self._fill_disk))
        if self._can_turn():
            choices.append((3, self._turn))
        if self._can_lose():
            choices.append((1, self._damage_promises))
        weights = [weight for weight, _ in choices]
        _, make = self.chance.choices(choices, weights)[0]
        return make()

    def _kill(self) -> Step:
        return Kill(victims=self._some())

    def _pause(self) -> Step:
        return Pause(victims=self._some())

    def _cut(self) -> Step:
        how = self.chance.choice((Cut.REFUSE, Cut.HOLD, Cut.RESET))
        return CutLinks(how=how, pairs=(self._pair(),))

    def _cut_one_way(self) -> Step:
        return CutLinks(how=Cut.ONE_WAY, pairs=(self._pair(),))

    def _isolate(self) -> Step:
        how = self.chance.choice((Cut.REFUSE, Cut.HOLD, Cut.ONE_WAY))
        return CutLinks.isolate(self.network, self._one(), how)

    def _weather(self) -> Step:
        if self.chance.random() < 0.5:
            return Weather(delay_ms=self.chance.choice((20, 80, 200)), jitter_ms=self.chance.choice((0, 40)))
        return Weather(loss=self.chance.choice((0.01, 0.05)))

    def _skew(self) -> Step:
        limit = self.chance.choice((SMALL_SKEW_MS, SKEW_MS_MAX))
        skew_ms = self.chance.choice((-1, 1)) * self.chance.randint(limit // 2, limit)
        options = ("--skew-ms", str(skew_ms))
        return Substitute(name="skew", program=self.faulty_node, options=options, victims=(self._one(),))

    def _leave_no_room(self) -> Step:
        options = ("--room-bytes", str(ROOM_BYTES))
        return Substitute(name="no room", program=self.faulty_node, options=options, victims=(self._one(),))

    def _damage_chain(self) -> Step:
        part = self.chance.choice((Part.BLOCKS, Part.STATE))
        return DamageData(victims=(self._one(),), part=part, chance=self.chance)

    def _damage_promises(self) -> Step:
        return DamageData(victims=(self._one(),), part=Part.PROMISES, chance=self.chance)

    def _fill_disk(self) -> Step:
        return FillDisk(victims=(self.chance.choice(self.small_disks),))

    def _turn(self) -> Step:
        network = self.network
        liars = [
            member for member in network.members if member in network.faulty and network.is_running(member)
        ]
        if not liars or (len(network.faulty) < network.faulty_max and self.chance.random() < 0.3):
            liars = [self._one()]
        behaviour = self.chance.choice(list(Behaviour))
        return TurnByzantine(
            program=self.faulty_node, behaviour=behaviour, victims=(self.chance.choice(liars),)
        )

    def _can_turn(self) -> bool:
        network = self.network
        is_there_a_liar = any(network.is_running(member) for member in network.faulty)
        return is_there_a_liar or len(network.faulty) < network.faulty_max

    def _can_lose(self) -> bool:
        """Whether one more node may be lost for good: the first liar needs its share of f as well."""
        return len(self.network.faulty) + 1 < self.network.faulty_max

    def _one(self) -> str:
        honest = self.network.honest
        if self.leader in honest and self.chance.random() < LEADER_CHANCE:
            return self.leader
        return self.chance.choice(honest)

    def _pair(self) -> tuple[str, str]:
        one, other = self.chance.sample(self.network.members, 2)
        return one, other

    def _some(self) -> tuple[str, ...]:
        members = [member for member in self.network.members if self.network.is_running(member)]
        most = self.network.faulty_max
        if self.chance.random() < BEYOND_FAULTY_CHANCE:
            return tuple(self.chance.sample(members, self.chance.randint(most + 1, len(members))))
        victims = self.chance.sample(members, self.chance.randint(1, most))
        if self.leader in members and self.leader not in victims and self.chance.random() < LEADER_CHANCE:
            victims[0] = self.leader
        return tuple(victims)
