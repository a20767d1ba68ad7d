"""What is written about metrics, in the documents, the alerts and the dashboard, is what a node exports."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from tanpo.cli.root import app
from tanpo.node.metrics import Metrics
from tanpo.node.ops_client import find_reading
from tanpo.testing.site import Site

ROOT = Path(__file__).parents[3]
MONITORING = ROOT / "deploy" / "monitoring"
OF_PROMETHEUS = {"up": frozenset({"job", "instance"})}
ON_EVERY_TARGET = frozenset({"job", "instance"})

TEXT = re.compile(r'"(?:\\.|[^"\\])*"')
RANGE = re.compile(r"\[[^\]]*\]")
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(r"(?<![\w.:])([a-zA-Z_:][\w:]*)(?![\w:])(?!\s*\()\s*(\{[^}]*\})?")
LABEL = re.compile(r"([a-zA-Z_]\w*)\s*(?:=~|!~|!=|=)")
UNITS = frozenset({"short", "ops", "s", "d", "bytes"})
"""The units of Grafana that the dashboard uses: a number, 1/s, seconds, days, bytes."""
COLUMNS = 24
SCHEMA_VERSION = 38
"""That of Grafana 10; later ones read it, and bring it up to theirs."""
WORDS = frozenset({"and", "or", "unless", "bool", "offset", "inf", "nan"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """What a node exports: the type of each metric, by the name that documents use, and all series names."""

    kinds: dict[str, str]
    series: dict[str, frozenset[str]]


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """What a node exports that has just started."""
    return read_exported(asyncio.run(read_metrics(Site(tmp_path_factory.mktemp("site")))))


async def read_metrics(site: Site) -> str:
    """Run a node, and return its metrics."""
    async with site.running() as (_, serving):
        reading = await asyncio.to_thread(find_reading, f"127.0.0.1:{serving['ops_port']}")
    assert reading is not None
    return reading.text


def read_exported(text: str) -> Exported:
    kinds: dict[str, str] = {}
    series: dict[str, frozenset[str]] = {}
    labels = {name: frozenset(one) for name, one in list_labels().items()}
    for family in text_string_to_metric_families(text):
        if family.name.endswith("_created"):
            continue  # When a counter began: written for each of them, and of no use here.
        name = f"{family.name}_total" if family.type == "counter" else family.name
        kinds[name] = family.type
        found = labels.get(name, frozenset[str]()).union(*(sample.labels for sample in family.samples))
        series[name] = found - {"le"}
        if family.type == "histogram":
            series |= {f"{name}_{part}": found | {"le"} for part in ("bucket", "sum", "count")}
    return Exported(kinds=kinds, series=series)


def list_labels() -> dict[str, tuple[str, ...]]:
    """The labels of each metric that has any, which shows in no export as long as nothing was counted."""
    metrics = [one for one in vars(Metrics()).values() if isinstance(one, MetricWrapperBase)]
    return {
        f"{family.name}_total" if family.type == "counter" else family.name: tuple(one._labelnames)
        for one in metrics
        for family in one.describe()
    }


def find_metrics(expression: str) -> Mapping[str, frozenset[str]]:
    """The metrics that a PromQL expression names, each with the labels it is selected or grouped by."""
    plain = RANGE.sub("", TEXT.sub('""', expression))
    grouped = {label.strip() for names in GROUPING.findall(plain) for label in names.split(",")} - {""}
    found: dict[str, frozenset[str]] = {}
    for name, selector in SELECTOR.findall(GROUPING.sub("", plain)):
        if name.lower() not in WORDS:
            found[name] = found.get(name, frozenset()) | frozenset(LABEL.findall(selector)) | grouped
    return found


def list_alerts() -> dict[str, str]:
    """Each alert with its expression."""
    text = (MONITORING / "alerts.yml").read_text()
    return dict(re.findall(r"^ +- alert: (\w+)\n +expr: (.+)$", text, re.M))


def list_panels() -> dict[str, str]:
    """Each expression of the dashboard, by its panel."""
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    return {
        f"{panel['title']} {target['refId']}": target["expr"]
        for panel in dashboard["panels"]
        for target in panel.get("targets", ())
    }


def test_expressions_are_read_as_prometheus_reads_them() -> None:
    found = find_metrics('sum by (a, b) (rate(x_total{c="d{e}", f=~"g"}[5m])) > 5e9 and y offset 1d')

    assert found["x_total"] == {"a", "b", "c", "f"}
    assert found["y"] == {"a", "b"}
    assert "e9" not in found
    assert "rate" not in found


def test_every_metric_is_explained_as_it_is_exported(exported: Exported) -> None:
    rows = re.findall(
        r"^\| `(\w+)` \| (\w+) \|((?: `\w+`,?)*) \| \S", (ROOT / "docs" / "metrics.md").read_text(), re.M
    )

    explained = {name: (kind, frozenset(re.findall(r"\w+", labels))) for name, kind, labels in rows}
    assert len(explained) == len(rows)
    assert explained == {name: (kind, exported.series[name]) for name, kind in exported.kinds.items()}


def test_alerts_and_dashboard_name_only_what_is_exported(exported: Exported) -> None:
    known = {**exported.series, **OF_PROMETHEUS}
    wrong = [
        f"{place}: {name} {sorted(labels)}"
        for place, expression in (list_alerts() | list_panels()).items()
        for name, labels in find_metrics(expression).items()
        if name not in known or not labels <= known[name] | ON_EVERY_TARGET
    ]

    assert wrong == []


def test_every_alert_is_explained_with_what_to_do() -> None:
    guide = (ROOT / "deploy" / "README.md").read_text().partition("### Alerts")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \| \S[^|]+ \| \S[^|]+ \|$", guide, re.M)

    assert len(list_alerts()) > 20
    assert explained == list(list_alerts())


def test_every_command_that_alerts_and_runbooks_name_is_there() -> None:
    guide = (ROOT / "deploy" / "README.md").read_text()
    texts = ((MONITORING / "alerts.yml").read_text(), guide)
    named = {tuple(words.split()) for text in texts for words in re.findall(r"`tanpo ((?:[a-z-]+ ?)+)", text)}

    assert len(named) > 20
    assert {" ".join(words) for words in named if not is_command(words)} == set()


def is_command(words: tuple[str, ...]) -> bool:
    """Whether the words of a command line, up to its first argument, name a command."""
    command: Any = typer.main.get_command(app)
    for word in words:
        below = getattr(command, "commands", None)
        if below is None:
            return True  # The rest are its arguments.
        if word not in below:
            return False
        command = below[word]
    return True


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize(
    "arguments", [("check", "rules", "alerts.yml"), ("test", "rules", "tests/alerts.yml")]
)
def test_prometheus_itself_takes_the_alerts_and_they_fire_when_they_should(
    arguments: tuple[str, ...],
) -> None:
    done = subprocess.run(
        ["promtool", *arguments], cwd=MONITORING, capture_output=True, text=True, check=False, timeout=60
    )

    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_fires_in_a_test_of_its_own() -> None:
    text = (MONITORING / "tests" / "alerts.yml").read_text()
    fires = re.findall(r"alertname: (\w+)\n +exp_alerts:\n", text)

    assert sorted(set(fires)) == sorted(list_alerts())


def test_the_dashboard_is_one_that_grafana_takes() -> None:
    dashboard = json.loads((MONITORING / "grafana-dashboard.json").read_text())
    panels = dashboard["panels"]
    drawn = [panel for panel in panels if panel["type"] != "row"]
    variables = {one["name"]: one for one in dashboard["templating"]["list"]}

    assert (dashboard["schemaVersion"], dashboard["uid"]) == (SCHEMA_VERSION, "tanpo-node")
    assert len({panel["id"] for panel in panels}) == len({panel["title"] for panel in panels}) == len(panels)
    assert describe_overlaps(panels) == []
    assert variables["datasource"]["type"] == "datasource"
    assert variables["datasource"]["query"] == "prometheus"
    of_variable = {"type": "prometheus", "uid": "${datasource}"}
    assert variables["instance"]["datasource"] == of_variable
    for panel in drawn:
        assert panel["datasource"] == of_variable, panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"] in UNITS, panel["title"]
        letters = [target["refId"] for target in panel["targets"]]
        assert len(set(letters)) == len(letters) > 0, panel["title"]


def describe_overlaps(panels: Sequence[Mapping[str, Any]]) -> list[str]:
    """Pairs of panels that cover the same place, and panels that reach beyond the columns."""
    places = {str(panel["title"]): panel["gridPos"] for panel in panels}
    found = [title for title, one in places.items() if one["x"] + one["w"] > COLUMNS]
    for first, one in places.items():
        for second, other in places.items():
            beside = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
            above = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
            if first < second and not (beside or above):
                found.append(f"{first} / {second}")
    return found
