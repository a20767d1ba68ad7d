"""The monitoring that is shipped, run as it is shipped: Prometheus itself, on a network of real processes."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest
from tanpo.cli.bench.book import SwapPress, open_book
from tanpo.cli.compose.rendering import OPS_PORT, render_beside, render_prometheus
from tanpo.cli.demo.desk import Desk
from tanpo.cli.network import LocalNetwork
from tanpo.cli.provision import plan_network
from tanpo.cli.samples import load_catalog
from tanpo.ledger.errors import TransactionRejected
from tanpo.ledger.transaction import Call
from tanpo.testing.commands import run_tanpo_here
from tanpo.testing.waiting import poll_until

MONITORING = Path(__file__).parents[2] / "deploy" / "monitoring"
WAIT_S = 60
SWAPS = 20
TOO_LONG_S = 1e6
"""Validity that no network grants."""
LISTENING = re.compile(r'msg="Listening on" address=(\S+)')
VARIABLE = re.compile(r"\$\{?([a-zA-Z_]\w*)\}?")
OF_THE_MACHINE = frozenset({"TanpoDiskLow", "TanpoDiskFull", "TanpoDiskSlow", "TanpoMemoryGrows"})
"""What the disk and the memory of the machine that runs this test are like is no fault of the nodes."""
WITHOUT_DATA = frozenset({"Evidence A"})
"""Nobody lies here. Whatever else is empty would be empty at an operator's too."""

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.skipif(
        shutil.which("prometheus") is None, reason="prometheus is not installed (Debian: prometheus)"
    ),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prometheus:
    """A Prometheus that runs: its address, where it looks for further nodes, and what is asked of it."""

    address: str
    beside: Path

    def ask(self, path: str, **arguments: str) -> Any:
        """Return the data of an answer. Fails with what Prometheus says is wrong."""
        try:
            with urlopen(f"http://{self.address}/api/v1/{path}?{urlencode(arguments)}", timeout=WAIT_S) as it:
                answer = json.loads(it.read())
        except HTTPError as error:
            raise AssertionError(f"{arguments}: {error.read().decode()}") from None
        assert answer["status"] == "success"
        assert not answer.get("warnings")
        return answer["data"]

    def list_targets(self) -> dict[str, str]:
        """The health of each target, by its instance."""
        return {
            target["labels"]["instance"]: target["health"] for target in self.ask("targets")["activeTargets"]
        }

    def list_rules(self) -> list[dict[str, Any]]:
        """Every rule, with how its latest evaluation ended."""
        return [rule for group in self.ask("rules")["groups"] for rule in group["rules"]]

    def list_alerts(self) -> dict[str, set[str]]:
        """The instances of each alert that is pending or firing."""
        found: dict[str, set[str]] = {}
        for alert in self.ask("alerts")["alerts"]:
            labels = alert["labels"]
            found.setdefault(labels["alertname"], set()).add(labels.get("instance", ""))
        return {name: where for name, where in found.items() if name not in OF_THE_MACHINE}

    def count_scrapes(self, instance: str) -> int:
        """How often a node was asked in the last minute."""
        series = self.ask("query", query=f'count_over_time(up{{instance="{instance}"}}[1m])')["result"]
        return int(series[0]["value"][1]) if series else 0


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNetwork]:
    network = LocalNetwork.create(tmp_path_factory.mktemp("monitoring") / "net", plan_network(4))
    try:
        network.start()
        yield network
    finally:
        network.stop()


@pytest.fixture(scope="module")
def prometheus(network: LocalNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """Prometheus as `tanpo net up --compose --profile monitoring` configures it, but for where things are."""
    folder = tmp_path_factory.mktemp("prometheus")
    config = render_prometheus(network.nodes).replace("/etc/prometheus/tanpo/", f"{MONITORING}/")
    beside = folder / "beside"
    beside.mkdir()
    config = config.replace("/etc/prometheus/beside/", f"{beside}/")
    for node in network.nodes:
        config = config.replace(f"{node.member}:{OPS_PORT}", node.ops_address)
    (folder / "prometheus.yml").write_text(config)
    log = folder / "log"
    with log.open("w") as written:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=written,
            stderr=subprocess.STDOUT,
        )
    try:
        poll_until(lambda: process.poll() is not None or LISTENING.search(log.read_text()) is not None)
        listening = LISTENING.search(log.read_text())
        assert listening is not None, log.read_text()
        running = Prometheus(address=listening[1], beside=beside)
        poll_until(partial(_is_loaded, running))
        yield running
    finally:
        process.terminate()
        process.wait(WAIT_S)


def _is_loaded(prometheus: Prometheus) -> bool:
    with suppress(OSError, AssertionError):
        return bool(prometheus.list_targets())
    return False


@pytest.fixture(scope="module")
def observed(network: LocalNetwork, prometheus: Prometheus) -> Prometheus:
    """The same, after a working day: swaps, a refusal and an error, between two scrapes of every node."""
    places = [node.ops_address for node in network.nodes]
    poll_until(lambda: all(prometheus.count_scrapes(place) >= 1 for place in places))
    asyncio.run(_settle(network))
    profile = str(network.folder.get_member("dealer-a").profile)
    assert run_tanpo_here("query", "-p", profile, "instruments", "no_such_view").returncode == 1
    before = [prometheus.count_scrapes(place) for place in places]
    poll_until(
        lambda: all(
            prometheus.count_scrapes(place) >= count + 2 for place, count in zip(places, before, strict=True)
        )
    )
    return prometheus


async def _settle(network: LocalNetwork) -> None:
    async with Desk(network) as desk:
        await open_book(desk, load_catalog())
        for envelope in SwapPress(desk).sign(SWAPS):
            (result,) = await desk.clients["dealer-a"].submit_envelope(envelope, deadline_s=WAIT_S)
            result.raise_for_failure()
        call = Call.create("instruments", "settle", {"legs": ()})
        too_long = desk.sign(call, ("dealer-a",), request_id="too-long", valid_for_s=TOO_LONG_S)
        with pytest.raises(TransactionRejected):
            await desk.clients["dealer-a"].submit_envelope(too_long, deadline_s=WAIT_S)


def test_every_node_is_asked_and_answers(network: LocalNetwork, observed: Prometheus) -> None:
    assert observed.list_targets() == {node.ops_address: "up" for node in network.nodes}
    labels = {
        (one["metric"]["instance"], one["metric"]["member"], one["metric"]["node"])
        for one in observed.ask("query", query='tanpo_height{job="tanpo"}')["result"]
    }
    assert labels == {(node.ops_address, node.member, node.node) for node in network.nodes}


def test_the_observer_is_asked_as_long_as_it_should_be_up(
    network: LocalNetwork, observed: Prometheus
) -> None:
    """Another node answers for it here: what counts is who is asked, under which names."""
    note, place = observed.beside / "observer.yml", network.get_node("dealer-b").ops_address
    note.write_text(render_beside("trust-bank").replace(f"observer:{OPS_PORT}", place))
    asked = 'count(up{job="tanpo", member="trust-bank", node="observer"} == 1)'
    poll_until(lambda: bool(observed.ask("query", query=asked)["result"]))

    note.unlink()
    poll_until(lambda: not observed.ask("query", query=asked)["result"])


def test_every_rule_is_evaluated_without_an_error(observed: Prometheus) -> None:
    names = re.findall(r"- alert: (\w+)", (MONITORING / "alerts.yml").read_text())

    poll_until(lambda: all(rule["health"] != "unknown" for rule in observed.list_rules()))
    rules = observed.list_rules()

    assert [rule["name"] for rule in rules] == names
    assert {rule["name"]: rule.get("lastError", "") for rule in rules if rule["health"] != "ok"} == {}


def list_expressions(choice: str) -> list[tuple[str, str, dict[str, str]]]:
    """The panel, kind and target of each query of the dashboard, its variables filled in as Grafana does."""
    # `$__rate_interval` is four times the scrape interval: for Grafana 15 s where none is configured.
    values = {"instance": choice, "__rate_interval": "60s"}
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return [
        (
            panel["title"],
            panel["type"],
            target | {"expr": VARIABLE.sub(lambda name: values[name[1]], target["expr"])},
        )
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    ]


def list_choices(network: LocalNetwork) -> dict[str, str]:
    """How Grafana writes `$instance`, by what is chosen: all, or two of the nodes."""
    two = "|".join(node.ops_address.replace(".", "\\\\.") for node in network.nodes[:2])
    return {"all": ".*", "two": f"({two})"}


@pytest.mark.parametrize("choice", ["all", "two"])
def test_every_panel_of_the_dashboard_has_data_and_the_labels_that_its_legend_names(
    network: LocalNetwork, observed: Prometheus, choice: str
) -> None:
    now = float(observed.ask("query", query="time()")["result"][1])
    empty, unnamed = set(), set()
    for title, kind, target in list_expressions(list_choices(network)[choice]):
        if kind == "stat":
            series = observed.ask("query", query=target["expr"])["result"]
        else:
            span = {"start": str(now - 300), "end": str(now), "step": "15"}
            series = observed.ask("query_range", query=target["expr"], **span)["result"]
        if not series:
            empty.add(f"{title} {target['refId']}")
        named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
        unnamed |= {title for one in series if not named <= set(one["metric"])}

    assert empty == WITHOUT_DATA
    assert unnamed == set()


def test_the_choice_of_nodes_lists_every_node(network: LocalNetwork, observed: Prometheus) -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    (variable,) = [one for one in dashboard["templating"]["list"] if one["type"] == "query"]
    listed = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"])

    assert listed is not None
    values = observed.ask(f"label/{listed[2]}/values", **{"match[]": listed[1]})
    assert set(values) == {node.ops_address for node in network.nodes}


def test_the_alerts_name_a_node_that_is_killed_and_nothing_that_is_well(
    network: LocalNetwork, observed: Prometheus
) -> None:
    everyone = {node.ops_address for node in network.nodes}
    # Nobody has made a backup yet, and the rules say so.
    well = {"TanpoBackupOld": everyone}
    poll_until(lambda: observed.list_alerts() == well)

    killed = network.get_node("custody-bank").ops_address
    network.kill("custody-bank")
    left = everyone - {killed}
    expected = {"TanpoNodeDown": {killed}, "TanpoPeerLost": left, "TanpoBackupOld": left}
    poll_until(lambda: observed.list_alerts() == expected)

    network.start(["custody-bank"])
    poll_until(lambda: observed.list_alerts() == well)
