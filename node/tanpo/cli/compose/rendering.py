"""The text of a compose file, of the settings beside it, and of what Prometheus and Grafana start with.

The file is the same for every network of the same members: ports, image and folder are settings, read from
`.env` beside it. `deploy/compose.yaml` is this text for four members. It uses nothing that docker-compose
1.28 does not know yet or that Compose 2 has dropped.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import version
from typing import Final

from tanpo.cli.layout import NodePlace

CLIENT_PORT: Final = 7051
PEER_PORT: Final = 7052
OPS_PORT: Final = 7053
"""What every node listens on in its container."""
CONFIG_DIR: Final = "/etc/tanpo"
DATA_DIR: Final = "/var/lib/tanpo"
IMAGE_USER: Final = 10001
"""The user of the image; that of files which root makes for a node."""
OBSERVER: Final = "observer"
MONITORING: Final = "monitoring"
PROFILES: Final = (OBSERVER, MONITORING)
BESIDE: Final = "beside"
"""Where in the folder of monitoring Prometheus finds the nodes that run beside the members'."""
PROMETHEUS_PORT: Final = 9090
GRAFANA_PORT: Final = 3000
_PROMETHEUS_IMAGE: Final = "prom/prometheus:v3.5.0"
_GRAFANA_IMAGE: Final = "grafana/grafana:12.1.1"
_BASE_PORT: Final = 17100
"""The first port where no setting says another."""

_HEAD: Final = """\
# A consortium in containers: each member its own node, with a network, a volume, a CA and keys of its own.
# For trying things out and for tests: one machine holds the keys of all.
#
# `tanpo net up --compose` makes the files that are mounted here, and a copy of this file with its settings
# (.env) beside them. This text is generated, from the members. For the settings see deploy/containers.md.

x-node: &node
  image: ${{TANPO_IMAGE:-{image}}}
  # Who may read the node's keys and write its volume: the image's own user, or whoever made the files.
  user: ${{TANPO_USER:-{user}:{user}}}
  environment:
    TANPO_EXECUTION: ${{TANPO_EXECUTION:-in-process}}
    TANPO_LOG_LEVEL: ${{TANPO_LOG_LEVEL:-info}}
    TANPO_MAY_REJOIN: ${{TANPO_MAY_REJOIN:-false}}
  read_only: true
  tmpfs:
    - /tmp:mode=1777,size=64m
  cap_drop:
    - ALL
  security_opt:
    - no-new-privileges:true
  # A node that ended says why, and most reasons do not go away by starting it again.
  restart: "no"
  stop_grace_period: 30s
  logging:
    driver: json-file
    options:
      max-size: 20m
      max-file: "3"

services:
"""

_NODE: Final = """\
  {service}:
    <<: *node
    hostname: {service}
{profile}    networks:
      - consortium
      - {service}
    ports:
      - "127.0.0.1:${{{setting}_PORT:-{port}}}:{client}"
      - "127.0.0.1:${{{setting}_OPS_PORT:-{ops_port}}}:{ops}"
    volumes:
      - ${{TANPO_NET:-../.net}}/{service}/etc:{config_dir}:ro
      - {service}:{data_dir}

"""

_MONITORING: Final = """\
  prometheus:
    image: ${{TANPO_PROMETHEUS_IMAGE:-{prometheus}}}
    profiles:
      - monitoring
    networks:
      - consortium
    ports:
      - "127.0.0.1:${{TANPO_PROMETHEUS_PORT:-{prometheus_port}}}:9090"
    volumes:
      - ${{TANPO_NET:-../.net}}/monitoring/prometheus.yml:/etc/prometheus/prometheus.yml:ro
      - ${{TANPO_NET:-../.net}}/monitoring/beside:/etc/prometheus/beside:ro
      - ${{TANPO_MONITORING:-./monitoring}}:/etc/prometheus/tanpo:ro
      - prometheus:/prometheus

  grafana:
    image: ${{TANPO_GRAFANA_IMAGE:-{grafana}}}
    profiles:
      - monitoring
    networks:
      - consortium
    ports:
      - "127.0.0.1:${{TANPO_GRAFANA_PORT:-{grafana_port}}}:3000"
    volumes:
      - ${{TANPO_NET:-../.net}}/monitoring/datasources.yml:/etc/grafana/provisioning/datasources/tanpo.yml:ro
      - ${{TANPO_NET:-../.net}}/monitoring/dashboards.yml:/etc/grafana/provisioning/dashboards/tanpo.yml:ro
      - ${{TANPO_MONITORING:-./monitoring}}:/var/lib/grafana/tanpo:ro
      - grafana:/var/lib/grafana

"""

_PROMETHEUS_CONFIG: Final = """\
global:
  scrape_interval: 5s
  evaluation_interval: 5s

rule_files:
  - /etc/prometheus/tanpo/*alerts*.yml
  - /etc/prometheus/tanpo/*alerts*.yaml

scrape_configs:
  - job_name: tanpo
    # Nodes that are started only when somebody asks for them: a file here for each that should be up.
    file_sd_configs:
      - files: [/etc/prometheus/beside/*.yml]
        refresh_interval: 5s
    static_configs:
"""

_DATASOURCES: Final = """\
apiVersion: 1
datasources:
  - name: Prometheus
    type: prometheus
    uid: prometheus
    url: http://prometheus:9090
    isDefault: true
"""

_DASHBOARDS: Final = """\
apiVersion: 1
providers:
  - name: tanpo
    type: file
    options:
      path: /var/lib/grafana/tanpo
"""


def get_default_image() -> str:
    """Return the name of the image that this version's nodes run from."""
    return f"tanpo:{version('tanpo')}"


def render_compose(services: Sequence[str]) -> str:
    """Return the compose file of nodes, named by the members' services; an observer and monitoring beside."""
    nodes = [_render_node(name, position) for position, name in enumerate((*services, OBSERVER))]
    monitoring = _MONITORING.format(
        prometheus=_PROMETHEUS_IMAGE,
        grafana=_GRAFANA_IMAGE,
        prometheus_port=PROMETHEUS_PORT,
        grafana_port=GRAFANA_PORT,
    )
    # The members' networks come first: what is sent to a published port goes on to the member's own.
    networks = "".join(f"  {name}: {{}}\n" for name in ("consortium", *services, OBSERVER))
    volumes = "".join(f"  {name}: {{}}\n" for name in (*services, OBSERVER, "prometheus", "grafana"))
    head = _HEAD.format(image=get_default_image(), user=IMAGE_USER)
    return f"{head}{''.join(nodes)}{monitoring}networks:\n{networks}\nvolumes:\n{volumes}"


def render_settings(settings: dict[str, str]) -> str:
    """Return the text of `.env`."""
    return "".join(f"{name}={value}\n" for name, value in settings.items())


def parse_settings(text: str) -> dict[str, str]:
    """Return the settings in the text of `.env`, as we write it."""
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def list_ports(service: str, client: str, operations: str) -> dict[str, str]:
    """Return the settings of a service's ports, from its addresses on this machine."""
    name = _get_setting(service)
    return {f"{name}_PORT": client.rpartition(":")[2], f"{name}_OPS_PORT": operations.rpartition(":")[2]}


def render_prometheus(nodes: Sequence[NodePlace]) -> str:
    """Return the configuration with which Prometheus asks every member's node, and those noted beside."""
    targets = (_render_target(node.member, node.member, node.node) for node in nodes)
    return _PROMETHEUS_CONFIG + "".join(f"      {line}\n" for target in targets for line in target)


def render_beside(member: str) -> str:
    """Return the note from which Prometheus knows that the observer, a node of `member`, should be up."""
    return "".join(f"{line}\n" for line in _render_target(OBSERVER, member, OBSERVER))


def render_grafana() -> dict[str, str]:
    """Return the files from which Grafana knows Prometheus and the dashboards, by their names."""
    return {"datasources.yml": _DATASOURCES, "dashboards.yml": _DASHBOARDS}


def _render_target(service: str, member: str, node: str) -> tuple[str, ...]:
    return f"- targets: [{service}:{OPS_PORT}]", f"  labels: {{member: {member}, node: {node}}}"


def _render_node(service: str, position: int) -> str:
    return _NODE.format(
        service=service,
        setting=_get_setting(service),
        profile=f"    profiles:\n      - {OBSERVER}\n" if service == OBSERVER else "",
        port=_BASE_PORT + 2 * position,
        ops_port=_BASE_PORT + 2 * position + 1,
        client=CLIENT_PORT,
        ops=OPS_PORT,
        config_dir=CONFIG_DIR,
        data_dir=DATA_DIR,
    )


def _get_setting(service: str) -> str:
    return f"TANPO_{service.upper().replace('-', '_')}"
