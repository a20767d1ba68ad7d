"""The processes of clients that make a history while the network is being broken."""

from __future__ import annotations

import asyncio
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from tanpo.testing.chaos.clients import SETTLE_S
from tanpo.testing.chaos.network import ChaosNetwork
from tanpo.testing.chaos.operations import History, load_history

STOP_S: Final = SETTLE_S + 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """How much clients do: processes, operations under way in each, and operations a second of all."""

    processes: int = 2
    lanes: int = 8
    rate: float = 80.0
    seconds_max: float = 3600.0


@dataclass(slots=True, kw_only=True)
class ClientProcesses:
    """Clients in processes of their own; their histories are in `folder`."""

    network: ChaosNetwork
    folder: Path
    seed: int
    load: Load
    _running: list[asyncio.subprocess.Process] = field(default_factory=list)

    async def __aenter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for number in range(self.load.processes):
            with (self.folder / f"clients-{number}.log").open("wb") as log:
                self._running.append(
                    await asyncio.create_subprocess_exec(*self._command(number), stdout=log, stderr=log)
                )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for process in self._running:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    process.kill()
            await process.wait()

    async def stop(self) -> list[int]:
        """Let clients find out what is unknown, and wait for their end; return their exit codes.

        1 says that something stayed unknown, anything else but 0 that a process failed.
        """
        for process in self._running:
            if process.returncode is None:
                process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(STOP_S):
            return [await process.wait() for process in self._running]

    def load_history(self) -> History:
        """Return what all of them noted."""
        return load_history(self.folder.glob("*.history"))

    def _command(self, number: int) -> list[str]:
        load = self.load
        return [
            *(sys.executable, "-P", "-m", "tanpo.testing.chaos.clients"),
            *("--folder", str(self.network.local.folder.root)),
            *("--history", str(self.folder / f"clients-{number}.history")),
            *("--process", str(number), "--seed", str(self.seed), "--lanes", str(load.lanes)),
            *("--rate", str(load.rate / load.processes), "--seconds", str(load.seconds_max)),
        ]
