"""Asks a node on this machine how it is, over its operators' port: no certificate is needed for that."""

from __future__ import annotations

import http.client
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from prometheus_client.parser import text_string_to_metric_families
from tanpo.ledger.membership import Registration
from tanpo.node.config import split_address
from tanpo.node.ops import decode_authorities

TIMEOUT_S: Final = 3.0
ANSWER_BYTES_MAX: Final = 16 << 20

_ANY_HOST: Final = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  # what to dial for it, not to listen on


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeReading:
    """What a running node says: why it is not ready, its metrics without labels, by name, and the CAs of the
    members, of which it tells nothing else: None if it is of a version that does not."""

    obstacles: tuple[str, ...]
    metrics: Mapping[str, float]
    labels: Mapping[str, Mapping[str, str]]
    text: str
    members: tuple[Registration, ...] | None

    def get(self, name: str) -> int:
        """Return a metric as a whole number, 0 if the node does not have it."""
        return int(self.metrics.get(name, 0))


def find_reading(ops_listen: str) -> NodeReading | None:
    """Return what the node that listens there says, None if there is none that answers."""
    host, port = split_address(ops_listen)
    if port == 0:
        return None
    try:
        obstacles = json.loads(_get(host, port, "/readyz"))["obstacles"]
        text = _get(host, port, "/metrics")
        metrics, labels = _parse(text)
        members = _find_members(host, port)
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    return NodeReading(
        obstacles=tuple(map(str, obstacles)), metrics=metrics, labels=labels, text=text, members=members
    )


def _find_members(host: str, port: int) -> tuple[Registration, ...] | None:
    try:
        return decode_authorities(_get(host, port, "/authorities"))
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _get(host: str, port: int, path: str) -> str:
    connection = http.client.HTTPConnection(_ANY_HOST.get(host, host), port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", path)
        return connection.getresponse().read(ANSWER_BYTES_MAX).decode("utf-8", "replace")
    finally:
        connection.close()


def _parse(text: str) -> tuple[dict[str, float], dict[str, dict[str, str]]]:
    metrics: dict[str, float] = {}
    labels: dict[str, dict[str, str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if not sample.labels:
                metrics[sample.name] = sample.value
            elif family.type == "gauge" and sample.name.endswith("_info"):
                labels[sample.name] = dict(sample.labels)
    return metrics, labels
