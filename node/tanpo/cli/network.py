"""A consortium of local processes: make it, start it, kill and restart its nodes, stop it.

Every node is a process in a session of its own, known by id and start. What is started here is stopped by
that id and by nothing else; whatever waits, waits for a bounded time.
"""

from __future__ import annotations

import contextlib
import fcntl
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tanpo.cli.layout import MemberFiles, NetworkFolder, NodePlace
from tanpo.cli.node_group import NodeGroup
from tanpo.cli.processes import ProcessRecord, load_record, save_record, start_detached
from tanpo.cli.readiness import (
    READY_SECONDS,
    Forgetful,
    Goal,
    LacksQuorum,
    explain_end,
)
from tanpo.client.keyfile import save_key
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.keys import PrivateKey, PublicKey

if TYPE_CHECKING:
    from tanpo.cli.provision import NetworkPlan

NODE_PROGRAM: Final = (sys.executable, "-P", "-m", "tanpo.node")
"""What runs a node; its last argument is the configuration."""
STOP_SECONDS: Final = 30.0
"""How long a node has to finish its block and close its stores before it is killed."""
_LOG_TAIL_BYTES: Final = 8192


class LocalNetwork(NodeGroup):
    """The nodes of one folder. Methods that start or stop nodes are for one caller at a time."""

    @classmethod
    def create(cls, directory: Path, plan: NetworkPlan, *, base_port: int | None = None) -> LocalNetwork:
        """Make the folder of a new network: certificates, keys, genesis and configuration of every node.

        With no `base_port`, free ports are found and kept for this network.

        Raises:
            UsageError: the folder is in use, or a port is.
        """
        from tanpo.cli.provision import provision

        folder = NetworkFolder(root=directory.absolute())
        check_unused(folder)
        try:
            slot, nodes = provision(folder, plan, base_port)
        except BaseException:
            clear(folder)
            raise
        return cls(folder, nodes, slot)

    @classmethod
    def open(cls, directory: Path) -> LocalNetwork:
        """Return the network of a folder. Raises `UsageError` when it holds none."""
        folder = NetworkFolder(root=directory.absolute())
        return cls(folder, folder.load_manifest())

    def find_process(self, name: str) -> ProcessRecord | None:
        """Return the process of a node, None when it does not run."""
        record = load_record(self._files(name).process)
        return record if record is not None and record.is_running else None

    def start(
        self,
        names: Iterable[str] | None = None,
        *,
        ready_seconds: float = READY_SECONDS,
        program: Sequence[str] = NODE_PROGRAM,
    ) -> None:
        """Start nodes, all by default, at the same time, and wait until each is ready, or silent (D8).

        Nodes that run already are left alone. If one does not come up, those started here are stopped.
        `program` is what runs the configuration given to it: a bench may start nodes of its own making.

        Raises:
            Forgetful: validators lost what they signed. Their nodes are stopped again, the others run.
            LacksQuorum: there can be no quorum yet. What was started runs on, and waits for it.
            Unavailable: a node ended, or was not ready in time.
        """
        wanted = [self.get_node(name).member for name in (self.members if names is None else names)]
        started = [member for member in wanted if self.find_process(member) is None]
        try:
            with _hold_interrupts():
                for member in started:
                    self.spawn(member, program)
            self.wait_ready(wanted, ready_seconds=ready_seconds, goal=Goal.SETTLED)
        except Forgetful as error:
            self.stop([member for member in started if member in error.members], grace_seconds=1.0)
            raise
        except LacksQuorum:
            self._release()
            raise
        except BaseException:
            # Interrupted or refused: what we started must not stay behind.
            self.stop(started, grace_seconds=1.0)
            raise
        self._release()

    def spawn(self, name: str, program: Sequence[str] = NODE_PROGRAM, *, may_rejoin: bool = False) -> None:
        """Start one node that does not run, and return at once, whatever becomes of it."""
        files = self._files(name)
        options = ("--rejoin",) if may_rejoin else ()
        save_record(files.process, start_detached((*program, str(files.config), *options), log=files.log))

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a node a signal; with SIGKILL, wait until it is gone. Return False when it did not run."""
        record = self.find_process(name)
        if record is None or not record.send_signal(number):
            return False
        if number is signal.SIGKILL:
            record.wait_ended(STOP_SECONDS)
            self._files(name).process.unlink(missing_ok=True)
        return True

    def stop(self, names: Iterable[str] | None = None, *, grace_seconds: float = STOP_SECONDS) -> list[str]:
        """Stop nodes, all by default; return those that had to be killed.

        Each gets SIGTERM; what still runs after the grace gets SIGKILL.
        """
        records = {name: self.find_process(name) for name in (self.members if names is None else names)}
        running = {name: record for name, record in records.items() if record is not None}
        for record in running.values():
            record.send_signal(signal.SIGTERM)
        deadline = time.monotonic() + grace_seconds
        killed = [
            name
            for name, record in running.items()
            if not record.wait_ended(max(0.0, deadline - time.monotonic()))
        ]
        for name in killed:
            self.kill(name)
        for name in records:
            if self.find_process(name) is None:
                self._files(name).process.unlink(missing_ok=True)
        self._release()
        return killed

    def delete(self) -> None:
        """Remove the folder of a network that does not run. Raises `UsageError` when it does."""
        running = [name for name in self.members if self.find_process(name) is not None]
        if running:
            raise _running(self.folder, running)
        shutil.rmtree(self.folder.root)

    def _is_running(self, node: NodePlace) -> bool:
        return self.find_process(node.member) is not None

    def _files(self, name: str) -> MemberFiles:
        return self.folder.get_member(self.get_node(name).member)

    def _explain_end(self, node: NodePlace) -> str:
        """Return what a node's log says last."""
        try:
            data = self._files(node.member).log.read_bytes()[-_LOG_TAIL_BYTES:]
        except OSError:
            data = b""
        return explain_end(data.decode("utf-8", "replace"))


@contextlib.contextmanager
def _hold_interrupts() -> Iterator[None]:
    """Let no Ctrl-C come between a process' start and the note of its id; it is felt at the end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def hold_lock(directory: Path) -> Iterator[None]:
    """Keep other commands from starting or stopping nodes of a folder meanwhile.

    Raises:
        UsageError: another command does so right now.
    """
    folder = NetworkFolder(root=directory.absolute())
    folder.root.mkdir(parents=True, exist_ok=True)
    with folder.lock.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UsageError(
                Reason.DATA_LOCKED,
                "another command is starting or stopping this network",
                value=folder.root,
                limit="one command at a time",
                remedy="wait for it to finish",
            ) from None
        yield


def launch(network: LocalNetwork, name: str, *, may_rejoin: bool = False) -> None:
    """Start a node that may not be ready for long, and wait only until it serves.

    With `may_rejoin` its validator may vote again after it lost what it promised. It is ready once it does,
    which takes further terms: `tanpo net status` says how far it is.

    Raises:
        UsageError: it runs. Unavailable: it ended, or does not serve in time.
    """
    member = network.get_node(name).member
    if network.find_process(member) is not None:
        raise UsageError(
            Reason.DATA_LOCKED,
            "the node runs already",
            value=member,
            limit="a node that does not run",
            remedy=f"stop it with `tanpo net kill {member} --dir {shlex.quote(str(network.folder.root))}`",
        )
    try:
        network.spawn(member, may_rejoin=may_rejoin)
        network.wait_ready([member], goal=Goal.ALIVE)
    except BaseException:
        network.stop([member], grace_seconds=1.0)
        raise


def rekey(network: LocalNetwork, name: str) -> PublicKey:
    """Restart a node with a new validator key and return its public half; the old one stays beside it.

    The node only follows until the validators name the new key.

    Raises:
        Unavailable: the node did not come up again.
    """
    member = network.get_node(name).member
    file = network.folder.get_member(member).validator_key
    key = PrivateKey.generate()
    fresh = file.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    save_key(fresh, key)
    network.stop([member])
    file.replace(file.with_suffix(".old"))
    fresh.replace(file)
    network.start([member])
    return key.public_key


def check_stopped(network: LocalNetwork, names: Iterable[str]) -> None:
    """Raise `UsageError` when one of these nodes runs."""
    running = [name for name in names if network.find_process(name) is not None]
    if running:
        raise _running(network.folder, running)


def check_unused(folder: NetworkFolder) -> None:
    """Raise `UsageError` when there are files in the folder of a network to be made."""
    if folder.root.is_dir() and any(path != folder.lock for path in folder.root.iterdir()):
        raise UsageError(
            Reason.CONFIGURATION,
            "the folder is not empty",
            value=folder.root,
            limit="an empty or a new folder",
            remedy="choose another with --dir; a network there goes with `tanpo net down --delete`",
        )


def clear(folder: NetworkFolder) -> None:
    """Remove the half of a network that was being made, of which no command would know what to do with it."""
    for path in folder.root.iterdir() if folder.root.is_dir() else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path not in (folder.lock, folder.unfinished):
            path.unlink()
    # Last: interrupted, it goes on when it is asked again.
    folder.unfinished.unlink(missing_ok=True)


def _running(folder: NetworkFolder, running: list[str]) -> UsageError:
    return UsageError(
        Reason.DATA_LOCKED,
        f"the network is running: {', '.join(running)}",
        value=folder.root,
        limit="one running network a folder",
        remedy=f"stop it with `tanpo net down --dir {shlex.quote(str(folder.root))}`, or choose another "
        "folder with --dir",
    )
