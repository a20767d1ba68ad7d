"""A cluster: processes, links, disks, clients, weather and checkers of one run, all from one seed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from typing import Final, Protocol

from tanpo.consensus import (
    CommittedTip,
    PayloadSource,
    Replica,
    ReplicaConfig,
    ReplicaStart,
    genesis_start,
)
from tanpo.ledger.block import Block
from tanpo.ledger.certificate import SignatureChecker
from tanpo.ledger.genesis import Parameters
from tanpo.ledger.types import Epoch, NetworkId, Signature
from tanpo.simulator.annals import Annals
from tanpo.simulator.application import Application, HashApplication
from tanpo.simulator.checks import Checks
from tanpo.simulator.clients import Clients
from tanpo.simulator.clockwork import Clockwork
from tanpo.simulator.contracts import ContractApplication
from tanpo.simulator.hostile import Actor, Conspiracy, make_behaviours
from tanpo.simulator.links import Links
from tanpo.simulator.luck import Luck
from tanpo.simulator.process import Process
from tanpo.simulator.reigns import Reign
from tanpo.simulator.settings import Settings
from tanpo.simulator.streams import Streams
from tanpo.simulator.weather import Weather

GENESIS_MS: Final = 1_767_225_600_000
NETWORK_ID: Final = NetworkId(sha256(b"simulated network").digest())
PARAMETERS: Final = Parameters(block_transactions_max=8)


class ReplicaFactory(Protocol):
    """Makes the replica of a process: `Replica` itself, or another that a test puts in its place."""

    def __call__(
        self,
        config: ReplicaConfig,
        checker: SignatureChecker,
        signer: Callable[[bytes], Signature],
        payloads: PayloadSource,
        start: ReplicaStart,
        /,
    ) -> Replica:
        """Return a replica that goes on from `start`."""
        ...


class Cluster:
    """Everything of one run. `begin`, then `clock.step` as long as you like."""

    def __init__(
        self,
        settings: Settings,
        *,
        replica_factory: ReplicaFactory = Replica,
        application: Application | None = None,
        is_traced: bool = False,
    ) -> None:
        self.settings = settings
        self.replica_factory = replica_factory
        self.reigns = tuple(Reign.create(tokens) for tokens in settings.reigns)
        hashes = [reign.valset_hash for reign in self.reigns]
        self.application = application or _make_application(settings, hashes)
        self.network_id, self.genesis_ms, self.parameters = NETWORK_ID, GENESIS_MS, PARAMETERS
        self.streams = Streams(settings.seed)
        self.clock = Clockwork()
        self.hostile = frozenset(one.node for one in settings.hostile)
        self.faulty = settings.faulty
        self.genesis_tip = self._make_genesis_tip()
        self.annals = Annals(self.clock, self.genesis_tip, is_traced=is_traced)
        self.luck = Luck(self)
        self.core: frozenset[str] = frozenset()
        self.dead: set[str] = set()
        self.well: set[str] = set()
        """Hostile nodes that healed with the core: a censor must be in good health to lead for long."""
        self.checks = Checks(self)
        self.links = Links(self)
        self.weather = Weather(self)
        self.clients = Clients(self)
        self.processes = self._make_processes()
        self._by_node = {node: tuple(p for p in self.processes if p.node == node) for node in settings.nodes}

    # Building.

    def begin(self) -> None:
        """Start every process, the weather and the clients."""
        for process in self.processes:
            process.start()
        self.weather.begin()
        self.clients.begin()

    def _make_genesis_tip(self) -> CommittedTip:
        roots = self.application.genesis.roots
        return genesis_start(self.network_id, self.genesis_ms, roots.state_root, roots.receipts_root).tip

    def _make_processes(self) -> tuple[Process, ...]:
        conspiracies: dict[Epoch, Conspiracy] = {}
        behaviours = {one.node: one.behaviours for one in self.settings.hostile}
        processes: list[Process] = []
        for node in self.settings.nodes:
            process = Process(self, node, len(processes))
            processes.append(process)
            names = behaviours.get(node)
            if names == ():
                processes.append(Process(self, f"{node}'", len(processes)))
            if names is not None:
                for one in processes[process.number :]:
                    one.actor = Actor(one, conspiracies, make_behaviours(names))
        return tuple(processes)

    # Who is who.

    def processes_of(self, node: str) -> tuple[Process, ...]:
        """Return the processes that run as a node: one, or twins."""
        return self._by_node.get(node, ())

    def is_censor(self, node: str) -> bool:
        """Whether a node passes over transactions."""
        return any(one.node == node and "censor" in one.behaviours for one in self.settings.hostile)

    def is_healed(self, process: Process) -> bool:
        """Whether nothing befalls a process any more."""
        return process.node in self.core or process.node in self.well

    def is_calm(self, sender: Process, receiver: Process) -> bool:
        """Whether no fault befalls what one process says to another."""
        return self.is_healed_pair((sender.node, receiver.node))

    def is_healed_pair(self, pair: tuple[str, str]) -> bool:
        """Whether both of these nodes have healed, and their links are never cut again."""
        return all(node in self.core or node in self.well for node in pair)

    # What happens.

    def crash(self, process: Process) -> None:
        """Crash a process, and start it again later."""
        self.annals.trace(process, "crashes")
        process.crash()
        self.weather.restart_later(process)

    def on_stored(self, process: Process, block: Block) -> None:
        """Tell the clients of a block that an honest node has stored."""
        self.annals.trace(process, f"stored {block.header.height} {block.block_hash[:3].hex()}")
        if process.is_honest:
            self.clients.note_stored(block)


def _make_application(settings: Settings, valset_hashes: Sequence[bytes]) -> Application:
    if settings.has_contracts:
        return ContractApplication(valset_hashes)
    return HashApplication(valset_hashes)
