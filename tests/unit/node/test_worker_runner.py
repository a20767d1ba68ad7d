"""Workers are lost in every way, and no word of theirs counts: real processes, some of them broken."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest
import structlog
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.keys import PrivateKey
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.transaction import Call
from tanpo.ledger.types import BlockHash, Height
from tanpo.ledger.values import Value
from tanpo.node.contract_sets import ContractSet, ContractSource, Programs
from tanpo.node.metrics import Metrics
from tanpo.node.running import BlockRun, LocalRunner, Pause, Runner, Scene, Steps, play, play_blocking
from tanpo.node.tasks import Task, TaskKind
from tanpo.node.worker import process as process_module
from tanpo.node.worker import runner as runner_module
from tanpo.node.worker.process import PROGRAM, WorkerLost, WorkerProcess
from tanpo.node.worker.runner import WorkerRunner
from tanpo.testing import MemoryState

BROKEN = str(Path(__file__).with_name("broken_worker.py"))

SOURCE = """
notes: Map[str, str]
names: Index[str, str]
count: int

@init
def setup() -> None:
    count = 0

@entry
def write(name: str, text: str) -> int:
    require(len(text) > 0, "EMPTY", name=name)
    notes[name] = text
    names.add("all", name)
    count += 1
    emit("Written", name=name, text=text, by=ctx.sender)
    return count

@entry
def forget(name: str) -> None:
    del notes[name]
    names.remove("all", name)

@entry
def spin(turns: int) -> int:
    total = 0
    for turn in range(turns):
        total = total + turn * 3 % 7
    return total

@entry
def prove(key: bytes, text: str, signature: bytes) -> str:
    data = text.encode()
    require(verify_p256(key, data, signature), "FORGED")
    return (sha256(data) + sha512(data) + sha3_256(data)).hex()

@view
def first(limit: int) -> list[str]:
    return names.first("all", limit)
"""

CONTRACTS = ContractSet.create([ContractSource.create("notes", SOURCE)])
GENESIS = BlockHash(bytes(32))
Results = tuple[list[bytes], dict[bytes, "bytes | None"]]


def make_call(entry: str, **arguments: Value) -> Call:
    return Call.create("notes", entry, arguments)


def make_tasks(*calls: Call) -> list[Task]:
    return [Task.of_node(TaskKind.ENTRY, call) for call in calls]


def write_many(count: int, text: str = "text") -> list[Task]:
    return make_tasks(*(make_call("write", name=f"note-{number}", text=text) for number in range(count)))


def make_scene(state: MemoryState, height: int = 1, contracts: ContractSet = CONTRACTS) -> Scene:
    return Scene(
        block_hash=BlockHash(height.to_bytes(32, "big")),
        parent_hash=BlockHash((height - 1).to_bytes(32, "big")),
        committed_hash=BlockHash((height - 1).to_bytes(32, "big")),
        height=Height(height),
        time_ms=1_000 * height,
        contracts=contracts,
        state=state,
    )


def begin(runner: Runner, scene: Scene, tasks: Sequence[Task]) -> Steps[Results]:
    def script(run: BlockRun) -> Steps[Results]:
        receipts = yield from run.execute(tasks, is_last=True)
        return receipts, (yield from run.collect())

    return runner.run(scene, script)


def run(runner: Runner, scene: Scene, tasks: Sequence[Task]) -> Results:
    return play_blocking(begin(runner, scene, tasks))


def run_here(scene: Scene, tasks: Sequence[Task]) -> Results:
    return run(LocalRunner(Programs(), Metrics()), scene, tasks)


def install() -> MemoryState:
    state = MemoryState()
    setup = Task.of_node(TaskKind.INIT, Call.create("notes", "", {}))
    state.apply(run_here(make_scene(state), [setup])[1].items())
    return state


def count_lost(metrics: Metrics) -> float:
    return metrics.registry.get_sample_value("tanpo_workers_lost_total") or 0.0


def is_stalled(metrics: Metrics) -> bool:
    return metrics.registry.get_sample_value("tanpo_is_execution_stalled") == 1


class Workshop:
    """Makes runners whose first workers are as told, and ends them."""

    def __init__(self) -> None:
        self.metrics = Metrics()
        self._runners: list[WorkerRunner] = []

    def make(
        self, *faults: str, attempts_max: int | None = None, silence_max_s: float = 20.0
    ) -> WorkerRunner:
        programs = iter([(BROKEN, fault) for fault in faults])

        def start(silence_max_s: float) -> WorkerProcess:
            program = next(programs, None)
            # A sound worker on a busy machine may take its time.
            return WorkerProcess.start(*((silence_max_s, program) if program else (100.0, PROGRAM)))

        runner = WorkerRunner(
            self.metrics, attempts_max=attempts_max, silence_max_s=silence_max_s, start=start
        )
        self._runners.append(runner)
        return runner

    def close(self) -> None:
        for runner in self._runners:
            runner.close()


@pytest.fixture(autouse=True)
def plain_logs() -> None:
    """Logging is of the process: whatever a test before made of it, lines go to stdout here."""
    structlog.reset_defaults()


@pytest.fixture
def workshop() -> Iterator[Workshop]:
    workshop = Workshop()
    yield workshop
    workshop.close()


FAULTS = {
    "opens a file": "killed by the kernel for a forbidden system call (SIGSYS)",
    "runs out of memory": "MemoryError: ",
    "recurses without end": "RecursionError: maximum recursion depth exceeded",
    "gives a receipt of another place": "receipt 0 of block 2 is of another transaction",
    "says garbage": "frame too long",
    "ends": "ended with exit code 7",
    "changes what is no contract's": "a worker changed what is no contract's",
    "gives too many receipts": "a worker gave 4 receipts for 3 transactions",
    "speaks out of turn": "a worker said READY instead of CHANGES",
    "asks again before it is answered": "a worker spoke out of turn",
    "lists everything": "no range of an index",
    "is never ready": "killed by SIGKILL",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_of_a_worker_with_a_fault_nothing_is_used_and_another_one_executes_the_block(
    workshop: Workshop, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, tasks = make_scene(install(), 2), write_many(3)
    runner = workshop.make(fault)
    assert run(runner, scene, tasks) == run_here(scene, tasks)
    assert count_lost(workshop.metrics) == 1
    assert FAULTS[fault] in capsys.readouterr().out
    assert runner.explain_stall() == ""
    assert not is_stalled(workshop.metrics)


def test_a_worker_hashes_and_verifies_what_nobody_tried_before(workshop: Workshop) -> None:
    """What loads a library at first use must have been used before the worker was locked in."""
    key = PrivateKey.generate()
    good = key.sign(sha256(b"text").digest())
    tasks = make_tasks(
        *(
            make_call("prove", key=key.public_key.encoded, text=text, signature=good)
            for text in ("text", "another")
        )
    )
    scene = make_scene(install())

    receipts, changes = run(workshop.make(), scene, tasks)

    assert [decode_receipt(one).code for one in receipts] == ["", "FORGED"]
    assert (receipts, changes) == run_here(scene, tasks)
    assert count_lost(workshop.metrics) == 0


def test_a_text_longer_than_any_key_is_not_guessed_to_be_part_of_one(workshop: Workshop) -> None:
    """Whoever asks for a key that cannot be is taken for broken; the same block would break the next one."""
    tasks = make_tasks(
        make_call("write", name="first", text="text"),
        make_call("write", name="x" * 4_000, text="text"),
    )
    scene = make_scene(install())
    runner = workshop.make(attempts_max=1)
    assert run(runner, scene, tasks) == run_here(scene, tasks)
    assert count_lost(workshop.metrics) == 0


def test_a_worker_that_falls_silent_is_ended(workshop: Workshop, capsys: pytest.CaptureFixture[str]) -> None:
    scene, tasks = make_scene(install(), 2), write_many(3)
    runner = workshop.make("falls silent", silence_max_s=4.0)
    assert run(runner, scene, tasks) == run_here(scene, tasks)
    assert "silent for 4 s" in capsys.readouterr().out


def test_a_worker_that_goes_on_and_on_is_ended(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner_module, "TURN_BYTES_MAX", 10_000)
    scene, tasks = make_scene(install(), 2), write_many(3)
    runner = workshop.make("reads for ever")
    assert run(runner, scene, tasks) == run_here(scene, tasks)
    assert "no end of a block after " in capsys.readouterr().out


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_killed_in_the_middle_of_a_block_is_replaced(
    workshop: Workshop, number: signal.Signals
) -> None:
    scene = make_scene(install(), 2)
    tasks = make_tasks(*[make_call("spin", turns=10_000)] * 150)
    runner = workshop.make()
    runner.open()
    first = runner.pid
    assert first is not None
    steps = begin(runner, scene, tasks)
    assert next(steps).fd is not None
    os.kill(first, number)
    assert play_blocking(steps) == run_here(scene, tasks)
    assert runner.pid not in (None, first)
    assert count_lost(workshop.metrics) == 1


def test_a_worker_that_died_between_two_blocks_costs_one_try(workshop: Workshop) -> None:
    state = install()
    runner = workshop.make()
    for height in (2, 3):
        scene, tasks = make_scene(state, height), write_many(height)
        results = run(runner, scene, tasks)
        assert results == run_here(scene, tasks)
        state.apply(results[1].items())
        assert runner.pid is not None
        os.kill(runner.pid, signal.SIGKILL)
    assert count_lost(workshop.metrics) == 1


def test_a_node_whose_workers_are_lost_again_and_again_says_why_and_goes_on_trying(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runner_module, "BACKOFF_MAX_S", 0.01)
    scene, tasks = make_scene(install(), 2), write_many(3)
    runner = workshop.make(*["ends"] * 4)
    steps = begin(runner, scene, tasks)
    waits: list[Pause] = []
    while True:
        try:
            pause = next(steps)
        except StopIteration as end:
            results = end.value
            break
        if pause.fd is None:
            waits.append(pause)
            assert runner.explain_stall().startswith(f"block 2 cannot be executed: {len(waits) + 2} workers")
            assert runner.explain_stall().endswith("ended with exit code 7")
            assert is_stalled(workshop.metrics)
        pause.block()
    assert len(waits) == 2
    assert results == run_here(scene, tasks)
    assert runner.explain_stall() == ""
    assert not is_stalled(workshop.metrics)
    lines = capsys.readouterr().out
    assert lines.count("execution stalled: this node does not vote") == 2
    assert "execution goes on" in lines


def test_a_view_gives_up_after_two_workers_and_the_next_one_works(workshop: Workshop) -> None:
    scene, tasks = make_scene(install(), 2), write_many(3)
    runner = workshop.make("ends", "ends", attempts_max=2)
    with pytest.raises(WorkerLost, match="ended with exit code 7") as lost:
        run(runner, scene, tasks)
    assert lost.value.reason is Reason.WORKER_LOST
    assert lost.value.retriable
    assert run(runner, scene, tasks) == run_here(scene, tasks)


def test_a_node_whose_first_worker_is_lost_does_not_start(workshop: Workshop) -> None:
    with pytest.raises(
        UsageError, match='execution = "worker" does not work here: killed by SIGKILL'
    ) as error:
        workshop.make("is never ready").open()
    assert 'set execution = "in-process"' in error.value.remedy


def test_a_block_that_is_given_up_does_not_cost_the_worker(workshop: Workshop) -> None:
    state = install()
    runner = workshop.make()
    runner.open()
    first = runner.pid
    dead = begin(runner, make_scene(state, 2), write_many(80, "dead"))
    next(dead).block()
    dead.close()
    scene, tasks = make_scene(state, 2), write_many(3)
    assert run(runner, scene, tasks) == run_here(scene, tasks)
    assert runner.pid == first
    assert count_lost(workshop.metrics) == 0


def test_a_worker_that_is_long_about_a_block_nobody_wants_is_ended_with_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "ABANDONED_MAX_S", 0.0)
    state = install()
    runner = workshop.make()
    runner.open()
    first = runner.pid
    dead = begin(runner, make_scene(state, 2), make_tasks(*[make_call("spin", turns=10_000)] * 600))
    next(dead).block()
    dead.close()
    scene, tasks = make_scene(state, 2), write_many(3)
    assert run(runner, scene, tasks) == run_here(scene, tasks)
    assert runner.pid != first
    assert count_lost(workshop.metrics) == 0  # It was not the worker's fault.


async def test_the_event_loop_goes_on_while_a_worker_runs(workshop: Workshop) -> None:
    scene = make_scene(install(), 2)
    runner = workshop.make()
    runner.open()
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count_turns())
    receipts, _ = await play(begin(runner, scene, make_tasks(*[make_call("spin", turns=10_000)] * 50)))
    counting.cancel()
    assert decode_receipt(receipts[-1]).succeeded
    assert turns > 100


async def test_a_worker_is_heard_at_once_that_took_the_place_and_the_file_number_of_another(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_module, "PAUSE_MAX_S", 3_600.0)
    scene, tasks = make_scene(install(), 2), write_many(3)
    assert await asyncio.wait_for(play(begin(workshop.make("ends"), scene, tasks)), 60.0) == run_here(
        scene, tasks
    )


def test_answers_longer_than_a_frame_arrive_in_parts(workshop: Workshop) -> None:
    scene = make_scene(install(), 2)
    tasks = write_many(3_000, "x" * 4_000)
    runner = workshop.make()
    results = run(runner, scene, tasks)
    assert sum(map(len, results[0])) > 12_000_000
    assert results == run_here(scene, tasks)


def test_blocks_with_other_contracts_run_in_turns_in_one_worker(workshop: Workshop) -> None:
    changed = ContractSet.create([ContractSource.create("notes", SOURCE.replace("count += 1", "count += 2"))])
    state = install()
    runner, height = workshop.make(), 1
    for contracts in (CONTRACTS, changed, CONTRACTS, changed):
        height += 1
        scene, tasks = make_scene(state, height, contracts), write_many(3)
        results = run(runner, scene, tasks)
        assert results == run_here(scene, tasks)
        state.apply(results[1].items())
    assert [decode_receipt(receipt).value for receipt in results[0]] == [14, 16, 18]
    assert count_lost(workshop.metrics) == 0


def test_pages_of_an_index_hold_what_blocks_before_and_this_one_have_added(workshop: Workshop) -> None:
    state = install()
    runner = workshop.make()
    results = run(runner, make_scene(state, 2), write_many(5))
    state.apply(results[1].items())
    tasks = [
        *make_tasks(make_call("forget", name="note-1"), make_call("write", name="a", text="b")),
        Task.of_node(TaskKind.VIEW, make_call("first", limit=4)),
    ]
    scene = make_scene(state, 3)
    receipts, changes = run(runner, scene, tasks)
    assert (receipts, changes) == run_here(scene, tasks)
    assert decode_receipt(receipts[2]).value == ("a", "note-0", "note-2", "note-3")


def test_tasks_after_the_last_ones_count_too(workshop: Workshop) -> None:
    """As when a node drops validators that no epoch could start with, after a block's transactions."""

    def script(run: BlockRun) -> Steps[Results]:
        yield from run.execute(write_many(2), is_last=True)
        receipts = yield from run.execute(make_tasks(make_call("forget", name="note-0")))
        return receipts, (yield from run.collect())

    scene = make_scene(install(), 2)
    found: list[Results] = [
        play_blocking(runner.run(scene, script))
        for runner in (workshop.make(), LocalRunner(Programs(), Metrics()))
    ]
    assert found[0] == found[1]
    assert {value for key, value in found[0][1].items() if key.endswith(b"note-0")} == {None}
