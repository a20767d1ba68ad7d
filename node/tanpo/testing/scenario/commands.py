"""What each command does to the stage."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tanpo.ledger.errors import UsageError
from tanpo.testing.scenario.forging import forge
from tanpo.testing.scenario.network import Letter
from tanpo.testing.scenario.process import Process
from tanpo.testing.scenario.reading import (
    read_choice,
    read_duration_ms,
    read_names,
    read_process,
    read_processes,
    read_span_ms,
)
from tanpo.testing.scenario.script import Step
from tanpo.testing.scenario.stage import Stage

_NEWEST_FIRST: Final = "newest-first"
_CLOSELY: Final = "closely"
_SYNCED: Final = "synced"
_REJOINING: Final = "rejoining"


def act(stage: Stage, step: Step) -> list[str]:
    """Carry out a command that is no claim; return what it asks to be shown, if it is a question."""
    if step.name in _QUESTIONS:
        return _QUESTIONS[step.name](stage, step)
    try:
        if step.name.startswith("forge "):
            forge(stage, step)
        else:
            _ACTIONS[step.name](stage, step)
    except UsageError as misuse:
        raise step.fail(misuse.value, misuse.message, [f"{misuse.limit}"]) from None
    return []


def is_close(step: Step) -> bool:
    """Return whether a reader wants the details of what a step caused: not where all is delivered."""
    return step.name != "run" or _CLOSELY in step.words


def is_telling(step: Step) -> bool:
    """Return whether it is worth saying that nothing came of a step."""
    return step.name in _TELLING or (step.name.startswith("forge ") and "to" in step.options)


def _byzantine(stage: Stage, step: Step) -> None:
    for name in step.words:
        read_process(stage, step, name)
        stage.turn(name)


def _twin(stage: Stage, step: Step) -> None:
    read_process(stage, step, step.words[0])
    if step.options["as"] in (*stage.processes, *stage.byzantine):
        raise step.fail(step.options["as"], "is somebody already", ["a new name"])
    stage.count_faulty(step.words[0])
    stage.add_process(step.options["as"], step.words[0])


def _observer(stage: Stage, step: Step) -> None:
    for name in step.words:
        if name in (*stage.processes, *stage.byzantine):
            raise step.fail(name, "is somebody already", ["a new name"])
        stage.add_process(name, name)


def _submit(stage: Stage, step: Step) -> None:
    for process in read_processes(stage, step, step.options.get("to")):
        for tx in step.words:
            process.submit(tx)
        stage.flush(process)


def _deliver(stage: Stage, step: Step) -> None:
    kinds = tuple(word for word in step.words if word != _NEWEST_FIRST)
    letters = _find_letters(stage, step, kinds)
    if _NEWEST_FIRST in step.words:
        letters.reverse()
    for letter in letters:
        stage.network.take([letter])
        stage.arrive(letter)


def _drop(stage: Stage, step: Step) -> None:
    stage.network.take(_find_letters(stage, step, step.words))


def _duplicate(stage: Stage, step: Step) -> None:
    for letter in _find_letters(stage, step, step.words):
        stage.network.post(letter)


def _replay(stage: Stage, step: Step) -> None:
    choice = read_choice(stage, step, step.words)
    letters = stage.network.select(choice, is_sent=True)
    if not letters:
        raise step.fail(" ".join(step.words), "was never sent")
    for letter in letters:
        stage.arrive(letter)


def _find_letters(stage: Stage, step: Step, kinds: tuple[str, ...]) -> list[Letter]:
    letters = stage.network.select(read_choice(stage, step, kinds))
    if not letters:
        waiting = list(dict.fromkeys(letter.describe() for letter in stage.network.waiting))
        raise step.fail(" ".join(kinds), "does not wait here", waiting or ["nothing waits"])
    return letters


def _hold(stage: Stage, step: Step) -> None:
    stage.network.hold(read_choice(stage, step, step.words))


def _release(stage: Stage, _: Step) -> None:
    stage.network.release()


def _cut(stage: Stage, step: Step) -> None:
    senders, receivers = (read_names(stage, step, step.options[key]) for key in ("from", "to"))
    stage.network.cut(senders, receivers)


def _part(stage: Stage, step: Step) -> None:
    sides: list[list[str]] = [[]]
    for word in step.words:
        if word == "|":
            sides.append([])
        else:
            sides[-1] += read_names(stage, step, word)
    for side in sides:
        others = [name for other in sides if other is not side for name in other]
        stage.network.cut(side, [name for name in others if name not in side])


def _isolate(stage: Stage, step: Step) -> None:
    everybody = read_names(stage, step, "all")
    for name in step.words:
        read_names(stage, step, name)
        stage.network.cut([name], everybody)
        stage.network.cut(everybody, [name])


def _heal(stage: Stage, _: Step) -> None:
    stage.network.heal()


def _run(stage: Stage, step: Step) -> None:
    words = [word for word in step.words if word != _CLOSELY]
    stage.run()
    if words:
        stage.pass_time(read_span_ms(step, words[0]), list(stage.processes), is_delivering=True)


def _wait(stage: Stage, step: Step) -> None:
    names = read_processes(stage, step, step.options.get("only", "all"))
    duration_ms = read_span_ms(step, step.words[0])
    stage.pass_time(duration_ms, [process.name for process in names], is_delivering=False)


def _clock(stage: Stage, step: Step) -> None:
    read_process(stage, step, step.words[0]).skew_ms += read_duration_ms(step, step.words[1])


def _crash(stage: Stage, step: Step) -> None:
    for name in step.words:
        if name != _SYNCED:
            read_process(stage, step, name).crash(is_synced=_SYNCED in step.words)


def _restart(stage: Stage, step: Step) -> None:
    for name in step.words:
        if name == _REJOINING:
            continue
        process = _read_down(stage, step, name)
        process.is_disk_stalled = process.is_execution_stalled = False
        process.may_rejoin = _REJOINING in step.words
        stage.start(process)


def _drain(stage: Stage, step: Step) -> None:
    for name in step.words:
        process = read_process(stage, step, name)
        process.drain()
        stage.flush(process)


def _stall_disk(stage: Stage, step: Step) -> None:
    for name in step.words:
        read_process(stage, step, name).is_disk_stalled = True


def _stall_execution(stage: Stage, step: Step) -> None:
    for name in step.words:
        read_process(stage, step, name).is_execution_stalled = True


def _resume_disk(stage: Stage, step: Step) -> None:
    for name in step.words:
        process = read_process(stage, step, name)
        process.is_disk_stalled = False
        process.resume()
        stage.flush(process)


def _resume_execution(stage: Stage, step: Step) -> None:
    for name in step.words:
        process = read_process(stage, step, name)
        process.is_execution_stalled = False
        process.resume()
        stage.flush(process)


def _diverge(stage: Stage, step: Step) -> None:
    for name in step.words:
        stage.count_faulty(read_process(stage, step, name).key)
        stage.processes[name].is_diverging = True


def _backup(stage: Stage, step: Step) -> None:
    process = read_process(stage, step, step.words[0])
    stage.backups[process.name] = process.disk.copy()


def _restore(stage: Stage, step: Step) -> None:
    process = _read_down(stage, step, step.words[0])
    if process.name not in stage.backups:
        raise step.fail(process.name, "has no backup", list(stage.backups))
    stage.count_faulty(process.key)
    process.disk = stage.backups[process.name].copy()


def _wipe(stage: Stage, step: Step) -> None:
    """Lose the record of promises and the blocks beside it; the committed chain stays."""
    process = _read_down(stage, step, step.words[0])
    stage.count_faulty(process.key)
    process.disk.wipe()


def _corrupt(stage: Stage, step: Step) -> None:
    process = _read_down(stage, step, step.words[0])
    if process.disk.record is None:
        raise step.fail(process.name, "has no record to damage")
    damaged = bytearray(process.disk.record)
    damaged[len(damaged) // 2] ^= 1
    process.disk.record = bytes(damaged)


def _read_down(stage: Stage, step: Step, name: str) -> Process:
    process = read_process(stage, step, name)
    if process.is_up:
        down = [one.name for one in stage.processes.values() if not one.is_up]
        raise step.fail(name, "is up", down or [f"first crash {name}"])
    return process


def _show(stage: Stage, step: Step) -> list[str]:
    lines = []
    for process in [read_process(stage, step, name) for name in step.words]:
        replica = process.replica
        if replica is None:
            lines.append(f"{process.name} is down")
            continue
        chain = process.disk.chain
        tip = stage.archive.note(chain[-1].block) if chain else "genesis"
        lock = stage.archive.name_of_rank(replica.high_rank)
        where = f"epoch {replica.epoch}, " if replica.epoch else ""
        where += f"term {replica.term} led by {process.validators[replica.leader]}"
        lines.append(f"{process.name}: {where}, committed {tip}, locked on {lock}")
    return lines


def _why(stage: Stage, step: Step) -> list[str]:
    lines = []
    for process in [read_process(stage, step, name) for name in step.words]:
        lines.append(f"{process.name}: {process.stalled or 'nothing is amiss'}")
    return lines


def _waiting(stage: Stage, step: Step) -> list[str]:
    letters = stage.network.select(read_choice(stage, step, ()))
    return list(dict.fromkeys(letter.describe() for letter in letters)) or ["nothing waits"]


_ACTIONS: Final[dict[str, Callable[[Stage, Step], None]]] = {
    "byzantine": _byzantine,
    "twin": _twin,
    "observer": _observer,
    "submit": _submit,
    "deliver": _deliver,
    "drop": _drop,
    "duplicate": _duplicate,
    "replay": _replay,
    "hold": _hold,
    "release": _release,
    "cut": _cut,
    "part": _part,
    "isolate": _isolate,
    "heal": _heal,
    "run": _run,
    "wait": _wait,
    "clock": _clock,
    "crash": _crash,
    "restart": _restart,
    "drain": _drain,
    "stall disk": _stall_disk,
    "stall execution": _stall_execution,
    "resume disk": _resume_disk,
    "resume execution": _resume_execution,
    "diverge": _diverge,
    "backup": _backup,
    "restore": _restore,
    "wipe": _wipe,
    "corrupt": _corrupt,
}

_QUESTIONS: Final[dict[str, Callable[[Stage, Step], list[str]]]] = {
    "show": _show,
    "why": _why,
    "waiting": _waiting,
}

_TELLING: Final = (
    "deliver",
    "replay",
    "run",
    "wait",
    "submit",
    "drain",
    "restart",
    "resume disk",
    "resume execution",
)
