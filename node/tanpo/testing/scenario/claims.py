"""The claims of a scenario: `expect` lines, which no redrawing changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tanpo.testing.scenario.process import Process
from tanpo.testing.scenario.reading import (
    read_block,
    read_kind,
    read_names,
    read_number,
    read_process,
    read_processes,
    read_term,
)
from tanpo.testing.scenario.script import Step
from tanpo.testing.scenario.stage import Stage


class ClaimFailed(Exception):
    """An `expect` line does not hold."""

    def __init__(self, step: Step, found: str) -> None:
        super().__init__(f"{step.place}: {step.text}: {found}")


def verify_claim(stage: Stage, step: Step) -> None:
    """Check one claim.

    Raises:
        ClaimFailed: it does not hold.
    """
    _CLAIMS[step.name](stage, step)


def _committed(stage: Stage, step: Step) -> None:
    for process in _read_present(stage, step):
        for what in step.words:
            if what not in _list_committed(stage, process):
                raise ClaimFailed(step, f"{process.name} committed {_list_committed(stage, process)}")


def _uncommitted(stage: Stage, step: Step) -> None:
    for process in stage.honest:
        for what in step.words:
            if what in _list_committed(stage, process):
                raise ClaimFailed(step, f"{process.name} committed {what}")


def _voted(stage: Stage, step: Step) -> None:
    voters = _list_voters(stage, step)
    for process in read_processes(stage, step, step.options["by"]):
        if process.name not in voters:
            raise ClaimFailed(step, f"voters are {voters}")


def _unvoted(stage: Stage, step: Step) -> None:
    voters = _list_voters(stage, step)
    names = [process.name for process in stage.honest]
    if "by" in step.options:
        names = read_names(stage, step, step.options["by"])
    if any(name in names for name in voters):
        raise ClaimFailed(step, f"voters are {voters}")


def _lock(stage: Stage, step: Step) -> None:
    read_block(stage, step, step.words[0])
    for process in _read_present(stage, step):
        replica = process.replica
        lock = "down" if replica is None else stage.archive.name_of_rank(replica.high_rank)
        if lock != step.words[0]:
            raise ClaimFailed(step, f"{process.name} is locked on {lock}")


def _term(stage: Stage, step: Step) -> None:
    term = read_number(step, "term", step.words[0])
    for process in _read_present(stage, step):
        if process.replica is None or process.replica.term != term:
            found = "down" if process.replica is None else f"in term {process.replica.term}"
            raise ClaimFailed(step, f"{process.name} is {found}")


def _height(stage: Stage, step: Step) -> None:
    height = read_number(step, "height", step.words[0])
    for process in _read_present(stage, step):
        if len(process.disk.chain) != height:
            raise ClaimFailed(step, f"{process.name} is at height {len(process.disk.chain)}")


def _epoch(stage: Stage, step: Step) -> None:
    epoch = read_number(step, "epoch", step.words[0])
    for process in _read_present(stage, step):
        if process.replica is None or process.replica.epoch != epoch:
            found = "down" if process.replica is None else f"in epoch {process.replica.epoch}"
            raise ClaimFailed(step, f"{process.name} is {found}")


def _evidence(stage: Stage, step: Step) -> None:
    accused = read_names(stage, step, step.words[0])[0]
    processes = _read_present(stage, step) if "by" in step.options else stage.honest
    holders = [process.name for process in processes if accused in process.evidence.values()]
    if not holders or ("by" in step.options and len(holders) < len(processes)):
        raise ClaimFailed(step, f"it is held by {holders}")


def _refused(stage: Stage, step: Step) -> None:
    for process in _read_present(stage, step):
        if not any(step.words[0] in fault for fault in process.faults):
            raise ClaimFailed(step, f"{process.name} refused {process.faults}")


def _stalled(stage: Stage, step: Step) -> None:
    for process in _read_present(stage, step):
        reason = process.stalled or ""
        if step.words[0] not in reason:
            raise ClaimFailed(step, f"{process.name}: {reason or 'nothing is amiss'}")


def _moving(stage: Stage, step: Step) -> None:
    for process in _read_named(stage, step):
        reason = process.stalled or ""
        if reason:
            raise ClaimFailed(step, f"{process.name}: {reason}")


def _halted(stage: Stage, step: Step) -> None:
    for process in _read_named(stage, step):
        if not (process.stalled or "").startswith("halted: "):
            raise ClaimFailed(step, f"{process.name}: {process.stalled or 'nothing is amiss'}")


def _mute(stage: Stage, step: Step) -> None:
    for process in _read_named(stage, step):
        if process.replica is None or not process.replica.has_amnesia:
            raise ClaimFailed(step, f"{process.name}: {process.stalled or 'it remembers what it signed'}")


def _down(stage: Stage, step: Step) -> None:
    for process in _read_named(stage, step):
        if process.is_up:
            raise ClaimFailed(step, f"{process.name} is up")


def _read_present(stage: Stage, step: Step) -> list[Process]:
    return read_processes(stage, step, step.options.get("by"))


def _read_named(stage: Stage, step: Step) -> list[Process]:
    return [read_process(stage, step, name) for name in step.words]


def _list_committed(stage: Stage, process: Process) -> list[str]:
    """Return the names of all blocks and transactions that a process committed."""
    names: list[str] = []
    for stored in process.disk.chain:
        names.append(stage.archive.note(stored.block))
        names += [envelope.decode() for envelope in stored.block.envelopes]
        names += [f"evidence:{name}" for name in stage.archive.list_accused(stored.block)]
    return names


def _list_voters(stage: Stage, step: Step) -> list[str]:
    block = read_block(stage, step, step.words[0])
    if block is None:
        raise step.fail(step.words[0], "is not voted for", stage.archive.names)
    term = read_term(step) if "term" in step.options else None
    return stage.witness.list_voters(read_kind(step), block, term)


_CLAIMS: Final[dict[str, Callable[[Stage, Step], None]]] = {
    "expect committed": _committed,
    "expect uncommitted": _uncommitted,
    "expect voted": _voted,
    "expect unvoted": _unvoted,
    "expect lock": _lock,
    "expect term": _term,
    "expect height": _height,
    "expect epoch": _epoch,
    "expect evidence": _evidence,
    "expect refused": _refused,
    "expect stalled": _stalled,
    "expect moving": _moving,
    "expect halted": _halted,
    "expect mute": _mute,
    "expect down": _down,
}
