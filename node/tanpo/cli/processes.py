"""Start, watch and end processes by id, and never touch one that merely inherited the id.

A process is known by its id *and* its start: ids are reused, and a file that outlived its process (a crash,
a reboot) may name somebody else's. Everything here reads /proc and so needs Linux.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from tanpo.ledger.errors import Reason, UsageError

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")
_POLL_SECONDS: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessRecord:
    """A process we started: its id and, as `started`, the boot and the clock tick at which it began."""

    pid: int
    started: str

    @property
    def is_running(self) -> bool:
        """Whether this very process still runs. A zombie does not."""
        return find_started(self.pid) == self.started

    def send_signal(self, number: signal.Signals) -> bool:
        """Send a signal to this very process; return False when it has ended."""
        if not self.is_running:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def wait_ended(self, timeout_seconds: float) -> bool:
        """Wait until the process has ended; return whether it did in time."""
        deadline = time.monotonic() + timeout_seconds
        while self.is_running:
            if time.monotonic() >= deadline:
                return False
            time.sleep(_POLL_SECONDS)
        self.reap()
        return True

    def reap(self) -> int | None:
        """Collect the exit code if the process is our own child and has ended."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:
            return None
        return os.waitstatus_to_exitcode(status) if pid else None


def start_detached(command: Sequence[str], *, log: Path) -> ProcessRecord:
    """Start a program in a session of its own, its output appended to `log`, its input empty.

    A session of its own keeps it alive when the terminal closes, and keeps Ctrl-C from reaching it.
    """
    if not _BOOT_ID.exists():
        raise UsageError(
            Reason.CONFIGURATION,
            "a local network needs /proc to know its processes",
            value=sys.platform,
            limit="linux",
            remedy="use Linux, or run the nodes with `tanpo node run`",
        )
    pid = os.posix_spawn(
        command[0],
        list(command),
        dict(os.environ),
        file_actions=(
            (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ),
        setsid=True,
        setsigmask=(),  # Ctrl-C is held back while we start it, not while it runs.
    )
    # A child that ended already is a zombie until reaped, so its start can still be read.
    return ProcessRecord(pid=pid, started=_read_started(pid) or "")


def find_started(pid: int) -> str | None:
    """Return the boot and clock tick at which a process began, None when it does not run."""
    fields = _read_stat(pid)
    return None if fields is None or fields[0] in ("Z", "X") else _spell_started(fields)


def read_resident_bytes(pid: int) -> int:
    """Return the resident memory of a process, 0 when it does not run."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError, ValueError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def save_record(path: Path, record: ProcessRecord) -> None:
    """Write a pid file; it is whole or absent."""
    scratch = path.with_suffix(".new")
    scratch.write_text(json.dumps(asdict(record)) + "\n")
    scratch.replace(path)


def load_record(path: Path) -> ProcessRecord | None:
    """Return what a pid file says, None when there is none or it cannot be read."""
    try:
        document = json.loads(path.read_text())
        return ProcessRecord(pid=int(document["pid"]), started=str(document["started"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _read_started(pid: int) -> str | None:
    fields = _read_stat(pid)
    return None if fields is None else _spell_started(fields)


def _spell_started(fields: list[str]) -> str:
    # Field 22 of /proc/PID/stat; the list begins at field 3.
    return f"{_BOOT_ID.read_text().strip()}:{fields[19]}"


def _read_stat(pid: int) -> list[str] | None:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    # The program's name stands in parentheses and may itself hold spaces and parentheses.
    return text.rpartition(")")[2].split()
