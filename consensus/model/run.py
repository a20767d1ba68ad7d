"""Explore the model of agreement with spin, whole, and again without each of its rules.

Prints one JSON object, and what is being done on the error stream. Exits with 1 if a fork was found, a step
or a commit is out of reach (an empty model is safe too), or a rule can go without a fork; with 2 if spin or
gcc is missing or fails, or nothing has the name that is asked for.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from model.catalogue import INSTANCES, REMOVALS, Instance, Removal
from tanpo.testing.endings import run_to_end

MODEL: Final = Path(__file__).resolve().parent / "agreement.pml"
COMPILE: Final = ("gcc", "-w", "-DSAFETY", "-DNOREDUCE", "-DNOFAIR", "-DMEMLIM=8000", "-o", "pan", "pan.c")
DEPTH_MAX: Final = 100_000
TIMEOUT_S: Final = 1_200
SHORTEN_S: Final = 60
MISSING_TOOLS: Final = (
    "{} missing: the model needs both spin and gcc; on Debian or Ubuntu, as root: apt-get install spin gcc"
)
CUT_SHORT: Final = ("Search not completed", "max search depth too small", "out of memory")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a search found: `agreement`, `fork`, or `cut short`, which decides nothing."""

    verdict: str
    states: int
    transitions: int
    depth: int
    cpu_seconds: float
    memory_mb: float
    steps: dict[str, int]
    commits: dict[str, int]
    """By epoch, term and height: in how many transitions such a block was final."""


class ModelError(Exception):
    """Spin, gcc or the search itself failed."""


def main() -> int:
    """Run what the arguments ask for, and return the exit code."""
    arguments = read_arguments()
    try:
        check_arguments(arguments)
        return answer(arguments)
    except (ModelError, subprocess.TimeoutExpired) as error:
        print(error, file=sys.stderr)
        return 2


def check_arguments(arguments: argparse.Namespace) -> None:
    """Raise `ModelError` if a tool is missing, or nothing would be explored: that would look like success."""
    absent = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
    if absent:
        raise ModelError(MISSING_TOOLS.format(" and ".join(absent)))
    rules = [removal.name for removal in REMOVALS]
    if arguments.explain not in {None, *rules}:
        raise ModelError(f"no rule {arguments.explain}; there are {', '.join(rules)}")
    if not any(is_due(entry, arguments) for entry in (*INSTANCES, *REMOVALS)):
        due = [repr(entry.name) for entry in (*INSTANCES, *REMOVALS) if entry.is_quick or not arguments.quick]
        quick = " that is quick" if arguments.quick else ""
        raise ModelError(f"no instance or rule {arguments.only!r}{quick}; there are {', '.join(due)}")


def answer(arguments: argparse.Namespace) -> int:
    """Explore, print what was found, and return 1 if it is not what must be."""
    with tempfile.TemporaryDirectory(prefix="tanpo-model-") as folder:
        if arguments.explain is not None:
            print("\n".join(explain(get_removal(arguments.explain), Path(folder))))
            return 0
        instances = [check_instance(one, Path(folder)) for one in INSTANCES if is_due(one, arguments)]
        removals = [check_removal(one, Path(folder)) for one in REMOVALS if is_due(one, arguments)]
    is_ok = all(row["ok"] for row in instances + removals)
    seconds = round(read_cpu_seconds(), 1)
    print(
        json.dumps({"ok": is_ok, "cpu_seconds": seconds, "instances": instances, "rules": removals}, indent=2)
    )
    return 0 if is_ok else 1


def read_arguments() -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than a few seconds")
    parser.add_argument("--only", metavar="NAME", help="this instance, or this rule taken away")
    parser.add_argument("--explain", metavar="RULE", help="tell the shortest fork without this rule")
    return parser.parse_args()


def is_due(entry: Instance | Removal, arguments: argparse.Namespace) -> bool:
    """Return whether the arguments leave an entry of the catalogue in."""
    return arguments.only in {None, entry.name} and (entry.is_quick or not arguments.quick)


def get_removal(rule: str) -> Removal:
    """Return the rule taken away."""
    return next(removal for removal in REMOVALS if removal.name == rule)


def check_instance(instance: Instance, folder: Path) -> dict[str, object]:
    """Explore an instance with all rules; nothing may fork, and everything else must be reachable."""
    outcome = search(instance.list_flags(), folder, effort=1 if instance.is_quick else 2)
    unreached = [f"step {name}" for name in instance.list_steps() if not outcome.steps.get(name)]
    unreached += [f"commit {place}" for place in instance.list_commits() if not outcome.commits.get(place)]
    row = {
        "instance": instance.name,
        "size": f"{instance.terms} x {instance.heights} x {instance.contents}",
        "options": list(instance.options),
        "ok": outcome.verdict == "agreement" and not unreached,
        **asdict(outcome),
        "unreached": unreached,
    }
    report(instance.name, outcome)
    return row


def check_removal(removal: Removal, folder: Path) -> dict[str, object]:
    """Explore the model without a rule until it forks."""
    outcome = search(removal.list_flags(), folder, effort=0 if removal.is_quick else 2)
    expected = "fork" if removal.has_fork else "agreement"
    instance = removal.instance
    row = {
        "rule": removal.name,
        "without": removal.without,
        "size": f"{instance.terms} x {instance.heights} x {instance.contents}",
        "options": list(instance.options),
        "ok": outcome.verdict == expected,
        "verdict": outcome.verdict,
        "states": outcome.states,
        "depth": outcome.depth,
        "cpu_seconds": outcome.cpu_seconds,
    }
    report(f"without {removal.name}", outcome)
    return row


def report(name: str, outcome: Outcome) -> None:
    """Say on the error stream how a search ended."""
    print(
        f"{name}: {outcome.verdict}, {outcome.states} states, {outcome.cpu_seconds} s",
        file=sys.stderr,
        flush=True,
    )


def explain(removal: Removal, folder: Path) -> list[str]:
    """Return the steps of the shortest fork without a rule that a minute suffices to find, one a line."""
    build(removal.list_flags(), folder, ("-O2", "-DREACH"))
    trail = folder / f"{MODEL.name}.trail"
    run(["./pan", f"-m{DEPTH_MAX}", "-w20"], folder)
    if not trail.exists():
        return [f"no fork without {removal.name}: {removal.without}"]
    # Shorter and shorter ones: what was found when the time is over remains.
    with contextlib.suppress(subprocess.TimeoutExpired):
        run(["./pan", f"-m{DEPTH_MAX}", "-w20", "-i"], folder, timeout_s=SHORTEN_S)
    replay = run(["./pan", "-S", "-r", trail.name], folder)
    steps = [line[2:] for line in replay.splitlines() if line.startswith("@ ")]
    return [f"without {removal.name}: {removal.without}", *steps]


def search(flags: list[str], folder: Path, *, effort: int) -> Outcome:
    """Build the model with these macros and explore it until the end or the first fork."""
    # To compile for speed, and to hash into a large table, pay only where the search is long.
    build(flags, folder, (f"-O{effort}",))
    started = read_cpu_seconds()
    text = run(["./pan", f"-m{DEPTH_MAX}", f"-w{20 + 2 * effort}"], folder)
    return read_outcome(text, round(read_cpu_seconds() - started, 2))


def read_cpu_seconds() -> float:
    """Return the time on a core of what was run so far: the same on a busy machine."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def build(flags: list[str], folder: Path, compiler_flags: tuple[str, ...]) -> None:
    """Make the program that explores the model."""
    shutil.copy(MODEL, folder)
    run(["spin", *flags, "-a", MODEL.name], folder)
    run([*COMPILE, *compiler_flags], folder)


def run(command: list[str], folder: Path, timeout_s: int = TIMEOUT_S) -> str:
    """Run a command in `folder` and return what it prints.

    Nothing it started, such as the linker that gcc starts, outlives it and writes to `folder`.
    """
    # An interrupt while a process starts would leave one behind that nobody knows of.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    with subprocess.Popen(
        command,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        process_group=0,
    ) as process:
        try:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
            output, _ = process.communicate(timeout=timeout_s)
        except (KeyboardInterrupt, subprocess.TimeoutExpired):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            # The output ends when the last of them has ended.
            process.communicate()
            raise
    if process.returncode != 0:
        raise ModelError(f"{' '.join(command)} failed:\n{output[-2000:]}")
    return output


def read_outcome(text: str, seconds: float) -> Outcome:
    """Return what the explorer's report says."""
    errors = read_number(r"errors: (\d+)", text)
    is_cut = any(sign in text for sign in CUT_SHORT)
    is_fork = errors > 0 and "assertion violated 0" in text
    verdict = "fork" if is_fork else "agreement" if errors == 0 and not is_cut else "cut short"
    steps = {name: int(count) for name, count in re.findall(r"^@did (\w+) (\d+)$", text, re.MULTILINE)}
    steps |= {name: int(n) for name, n in re.findall(r"^@(repeated|back) (\d+)$", text, re.MULTILINE)}
    commits = re.findall(r"^@final (\d+ \d+ \d+) (\d+)$", text, re.MULTILINE)
    return Outcome(
        verdict=verdict,
        states=int(read_number(r"([\d.e+]+) states, stored", text)),
        transitions=int(read_number(r"([\d.e+]+) transitions", text)),
        depth=int(read_number(r"depth reached (\d+)", text)),
        cpu_seconds=seconds,
        memory_mb=read_number(r"([\d.]+)\s+total actual memory usage", text),
        steps=steps,
        commits={place: int(count) for place, count in commits},
    )


def read_number(pattern: str, text: str) -> float:
    """Return the number that a report holds at `pattern`; a large one may be written as 1.04e+07."""
    found = re.search(pattern, text)
    if found is None:
        raise ModelError(f"the explorer's report lacks {pattern}:\n{text[-2000:]}")
    return float(found[1])


if __name__ == "__main__":
    run_to_end(main)
