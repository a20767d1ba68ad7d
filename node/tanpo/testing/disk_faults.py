"""Real disk errors at every place where a node writes: `python -m tanpo.testing.disk_faults FOLDER`.

FOLDER holds `failing.c`, which is preloaded into a process and lets one chosen call to the operating system
fail, and `writer.py`, which writes a ledger and promises. A first run notes all calls. Then each chosen one
fails in a run of its own: the process must end with the exit code for it, must not sync or write that file
again, and must have kept all that it reported durable, which the writer checks on the disk that works again.

One call of each kind comes first, then others: a bench that has to end before its time has seen every kind.
"""

from __future__ import annotations

import argparse
import errno
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

SYNC: Final = "sync"
UNLINK: Final = "unlink"
EXIT_CODES: Final = {errno.EIO: 4, errno.ENOSPC: 5}
"""What a node ends with for each error, as deploy/README.md says."""

SPARED: Final = re.compile(r"/LOG(\.old)?$|\.ldb$")
"""Where a process may go on to its end: LevelDB's log for people, which is never read, and tables, which it
makes in the background of a log that it keeps until they are synced; the next write hears of the error."""

RUN_SECONDS_MAX: Final = 120

MINUTES_MAX: Final = 25.0
"""With the last run the bench ends within half an hour, on a busy machine too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call that changes a file; `number` counts all of a run from 1, and `to` is the new name of one."""

    number: int
    name: str
    has_failed: bool
    path: str
    to: str = ""

    @property
    def kind(self) -> tuple[str, str]:
        """What is done to what kind of file."""
        return self.name, re.sub(r"\d{6,}|(?<=/p)\d{4}", "N", self.to or self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What came of one error; `violations` is empty when all went as promised."""

    call: str
    path: str
    number: int
    error: str
    exit_code: int
    acknowledged: int
    violations: tuple[str, ...]


class Bench:
    """Runs the writer with one call failing."""

    def __init__(self, source: Path, scratch: Path, *, value_bytes: int = 300_000) -> None:
        self._value_bytes = value_bytes
        self._writer = source / "writer.py"
        self._scratch = scratch
        self._library = scratch / "failing.so"
        compiler = shutil.which("gcc") or "gcc"
        command = (compiler, "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source / "failing.c"))
        subprocess.run((*command, "-ldl", "-lpthread"), check=True)  # noqa: S603  # no shell

    def record(self) -> list[Call]:
        """Return all calls of a run in which none fails."""
        with self.folder() as folder:
            done = self.run(folder, 0, errno.EIO)
            if done.returncode:
                raise SystemExit(f"the writer fails on a disk that works: {done.stderr}")
            return read_trace(folder / "trace")

    def try_call(self, call: Call, error: int) -> Finding:
        """Let one call fail and return what came of it."""
        with self.folder() as folder:
            done = self.run(folder, call.number, error)
            acknowledged = int((done.stdout.split() or ["0"])[-1])
            trace = read_trace(folder / "trace")
            # LevelDB's own thread makes calls too, so the number may be another call's than in the first run.
            call = next((one for one in trace if one.has_failed), call)
            violations = [*judge_end(done, call, error), *judge_trace(trace)]
            check = self.start((str(folder), "--check", str(acknowledged)), {})
            if check.returncode:
                violations.append(f"afterwards: {check.stderr.strip().splitlines()[-1:]}")
        return Finding(
            call=call.name,
            path=call.path,
            number=call.number,
            error=errno.errorcode[error],
            exit_code=done.returncode,
            acknowledged=acknowledged,
            violations=tuple(violations),
        )

    def folder(self) -> _Folder:
        """Return a folder for one run, to be entered."""
        return _Folder(self._scratch)

    def run(
        self, folder: Path, number: int, error: int, more: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the writer in a folder; call `number` fails with `error`, or the process ends there for 0."""
        return self.start(
            (str(folder),),
            {
                **(more or {}),
                "FAULT_ROOT": str(folder / "data"),
                "FAULT_AT": str(number),
                "FAULT_ERRNO": str(error),
                "FAULT_TRACE": str(folder / "trace"),
                "LD_PRELOAD": str(self._library),
            },
        )

    def start(self, arguments: Sequence[str], more: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
        """Run the writer with these arguments."""
        return subprocess.run(  # noqa: S603  # our own program, no shell
            (sys.executable, str(self._writer), *arguments),
            env={**os.environ, "FAULT_VALUE_BYTES": str(self._value_bytes), **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=RUN_SECONDS_MAX,
        )


class _Folder:
    """A folder for one run."""

    def __init__(self, scratch: Path) -> None:
        self._path = scratch / "run"

    def __enter__(self) -> Path:
        self._path.mkdir()
        return self._path

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._path)


def read_trace(path: Path) -> list[Call]:
    """Return the calls that a run made."""
    calls = []
    for line in path.read_text().splitlines():
        number, name, failed, *rest = line.split(" ", 3)
        old, _, new = (rest[0] if rest else "").partition("\t")
        calls.append(Call(number=int(number), name=name, has_failed=failed == "1", path=old, to=new))
    return calls


def choose(calls: Sequence[Call], each: int) -> list[Call]:
    """Return up to `each` calls of every kind, spread over all of them; one of each kind comes first."""
    kinds: dict[tuple[str, str], list[Call]] = {}
    for call in calls:
        if call.name == UNLINK:
            continue  # What cannot be removed stays, which is no loss.
        kinds.setdefault(call.kind, []).append(call)
    rounds: dict[int, list[Call]] = {}
    for found in kinds.values():
        count = min(each, len(found))
        for position in range(count):
            # The one in the middle, then those around it.
            turn = (position + count // 2) % count
            rounds.setdefault(position, []).append(found[(2 * turn + 1) * len(found) // (2 * count)])
    return [call for position in sorted(rounds) for call in rounds[position]]


def judge_end(done: subprocess.CompletedProcess[str], call: Call, error: int) -> list[str]:
    """Return what is wrong with how a process ended."""
    if "Traceback" in done.stderr:
        return [f"a traceback: {done.stderr.strip().splitlines()[-1]}"]
    if done.returncode == EXIT_CODES[error] or (done.returncode == 0 and SPARED.search(call.to or call.path)):
        return []
    if done.returncode == 0 and call.name == "mkdir":
        return []  # LevelDB asks for its folder twice.
    return [f"exit code {done.returncode} for {errno.errorcode[error]}: {done.stderr.strip()[-300:]}"]


def judge_trace(calls: Sequence[Call]) -> list[str]:
    """Return where a file was written or synced again after a sync of it had failed."""
    failed: set[str] = set()
    retried = []
    for call in calls:
        if call.name in (SYNC, "write") and call.path in failed:
            retried.append(f"{call.name} of {call.path} again after its sync had failed")
        if call.has_failed and call.name == SYNC:
            failed.add(call.path)
    return retried


def main() -> int:
    """Run as the arguments say and print JSON; exit with 1 when a promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m tanpo.testing.disk_faults")
    parser.add_argument("folder", type=Path, help="where failing.c and writer.py are")
    parser.add_argument("--each", type=int, default=3, help="calls of every kind that fail, each in a run")
    parser.add_argument("--kinds", type=int, default=0, help="of that many kinds, evenly chosen; 0 for all")
    parser.add_argument("--minutes", type=float, default=MINUTES_MAX, help="begin no run after so long")
    options = parser.parse_args()
    findings, left = [], 0
    deadline_s = time.monotonic() + 60 * options.minutes
    with tempfile.TemporaryDirectory(prefix="tanpo-faults-") as scratch:
        bench = Bench(options.folder, Path(scratch))
        chosen = choose(bench.record(), options.each)
        wanted = min(options.kinds or len(chosen), len(chosen))
        for call in [chosen[place * len(chosen) // wanted] for place in range(wanted)]:
            for error in (errno.EIO, errno.ENOSPC) if options.each > 1 else (_natural(call),):
                if time.monotonic() < deadline_s:
                    findings.append(bench.try_call(call, error))
                else:
                    left += 1
    broken = [finding for finding in findings if finding.violations]
    document = {
        "runs": len(findings),
        "left_for_want_of_time": left,
        "kinds": len({(finding.call, finding.path) for finding in findings}),
        "ended": sum(finding.exit_code != 0 for finding in findings),
        "violations": [asdict(finding) for finding in broken],
    }
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    return 1 if broken else 0


def _natural(call: Call) -> int:
    """Return the error that a call meets most often in practice."""
    return errno.EIO if call.name == SYNC else errno.ENOSPC


if __name__ == "__main__":
    sys.exit(main())
