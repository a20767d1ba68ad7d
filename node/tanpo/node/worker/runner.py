"""Runs blocks in a worker, and starts another when one is lost.

No word of a lost worker counts: its block is played again from the beginning by the next one. While none gets
through a block, the block has no results, and a node does not vote above it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Final

from tanpo.ledger.errors import PeerFault, Reason, UsageError, invariant
from tanpo.ledger.receipt import encode_place
from tanpo.ledger.statekey import SPACE_CONTRACT
from tanpo.node.config import ExecutionMode
from tanpo.node.contract_sets import ContractSource, Programs
from tanpo.node.logs import get_logger
from tanpo.node.metrics import Metrics
from tanpo.node.running import (
    PAUSE_MAX_S,
    LocalRunner,
    Pause,
    Result,
    Runner,
    Scene,
    Script,
    Steps,
)
from tanpo.node.tasks import Task
from tanpo.node.worker import wire
from tanpo.node.worker.process import SILENCE_MAX_S, WorkerLost, WorkerProcess
from tanpo.node.worker.sandbox import REMEDY, verify_supported
from tanpo.node.worker.wire import Kind, Opening

ATTEMPTS_PROMPT: Final = 3
"""Workers tried at once on a block. Then it is no accident: an operator is told, and further ones wait."""

BACKOFF_MAX_S: Final = 60.0
"""The longest wait between two tries. It may be the machine that is short of something for a while."""

ABANDONED_MAX_S: Final = 1.0
"""How long a worker may take to end a block that nobody wants any more, before it is ended with it."""

TURN_MAX_S: Final = 600.0
TURN_BYTES_MAX: Final = 2 << 30
"""Far more than a network's limits let a block take; a worker that goes on and on is not left at it."""

VIEW_ATTEMPTS_MAX: Final = 2
"""Workers tried for a view: its caller can ask again, so nobody else has to wait for it."""

_LOG = get_logger("worker")


class WorkerRunner:
    """Runs blocks in a worker, one at a time.

    With `attempts_max`, a script that loses so many workers in a row raises `WorkerLost`; without, it is
    tried for as long as it is wanted.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        attempts_max: int | None = None,
        silence_max_s: float = SILENCE_MAX_S,
        start: Callable[[float], WorkerProcess] = WorkerProcess.start,
    ) -> None:
        self._metrics = metrics
        self._attempts_max = attempts_max
        self._silence_max_s = silence_max_s
        self._start = start
        self._process: WorkerProcess | None = None
        self._is_ready = False
        self._unfinished: _WorkerRun | None = None
        self._lost_in_a_row = 0
        self._stall = ""

    @property
    def pid(self) -> int | None:
        """The process number of the worker, if there is one."""
        return None if self._process is None else self._process.pid

    def open(self) -> None:
        """Start the first worker, and wait for it.

        Raises:
            UsageError: workers cannot run here.
        """
        verify_supported()
        try:
            for pause in self._get_process():
                pause.block()
        except (WorkerLost, PeerFault) as lost:
            self.close()
            raise UsageError(
                Reason.CONFIGURATION,
                f'execution = "worker" does not work here: {lost.message}',
                value=lost.message,
                limit="a kernel with seccomp, and memory for a second process",
                remedy=REMEDY,
            ) from None

    def run(self, scene: Scene, script: Script[Result]) -> Steps[Result]:
        """Play a script in a worker, as often as it takes."""
        while True:
            try:
                process = yield from self._get_process()
                run = _WorkerRun(process, scene, self._metrics)
                self._unfinished = run
                result = yield from script(run)
            except (WorkerLost, PeerFault) as lost:
                yield from self._recover(lost, scene)
                continue
            self._unfinished = None
            self._note_success(scene)
            return result

    def explain_stall(self) -> str:
        """Return why no block is executed, in words for people; empty while blocks are."""
        return self._stall

    def close(self) -> None:
        """End the worker."""
        if self._process is not None:
            self._process.kill()
        self._process = self._unfinished = None
        self._is_ready = False

    def _get_process(self) -> Steps[WorkerProcess]:
        """Return a worker that waits to be asked."""
        abandoned, self._unfinished = self._unfinished, None
        if abandoned is not None:
            yield from self._finish(abandoned)
        if self._process is None:
            self._process = self._start(self._silence_max_s)
        if not self._is_ready:
            yield from self._process.wait_ready()
            self._is_ready = True
        return self._process

    def _finish(self, abandoned: _WorkerRun) -> Steps[None]:
        """Hear a worker out about a block that was given up in the middle; it is not at fault."""
        deadline = time.monotonic() + ABANDONED_MAX_S
        for pause in abandoned.finish():
            self._unfinished = abandoned
            if time.monotonic() > deadline:
                self.close()
                return
            yield pause
        self._unfinished = None

    def _recover(self, lost: WorkerLost | PeerFault, scene: Scene) -> Steps[None]:
        self.close()
        self._lost_in_a_row += 1
        self._metrics.workers_lost.inc()
        count = self._lost_in_a_row
        _LOG.warning("worker lost", height=scene.height, why=lost.message, lost_in_a_row=count)
        if self._attempts_max is not None:
            if count >= self._attempts_max:
                self._lost_in_a_row = 0
                raise WorkerLost(lost.message)
            return
        if count < ATTEMPTS_PROMPT:
            return
        self._stall = (
            f"block {scene.height} cannot be executed: {count} workers in a row were lost, the last one: "
            f"{lost.message}"
        )
        self._metrics.is_execution_stalled.set(1)
        wait_s = min(BACKOFF_MAX_S, 2.0 ** (count - ATTEMPTS_PROMPT))
        _LOG.error(
            "execution stalled: this node does not vote",
            height=scene.height,
            why=lost.message,
            lost_in_a_row=count,
            next_try_s=wait_s,
            remedy="look for what ends the workers: memory, limits of the service, an operator; "
            'or restart the node with execution = "in-process"',
        )
        until = time.monotonic() + wait_s
        while (left := until - time.monotonic()) > 0:
            yield Pause(seconds=min(PAUSE_MAX_S, left))

    def _note_success(self, scene: Scene) -> None:
        if self._stall:
            _LOG.warning("execution goes on", height=scene.height)
            self._metrics.is_execution_stalled.set(0)
        self._lost_in_a_row = 0
        self._stall = ""


class _WorkerRun:
    """One block in one worker. What the worker asks for and says is checked before it is believed."""

    def __init__(self, process: WorkerProcess, scene: Scene, metrics: Metrics) -> None:
        self._process = process
        self._scene = scene
        self._metrics = metrics
        self._is_open = False
        self._awaited: list[Kind] = []

    def execute(self, tasks: Sequence[Task], *, is_last: bool = False) -> Steps[list[bytes]]:
        """Run tasks and return their receipts."""
        receipts: list[bytes] = []
        # Changes that came ahead of being asked for are worthless when more tasks follow.
        yield from self.finish()

        def take(body: bytes) -> bool:
            got, is_last, cpu_us = wire.decode_receipts(body)
            receipts.extend(got)
            self._metrics.worker_seconds.inc(cpu_us / 1e6)
            return is_last

        kind = Kind.RUN_LAST if is_last else Kind.RUN
        self._ask(kind, wire.encode_tasks(tasks), Kind.RECEIPTS, *([Kind.CHANGES] if is_last else []))
        yield from self._hear(Kind.RECEIPTS, take)
        _verify_receipts(receipts, tasks, self._scene)
        return receipts

    def collect(self) -> Steps[dict[bytes, bytes | None]]:
        """Return what all tasks so far have changed."""
        changes: dict[bytes, bytes | None] = {}

        def take(body: bytes) -> bool:
            pairs, is_last = wire.decode_changes(body)
            changes.update(pairs)
            return is_last

        if not self._awaited:
            self._ask(Kind.COLLECT, b"", Kind.CHANGES)
        yield from self._hear(Kind.CHANGES, take)
        for key in changes:
            if not key or key[0] != SPACE_CONTRACT:
                raise WorkerLost(f"a worker changed what is no contract's: {key.hex()}")
        return changes

    def finish(self) -> Steps[None]:
        """Hear out what was asked before the run was given up."""
        while self._awaited:
            yield from self._hear(self._awaited[0], _IS_LAST[self._awaited[0]])

    def _ask(self, kind: Kind, body: bytes, *answers: Kind) -> None:
        invariant(not self._awaited, "a worker is asked one thing at a time")
        if not self._is_open:
            self._process.send(Kind.OPEN, self._encode_opening())
            self._is_open = True
        self._process.send(kind, body)
        self._awaited = list(answers)

    def _hear(self, answer: Kind, take: Callable[[bytes], bool]) -> Steps[None]:
        until = time.monotonic() + TURN_MAX_S
        received = 0
        while True:
            kind, body = yield from self._process.receive()
            received += len(body)
            if received > TURN_BYTES_MAX or time.monotonic() > until:
                raise WorkerLost(f"no end of a block after {received} bytes, or {TURN_MAX_S:g} s")
            if kind is Kind.READ:
                self._process.send(Kind.ANSWER, self._read(body))
            elif kind is Kind.LIST:
                self._process.send(Kind.PAGE, self._list(body))
            elif kind is not answer:
                raise WorkerLost(f"a worker said {kind.name} instead of {answer.name}")
            elif take(body):
                self._awaited.pop(0)
                return

    def _read(self, body: bytes) -> bytes:
        state = self._scene.state
        values: list[bytes | None] = []
        size = 0
        for key in wire.decode_reads(body):
            if size > wire.CHUNK_BYTES:
                break
            value = state.get(key)
            values.append(value)
            size += len(value or b"")
        return wire.encode_answer(values)

    def _list(self, body: bytes) -> bytes:
        one = wire.decode_range(body)
        rows = self._scene.state.scan(one.start, one.stop, one.limit)
        return wire.encode_page([key for key, _ in rows])

    def _encode_opening(self) -> bytes:
        scene, known = self._scene, self._process.known_sources
        contracts: list[ContractSource] = []
        for contract in scene.contracts.sources:
            contracts.append(contract.without_source() if contract.key in known else contract)
            known.add(contract.key)
        return wire.encode_opening(
            Opening(
                block_hash=scene.block_hash,
                parent_hash=scene.parent_hash,
                committed_hash=scene.committed_hash,
                height=scene.height,
                time_ms=scene.time_ms,
                contracts=tuple(contracts),
            )
        )


def open_runners(mode: ExecutionMode, programs: Programs, metrics: Metrics) -> tuple[Runner, Runner]:
    """Return what runs blocks and what runs views.

    Raises:
        UsageError: workers are asked for and cannot run here.
    """
    if mode is ExecutionMode.IN_PROCESS:
        return LocalRunner(programs, metrics), LocalRunner(programs, metrics)
    blocks = WorkerRunner(metrics)
    blocks.open()
    return blocks, WorkerRunner(metrics, attempts_max=VIEW_ATTEMPTS_MAX)


def _verify_receipts(receipts: Sequence[bytes], tasks: Sequence[Task], scene: Scene) -> None:
    """Raise `WorkerLost` unless each receipt is of its task, at its place."""
    if len(receipts) != len(tasks):
        raise WorkerLost(f"a worker gave {len(receipts)} receipts for {len(tasks)} transactions")
    for index, (receipt, task) in enumerate(zip(receipts, tasks, strict=True)):
        if not receipt.startswith(encode_place(task.tx_id, scene.height, index)):
            raise WorkerLost(f"receipt {index} of block {scene.height} is of another transaction")


_IS_LAST: Final[dict[Kind, Callable[[bytes], bool]]] = {
    Kind.RECEIPTS: lambda body: wire.decode_receipts(body)[1],
    Kind.CHANGES: lambda body: wire.decode_changes(body)[1],
}
