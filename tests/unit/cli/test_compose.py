"""A network of containers: what its file says, and what is said where there is no engine, image or port.

The engine here is a script that answers as `docker` does; tests/docker has the real one.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from tanpo.cli.compose import ComposeNetwork
from tanpo.cli.compose.engine import Engine, Project
from tanpo.cli.compose.rendering import (
    parse_settings,
    render_compose,
    render_prometheus,
    render_settings,
)
from tanpo.cli.compose.site import UPGRADE, note_observer, save_settings
from tanpo.cli.layout import NetworkFolder, NodePlace
from tanpo.cli.networks import undo_half
from tanpo.cli.ports import is_free
from tanpo.cli.provision import plan_network
from tanpo.ledger.errors import LedgerError, Reason, Unavailable, UsageError

ANSWERS = """\
case "$1" in
version) echo 20.10.24 ;;
compose) exit 1 ;;
image) exit 0 ;;
ps) case "$*" in *status=running*) ;; *compose.service=*) echo 0123456789ab ;; esac ;;
esac
"""
Fake = Callable[[str, str], None]


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fake:
    """A way to put commands on a path that has no others."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def write(name: str, script: str) -> None:
        (folder / name).write_text(f"#!/bin/sh\n{script}")
        (folder / name).chmod(0o755)

    return write


def create(folder: Path, *, base_port: int | None = None) -> LedgerError:
    """Try to make a network, and return why it was not."""
    with pytest.raises(LedgerError) as refused:
        ComposeNetwork.create(folder, plan_network(4), image="tanpo:test", base_port=base_port)
    return refused.value


def test_without_docker_the_remedy_is_to_install_it(tmp_path: Path, fake: Fake) -> None:
    error = create(tmp_path / "net")

    assert isinstance(error, UsageError)
    assert "no docker command" in error.message
    assert "apt-get install docker.io" in error.remedy


def test_an_engine_that_does_not_answer_is_told_in_its_own_words(tmp_path: Path, fake: Fake) -> None:
    fake("docker", "echo 'Cannot connect to the Docker daemon at unix:///x.sock.' >&2; exit 1")
    error = create(tmp_path / "net")

    assert isinstance(error, Unavailable)
    assert "Cannot connect to the Docker daemon at unix:///x.sock." in error.message
    assert "start it" in error.remedy


@pytest.mark.parametrize(
    ("version", "message"), [(None, "no Docker Compose"), ("1.25.0", "too old"), ("", "too old")]
)
def test_a_compose_that_is_missing_or_too_old_is_refused(
    tmp_path: Path, fake: Fake, version: str | None, message: str
) -> None:
    fake("docker", ANSWERS)
    if version is not None:
        fake("docker-compose", f"echo {version}")
    error = create(tmp_path / "net")

    assert message in error.message
    assert error.value == (version or ("docker compose" if version is None else "no version"))
    assert "docker-compose-plugin" in error.remedy


def test_an_image_that_is_missing_is_named_with_how_to_build_it(tmp_path: Path, fake: Fake) -> None:
    fake("docker", ANSWERS.replace("image) exit 0", "image) exit 1"))
    fake("docker-compose", "echo 1.29.2")
    error = create(tmp_path / "net")

    assert (error.reason, error.value) == (Reason.NOT_FOUND, "tanpo:test")
    assert "deploy/build-image.sh" in error.remedy


def test_a_port_in_use_is_refused_before_anything_is_made(tmp_path: Path, fake: Fake) -> None:
    fake("docker", ANSWERS)
    fake("docker-compose", "echo 1.29.2")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = create(tmp_path / "net", base_port=port)

    assert error.value == f"127.0.0.1:{port}"
    assert not (tmp_path / "net").exists()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "ERROR: for dealer-a  driver failed: Bind for 127.0.0.1:1 failed: port is already allocated\n"
            "Encountered errors while bringing up the project.",
            "PORT_IN_USE",
        ),
        ("Error response from daemon: pull access denied for tanpo", "NOT_FOUND"),
        ("write /var/lib/x: no space left on device", "DISK_FULL"),
        ("Error response from daemon: something new", "UNREACHABLE"),
        ("tanpo: DISK_FULL: what a node says\nERROR: 1", "UNREACHABLE"),
    ],
)
def test_what_the_engine_refuses_leaves_nothing_behind(
    tmp_path: Path, fake: Fake, said: str, reason: str
) -> None:
    fake("docker", ANSWERS)
    fake(
        "docker-compose",
        f'case "$*" in version*) echo 1.29.2 ;; *down*) echo "$@" > {tmp_path}/down ;; '
        f"*) echo 'Creating network x' >&2; echo '{said}' >&2; exit 1 ;; esac",
    )
    error = create(tmp_path / "net")

    assert error.reason == reason
    assert error.value.startswith("up --no-start")
    assert said.splitlines()[0] in error.message
    assert list((tmp_path / "net").iterdir()) == []
    assert "--volumes" in (tmp_path / "down").read_text()


@pytest.mark.parametrize(
    "said",
    [
        'Get "https://registry.example/v2/": dial tcp: lookup registry.example: no such host',
        'Get "https://registry.example/v2/": net/http: request canceled (Client.Timeout exceeded)',
    ],
)
def test_an_image_that_cannot_be_fetched_is_named(tmp_path: Path, fake: Fake, said: str) -> None:
    fake("docker", ANSWERS)
    fake(
        "docker-compose",
        'case "$*" in version*) echo 1.29.2 ;; '
        f"*) echo 'Pulling grafana (grafana/grafana:1)...' >&2; echo '{said}' >&2; exit 1 ;; esac",
    )
    project = Project(name="x", file=tmp_path / "compose.yaml", settings={})

    with pytest.raises(UsageError) as refused:
        Engine.find().run_compose(project, "up", "--detach", "grafana")

    assert (refused.value.reason, refused.value.value) == (Reason.NOT_FOUND, "grafana/grafana:1")
    assert "TANPO_GRAFANA_IMAGE" in refused.value.remedy


@pytest.mark.parametrize("found", ["ps", "volume"])
def test_what_a_removed_folder_left_behind_is_named_and_not_removed(
    tmp_path: Path, fake: Fake, found: str
) -> None:
    fake("docker", f'case "$1" in {found}) echo 0123456789ab ;; compose) exit 1 ;; esac')
    fake("docker-compose", f'case "$*" in version*) echo 1.29.2 ;; *) echo "$@" > {tmp_path}/asked ;; esac')
    error = create(tmp_path / "net")

    assert isinstance(error, UsageError)
    assert "still there" in error.message
    assert f"label=com.docker.compose.project={error.value}" in error.remedy
    assert list((tmp_path / "net").iterdir()) == []
    assert not (tmp_path / "asked").exists()


@pytest.mark.parametrize(
    "said",
    [
        "docker.errors.DockerException: Error while fetching server API version: (2, No such file)",
        "Cannot connect to the Docker daemon at unix:///x.sock. Is the docker daemon running?",
        "Couldn't connect to Docker daemon at http+unix://x.sock - is it running?",
        "error during connect: Get http://x.sock/v1.24/containers/json: EOF",
    ],
)
def test_an_engine_that_goes_away_is_told_apart_from_one_that_refuses(
    tmp_path: Path, fake: Fake, said: str
) -> None:
    fake("docker", ANSWERS)
    fake(
        "docker-compose",
        f'[ "$1" = version ] && echo 1.29.2 && exit; echo "ERROR: {said}" >&2; '
        "echo 'If it is at a non-standard location, say so.' >&2; exit 1",
    )
    with pytest.raises(LedgerError) as refused:
        Engine.find().run_compose(Project(name="x", file=tmp_path / "compose.yaml", settings={}), "up")

    assert refused.value.message == f"the container engine does not answer: ERROR: {said}"
    assert "start it" in refused.value.remedy


def test_what_an_upgrade_left_is_not_taken_back_by_a_start(tmp_path: Path, fake: Fake) -> None:
    fake("docker", ANSWERS)
    fake("docker-compose", "[ $1 != version ] || echo 1.29.2")
    network = ComposeNetwork.create(tmp_path / "my net", plan_network(4), image="tanpo:1")
    network.stop()  # It holds its ports.
    save_settings(network.folder, network.project, {UPGRADE: "tanpo:2"})

    with pytest.raises(UsageError, match="an upgrade of this network was broken off") as refused:
        ComposeNetwork.open(tmp_path / "my net").start()
    folder = f"--dir '{tmp_path}/my net'"
    assert f"`tanpo net upgrade tanpo:2 {folder}` goes on" in refused.value.remedy
    assert f"`tanpo net upgrade tanpo:1 {folder}` goes back" in refused.value.remedy


def test_to_start_none_is_not_to_start_all(tmp_path: Path, fake: Fake) -> None:
    fake("docker", ANSWERS)
    fake(
        "docker-compose",
        f'case "$*" in version*) echo 1.29.2 ;; *--detach*) echo "$@" > {tmp_path}/up ;; esac',
    )
    network = ComposeNetwork.create(tmp_path / "net", plan_network(4), image="tanpo:test")
    network.stop()  # It holds its ports.

    network.start([])
    assert not (tmp_path / "up").exists()


def test_of_two_containers_of_a_service_one_is_kept_that_runs_or_else_the_newest(fake: Fake) -> None:
    listed = """\
n1 dealer-a Created
n2 dealer-b Exited (137) 2 seconds ago
n3 custody-bank Up 3 minutes (healthy)
o1 dealer-a Exited (0) 3 minutes ago
o2 dealer-b Up 3 minutes (healthy)"""
    fake("docker", f"case \"$1\" in ps) echo '{listed}' ;; *) exit 1 ;; esac")

    assert Engine(docker="docker", compose=("docker-compose",)).find_doubles("net") == ["o1", "n2"]


def test_half_a_network_is_removed_with_its_containers_and_volumes(tmp_path: Path, fake: Fake) -> None:
    fake("docker", ANSWERS)
    fake(
        "docker-compose", f'case "$*" in version*) echo 1.29.2 ;; *down*) echo "$@" > {tmp_path}/down ;; esac'
    )
    network = ComposeNetwork.create(tmp_path / "net", plan_network(4), image="tanpo:test")
    network.stop()  # It holds its ports.
    network.folder.unfinished.touch()  # As if it had been killed in the midst of it.

    assert undo_half(tmp_path / "net")
    assert list((tmp_path / "net").iterdir()) == []
    assert f"--project-name {network.project.name} " in (tmp_path / "down").read_text()
    assert "--volumes" in (tmp_path / "down").read_text()


def test_a_node_sees_no_key_that_is_its_members_alone(tmp_path: Path, fake: Fake) -> None:
    fake("docker", ANSWERS)
    fake("docker-compose", "[ $1 != version ] || echo 1.29.2")
    network = ComposeNetwork.create(tmp_path / "net", plan_network(4), image="tanpo:test")

    for service in (*network.members, "observer"):
        seen = {path.name for path in (tmp_path / "net" / service / "etc").iterdir()}
        wanted = {"node.toml", "genesis.json", "ca.crt", "node.crt", "node.key", "validator.key"}
        assert seen == (wanted if service != "observer" else wanted - {"validator.key"})
    settings = parse_settings((tmp_path / "net" / ".env").read_text())
    assert settings["TANPO_IMAGE"] == "tanpo:test"
    assert all(is_free(int(value)) for name, value in settings.items() if name.endswith("_PORT"))
    network.stop()


def test_every_node_has_a_network_and_a_volume_of_its_own() -> None:
    text = render_compose(["alpha", "beta"])
    networks = text[text.index("\nnetworks:") : text.index("\nvolumes:")]
    volumes = text[text.index("\nvolumes:") :]

    assert [line.strip() for line in networks.splitlines()[2:] if line] == [
        "consortium: {}",
        "alpha: {}",
        "beta: {}",
        "observer: {}",
    ]
    assert "  alpha: {}" in volumes
    assert "${TANPO_ALPHA_PORT:-17100}:7051" in text
    assert "alpha/etc:/etc/tanpo:ro" in text


def test_settings_read_back() -> None:
    settings = {"TANPO_IMAGE": "registry/tanpo:1=2", "TANPO_NET": "."}

    assert parse_settings(render_settings(settings)) == settings


def test_prometheus_asks_every_member_and_the_observer_only_while_it_should_be_up(tmp_path: Path) -> None:
    place = NodePlace(
        member="alpha",
        node="node-1",
        address="127.0.0.1:1",
        peer_address="alpha:7052",
        ops_address="127.0.0.1:2",
    )
    text = render_prometheus((place,))

    assert "- targets: [alpha:7053]\n        labels: {member: alpha, node: node-1}" in text
    assert "observer" not in text
    assert "/etc/prometheus/beside/*.yml" in text
    folder, note = NetworkFolder(root=tmp_path), tmp_path / "monitoring" / "beside" / "observer.yml"
    note.parent.mkdir(parents=True)
    note_observer(folder, (place,), is_wanted=True)
    assert note.read_text() == "- targets: [observer:7053]\n  labels: {member: alpha, node: observer}\n"
    note_observer(folder, (place,), is_wanted=False)
    assert not note.exists()
