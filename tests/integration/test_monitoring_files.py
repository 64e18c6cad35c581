"""The files for Prometheus and Grafana speak of what a real server says: every name, every label, every bucket."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from lockgate.serving.watch.metric_snapshot import Family
from lockgate.serving.watch.metrics import Metrics
from lockgate.serving.watch.watching import _watch_parts, watch_archive
from tests.server_process import ROW, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FOLDER = Path(__file__).parents[2] / "deployments" / "monitoring"
RULES = FOLDER / "prometheus-rules.yml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
SCRAPED = {"instance", "job"}
"""Labels that Prometheus itself gives to every sample."""
BURN = {"1h": "5m", "6h": "30m", "1d": "2h", "3d": "6h"}
"""The long window of an alert and the twelfth of it that ends it: SRE workbook, table 5-8."""
USED = re.compile(
    r"(?<![\w:$\"/])((?:lockgate|process)[a-z0-9_]*(?::[a-z0-9_:]+)?)(\{[^}]*\})?(?=[\s()\[\]{}*/<>=,+-]|$)"
)
GROUPED = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")
LEGEND = re.compile(r"\{\{ ?\$?(?:labels\.)?([a-z]+) ?\}\}")


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page of a server with two workers, a canary, a shadow, answered and refused requests."""
    world = World(tmp_path_factory.mktemp("watched") / "world")
    with serving(world, "--workers", "2", "--self-probe-s", "0.05") as server:
        champion, canary, shadow = (world.bundle(bias=bias) for bias in (0.1, 0.2, 0.3))
        body = {
            "sequence": 1,
            "champion": champion,
            "challengers": [{"name": "canary", "bundle": canary, "weight": 0.5}],
            "shadows": [{"name": "dark", "bundle": shadow, "share": 1.0}],
            "salt": "s",
            "lease_s": 600.0,
        }
        put = server.admin.put("/admin/routing/toy", json=body)
        assert put.status_code == 200, put.text
        url = f"http://127.0.0.1:{server.port}"
        for number in range(8):
            headers = {"x-lockgate-entity": str(number)}
            assert httpx.post(
                f"{url}/invocations", json={"dataframe_records": [ROW]}, headers=headers, timeout=30
            ).is_success
        assert httpx.post(f"{url}/invocations", content=b"{", timeout=30).status_code == 400
        until(lambda: server.metric("lockgate_requests_total") == 8)
        until(lambda: server.metric("lockgate_shadow_requests_total") == 8)  # nobody waited for these
        yield httpx.get(f"{url}/metrics", timeout=30).text


@pytest.fixture(scope="module")
def known(page: str) -> dict[str, set[str]]:
    """Labels by every name of a sample; of what had no sample yet, those that it is declared with."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        for end in ends:
            found.setdefault(f"{family.name}{end}", set())
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    for declared in declared_families():
        found.setdefault(declared.name, set()).update(declared.labels)
    return found


class Unused:
    """A part of the server whose numbers nobody reads here."""

    def __init__(self, metrics: Metrics) -> None:
        self.metrics = metrics

    def __getattr__(self, _: str) -> Unused:
        return self


def declared_families() -> list[Family]:
    """Return what a server declares before anything is counted, with its labels."""
    metrics = Metrics()
    _watch_parts(Unused(metrics))  # type: ignore[arg-type]  # it is declared, and never read
    watch_archive(metrics, Unused(metrics))  # type: ignore[arg-type]  # likewise
    return [*metrics._families(), *(family for family, _ in metrics._watched.values())]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def recorded() -> dict[str, str]:
    return {rule["record"]: rule["expr"] for rule in rules() if "record" in rule}


def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


def targets() -> list[dict[str, str]]:
    return [each for panel in json.loads(DASHBOARD.read_text())["panels"] for each in panel.get("targets", ())]


def expressions() -> list[str]:
    content = json.loads(DASHBOARD.read_text())
    marks = [each["expr"] for each in content["annotations"]["list"]]
    return [*(rule["expr"] for rule in rules()), *(each["expr"] for each in targets()), *marks]


def used(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Return the metrics of an expression, each with the labels that select of it."""
    bare = re.sub(r"\b(?:by|on|without|ignoring|group_left|group_right) \([^)]*\)", "", expression)
    return [
        (name, dict(re.findall(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"', labels or "")))
        for name, labels in USED.findall(bare)
    ]


@pytest.mark.parametrize("expression", expressions())
def test_every_metric_exists_with_the_labels_that_are_used_of_it(expression: str, known: dict[str, set[str]]) -> None:
    own = recorded()
    found = used(expression)
    assert found or "up{" in expression
    for name, labels in found:
        if name in own:
            continue
        assert name in known, f"no server says {name}"
        assert set(labels) <= known[name] | SCRAPED, f"{name} has {sorted(known[name])}, not {sorted(labels)}"
    there = SCRAPED.union(
        *(known.get(name, set()) for name, _ in found), *(_labels(own.get(name, "")) for name, _ in found)
    )
    for group in GROUPED.findall(expression):
        assert {label.strip() for label in group.split(",")} <= there, f"{group} of {expression}"


def _labels(expression: str) -> set[str]:
    return {label.strip() for group in GROUPED.findall(expression) for label in group.split(",")}


def test_a_bucket_that_is_asked_for_is_an_edge_of_the_histogram(page: str) -> None:
    edges = {
        sample.labels["le"]
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if sample.name == "lockgate_request_seconds_bucket"
    }
    asked = {labels["le"] for each in expressions() for name, labels in used(each) if "le" in labels}
    assert asked == {"0.25"}
    assert asked <= edges


@pytest.mark.parametrize("expression", expressions())
def test_every_bracket_is_closed(expression: str) -> None:
    waiting: list[str] = []
    for letter in re.sub(r'"[^"]*"', '""', expression):
        if letter in "([{":
            waiting.append({"(": ")", "[": "]", "{": "}"}[letter])
        elif letter in ")]}":
            assert waiting, expression
            assert waiting.pop() == letter, expression
    assert waiting == []


def test_a_rule_that_another_names_is_recorded_over_the_window_of_its_name() -> None:
    own = recorded()
    named = {name for alert in alerts().values() for name, _ in used(alert["expr"]) if ":" in name}
    assert named <= set(own)
    for name, expression in own.items():
        assert f"[{name.rpartition('rate')[2]}]" in expression
        assert len(set(re.findall(r"\[\w+\]", expression))) == 1


def test_a_burn_is_alarmed_by_a_long_window_and_the_twelfth_of_it() -> None:
    burns = [alert["expr"] for name, alert in alerts().items() if "Burns" in name]
    assert len(burns) == 3
    for expression in burns:
        pairs = re.findall(r"ratio_rate(\w+) > ([\d.* ]+) and lockgate:\w+:ratio_rate(\w+) > ([\d.* ]+)\)", expression)
        assert len(pairs) == 2
        for long, factor, short, again in pairs:
            assert (short, again) == (BURN[long], factor)


@pytest.mark.parametrize("name", sorted(alerts()))
def test_every_alert_says_what_is_wrong_how_urgent_and_what_comes_next(name: str, known: dict[str, set[str]]) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in ("page", "ticket")
    assert set(alert["annotations"]) == {"summary", "next"}
    there = SCRAPED.union(*(known.get(metric, set()) for metric, _ in used(alert["expr"])))
    there |= {label for metric, _ in used(alert["expr"]) for label in _labels(recorded().get(metric, ""))}
    said = {word for text in alert["annotations"].values() for word in re.findall(r"\$labels\.(\w+)", text)}
    assert said <= there


def test_what_must_be_alarmed_is() -> None:
    assert {
        "ErrorBudgetBurnsFast", "LatencyBudgetBurnsFast", "ServerDown", "PredictionsNotLogged", "ArchiveBehind",
        "ShadowQueueFull", "LeaseEnded",
    } <= set(alerts())  # fmt: skip


def test_the_dashboard_is_whole_and_no_panel_lies_on_another(known: dict[str, set[str]]) -> None:
    content = json.loads(DASHBOARD.read_text())
    panels = content["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = [
        (x, y)
        for panel in panels
        for place in [panel["gridPos"]]
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
    variables = {each["name"] for each in content["templating"]["list"]}
    for each in targets():
        assert set(re.findall(r"\$(\w+)", each["expr"])) - {"__rate_interval"} <= variables
        labels = SCRAPED.union(*(known[name] for name, _ in used(each["expr"])))
        assert set(LEGEND.findall(each["legendFormat"])) <= labels
    for query in (each["definition"] for each in content["templating"]["list"] if each["type"] == "query"):
        metric, label = re.findall(r"label_values\((\w+), (\w+)\)", query)[0]
        assert label in known[metric] | SCRAPED
