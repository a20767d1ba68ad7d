"""A real network whose wires, processes, clocks and disks the bench may break.

The nodes are `tanpo net`'s: processes with data directories and certificates of their own. Only the addresses
at which they find each other are the bench's: one proxy for each ordered pair.
"""

from __future__ import annotations

import asyncio
import json
import signal
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from tanpo.cli.network import NODE_PROGRAM, LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.ledger.certificate import compute_faulty_max, compute_quorum
from tanpo.ledger.errors import Unavailable
from tanpo.ledger.genesis import InstalledContract
from tanpo.node.config import TimingConfig, load_config, render_config
from tanpo.testing.chaos.contract import BENCH_CONTRACT, BENCH_SOURCE
from tanpo.testing.chaos.proxy import ProxyMesh

READY_SECONDS: Final = 60.0
"""How long nodes may take to be ready: seven of them start on two shared cores."""
START_SECONDS: Final = 15.0
"""How long a node may take to find that its data are damaged; it reads all of them while it starts."""
_LOG_TAIL_BYTES: Final = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeEnd:
    """Why a node's process ended, by the last line of its log."""

    exit_code: int
    why: str
    remedy: str


class ChaosNetwork:
    """Nodes, the mesh between them, and what the bench knows of them. Belongs to one event loop.

    `faulty` are the members whose nodes lied or lost what they had promised: at most f of them in a run, and
    no promise of theirs is checked. The `lost` among them refuse to run for good. `renewals` are the times at
    which a node was given another's data, `log_starts` how long its log was when it was last started.
    """

    def __init__(self, network: LocalNetwork, mesh: ProxyMesh) -> None:
        self.local = network
        self.mesh = mesh
        self.faulty: set[str] = set()
        self.lost: set[str] = set()
        self.renewals: dict[str, list[int]] = {}
        self.log_starts: dict[str, int] = {}
        self._programs: dict[str, tuple[str, ...]] = {}

    @classmethod
    async def create(
        cls, directory: Path, member_count: int, *, seed: int, base_timeout_ms: int = 1000
    ) -> ChaosNetwork:
        """Make the folder of a network with the bench's contract, and the proxies between its nodes."""
        plan = plan_network(member_count)
        contract = InstalledContract(name=BENCH_CONTRACT, source=BENCH_SOURCE, arguments=())
        local = await asyncio.to_thread(
            LocalNetwork.create, directory, replace(plan, contracts=(*plan.contracts, contract))
        )
        mesh = await ProxyMesh.open(local.nodes, seed)
        for member in local.members:
            _redirect(local, mesh, member, base_timeout_ms)
        return cls(local, mesh)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()

    @property
    def members(self) -> tuple[str, ...]:
        """The members in the order of their validators."""
        return self.local.members

    @property
    def honest(self) -> tuple[str, ...]:
        """The members whose nodes keep every promise."""
        return tuple(member for member in self.members if member not in self.faulty)

    @property
    def faulty_max(self) -> int:
        """How many nodes may be faulty."""
        return compute_faulty_max(len(self.members))

    @property
    def quorum(self) -> int:
        """How many nodes make progress."""
        return compute_quorum(len(self.members))

    def use_program(self, member: str, program: Sequence[str] = NODE_PROGRAM) -> None:
        """Let a node be run by another program from its next start on."""
        self._programs[member] = tuple(program)

    def data_dir(self, member: str) -> Path:
        """Return the data directory of a node."""
        return self.local.folder.get_member(member).data

    def is_running(self, member: str) -> bool:
        """Return whether a node's process runs; a stopped one (SIGSTOP) does."""
        return self.local.find_process(member) is not None

    async def start(self, members: Iterable[str] | None = None) -> None:
        """Start nodes that do not run, all by default, and wait until they are ready."""
        wanted = self.members if members is None else tuple(members)
        for member in wanted:
            self.spawn(member)
        await asyncio.to_thread(self.local.wait_ready, wanted, ready_seconds=READY_SECONDS)

    def spawn(self, member: str) -> None:
        """Start a node if it does not run, and do not wait for anything."""
        if not self.is_running(member):
            log = self.local.folder.get_member(member).log
            self.log_starts[member] = log.stat().st_size if log.exists() else 0
            self.local.spawn(member, self._programs.get(member, NODE_PROGRAM))

    async def kill(self, member: str) -> None:
        """End a node's process at once, as a power cut does."""
        # A stopped process takes a SIGKILL as well.
        await asyncio.to_thread(self.local.kill, member)

    def send_signal(self, member: str, number: signal.Signals) -> None:
        """Send a node SIGSTOP or SIGCONT."""
        self.local.kill(member, number)

    def note_renewal(self, member: str) -> None:
        """Note that a node was given another's data."""
        self.renewals.setdefault(member, []).append(time.monotonic_ns())

    async def close(self) -> None:
        """Stop every node and close the mesh. The folder stays."""
        for member in self.members:
            self.send_signal(member, signal.SIGCONT)
        await asyncio.to_thread(self.local.stop, grace_seconds=3.0)
        await self.mesh.close()


async def wait_end(network: ChaosNetwork, member: str, seconds: float) -> NodeEnd | None:
    """Wait for a node to end by itself; return how it did, None when it still runs."""
    record = network.local.find_process(member)
    if record is not None and not await asyncio.to_thread(record.wait_ended, seconds):
        return None
    return read_end(network, member)


async def wait_start(network: ChaosNetwork, member: str, seconds: float = START_SECONDS) -> NodeEnd | None:
    """Wait for a node to be ready, or to end: then return why. None when it runs, ready or not."""
    try:
        await asyncio.to_thread(network.local.wait_ready, (member,), ready_seconds=seconds)
    except Unavailable:
        return None if network.is_running(member) else read_end(network, member)
    return None


def read_end(network: ChaosNetwork, member: str) -> NodeEnd:
    """Return why a node that does not run ended, by its log since it was started."""
    log = network.local.folder.get_member(member).log
    entry = _read_last_entry(log.read_bytes()[network.log_starts.get(member, 0) :])
    return NodeEnd(
        exit_code=int(entry.get("exit_code", -1)),
        why=str(entry.get("why", "")),
        remedy=str(entry.get("remedy", "")),
    )


def _redirect(local: LocalNetwork, mesh: ProxyMesh, member: str, base_timeout_ms: int) -> None:
    """Let a node find its peers at the proxies."""
    path = local.folder.get_member(member).config
    config = load_config(path)
    peers = tuple(
        peer.model_copy(update={"address": mesh.get(member, peer.member).address}) for peer in config.peers
    )
    timing = TimingConfig(base_timeout_ms=base_timeout_ms)
    path.write_text(render_config(config.model_copy(update={"peers": peers, "timing": timing})))


def _read_last_entry(log: bytes) -> dict[str, Any]:
    """Return the last entry of a log that says why a node cannot go on."""
    for line in reversed(log[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").splitlines()):
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "exit_code" in entry:
            return entry
    return {}
