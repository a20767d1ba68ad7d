"""The chart of one institution's node: what helm makes of it is valid for Kubernetes, and for the node.

`make chart-test` brings helm and the schemas. Without them these are skipped, and say so.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from tanpo.node.config import ExecutionMode, RetentionMode, load_config

yaml = pytest.importorskip("yaml", reason="NO YAML, so the chart is not tested: `make chart-test`")
jsonschema = pytest.importorskip(
    "jsonschema", reason="NO SCHEMAS, so the chart is not tested: `make chart-test`"
)
referencing = pytest.importorskip("referencing")

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy/helm/tanpo-node"
SCHEMAS = Path(os.environ.get("TANPO_SCHEMAS", ""))
OLDEST, NEWEST = "1.27", "1.37"
VALUES = {
    "node": {
        "member": "dealer-a",
        "peers": [
            {"member": "dealer-b", "node": "node-1", "address": "tanpo.dealer-b.example:7052"},
            {"member": "trust-bank", "node": "node-1", "address": "192.0.2.7:7052"},
        ],
        "timing": {"baseTimeoutMs": 2000, "lingerMs": 0},
        "snapshots": {"everyBlocks": 500, "joinBehindBlocks": 5000},
        "retention": {"mode": "pruned", "days": 30, "stateWindow": 2000},
    },
    "secret": {"existing": "dealer-a-keys"},
    "genesis": '{"network": "of \\"quotes\\""}',
}
AUTHORITY = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"
FOREIGN = "monitoring.coreos.com/v1"
"""A definition of the Prometheus operator, of which Kubernetes has no schema."""

pytestmark = pytest.mark.skipif(
    shutil.which("helm") is None, reason="NO HELM, so the chart is not tested: `make chart-test`"
)


def run_helm(tmp_path: Path, *arguments: str, **changes: Any) -> subprocess.CompletedProcess[str]:
    values = tmp_path / "values.yaml"
    values.write_text(yaml.safe_dump({**VALUES, **changes}))
    command = ["helm", *arguments, str(CHART), "--values", str(values)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def render(tmp_path: Path, **changes: Any) -> dict[tuple[str, str], Any]:
    """Return what helm makes of the chart, by kind and name."""
    done = run_helm(tmp_path, "template", "dealer-a", **changes)
    assert done.returncode == 0, done.stderr
    found = [one for one in yaml.safe_load_all(done.stdout) if one is not None]
    return {(one["kind"], one["metadata"]["name"]): one for one in found}


@cache
def load_schema(version: str, name: str) -> Any:
    return json.loads((SCHEMAS / version / name).read_text())


def validate(document: dict[str, Any], version: str) -> None:
    """Raise `jsonschema.ValidationError` unless a version of Kubernetes knows all that a document says."""
    group, _, api = document["apiVersion"].rpartition("/")
    kind = "-".join(part for part in (document["kind"].lower(), group.partition(".")[0], api) if part)
    schema, shared = load_schema(version, f"{kind}.json"), load_schema(version, "_definitions.json")
    registry = referencing.Resource.from_contents(shared) @ referencing.Registry()
    jsonschema.Draft202012Validator(schema, registry=registry).validate(document)


def test_helm_finds_nothing_to_say_about_it(tmp_path: Path) -> None:
    done = run_helm(tmp_path, "lint", "--strict")
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"initialise": True},
        {"rejoin": True, "serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}},
        {
            "persistence": {"storageClass": "local", "size": "1Ti"},
            "image": {"repository": "registry.example/tanpo", "tag": "2", "pullSecrets": ["token"]},
            "nodeSelector": {"disk": "local"},
            "tolerations": [{"key": "ledger", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "service": {
                "annotations": {"a": "b"},
                "peerAnnotations": {"c": "d"},
                "peerSourceRanges": ["192.0.2.0/24", "2001:db8::/32"],
            },
            "serviceAccount": {"existing": "ledger"},
            "networkPolicy": {
                "clients": [{"podSelector": {"matchLabels": {"app": "desk"}}}],
                "peers": [{"ipBlock": {"cidr": "192.0.2.0/24"}}],
                "operations": [{"namespaceSelector": {}}],
            },
            "priorityClassName": "ledger",
            "podLabels": {"cost": "desk"},
            "podAnnotations": {"inject": "no"},
        },
    ],
    ids=["plain", "initialise", "rejoin", "everything"],
)
def test_what_it_renders_is_valid_for_kubernetes(
    tmp_path: Path, version: str, changes: dict[str, Any]
) -> None:
    rendered = render(tmp_path, **changes)

    assert len(rendered) >= 7
    for one in rendered.values():
        if one["apiVersion"] != FOREIGN:
            validate(one, version)


def test_the_schemas_notice_a_field_that_does_not_exist(tmp_path: Path) -> None:
    broken = render(tmp_path)["StatefulSet", "dealer-a"]
    broken["spec"]["replica"] = 1
    with pytest.raises(jsonschema.ValidationError, match="replica"):
        validate(broken, NEWEST)


def test_the_node_accepts_its_configuration(tmp_path: Path) -> None:
    text = render(tmp_path)["ConfigMap", "dealer-a-config"]["data"]["node.toml"]
    (tmp_path / "node.toml").write_text(text)
    config = load_config(tmp_path / "node.toml")

    assert (config.member, config.node, config.execution) == ("dealer-a", "node-1", ExecutionMode.IN_PROCESS)
    assert [peer.address for peer in config.peers] == ["tanpo.dealer-b.example:7052", "192.0.2.7:7052"]
    assert (config.timing.base_timeout_ms, config.timing.linger_ms) == (2000, 0)
    assert (config.snapshots.every_blocks, config.snapshots.join_behind_blocks) == (500, 5000)
    assert (config.retention.mode, config.retention.days) == (RetentionMode.PRUNED, 30)
    assert config.retention.state_window == 2000
    assert config.signing_key == tmp_path / "validator.key"
    assert config.data_dir == Path("/var/lib/tanpo/data")


def test_the_genesis_is_the_same_bytes(tmp_path: Path) -> None:
    assert render(tmp_path)["ConfigMap", "dealer-a-genesis"]["data"] == {"genesis.json": VALUES["genesis"]}


def test_the_node_finds_every_file_that_its_configuration_names(tmp_path: Path) -> None:
    for is_validator in (True, False):
        node = {**VALUES["node"], "isValidator": is_validator}  # type: ignore[dict-item]  # one of several values
        rendered = render(tmp_path, node=node)
        config = tomllib.loads(rendered["ConfigMap", "dealer-a-config"]["data"]["node.toml"])
        volumes = rendered["StatefulSet", "dealer-a"]["spec"]["template"]["spec"]["volumes"]
        sources = next(one for one in volumes if one["name"] == "config")["projected"]["sources"]
        files = {
            item["path"] for source in sources for kind in source.values() for item in kind.get("items", [])
        }
        wanted = {
            config["genesis"],
            *config["tls"].values(),
            *([config["signing_key"]] if is_validator else []),
        }
        assert files == wanted


def test_a_peer_that_came_after_the_genesis_is_known_by_its_ca(tmp_path: Path) -> None:
    newcomer = {"member": "insurer", "node": "node-1", "address": "192.0.2.9:7052", "ca": AUTHORITY}
    node = {**VALUES["node"], "peers": [newcomer]}  # type: ignore[dict-item]  # one of several values
    data = render(tmp_path, node=node)["ConfigMap", "dealer-a-config"]["data"]
    (peer,) = tomllib.loads(data["node.toml"])["peers"]

    assert data[peer["ca"]] == AUTHORITY


def test_no_second_process_may_use_the_key(tmp_path: Path) -> None:
    rendered = render(tmp_path)
    assert rendered["StatefulSet", "dealer-a"]["spec"]["replicas"] == 1
    assert not [name for kind, name in rendered if kind == "Job"]


def test_a_volume_is_prepared_by_a_job_while_no_node_runs_and_survives_the_release(tmp_path: Path) -> None:
    rendered = render(tmp_path, initialise=True)
    job = rendered["Job", "dealer-a-initialise"]["spec"]
    (container,) = job["template"]["spec"]["containers"]

    assert rendered["StatefulSet", "dealer-a"]["spec"]["replicas"] == 0
    assert (job["backoffLimit"], container["args"][:2]) == (0, ["node", "init"])
    kept = rendered["PersistentVolumeClaim", "dealer-a-data"]["metadata"]["annotations"]
    assert kept["helm.sh/resource-policy"] == "keep"


def test_a_node_has_no_rights_and_writes_to_its_volume_alone(tmp_path: Path) -> None:
    pod = render(tmp_path)["StatefulSet", "dealer-a"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_nobody_elses_rights_are_the_nodes(tmp_path: Path) -> None:
    rendered = render(tmp_path)
    pod = rendered["StatefulSet", "dealer-a"]["spec"]["template"]["spec"]

    assert pod["serviceAccountName"] == "dealer-a"
    assert rendered["ServiceAccount", "dealer-a"]["automountServiceAccountToken"] is False
    assert not {kind for kind, _ in rendered} & {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"}

    rendered = render(tmp_path, serviceAccount={"existing": "ledger"})
    pod = rendered["StatefulSet", "dealer-a"]["spec"]["template"]["spec"]
    assert (pod["serviceAccountName"], pod["automountServiceAccountToken"]) == ("ledger", False)
    assert not [name for kind, name in rendered if kind == "ServiceAccount"]


def test_what_is_not_authenticated_is_reached_from_its_own_namespace_alone(tmp_path: Path) -> None:
    rendered = render(tmp_path)
    labels = rendered["StatefulSet", "dealer-a"]["spec"]["template"]["metadata"]["labels"]
    policy = rendered["NetworkPolicy", "dealer-a"]["spec"]
    sources = {rule["ports"][0]["port"]: rule.get("from") for rule in policy["ingress"]}

    assert policy["podSelector"]["matchLabels"].items() <= labels.items()
    assert sources == {"clients": None, "peers": None, "operations": [{"podSelector": {}}]}
    assert ("NetworkPolicy", "dealer-a") not in render(tmp_path, networkPolicy={"enabled": False})


def test_nodes_of_one_network_rather_run_on_different_machines(tmp_path: Path) -> None:
    template = render(tmp_path)["StatefulSet", "dealer-a"]["spec"]["template"]
    (rule,) = template["spec"]["affinity"]["podAntiAffinity"][
        "preferredDuringSchedulingIgnoredDuringExecution"
    ]
    term = rule["podAffinityTerm"]

    assert term["labelSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    assert (term["topologyKey"], term["namespaceSelector"]) == ("kubernetes.io/hostname", {})


def test_a_digest_names_the_image_whatever_the_tag(tmp_path: Path) -> None:
    digest = f"sha256:{'0' * 64}"
    image = {"repository": "registry.example/tanpo", "tag": "2", "digest": digest}
    (container,) = render(tmp_path, image=image)["StatefulSet", "dealer-a"]["spec"]["template"]["spec"][
        "containers"
    ]
    assert container["image"] == f"registry.example/tanpo@{digest}"


def test_services_and_the_monitor_select_the_pod_and_its_ports(tmp_path: Path) -> None:
    rendered = render(tmp_path, serviceMonitor={"enabled": True})
    template = rendered["StatefulSet", "dealer-a"]["spec"]["template"]
    labels = template["metadata"]["labels"]
    ports = {port["name"]: port["containerPort"] for port in template["spec"]["containers"][0]["ports"]}
    services = [one for (kind, _), one in rendered.items() if kind == "Service"]

    assert len(services) == 3
    for service in services:
        assert service["spec"]["selector"].items() <= labels.items()
        assert all(ports[port["targetPort"]] == port["port"] for port in service["spec"]["ports"])
    monitor = rendered["ServiceMonitor", "dealer-a"]["spec"]
    wanted = monitor["selector"]["matchLabels"].items()
    monitored = [one for one in services if wanted <= one["metadata"]["labels"].items()]
    assert [one["metadata"]["name"] for one in monitored] == ["dealer-a-operations"]
    assert monitor["endpoints"][0]["port"] in {port["name"] for port in monitored[0]["spec"]["ports"]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secret": {"existing": ""}}, "/secret/existing"),
        ({"node": {"member": "Dealer A", "peers": []}}, "/node/member"),
        (
            {"node": {"member": "a", "peers": [{"member": "b", "node": "c", "address": "d"}]}},
            "/node/peers/0/address",
        ),
        ({"replicas": 3}, "replicas"),
        ({"image": {"digest": "latest"}}, "/image/digest"),
        ({"service": {"peerSourceRanges": ["anybody"]}}, "/service/peerSourceRanges/0"),
        ({"genesis": ""}, "--set-file genesis=genesis.json"),
        ({"existingGenesis": "other"}, "leave one of them out"),
        ({"initialise": True, "rejoin": True}, "initialise and rejoin are both true"),
    ],
)
def test_values_that_cannot_be_are_refused_with_their_name(
    tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    done = run_helm(tmp_path, "template", "dealer-a", **changes)

    assert done.returncode != 0
    assert said in done.stderr


def test_the_chart_is_of_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())

    assert (chart["version"], chart["appVersion"]) == (version, version)
