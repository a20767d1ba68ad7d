"""A consortium in containers: make it, start it, kill and restart its nodes, stop it.

It is the network of `tanpo.cli.network` by other means: the same members, files and topology. What is stopped
or removed here is found by the project's own name and by nothing else.
"""

from __future__ import annotations

import shlex
import shutil
import signal
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tanpo.cli.compose.engine import Engine, Project
from tanpo.cli.compose.rendering import OBSERVER, PROFILES
from tanpo.cli.compose.site import (
    IMAGE,
    UPGRADE,
    ContainerSite,
    note_observer,
    open_project,
    save_settings,
)
from tanpo.cli.layout import NetworkFolder, NodePlace
from tanpo.cli.network import check_unused, clear
from tanpo.cli.node_group import NodeGroup
from tanpo.cli.ports import PortSlot, is_free
from tanpo.cli.readiness import READY_SECONDS, Forgetful, Goal, LacksQuorum, explain_end
from tanpo.ledger.errors import Reason, Unavailable, UsageError

if TYPE_CHECKING:
    from tanpo.cli.provision import NetworkPlan

STOP_SECONDS: Final = 30
"""How long a node has to finish its block and close its stores before the engine kills it."""
_LOG_LINES: Final = 20
_KILLED: Final = 128 + signal.SIGKILL


class ComposeNetwork(NodeGroup):
    """The containers of one folder. Methods that start or stop nodes are for one caller at a time."""

    poll_seconds = 0.5

    def __init__(
        self,
        folder: NetworkFolder,
        nodes: tuple[NodePlace, ...],
        engine: Engine,
        project: Project,
        slot: PortSlot | None = None,
    ) -> None:
        super().__init__(folder, nodes, slot)
        self.engine = engine
        self.project = project

    @classmethod
    def create(
        cls, directory: Path, plan: NetworkPlan, *, image: str, base_port: int | None = None
    ) -> ComposeNetwork:
        """Make the folder of a new network, its containers and their volumes. All of it is made, or nothing.

        Raises:
            UsageError: the folder is in use, a port is, there is no such image, or no engine.
            Unavailable: the engine refuses.
        """
        from tanpo.cli.provision import provision

        folder = NetworkFolder(root=directory.absolute())
        check_unused(folder)
        engine = Engine.find()
        _check_image(engine, image, "name another with --image")
        try:
            slot, nodes = provision(folder, plan, base_port, ContainerSite(engine=engine, image=image))
        except BaseException:
            undo(folder, engine)
            raise
        return cls(folder, nodes, engine, open_project(folder), slot)

    @classmethod
    def open(cls, directory: Path) -> ComposeNetwork:
        """Return the network of a folder. Raises `UsageError` when it holds none."""
        folder = NetworkFolder(root=directory.absolute())
        nodes = folder.load_manifest()
        return cls(folder, nodes, Engine.find(), open_project(folder))

    def find_container(self, name: str, *, is_running: bool = True) -> str | None:
        """Return the container of a node that runs, or with `is_running=False` of any; None without one.

        `name` is a member's, or "observer".
        """
        service = OBSERVER if name == OBSERVER else self.get_node(name).member
        found = self.engine.list_containers(self.project.name, service, is_running=is_running)
        return found[0] if found else None

    def start(
        self,
        names: Iterable[str] | None = None,
        *,
        ready_seconds: float = READY_SECONDS,
        may_rejoin: bool = False,
        image: str | None = None,
    ) -> None:
        """Start nodes, all by default, and wait until each is ready, or silent (D8); with `may_rejoin`, until
        it serves.

        Nodes that run already as they should are left alone; one that should run from another image is
        stopped and started anew. If one does not come up, those started here are stopped.

        Raises:
            UsageError: a port is in use, or the image is missing.
            Forgetful: validators lost what they signed. Their nodes are stopped again, the others run.
            LacksQuorum: there can be no quorum yet. What was started runs on, and waits for it.
            Unavailable: a node ended, or was not ready in time.
        """
        wanted = [self.get_node(name).member for name in (self.members if names is None else names)]
        if not wanted:
            return  # Compose would take it for all.
        if image is None:
            _check_upgraded(self)
        _check_image(
            self.engine,
            image or self.project.settings[IMAGE],
            f"run another with `tanpo net upgrade IMAGE --dir {shlex.quote(str(self.folder.root))}`",
        )
        started = [member for member in wanted if self.find_container(member) is None]
        for member in started:
            _check_ports(self.get_node(member))
        environment = {"TANPO_MAY_REJOIN": "true"} if may_rejoin else {}
        if image is not None:
            environment[IMAGE] = image
        doubles = self.engine.find_doubles(self.project.name)
        if doubles:
            self.engine.run_docker("rm", *doubles)
        try:
            # "--no-deps" stands for: these and no others.
            self.engine.run_compose(
                self.project, "up", "--detach", "--no-deps", *wanted, environment=environment
            )
            self.wait_ready(
                wanted, ready_seconds=ready_seconds, goal=Goal.ALIVE if may_rejoin else Goal.SETTLED
            )
        except Forgetful as error:
            self.stop([member for member in started if member in error.members], grace_seconds=1)
            raise
        except LacksQuorum:
            self._release()
            raise
        except BaseException:
            self.stop(started, grace_seconds=1)
            raise
        self._release()

    def start_beside(self, profiles: Iterable[str]) -> None:
        """Start what is not a member's node: the `observer`, or what belongs to `monitoring`.

        Raises:
            UsageError: an image is missing.
        """
        for profile in profiles:
            services = (OBSERVER,) if profile == OBSERVER else ("prometheus", "grafana")
            self.engine.run_compose(
                self.project,
                "up",
                "--detach",
                "--no-deps",
                *services,
                environment={"COMPOSE_PROFILES": profile},
            )
            if profile == OBSERVER:
                note_observer(self.folder, self.nodes, is_wanted=True)

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> bool:
        """Send a node a signal; return False when it did not run. With SIGKILL it is gone on return."""
        container = self.find_container(name)
        if container is None:
            return False
        self.engine.run_docker("kill", "--signal", str(number.value), container)
        if number is signal.SIGKILL:
            self.engine.run_docker("wait", container)
        return True

    def stop(self, names: Iterable[str] | None = None, *, grace_seconds: int = STOP_SECONDS) -> list[str]:
        """Stop nodes, all by default; return those that had to be killed. Containers and logs stay."""
        running = {
            name: container
            for name in (self.members if names is None else names)
            if (container := self.find_container(name)) is not None
        }
        self._release()
        if not running:
            return []
        self.engine.run_docker("stop", "--time", str(grace_seconds), *running.values())
        codes = self.engine.run_docker(
            "inspect", "--format", "{{.State.ExitCode}}", *running.values()
        ).split()
        return [name for name, code in zip(running, codes, strict=True) if int(code) == _KILLED]

    def read_log(self, name: str, lines: int, *, is_following: bool = False) -> Iterator[str]:
        """Yield the last lines of a node's log since its container was made, and what is added if following.

        Raises:
            UsageError: it has no container.
        """
        container = self.find_container(name, is_running=False)
        if container is None:
            raise UsageError(
                Reason.NOT_FOUND,
                "the node has no container, and so no log",
                value=name,
                limit="a node that was started",
                remedy=f"start it with `tanpo net up --dir {shlex.quote(str(self.folder.root))}`",
            )
        if is_following:
            yield from self.engine.follow_log(container, lines)
        else:
            yield from self.engine.read_log(container, lines).splitlines()

    def _is_running(self, node: NodePlace) -> bool:
        return self.find_container(node.member) is not None

    def _explain_end(self, node: NodePlace) -> str:
        container = self.find_container(node.member, is_running=False)
        return explain_end("" if container is None else self.engine.read_log(container, _LOG_LINES))


def take_down(network: ComposeNetwork) -> None:
    """Remove all containers of a network, and the networks between them; volumes and folder stay."""
    _take_down(network.engine, network.project, with_volumes=False)
    # What is taken down is missed by nobody; Prometheus went with it, and finds no note when it returns.
    note_observer(network.folder, network.nodes, is_wanted=False)


def delete(network: ComposeNetwork) -> None:
    """Remove a network with its containers, volumes and folder."""
    _take_down(network.engine, network.project, with_volumes=True)
    shutil.rmtree(network.folder.root)


def undo(folder: NetworkFolder, engine: Engine | None = None) -> None:
    """Remove what was made of a network that did not come to be; the folder was ours alone.

    Raises:
        Unavailable: there are containers, and the engine does not answer.
    """
    if folder.compose.exists():
        _take_down(engine or Engine.find(), open_project(folder), with_volumes=True)
    clear(folder)


def upgrade(network: ComposeNetwork, image: str) -> Generator[str, None, None]:
    """Have one node after the other run from another image; yield each member when its node is ready again.

    Each is told to stop, so that it gives its term away, and the next one only follows when it is back. Nodes
    that do not run come first and all at once: they interrupt nobody, and a quorum may need them. Broken off,
    by whatever, it goes on when it is asked again: who runs from the image already is left alone. Until then
    nothing else starts a node, which would take it back to the image of before.

    Raises:
        UsageError: there is no such image.
        Forgetful: all others run from the image; these validators lost what they signed.
        Unavailable: a node did not come back; the others are as they were.
    """
    _check_image(network.engine, image, "name another")
    network.project = save_settings(network.folder, network.project, {UPGRADE: image})
    idle = [member for member in network.members if network.find_container(member) is None]
    forgetful: Forgetful | None = None
    for names in (idle, *([member] for member in network.members if member not in idle)):
        try:
            network.start(names, image=image)
            yield from names
        except Forgetful as error:
            forgetful = error
            yield from (member for member in names if member not in error.members)
        except Unavailable as error:
            back = _spell_upgrade(network, network.project.settings[IMAGE])
            raise error.retell(f"{error.message}; `{back}` goes back") from None
    network.project = save_settings(network.folder, network.project, {IMAGE: image, UPGRADE: ""})
    if forgetful is not None:
        raise forgetful


def _check_image(engine: Engine, image: str, otherwise: str) -> None:
    if not engine.has_image(image):
        raise UsageError(
            Reason.NOT_FOUND,
            "the engine has no such image",
            value=image,
            limit="an image of a node",
            remedy="build it: docker build -f deploy/Dockerfile -t NAME . (where no image registry is "
            f"reached: deploy/build-image.sh NAME), or {otherwise}",
        )


def _check_upgraded(network: ComposeNetwork) -> None:
    """Raise `UsageError` while an upgrade is not done: the newer version may have written a node's data."""
    begun = network.project.settings.get(UPGRADE)
    if begun is not None:
        raise UsageError(
            Reason.CONFIGURATION,
            "an upgrade of this network was broken off",
            value=begun,
            limit="nodes of one image",
            remedy=f"`{_spell_upgrade(network, begun)}` goes on with it, and starts what does not run; "
            f"`{_spell_upgrade(network, network.project.settings[IMAGE])}` goes back",
        )


def _spell_upgrade(network: ComposeNetwork, image: str) -> str:
    return f"tanpo net upgrade {image} --dir {shlex.quote(str(network.folder.root))}"


def _check_ports(node: NodePlace) -> None:
    for address in (node.address, node.ops_address):
        if not is_free(int(address.rpartition(":")[2])):
            raise UsageError(
                Reason.PORT_IN_USE,
                "a port is in use",
                value=address,
                limit=f"a free port for the node of {node.member}",
                remedy="stop what listens there (`ss -ltnp` names it: maybe a docker-proxy of an engine that "
                "was killed), or make another network with --dir",
            )


def _take_down(engine: Engine, project: Project, *, with_volumes: bool) -> None:
    volumes = ("--volumes",) if with_volumes else ()
    engine.run_compose(
        project,
        "down",
        "--remove-orphans",
        *volumes,
        environment={"COMPOSE_PROFILES": ",".join(PROFILES)},
    )
