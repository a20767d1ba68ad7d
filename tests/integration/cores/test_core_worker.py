"""Cores of which some run contracts in workers, which are real processes, and what becomes of them."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
from pathlib import Path
from typing import Any

import pytest
from tanpo.ledger.block import decode_block
from tanpo.ledger.errors import InvariantViolation, LedgerError, Unavailable, UsageError
from tanpo.ledger.receipt import decode_receipt
from tanpo.ledger.values import decode_value, encode_value
from tanpo.node import opening as opening_module
from tanpo.node.config import ExecutionMode
from tanpo.node.contract_sets import Programs
from tanpo.node.core import Core
from tanpo.node.metrics import Metrics
from tanpo.node.running import LocalRunner, Runner
from tanpo.node.worker import runner as runner_module
from tanpo.node.worker.process import PROGRAM, WorkerProcess
from tanpo.node.worker.runner import WorkerRunner

TOTAL = ("notes", "total", b"\0\0\0\0", 0)
WAIT_S = 60


def find_workers() -> list[int]:
    """Return the process numbers of this process' workers, oldest first."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid() and b"tanpo.node.worker" in (folder / "cmdline").read_bytes():
                found.append(
                    (int(fields[19]), int(folder.name))
                )  # Numbers of processes begin anew: by start.
        except OSError:
            continue  # It has just ended.
    return [pid for _, pid in sorted(found)]


async def start_mixed(network: Any, *workers: int) -> None:
    """Start four cores, these with workers."""
    for index in range(4):
        mode = ExecutionMode.WORKER if index in workers else ExecutionMode.IN_PROCESS
        network.start(index, execution=mode)


async def submit_many(network: Any, prefix: str, count: int) -> None:
    """Submit transactions through all cores in turn, and wait until all of them are executed everywhere."""
    listener, names = network.listener(), [f"{prefix}{number}" for number in range(count)]
    cores = list(network.cores.values())
    for number, name in enumerate(names):
        core = cores[number % len(cores)]
        assert await network.submit(core, listener, network.envelope(name, "text")) == [None]
    outcomes = await listener.wait(*names)
    await network.wait_equal(max(outcome.height for outcome in outcomes))


async def read_total(core: Core) -> object:
    return decode_value((await core.reads.view(*TOTAL)).value)


async def wait_worker(known: list[int]) -> int:
    """Wait for a worker that is not known yet, and return it."""
    found: list[int] = []

    def is_there() -> bool:
        found[:] = [pid for pid in find_workers() if pid not in known]
        return bool(found)

    await wait_for(is_there)
    return found[-1]


async def wait_for(condition: Any) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for has no events
            await asyncio.sleep(0.01)


async def test_cores_with_and_without_a_worker_agree_through_transactions_and_a_change_of_validators(
    cluster: Any,
) -> None:
    async with cluster.running(0) as network:
        await start_mixed(network, 0, 2)
        await submit_many(network, "r", 40)
        assert len(find_workers()) == 2
        listener = network.listener()
        newcomer = network.add_node("alpha/spare")
        network.start(newcomer, execution=ExecutionMode.WORKER)
        validators = [network.make_validator(name) for name in network.names]
        await network.submit(network.cores[1], listener, network.replacement("change", validators))
        await network.wait_epoch(1)
        await submit_many(network, "s", 10)
        network.check_chains()
        for core in network.cores.values():
            assert await read_total(core) == 50
    assert find_workers() == []


async def test_views_of_past_heights_answer_as_they_did_then_on_every_core(cluster: Any) -> None:
    async with cluster.running(0) as network:
        await start_mixed(network, 0, 2)
        heights: list[int] = []
        for number in range(4):
            await submit_many(network, f"r{number}-", 3)
            heights.append(network.cores[0].status().height)
        for core in network.cores.values():
            for height, total in [*zip(heights, (3, 6, 9, 12), strict=True), (heights[0], 3)]:
                read = await core.reads.view(*TOTAL[:3], height)
                assert (decode_value(read.value), read.height) == (total, height)
                above = core.reads.block(height + 1) if height < heights[-1] else None
                assert above is None or decode_block(above.block).header.state_root == read.state_root
            with pytest.raises(UsageError, match="does not hold that height"):
                await core.reads.view(*TOTAL[:3], heights[-1] + 1_000)
            assert await read_total(core) == 12


async def test_a_core_whose_worker_is_killed_under_load_loses_nothing_and_agrees(cluster: Any) -> None:
    async with cluster.running(0) as network:
        metrics = Metrics()
        for index in range(3):
            network.start(index)
        network.start(3, execution=ExecutionMode.WORKER, metrics=metrics)
        killed: list[int] = []
        for number in range(3):
            sending = asyncio.create_task(submit_many(network, f"r{number}-", 40))
            killed.append(await wait_worker(killed))
            os.kill(killed[-1], signal.SIGKILL)
            await sending
        # One that was killed when all was executed is missed when there is something to execute again.
        await submit_many(network, "last", 1)
        assert metrics.registry.get_sample_value("tanpo_workers_lost_total") == 3
        network.check_chains()
        await network.wait_moving(3)
        assert await read_total(network.cores[3]) == 121


async def test_a_core_that_keeps_losing_workers_does_not_vote_says_why_and_heals(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner_module, "BACKOFF_MAX_S", 0.2)
    broken = (str(Path(__file__).parents[2] / "unit" / "node" / "broken_worker.py"), "ends")
    is_broken = False

    def start(silence_max_s: float) -> WorkerProcess:
        return WorkerProcess.start(silence_max_s, broken if is_broken else PROGRAM)

    def open_broken(_mode: ExecutionMode, programs: Programs, metrics: Metrics) -> tuple[Runner, Runner]:
        return WorkerRunner(metrics, start=start), LocalRunner(programs, metrics)

    async with cluster.running(0) as network:
        for index in range(3):
            network.start(index)
        with monkeypatch.context() as patch:
            patch.setattr(opening_module, "open_runners", open_broken)
            core = network.start(3)
        await submit_many(network, "before", 4)
        height = core.status().height
        is_broken = True
        for pid in find_workers():
            os.kill(pid, signal.SIGKILL)
        listener = network.listener()
        await network.submit(network.cores[0], listener, network.envelope("without", "text"))
        await listener.wait("without")  # Three of four go on.
        await wait_for(lambda: "cannot be executed" in core.status().stalled_reason)
        assert "ended with exit code 7" in core.status().stalled_reason
        await network.stop(2)
        await network.submit(network.cores[0], listener, network.envelope("waiting", "text"))
        for _ in range(60):  # Longer than several terms: were it to vote, there would be a quorum.
            await asyncio.sleep(0.02)
        assert "waiting" not in listener.outcomes
        assert core.status().height <= height + 1
        is_broken = False
        [outcome] = await listener.wait("waiting")
        assert decode_receipt(outcome.receipt).succeeded
        await wait_for(lambda: core.status().stalled_reason == "")
        network.start(2)
        await network.wait_equal(outcome.height)
        network.check_chains()


async def test_a_core_executes_again_in_a_worker_what_a_crash_left_behind(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_power(*_: object) -> None:
        raise InvariantViolation("the power is cut")

    async with cluster.running() as network:
        await submit_many(network, "before", 4)
        core = network.cores[3]
        monkeypatch.setattr(core._execution, "_write", cut_power)
        listener = network.listener()
        await network.submit(network.cores[0], listener, network.envelope("after", "text"))
        [outcome] = await listener.wait("after")
        with pytest.raises(InvariantViolation, match="the power is cut"):
            async with asyncio.timeout(WAIT_S):
                await network._runs[3]
        with pytest.raises(InvariantViolation):
            await network.stop(3)
        height = core.status().height
        core.close()
        core = network.start(3, execution=ExecutionMode.WORKER)
        assert core.status().height == height + 1
        await network.wait_equal(outcome.height)
        network.check_chains()


async def test_views_are_refused_and_answered_as_without_a_worker(cluster: Any) -> None:
    name = b"\0\0\0\x01\0\x04name\x03\0\x02r1"
    async with cluster.running(0) as network:
        await start_mixed(network, 0)
        refusals = []
        for index in (0, 1):
            with pytest.raises(LedgerError) as refusal:
                await network.cores[index].reads.view("notes", "read", name, 0)
            refusals.append((refusal.value.reason, refusal.value.message, refusal.value.value))
        assert refusals[0] == refusals[1]
        await submit_many(network, "r", 3)
        reads = [network.cores[index].reads for index in (0, 1)]
        answers = [(await one.view("notes", "read", name, 0)).value for one in reads]
        assert answers == [encode_value("text")] * 2
        views = find_workers()[-1]
        os.kill(views, signal.SIGKILL)
        asked = [reads[0].view("notes", "read", name, 0) for _ in range(8)]
        assert {answer.value for answer in await asyncio.gather(*asked)} == {answers[0]}
        assert views not in find_workers()


async def test_a_view_that_loses_its_workers_can_be_asked_again(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = (str(Path(__file__).parents[2] / "unit" / "node" / "broken_worker.py"), "ends")
    programs = iter([broken, broken])

    def open_broken(_mode: ExecutionMode, compiled: Programs, metrics: Metrics) -> tuple[Runner, Runner]:
        views = WorkerRunner(
            metrics,
            attempts_max=2,
            start=lambda silence: WorkerProcess.start(silence, next(programs, PROGRAM)),
        )
        return LocalRunner(compiled, metrics), views

    monkeypatch.setattr(opening_module, "open_runners", open_broken)
    async with cluster.running(1) as network:
        with pytest.raises(Unavailable, match="ended with exit code 7"):
            await network.cores[0].reads.view(*TOTAL)
        assert await read_total(network.cores[0]) == 0
        assert (
            network.cores[0].status().stalled_reason == ""
            or "quorum" in network.cores[0].status().stalled_reason
        )


async def test_a_core_does_not_start_with_a_worker_where_none_can_run(
    cluster: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    async with cluster.running(0) as network:
        with pytest.raises(UsageError, match='"worker" does not work on Linux riscv64'):
            network.start(0, execution=ExecutionMode.WORKER)
        network.start(0)  # The store was left closed.
