"""The image: what is in it, what is not, and as whom it runs."""

from __future__ import annotations

import json
from pathlib import Path

import docker
import pytest
from tanpo.cli.compose import ComposeNetwork

ROOT = Path(__file__).resolve().parents[2]
IMAGE_BYTES_MAX = 250_000_000
LIST_INSTALLED = """
import importlib.metadata as found, json
names = {one.metadata["Name"].lower().replace("_", "-"): one.version for one in found.distributions()}
print(json.dumps(names))
"""
TRY_TO_WRITE = (
    "id -u; grep CapEff /proc/self/status; touch /opt/tanpo/x /etc/tanpo/x /x 2>&1; touch /var/lib/tanpo/x"
)


def test_it_is_small(engine: docker.DockerClient, image: str) -> None:
    assert engine.images.get(image).attrs["Size"] < IMAGE_BYTES_MAX


def test_it_has_the_versions_of_the_lock_file_and_nothing_to_install_others_with(
    engine: docker.DockerClient, image: str
) -> None:
    lines = (ROOT / "requirements-ci.lock").read_text().splitlines()
    locked = dict(line.split("==") for line in lines if "==" in line)
    printed = engine.containers.run(
        image,
        ["-c", LIST_INSTALLED],
        entrypoint=["/opt/tanpo/bin/python", "-P"],
        tmpfs={"/var/lib/tanpo": ""},  # Else a volume without a name would be left behind.
        remove=True,
    )
    installed = json.loads(printed)

    assert installed.pop("tanpo")
    assert {"plyvel", "grpcio", "cryptography"} <= installed.keys()
    assert {name: version for name, version in installed.items() if locked.get(name) != version} == {}


def test_it_tells_nothing_of_how_the_builder_reached_its_packages(
    engine: docker.DockerClient, image: str
) -> None:
    told = json.dumps([engine.images.get(image).history(), engine.images.get(image).attrs])

    assert "HEALTHCHECK" in told
    assert [word for word in ("PIP_", "PROXY", "proxy", "authorities.crt") if word in told] == []


def test_a_node_has_no_rights_and_writes_nothing_but_its_volume(
    engine: docker.DockerClient, network: ComposeNetwork
) -> None:
    container = engine.containers.get(network.find_container("dealer-a"))
    lines = container.exec_run(["sh", "-c", TRY_TO_WRITE]).output.decode().splitlines()

    assert lines[0] != "0"
    assert lines[1].split() == ["CapEff:", "0000000000000000"]
    assert [line.rsplit(":", 1)[1].strip() for line in lines[2:]] == ["Read-only file system"] * 3


@pytest.mark.parametrize(("port", "code", "said"), [(7053, 0, "200 OK"), (7099, 1, "no answer")])
def test_the_health_check_asks_the_operations_port(
    engine: docker.DockerClient, network: ComposeNetwork, port: int, code: int, said: str
) -> None:
    container = engine.containers.get(network.find_container("dealer-a"))
    check = engine.images.get(container.attrs["Config"]["Image"]).attrs["Config"]["Healthcheck"]["Test"]
    done = container.exec_run(check[1:], environment={"TANPO_OPS_LISTEN": f"0.0.0.0:{port}"})

    assert check[0] == "CMD"
    assert (done.exit_code, said in done.output.decode()) == (code, True)


def test_a_configuration_that_is_missing_is_one_clear_line(engine: docker.DockerClient, image: str) -> None:
    container = engine.containers.run(image, detach=True, read_only=True)
    try:
        assert container.wait(timeout=60)["StatusCode"] == 2
        lines = container.logs().decode().splitlines()
    finally:
        container.remove(force=True, v=True)
    assert len(lines) == 1
    assert "/etc/tanpo/node.toml" in lines[0]
