"""What the bench can do to a network: each fault a small class that can be applied and healed.

A fault that makes a node faulty for good, because it lied or lost its memory, says so in
`ChaosNetwork.faulty`.
"""

from __future__ import annotations

import signal
import sys
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from pathlib import Path
from random import Random
from typing import ClassVar, Protocol

from tanpo.cli.network import NODE_PROGRAM
from tanpo.testing.chaos.damage import (
    fill_disk,
    flip_bit,
    free_disk,
    list_blocks,
    list_promises,
    list_state,
)
from tanpo.testing.chaos.network import ChaosNetwork, read_end, wait_start
from tanpo.testing.chaos.repair import REFUSED, repair


class Step(Protocol):
    """One fault."""

    @property
    def kind(self) -> str:
        """Under which name it is counted."""
        ...

    @property
    def victims(self) -> tuple[str, ...]:
        """The nodes that do not work while it lasts; a quorum of others makes progress."""
        ...

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        ...

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it. Nodes are started, but not waited for."""
        ...


class Part(StrEnum):
    """A part of what a node stores."""

    BLOCKS = "blocks"
    STATE = "state"
    PROMISES = "promises"


class Behaviour(StrEnum):
    """How a Byzantine node misbehaves; `faulty_node` in the tests does it."""

    EQUIVOCATE = "equivocate"
    WITHHOLD = "withhold"
    LIE = "lie"
    FLOOD = "flood"


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill:
    """Nodes end at once (SIGKILL), and start again."""

    kind: ClassVar[str] = "kill"
    victims: tuple[str, ...]

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        for member in self.victims:
            await network.kill(member)

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it."""
        for member in self.victims:
            network.spawn(member)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nodes stop in the middle of whatever they do (SIGSTOP), and go on as if no time had passed."""

    kind: ClassVar[str] = "pause"
    victims: tuple[str, ...]

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        for member in self.victims:
            network.send_signal(member, signal.SIGSTOP)

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it."""
        for member in self.victims:
            network.send_signal(member, signal.SIGCONT)


class Cut(StrEnum):
    """How a wire fails."""

    REFUSE = "cut"
    """Connections end and none can be made."""
    HOLD = "hold"
    """Nothing arrives, in either direction, and nobody is told."""
    ONE_WAY = "one-way"
    """Nothing that the first says arrives at the second."""
    RESET = "reset"
    """Connections end; they can be made again at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutLinks:
    """Wires between pairs of nodes fail."""

    how: Cut
    pairs: tuple[tuple[str, str], ...]
    victims: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Under which name it is counted."""
        return self.how.value

    @classmethod
    def isolate(cls, network: ChaosNetwork, member: str, how: Cut) -> CutLinks:
        """Return the failure of all wires of one node."""
        pairs = tuple((member, other) for other in network.members if other != member)
        return cls(how=how, pairs=pairs, victims=(member,))

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        mesh = network.mesh
        act = {
            Cut.REFUSE: mesh.cut,
            Cut.HOLD: mesh.hold,
            Cut.ONE_WAY: mesh.hold_one_way,
            Cut.RESET: mesh.reset,
        }
        for one, other in self.pairs:
            act[self.how](one, other)

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it."""
        for one, other in self.pairs:
            network.mesh.restore(one, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weather:
    """All wires become slow or lossy."""

    delay_ms: int = 0
    jitter_ms: int = 0
    loss: float = 0.0
    victims: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Under which name it is counted."""
        return "loss" if self.loss else "delay"

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        for one, other in combinations(network.members, 2):
            network.mesh.worsen(one, other, delay_ms=self.delay_ms, jitter_ms=self.jitter_ms, loss=self.loss)

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it."""
        for one, other in combinations(network.members, 2):
            network.mesh.restore(one, other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Substitute:
    """A node is run by another program for a while: with a wrong clock, or with little room for its files."""

    name: str
    program: Path
    options: tuple[str, ...]
    victims: tuple[str, ...]

    @property
    def kind(self) -> str:
        """Under which name it is counted."""
        return self.name

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        await self._run(network, (sys.executable, "-P", str(self.program), *self.options))

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it."""
        await self._run(network, NODE_PROGRAM)

    async def _run(self, network: ChaosNetwork, program: tuple[str, ...]) -> None:
        for member in self.victims:
            await network.kill(member)
            network.use_program(member, program)
            network.spawn(member)


@dataclass(frozen=True, slots=True, kw_only=True)
class TurnByzantine:
    """A node lies for a while. It counts as faulty from then on, for what it signed cannot be taken back."""

    kind: ClassVar[str] = "byzantine"
    program: Path
    behaviour: Behaviour
    victims: tuple[str, ...]

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        network.faulty.update(self.victims)
        await self._substitute().apply(network)

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it."""
        await self._substitute().heal(network)

    def _substitute(self) -> Substitute:
        options = ("--behaviour", self.behaviour.value)
        return Substitute(name=self.kind, program=self.program, options=options, victims=self.victims)


@dataclass(frozen=True, slots=True, kw_only=True)
class FillDisk:
    """A node's disk, which must be a small one of its own, has no byte left. The node ends and says why."""

    kind: ClassVar[str] = "disk full"
    victims: tuple[str, ...]

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        for member in self.victims:
            fill_disk(network.data_dir(member))

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it. A node that has not met the full disk yet goes on."""
        for member in self.victims:
            free_disk(network.data_dir(member))
            network.spawn(member)


@dataclass(slots=True, kw_only=True)
class DamageData:
    """A bit of what a node stored flips while it is down: of its chain, its state or its promises.

    The node must notice, then or when it reads there, and name the remedy; or mend it by itself. One that
    cannot know what it promised must not vote again, and is lost.
    """

    kind: ClassVar[str] = "damage"
    victims: tuple[str, ...]
    part: Part
    chance: Random
    where: str = ""

    async def apply(self, network: ChaosNetwork) -> None:
        """Break it."""
        (member,) = self.victims
        await network.kill(member)
        list_files = {Part.BLOCKS: list_blocks, Part.STATE: list_state, Part.PROMISES: list_promises}
        self.where = flip_bit(list_files[self.part](network.data_dir(member)), self.chance)
        network.spawn(member)
        await wait_start(network, member)

    async def heal(self, network: ChaosNetwork) -> None:
        """Mend it as the node says."""
        (member,) = self.victims
        if not network.is_running(member):
            end = read_end(network, member)
            if end.exit_code == REFUSED:
                await repair(network, member, end, self.chance)
        if member in network.honest:
            network.spawn(member)
