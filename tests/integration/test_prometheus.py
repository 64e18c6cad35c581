"""The rules and the dashboard before Prometheus itself: its own checks, alarms on made series, a real server's page.

Skipped where Prometheus is not installed: `apt-get install prometheus` brings both programs.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.e2e.starting import free_ports
from tests.integration.test_monitoring_files import DASHBOARD, RULES, alerts, rules, targets, used
from tests.server_process import ROW, World, serving, until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SERIES = Path(__file__).with_name("prometheus-rules.test.yml")
BORN_OF_TROUBLE = {"lockgate_fallbacks_total", "lockgate_shadow_dropped_total"}
"""What has no series before it happened."""
LATER = {"time() - (lockgate_archive_finished_seconds > 0)"}
"""What a server that began seconds ago has nothing to say of."""
SCRAPE_S = 0.5


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"NOT TESTED: Prometheus' own word on the rules. There is no {name} on this machine")
    return found


def test_every_alarm_has_series_that_make_it_fire_and_none_fires_unasked() -> None:
    tests = [each for block in yaml.safe_load(SERIES.read_text())["tests"] for each in block["alert_rule_test"]]
    assert {each["alertname"] for each in tests if each["exp_alerts"]} == set(alerts())


@pytest.mark.parametrize("arguments", [("check", "rules", str(RULES)), ("test", "rules", str(SERIES))])
def test_promtool_finds_nothing_wrong(arguments: tuple[str, ...]) -> None:
    done = subprocess.run([program("promtool"), *arguments], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """A Prometheus with the rules that has scraped a server with a canary, a shadow and all kinds of answers."""
    binary, folder = program("prometheus"), tmp_path_factory.mktemp("prometheus")
    world, port = World(folder / "world"), free_ports(("prometheus",))["LOCKGATE_PROMETHEUS_PORT"]
    with serving(world, "--workers", "2", "--self-probe-s", "0.05") as server:
        body = {
            "sequence": 1,
            "champion": world.bundle(bias=0.1),
            "challengers": [{"name": "canary", "bundle": world.bundle(bias=0.2), "weight": 0.5}],
            "shadows": [{"name": "dark", "bundle": world.bundle(bias=0.3), "share": 1.0}],
            "salt": "s",
            "lease_s": 600.0,
        }
        assert server.admin.put("/admin/routing/toy", json=body).is_success
        (folder / "rules.yml").write_text(re.sub(r"\n +interval: \w+", "", RULES.read_text()))
        scraped = {"job_name": "lockgate", "static_configs": [{"targets": [f"127.0.0.1:{server.port}"]}]}
        every = {"scrape_interval": f"{SCRAPE_S * 1000:.0f}ms", "evaluation_interval": f"{SCRAPE_S * 1000:.0f}ms"}
        config = {"global": every, "rule_files": [str(folder / "rules.yml")], "scrape_configs": [scraped]}
        (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        where = (f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data")
        running = subprocess.Popen(
            [binary, *where, f"--web.listen-address=127.0.0.1:{port}", "--log.level=error"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            with (
                httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=60, trust_env=False) as client,
                _asking(f"http://127.0.0.1:{server.port}"),
            ):
                _let_it_see(client)
                yield client
        finally:
            running.kill()  # what it has on its disk is of no use to anybody
            running.wait()


@contextlib.contextmanager
def _asking(url: str) -> Iterator[None]:
    """Ask the server all through a block, so that what one answer was late is soon a small part of them."""
    over = threading.Event()
    odd = {name: (1e6 if isinstance(value, float) else value) for name, value in ROW.items()}

    def ask() -> None:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            asked = 0
            while not over.wait(0.2):  # a split is judged from a thousand a minute on, and these are too few for that
                for row in (ROW, odd):
                    asked += 1
                    headers = {"x-lockgate-entity": str(asked)}
                    client.post("/invocations", json={"dataframe_records": [row]}, headers=headers)
                client.post("/invocations", content=b"{")

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(timeout=60)


def _let_it_see(client: httpx.Client) -> None:
    """Wait until two scrapes have seen the server grow, and every rule was evaluated."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        time.sleep(SCRAPE_S / 2)
        try:
            grew = result(client, "rate(lockgate_responses_total[1m]) > 0")
            if grew and set(_health(client).values()) == {"ok"} and all(result(client, each) for each in recorded()):
                return
        except httpx.TransportError:
            continue  # it starts
    raise AssertionError(f"after 120 s Prometheus has not seen the server: {_health(client)}")


def recorded() -> list[str]:
    """The series that rules record of a sound server."""
    return [each["record"] for each in rules() if "record" in each and born(each["expr"])]


def _health(client: httpx.Client) -> dict[str, str]:
    groups = client.get("/rules").json()["data"]["groups"]
    return {rule["name"]: rule["health"] for group in groups for rule in group["rules"]}


def result(client: httpx.Client, expression: str) -> list[Any]:
    answer = client.get("/query", params={"query": expression}).json()
    assert answer["status"] == "success", f"{expression}: {answer.get('error')}"
    return list(answer["data"]["result"])


def born(expression: str) -> bool:
    """Tell whether a sound server has something to say to an expression."""
    return re.sub(r"\{[^}]*\}", "", expression) not in LATER and not any(
        name in BORN_OF_TROUBLE for name, _ in used(expression)
    )


def test_every_rule_is_evaluated_and_a_sound_server_raises_no_alarm(prometheus: httpx.Client) -> None:
    assert set(_health(prometheus).values()) == {"ok"}
    assert len(_health(prometheus)) == len(rules())
    with contextlib.suppress(AssertionError):  # what a machine that stood still has set off goes as more is answered
        until(lambda: not _raised(prometheus))
    assert _raised(prometheus) == []


def _raised(prometheus: httpx.Client) -> list[str]:
    """Return what is raised, or about to be; half of the rows are unlike training, and were sent for that."""
    raised = [each["labels"]["alertname"] for each in prometheus.get("/alerts").json()["data"]["alerts"]]
    return [each for each in raised if each != "OutsideTrainedDomain"]


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_every_rule_finds_its_series(rule: dict[str, Any], prometheus: httpx.Client) -> None:
    for name, labels in used(rule["expr"]):
        chosen = ",".join(f'{label}=~"{value}"' for label, value in labels.items())
        if name not in BORN_OF_TROUBLE:
            assert result(prometheus, f"{name}{{{chosen}}}"), f"{name}{{{chosen}}} has no series"
    if "record" in rule:
        assert result(prometheus, rule["expr"])


@pytest.mark.parametrize("expression", [each["expr"] for each in targets()])
def test_every_panel_of_the_dashboard_shows_something(expression: str, prometheus: httpx.Client) -> None:
    asked = expression.replace("$instance", ".*").replace("$model", ".*").replace("$__rate_interval", "30s")
    found = result(prometheus, asked)
    assert found or not born(expression), asked


def test_the_variables_and_marks_of_the_dashboard_are_found(prometheus: httpx.Client) -> None:
    content = json.loads(DASHBOARD.read_text())
    for each in (each["definition"] for each in content["templating"]["list"] if each["type"] == "query"):
        metric, label = re.findall(r"label_values\((\w+), (\w+)\)", each)[0]
        assert {label in one["metric"] for one in result(prometheus, metric)} == {True}
    for each in content["annotations"]["list"]:
        asked = each["expr"].replace("$instance", ".*").replace("$model", ".*")
        result(prometheus, asked)
