"""Containers as the place where a network's nodes run: addresses, the files that each may read, its volume.

A node's container sees its folder `etc/` and its volume, and nothing of the keys that are its member's alone.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tanpo.cli.compose import rendering
from tanpo.cli.compose.engine import Engine, Project
from tanpo.cli.founding.secrets import write_node_secrets
from tanpo.cli.founding.settings import Place, Sharing, write_config, write_profiles
from tanpo.cli.layout import NODE_NAME, MemberFiles, NetworkFolder, NodePlace
from tanpo.cli.ports import LOOPBACK
from tanpo.ledger.errors import Reason, UsageError
from tanpo.ledger.genesis import Genesis
from tanpo.ledger.types import MemberId
from tanpo.node.pki import Authority

NODE_DIR: Final = "etc"
"""What of a member's folder the node's container sees."""
SETTINGS_FILE: Final = ".env"
IMAGE: Final = "TANPO_IMAGE"
UPGRADE: Final = "TANPO_UPGRADE"
"""The image of an upgrade that is under way: its nodes may have written what those of before cannot read."""
MONITORING_SOURCES: Final = Path("deploy/monitoring")
"""Where a checkout keeps its alert rules and dashboards."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerSite:
    """Containers that an engine runs from one image, each published on two loopback ports of this machine."""

    engine: Engine
    image: str

    @property
    def ports_a_node(self) -> int:
        """One for clients and one for operations: nodes reach each other by a network of their own."""
        return 2

    @property
    def ports_beside(self) -> int:
        """Those of the observer, of Prometheus and of Grafana."""
        return 4

    def find_node(self, member: str, port: int) -> NodePlace:
        """Return a node whose container is named for its member."""
        return _find_node(member, NODE_NAME, member, port)

    def get_node_files(self, files: MemberFiles) -> MemberFiles:
        """Return the part of the member's folder that the container sees."""
        return MemberFiles(root=files.root / NODE_DIR)

    def find_place(self, folder: NetworkFolder, _node: NodePlace, /) -> Place:
        """Return the place that all containers have inside."""
        return Place(
            listen=f"0.0.0.0:{rendering.CLIENT_PORT}",
            peer_listen=f"0.0.0.0:{rendering.PEER_PORT}",
            ops_listen=f"0.0.0.0:{rendering.OPS_PORT}",
            data_dir=Path(rendering.DATA_DIR) / "data",
            genesis=Path(folder.genesis.name),
        )

    def prepare(self, folder: NetworkFolder, _genesis: Genesis, nodes: tuple[NodePlace, ...], /) -> None:
        """Write how the containers run, make them with their volumes, and prepare each node's data.

        Raises:
            UsageError: containers or volumes of a network that was in this folder are still there.
        """
        _check_unclaimed(self.engine, _name_project(folder))
        first_beside = max(int(node.ops_address.rpartition(":")[2]) for node in nodes) + 1
        observer = _find_node(nodes[0].member, rendering.OBSERVER, rendering.OBSERVER, first_beside)
        self._write_observer(folder, nodes, observer)
        services = (*(node.member for node in nodes), rendering.OBSERVER)
        for service in services:
            node_files = self.get_node_files(folder.get_member(service))
            shutil.copyfile(folder.genesis, node_files.root / folder.genesis.name)
            _give_to_node(node_files.root)
        settings = self._list_settings(
            folder, dict(zip(services, (*nodes, observer), strict=True)), first_beside
        )
        (folder.root / SETTINGS_FILE).write_text(rendering.render_settings(settings))
        # After the settings: where it is, the project can be taken down again.
        folder.compose.write_text(rendering.render_compose(services[:-1]))
        _write_monitoring(folder, nodes)
        self._prepare_data(open_project(folder), services[:-1])

    def _write_observer(
        self, folder: NetworkFolder, nodes: tuple[NodePlace, ...], observer: NodePlace
    ) -> None:
        """Write the files of a further node of the first member, which follows and never votes."""
        member_files, files = folder.get_member(observer.member), folder.get_member(rendering.OBSERVER)
        node_files = self.get_node_files(files)
        node_files.root.mkdir(mode=0o700, parents=True)
        files.root.chmod(0o700)
        certificate, private_key = member_files.pem("ca")
        authority = Authority.load(
            MemberId(observer.member), certificate.read_bytes(), private_key.read_bytes()
        )
        write_node_secrets(node_files, authority, observer.node)
        place = self.find_place(folder, observer)
        sharing = Sharing(clients=tuple(one.member for one in nodes), verify_threads=0, has_key=False)
        write_config(node_files, observer, nodes, place, sharing)
        for name in ("client", "operator"):
            for path in member_files.pem(name):
                shutil.copy2(path, files.root / path.name)
        shutil.copy2(member_files.transaction_key, files.transaction_key)
        write_profiles(
            files, observer, (), genesis=folder.shared_genesis, authorities=folder.shared_authorities
        )

    def _list_settings(
        self, folder: NetworkFolder, places: Mapping[str, NodePlace], first_beside: int
    ) -> dict[str, str]:
        owner = rendering.IMAGE_USER if os.getuid() == 0 else os.getuid()
        group = rendering.IMAGE_USER if os.getuid() == 0 else os.getgid()
        sources = MONITORING_SOURCES.absolute()
        settings = {
            "COMPOSE_PROJECT_NAME": _name_project(folder),
            IMAGE: self.image,
            "TANPO_USER": f"{owner}:{group}",
            "TANPO_NET": ".",
            "TANPO_MONITORING": str(sources) if sources.is_dir() else "./monitoring",
            "TANPO_PROMETHEUS_PORT": str(first_beside + 2),
            "TANPO_GRAFANA_PORT": str(first_beside + 3),
        }
        for service, place in places.items():
            settings |= rendering.list_ports(service, place.address, place.ops_address)
        return settings

    def _prepare_data(self, project: Project, services: tuple[str, ...]) -> None:
        """Have each node prepare its data in its volume, once: one that is lost is not prepared again."""
        self.engine.run_compose(project, "up", "--no-start", *services)
        with ThreadPoolExecutor(max_workers=len(services)) as pool:
            for _ in pool.map(lambda service: self._prepare_volume(project, service), services):
                pass

    def _prepare_volume(self, project: Project, service: str) -> None:
        # Not by Compose: docker-compose takes a second of a core for each command. The node's container has
        # its mounts by now.
        (container,) = self.engine.list_containers(project.name, service)
        confined = ("--network", "none", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")  # noqa: S108 - in it
        mounted = ("--volumes-from", container, "--user", project.settings["TANPO_USER"])
        init = ("node", "init", f"{rendering.CONFIG_DIR}/node.toml")
        self.engine.run_docker("run", "--rm", *confined, *mounted, self.image, *init)


def open_project(folder: NetworkFolder) -> Project:
    """Return the compose project of a network's folder, as its settings say."""
    settings = rendering.parse_settings((folder.root / SETTINGS_FILE).read_text())
    return Project(name=settings["COMPOSE_PROJECT_NAME"], file=folder.compose, settings=settings)


def save_settings(folder: NetworkFolder, project: Project, changes: Mapping[str, str]) -> Project:
    """Change settings of a folder, from its nodes' next start on; one that is empty goes."""
    settings = {name: value for name, value in {**project.settings, **changes}.items() if value}
    path = folder.root / SETTINGS_FILE
    scratch = path.with_suffix(".new")
    scratch.write_text(rendering.render_settings(settings))
    scratch.replace(path)
    return open_project(folder)


def note_observer(folder: NetworkFolder, nodes: tuple[NodePlace, ...], *, is_wanted: bool) -> None:
    """Have Prometheus ask the observer, and raise an alert while it is down, from now on or no more."""
    note = folder.root / rendering.MONITORING / rendering.BESIDE / f"{rendering.OBSERVER}.yml"
    if is_wanted:
        note.parent.mkdir(exist_ok=True)
        note.write_text(rendering.render_beside(nodes[0].member))
    else:
        note.unlink(missing_ok=True)


def _name_project(folder: NetworkFolder) -> str:
    return f"tanpo-{hashlib.sha256(os.fsencode(folder.root)).hexdigest()[:10]}"


def _check_unclaimed(engine: Engine, project: str) -> None:
    """Refuse to make a network where one was whose folder was removed by hand.

    Its containers and volumes go by the name that ours would have. What is in them is not ours to remove, and
    a node that finds another's votes in its volume does not start.
    """
    if not engine.list_containers(project) and not engine.list_volumes(project):
        return
    ours = f"--filter label=com.docker.compose.project={project}"
    raise UsageError(
        Reason.CONFIGURATION,
        "a network was made in this folder before, and its containers or volumes are still there",
        value=project,
        limit="a folder whose network was removed with `tanpo net down --delete`",
        remedy="choose another --dir, or remove them with all their data: "
        f"docker rm --force $(docker ps -aq {ours}); docker volume rm $(docker volume ls -q {ours})",
    )


def _find_node(member: str, node: str, service: str, port: int) -> NodePlace:
    return NodePlace(
        member=member,
        node=node,
        address=f"{LOOPBACK}:{port}",
        peer_address=f"{service}:{rendering.PEER_PORT}",
        ops_address=f"{LOOPBACK}:{port + 1}",
    )


def _give_to_node(directory: Path) -> None:
    """Let the container's user read the files, which nobody else may."""
    if os.getuid() != 0:
        return  # The container runs as whoever made them.
    for path in (directory, *directory.iterdir()):
        os.chown(path, rendering.IMAGE_USER, rendering.IMAGE_USER)


def _write_monitoring(folder: NetworkFolder, nodes: tuple[NodePlace, ...]) -> None:
    directory = folder.root / rendering.MONITORING
    (directory / rendering.BESIDE).mkdir(parents=True)
    files = {"prometheus.yml": rendering.render_prometheus(nodes), **rendering.render_grafana()}
    for name, text in files.items():
        (directory / name).write_text(text)
