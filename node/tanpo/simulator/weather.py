"""What befalls the cluster from outside: crashes, cut links, stopped clocks and rotting disks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final

from tanpo.consensus import StepDownAsked
from tanpo.simulator.disk import ChainDisk, SafetyDisk
from tanpo.simulator.faults import FaultKind

if TYPE_CHECKING:
    from tanpo.simulator.cluster import Cluster
    from tanpo.simulator.process import Process

SKEW_MAX_MS: Final = 400
"""Clocks off by more than half the protocol's precision."""
JUMP_MAX_MS: Final = 5_000
CUT_MAX_MS: Final = 8_000
PAUSE_MAX_MS: Final = 3_000
DOWN_MAX_MS: Final = 5_000
BACKUP_MS: Final = 4_000


class Weather:
    """Lets happenings happen at their rates, to whoever is not in the healed core."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._happenings: dict[FaultKind, Callable[[], None]] = {
            FaultKind.PARTITION: self._partition,
            FaultKind.ONE_WAY: self._cut_one_way,
            FaultKind.CRASH: self._crash,
            FaultKind.CLOCK_JUMP: self._jump,
            FaultKind.SLOW_NODE: self._pause,
            FaultKind.DRAIN: self._drain,
        }

    def begin(self) -> None:
        """Set the clocks apart and let the first of every kind happen in its time."""
        cluster = self._cluster
        rng = cluster.streams.get(FaultKind.CLOCK_SKEW)
        for process in cluster.processes:
            if rng.random() < cluster.luck.rates[FaultKind.CLOCK_SKEW]:
                process.skew_ms = rng.randrange(-SKEW_MAX_MS, SKEW_MAX_MS + 1)
                cluster.luck.note(FaultKind.CLOCK_SKEW)
        for kind in self._happenings:
            self._arm(kind)
        if cluster.settings.victims:
            self._back_up()

    def restart(self, process: Process) -> None:
        """Start a process that is down, on what is left of its disks."""
        if process.is_up or process.name in self._cluster.dead:
            return
        if process.node in self._cluster.settings.victims:
            self._damage(process)
        if self._cluster.luck.strikes(FaultKind.CHAIN_ROT, process):
            self._copy_chain(process)
        self._cluster.luck.note("restart")
        self._cluster.annals.trace(process, "restarts")
        process.start()

    def restart_later(self, process: Process) -> None:
        """Have a process that crashed start again in a while."""
        delay_ms = self._cluster.streams.get("restart").randrange(50, DOWN_MAX_MS)
        self._cluster.clock.after(delay_ms, partial(self.restart, process))

    def _arm(self, kind: FaultKind) -> None:
        rate = self._cluster.luck.rates[kind]
        if rate:
            delay_ms = int(1_000 * self._cluster.streams.get(kind).expovariate(rate))
            self._cluster.clock.after(delay_ms, partial(self._happen, kind))

    def _happen(self, kind: FaultKind) -> None:
        self._arm(kind)
        self._happenings[kind]()

    def _draw(self, kind: FaultKind) -> Process | None:
        """Return whom it befalls; nobody if that one is in the healed core."""
        process = self._cluster.streams.get(kind).choice(self._cluster.processes)
        return None if self._cluster.is_healed(process) else process

    def _crash(self) -> None:
        process = self._draw(FaultKind.CRASH)
        if process is not None and process.is_up:
            self._cluster.luck.note(FaultKind.CRASH)
            self._cluster.crash(process)

    def _jump(self) -> None:
        process = self._draw(FaultKind.CLOCK_JUMP)
        if process is not None:
            jump_ms = self._cluster.streams.get(FaultKind.CLOCK_JUMP).randrange(-JUMP_MAX_MS, JUMP_MAX_MS)
            self._cluster.checks.on_clock(process)  # What it showed until now may be in a block.
            process.skew_ms += jump_ms
            self._cluster.checks.on_clock(process)
            self._cluster.luck.note(FaultKind.CLOCK_JUMP)
            self._cluster.annals.trace(process, f"its clock jumps by {jump_ms} ms")

    def _pause(self) -> None:
        process = self._draw(FaultKind.SLOW_NODE)
        if process is not None and process.is_up:
            pause_ms = self._cluster.streams.get(FaultKind.SLOW_NODE).randrange(100, PAUSE_MAX_MS)
            self._cluster.luck.note(FaultKind.SLOW_NODE)
            self._cluster.annals.trace(process, f"stands still for {pause_ms} ms")
            process.pause(pause_ms)

    def _drain(self) -> None:
        """Plan maintenance: a node gives its terms away, and is restarted a little later."""
        process = self._draw(FaultKind.DRAIN)
        if process is not None and process.is_up and not process.has_drained:
            self._cluster.luck.note(FaultKind.DRAIN)
            self._cluster.annals.trace(process, "is to lead no more")
            process.has_drained = True
            process.post(StepDownAsked(now_ms=process.now_ms, wall_ms=process.wall_ms))
            delay_ms = self._cluster.streams.get(FaultKind.DRAIN).randrange(500, DOWN_MAX_MS)
            self._cluster.clock.after(delay_ms, partial(self._end_drain, process))

    def _end_drain(self, process: Process) -> None:
        if process.is_up and process.has_drained and not self._cluster.is_healed(process):
            self._cluster.crash(process)

    def _partition(self) -> None:
        rng = self._cluster.streams.get(FaultKind.PARTITION)
        names = [process.name for process in self._cluster.processes]
        left = [name for name in names if rng.random() < 0.5]
        right = [name for name in names if name not in left]
        pairs = [(a, b) for a in left for b in right] + [(b, a) for a in left for b in right]
        self._cut(FaultKind.PARTITION, pairs, f"partition: {' '.join(left)} | {' '.join(right)}")

    def _cut_one_way(self) -> None:
        rng = self._cluster.streams.get(FaultKind.ONE_WAY)
        process = rng.choice(self._cluster.processes)
        others = [p.name for p in self._cluster.processes if p is not process and rng.random() < 0.7]
        if rng.random() < 0.5:
            pairs, what = [(process.name, name) for name in others], "nobody hears it"
        else:
            pairs, what = [(name, process.name) for name in others], "it hears nobody"
        self._cut(FaultKind.ONE_WAY, pairs, f"one-way cut of {process.name}: {what} of {' '.join(others)}")

    def _cut(self, kind: FaultKind, pairs: Sequence[tuple[str, str]], what: str) -> None:
        cluster = self._cluster
        fresh = [pair for pair in pairs if pair not in cluster.links.cut and not cluster.is_healed_pair(pair)]
        cluster.links.cut.update(fresh)
        cluster.luck.note(kind)
        cluster.annals.trace(None, what)
        cluster.clock.after(cluster.streams.get(kind).randrange(200, CUT_MAX_MS), partial(self._mend, fresh))

    def _mend(self, pairs: Sequence[tuple[str, str]]) -> None:
        self._cluster.links.cut.difference_update(pairs)

    def _back_up(self) -> None:
        cluster = self._cluster
        for process in cluster.processes:
            if process.node in cluster.settings.victims:
                process.backup = (process.safety.copy(), process.chain.copy())
        cluster.clock.after(BACKUP_MS, self._back_up)

    def _damage(self, process: Process) -> None:
        """Let the disks of a validator that counts as faulty forget."""
        cluster = self._cluster
        if cluster.luck.strikes(FaultKind.BIT_ROT, process):
            process.safety.rot(cluster.streams.get("rot"))
        if cluster.luck.strikes(FaultKind.DISK_LOSS, process):
            self._lose_disk(process)
        elif process.backup is not None and cluster.luck.strikes(FaultKind.OLD_BACKUP, process):
            process.safety, process.chain = process.backup[0].copy(), process.backup[1].copy()

    def _copy_chain(self, process: Process) -> None:
        """Do what the operator is told when blocks are damaged: take those of another node, keep the rest.

        What is damaged is always noticed: each block has its hash and each state its root. A chain that is
        shorter than ours would not do: we let go of uncommitted blocks that it lacks. Nor would
        one of a later epoch: promises of an earlier one look like a copy from before it began (D6).
        """
        own = process.chain
        others = [
            other
            for other in self._cluster.processes
            if other.is_honest
            and other is not process
            and other.chain.height >= own.height
            and other.chain.state.reign == own.state.reign
        ]
        if others:
            process.chain = self._cluster.streams.get("rot").choice(others).chain.copy()

    def _lose_disk(self, process: Process) -> None:
        """Empty the disk where the promises were, perhaps that with the chain too."""
        process.safety = SafetyDisk()
        process.has_forgotten = self._cluster.streams.get("rot").random() < 0.5
        if not process.has_forgotten:
            process.chain = ChainDisk(genesis=self._cluster.application.genesis)
        self._cluster.checks.on_loss(process, is_known=process.has_forgotten)
