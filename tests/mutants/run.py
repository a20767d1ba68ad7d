"""Switch off one rule after the other and see whether the simulator notices: `make mutants`.

Each mutant is a copy of one package with a few characters changed, put before the real one on the path of a
process of its own; nothing of it is in what is shipped. Prints JSON; exits with 1 if a mutant survives or
could not be hunted, with 2 if none has the name that is asked for.

    python tests/mutants/run.py [--seeds 2000] [--jobs N] [--only TEXT] [--first SEED]
    python tests/mutants/run.py --list      the mutants, each shown to be one: its copy differs and compiles
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import tanpo.consensus
import tanpo.ledger
from tanpo.testing.endings import run_to_end

HERE: Final = Path(__file__).resolve().parent
SEEDS: Final = 2_000
"""Within so many seeds each mutant must be caught."""
SIGNAL_S: Final = 0.5
"""The longest that Ctrl-C may go unnoticed."""
FAILURE_MAX: Final = 2_000
"""How much of the error of a hunt is kept: the end of a traceback."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Edit:
    """In `module`, a path below `tanpo`, `old` becomes `new`."""

    module: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """One rule of SPEC.md switched off."""

    name: str
    rule: str
    edits: tuple[Edit, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the mutants that are asked for and print what became of each."""
    options = _parse(arguments)
    mutants = load_mutants()
    chosen = [m for m in mutants if options.only in m.name or options.only == m.rule]
    if not chosen:
        rules = " ".join(sorted({m.rule for m in mutants}))
        print(
            f"no mutant {options.only!r}; --list shows their names, their rules are {rules}", file=sys.stderr
        )
        return 2
    if options.list:
        print(json.dumps([{"name": m.name, "rule": m.rule, "edits": try_out(m)} for m in chosen], indent=2))
        return 0
    started = time.monotonic()
    found = hunt_all(chosen, options.first, options.seeds, options.jobs)
    failed = [entry["name"] for entry in found if "failure" in entry]
    survivors = [entry["name"] for entry in found if entry.get("violation", "") is None]
    report = {
        "mutants": found,
        "caught": len(found) - len(survivors) - len(failed),
        "survivors": survivors,
        "failed": failed,
        "seconds": round(time.monotonic() - started, 1),
    }
    print(json.dumps(report, indent=2))
    return 1 if survivors or failed else 0


def load_mutants() -> list[Mutant]:
    """Return every mutant of `mutants.toml`."""
    document = tomllib.loads((HERE / "mutants.toml").read_text())
    return [
        Mutant(name=m["name"], rule=m["rule"], edits=tuple(Edit(**edit) for edit in m["edits"]))
        for m in document["mutant"]
    ]


def try_out(mutant: Mutant) -> int:
    """Return how many places a mutant changes, after making its copy and compiling what it changed."""
    with patched(mutant) as root:
        for edit in mutant.edits:
            path = root / "tanpo" / edit.module
            compile(path.read_text(), str(path), "exec")
    return len(mutant.edits)


class Processes:
    """The processes that hunt: none of them goes on when we do not."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._is_over = False

    def run(self, command: Sequence[str], environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Its input is held open, so that it notices when we are gone."""
        with self._lock:
            if self._is_over:
                raise subprocess.SubprocessError("the hunt is over")
            pipe = subprocess.PIPE
            process = subprocess.Popen(
                command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True
            )
            self._running.add(process)
        # Not `communicate`, which closes the input: both outputs are short, but either may fill its pipe.
        with ThreadPoolExecutor(1) as reading, process:
            errors = reading.submit(process.stderr.read if process.stderr else str)
            output = process.stdout.read() if process.stdout else ""
            code = process.wait()
        with self._lock:
            self._running.discard(process)
        return subprocess.CompletedProcess(command, code, output, errors.result())

    def end(self) -> None:
        """Kill what runs, and start nothing more."""
        with self._lock:
            self._is_over = True
            for process in self._running:
                process.kill()


def hunt_all(mutants: Sequence[Mutant], first: int, seeds: int, jobs: int) -> list[dict[str, Any]]:
    """Hunt mutants, `jobs` at a time; whatever ends us ends their processes and removes their copies."""
    processes = Processes()
    with ThreadPoolExecutor(jobs) as pool:
        try:
            hunts = [pool.submit(hunt, mutant, first, seeds, processes) for mutant in mutants]
            # Not for ever at a time: a signal in the moment before a wait begins would not end it.
            while wait(hunts, timeout=SIGNAL_S).not_done:
                pass
            return [one.result() for one in hunts]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            processes.end()


def hunt(mutant: Mutant, first: int, seeds: int, processes: Processes) -> dict[str, Any]:
    """Return how many seeds it took to catch a mutant and what was seen, or why it could not be hunted."""
    started = time.monotonic()
    try:
        result = run_hunt(mutant, first, seeds, processes)
        fate = "SURVIVED" if result["violation"] is None else "caught"
        fate += f" after {result['seeds']} seeds"
    except (OSError, ValueError, subprocess.SubprocessError) as error:
        # One mutant that cannot be hunted must not cost what the others took hours for.
        result, fate = {"failure": str(error)[-FAILURE_MAX:]}, f"FAILED: {error}"
    print(f"{mutant.rule} {mutant.name}: {fate}", file=sys.stderr)
    seconds = round(time.monotonic() - started, 1)
    return {"name": mutant.name, "rule": mutant.rule, **result, "seconds": seconds}


def run_hunt(mutant: Mutant, first: int, seeds: int, processes: Processes) -> dict[str, Any]:
    """Return what the process of a mutant prints. Raises `SubprocessError` if that fails."""
    with patched(mutant) as root:
        paths = [str(root), *filter(None, [os.environ.get("PYTHONPATH")])]
        process = processes.run(
            [sys.executable, str(HERE / "hunt.py"), str(first), str(seeds)],
            os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
        )
    if process.returncode != 0:
        raise subprocess.SubprocessError(f"exit code {process.returncode}\n{process.stderr}")
    result: dict[str, Any] = json.loads(process.stdout)
    return result


@contextmanager
def patched(mutant: Mutant) -> Iterator[Path]:
    """Yield a folder whose `tanpo` holds mutated copies of the packages that the mutant changes.

    Raises:
        ValueError: what the mutant changes does not stand in its module exactly once.
    """
    with tempfile.TemporaryDirectory(prefix="tanpo-mutant-") as folder:
        root = Path(folder) / "tanpo"
        for edit in mutant.edits:
            package, _, module = edit.module.partition("/")
            if not (root / package).exists():
                unwanted = shutil.ignore_patterns("__pycache__")
                shutil.copytree(find_package(package), root / package, ignore=unwanted)
            target = root / package / module
            text = target.read_text()
            if text.count(edit.old) != 1:
                raise ValueError(f"{mutant.name}: not once but {text.count(edit.old)} times in {edit.module}")
            target.write_text(text.replace(edit.old, edit.new))
        yield Path(folder)


def find_package(name: str) -> Path:
    """Return the folder of the installed package `tanpo.name`."""
    for root in tanpo.__path__:
        folder = Path(root) / name
        if (folder / "__init__.py").exists():
            return folder
    raise ValueError(f"there is no package tanpo.{name}")


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seeds", type=_read_count, default=SEEDS, help="most seeds a mutant may need")
    parser.add_argument("--first", type=_read_seed, default=0, help="the first seed")
    parser.add_argument(
        "--jobs", type=_read_count, default=os.cpu_count() or 1, help="mutants hunted at a time"
    )
    parser.add_argument("--only", default="", help="a rule, or a part of a mutant's name")
    parser.add_argument("--list", action="store_true", help="show the mutants instead of hunting them")
    return parser.parse_args(arguments)


def _read_count(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 1 on")
    return int(text)


def _read_seed(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is no number from 0 on")
    return int(text)


if __name__ == "__main__":
    run_to_end(main)
