"""The seam between execution and whatever runs a block's transactions: this process, or a worker.

A block's work is a script: a generator that asks a `BlockRun` for receipts and changes, and pauses where it
has to wait. A runner may play a script again from its beginning, so a script changes nothing until it ends.
Whoever drives one decides how to wait: a node on its event loop, a start or a test by blocking.
"""

from __future__ import annotations

import asyncio
import select
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar, cast

from tanpo.ledger.types import BlockHash, Height
from tanpo.node.contract_sets import ContractSet, Programs, Sessions
from tanpo.node.metrics import Metrics
from tanpo.node.tasks import Task, run_task
from tanpo.vm import Session, StateReader

SLICE_TASKS: Final = 100
"""Transactions run here between two looks at the network: fewer raise the p99, more delay votes."""

PAUSE_MAX_S: Final = 0.25
"""Longest pause: so often whoever waits looks whether the block is still wanted."""

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """Nothing to do until `fd` can be read (or written), or for some seconds at most.

    Whoever waits for a file again and again does it by one object: see `Waiting`.
    """

    fd: int | None = None
    is_write: bool = False
    seconds: float = 0.0

    def block(self) -> None:
        """Wait here, and let nothing else run."""
        if self.fd is None:
            time.sleep(self.seconds)
            return
        poll = select.poll()
        poll.register(self.fd, select.POLLOUT if self.is_write else select.POLLIN)
        poll.poll(self.seconds * 1000)


class Waiting:
    """Waits on the event loop, in a `with` block, for the pauses of steps.

    A worker may ask a thousand times in a transaction. So a file stays registered while the same pause comes
    again: the same object, because the number of a closed file may be another's already.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()
        self._watched: Pause | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._deadline = 0.0

    def __enter__(self) -> Waiting:
        return self

    def __exit__(self, *_: object) -> None:
        self._watch(None)
        if self._timer is not None:
            self._timer.cancel()

    async def wait(self, pause: Pause) -> None:
        """Let everything else run until a pause is over."""
        self._watch(pause)
        if pause.fd is None:
            await asyncio.sleep(pause.seconds)
            return
        self._ready = self._loop.create_future()
        self._deadline = self._loop.time() + pause.seconds
        if self._timer is None or self._timer.when() > self._deadline:
            self._set_timer()
        await self._ready

    def _watch(self, pause: Pause | None) -> None:
        old, loop = self._watched, self._loop
        if pause is old:
            return
        if old is not None and old.fd is not None:
            (loop.remove_writer if old.is_write else loop.remove_reader)(old.fd)
        if pause is not None and pause.fd is not None:
            (loop.add_writer if pause.is_write else loop.add_reader)(pause.fd, self._settle)
        self._watched = pause

    def _settle(self) -> None:
        if not self._ready.done():
            self._ready.set_result(None)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._deadline, self._on_time)

    def _on_time(self) -> None:
        self._timer = None
        if self._loop.time() < self._deadline:
            self._set_timer()  # It was set for a pause that ended early.
        else:
            self._settle()


Steps = Generator[Pause, None, Result]
"""Work that pauses where it has to wait, and ends with a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """Where tasks run: the block they belong to, the state and the contracts that its parent left behind.

    `committed_hash` is the latest block that is final; the parent is that one or a descendant.
    """

    block_hash: BlockHash
    parent_hash: BlockHash
    committed_hash: BlockHash
    height: Height
    time_ms: int
    contracts: ContractSet
    state: StateReader


async def play(steps: Steps[Result]) -> Result:
    """Return the result of steps, waiting on the event loop."""
    with Waiting() as waiting:
        while True:
            try:
                pause = next(steps)
            except StopIteration as end:
                return cast(Result, end.value)
            await waiting.wait(pause)


def play_blocking(steps: Steps[Result]) -> Result:
    """Return the result of steps; nothing else runs meanwhile."""
    while True:
        try:
            next(steps).block()
        except StopIteration as end:
            return cast(Result, end.value)


class BlockRun(Protocol):
    """One block's tasks, run one after the other on what those before them left.

    All that a block does to the state of contracts must go through its run: a worker remembers what its
    runs have changed, and asks for nothing twice.
    """

    def execute(self, tasks: Sequence[Task], *, is_last: bool = False) -> Steps[list[bytes]]:
        """Run tasks and return their receipts, encoded; the index of each is its place in `tasks`.

        After the last ones `collect` most likely comes next: a worker then has the changes ready.
        """

    def collect(self) -> Steps[dict[bytes, bytes | None]]:
        """Return what all tasks so far have changed in the state; None for a deletion."""


Script = Callable[[BlockRun], Steps[Result]]


class Runner(Protocol):
    """Runs blocks, one at a time."""

    def run(self, scene: Scene, script: Script[Result]) -> Steps[Result]:
        """Play a script in a scene and return what it returns."""

    def explain_stall(self) -> str:
        """Return why blocks are not executed now, in words for people; empty while they are."""

    def close(self) -> None:
        """End whatever runs elsewhere."""


class LocalRunner:
    """Runs contracts in this process."""

    def __init__(self, programs: Programs, metrics: Metrics) -> None:
        self._metrics = metrics
        self._sessions = Sessions(programs)

    def run(self, scene: Scene, script: Script[Result]) -> Steps[Result]:
        """Play a script; a script that is given up leaves nothing behind."""
        session = self._sessions.begin(scene.contracts, scene.state)
        return (yield from script(_LocalRun(session, scene, self._metrics)))

    def explain_stall(self) -> str:
        """Return an empty text: a fault here ends the process."""
        return ""

    def close(self) -> None:
        """Do nothing: nothing runs elsewhere."""


class _LocalRun:
    def __init__(self, session: Session, scene: Scene, metrics: Metrics) -> None:
        self._session = session
        self._scene = scene
        self._metrics = metrics

    def execute(
        self,
        tasks: Sequence[Task],
        *,
        is_last: bool = False,  # noqa: ARG002 - of use to a worker alone
    ) -> Steps[list[bytes]]:
        receipts: list[bytes] = []
        for start in range(0, len(tasks), SLICE_TASKS):
            if start:
                yield Pause()
            started = time.thread_time()
            for task in tasks[start : start + SLICE_TASKS]:
                receipts.append(run_task(self._session, task, self._scene, len(receipts)))
            self._metrics.execute_seconds.inc(time.thread_time() - started)
        return receipts

    def collect(self) -> Steps[dict[bytes, bytes | None]]:
        # The longest part comes next: the tree. Votes pass before it.
        yield Pause()
        return self._session.collect_changes()
