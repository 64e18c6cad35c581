"""`diff`, `explain`, `maturity`, `delivery` over a real ledger: what they tell, and how they refuse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lockgate.bootstrap import Services
from lockgate.cli.app import app
from lockgate.config import load_settings
from lockgate.core.ids import Digest, ReleaseId, Stage
from lockgate.core.ledger import Event
from tests.fakes import FakeClock
from tests.record import Writer

RUNS = ("1d7e8011-eb67-4364-a17d-026f4da38a38", "1d7e9999-0000-4364-a17d-000000000000")
FIRST, SECOND, THIRD = (ReleaseId(f"flights-000{number}") for number in (1, 2, 3))


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A home whose ledger holds a promoted release, and one that the quality gate blocked."""
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    services, clock = Services(load_settings()), FakeClock()
    services.clock = clock
    first = Writer(services.ledger, clock, FIRST, Digest("b" * 64))
    first.add(Event.RELEASE_OPENED, run=RUNS[0], reason="new data", started_by="x", spec=first.spec.digest, code="c")
    first.bless()
    first.add(Event.RELEASE_ENDED, outcome="promoted", reason="verified", gate=None)
    second = Writer(services.ledger, clock, SECOND, Digest("c" * 64), champion=Digest("b" * 64))
    second.add(Event.RELEASE_OPENED, run=RUNS[1], reason="new data", started_by="x", spec=first.spec.digest, code="d")
    second.judge(Stage.EVALUATE, 0.1)
    second.add(Event.RELEASE_ENDED, outcome="blocked", reason="gate quality said FAIL", gate="quality")
    return services.ledger


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, [*arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


pytestmark = pytest.mark.usefixtures("ledger")


@pytest.mark.parametrize(
    "arguments", [("explain", THIRD), ("diff", FIRST, THIRD), ("diff", THIRD, FIRST), ("explain", "flights-1")]
)
def test_an_unknown_release_is_bad_input_with_the_closest_ones(arguments: tuple[str, ...]) -> None:
    code, told = run(*arguments)
    assert code == 2
    assert told["error"] == "BadInput"
    assert "closest: " in told["message"]
    assert FIRST in told["message"]


def test_a_blocked_release_is_explained_with_one_command() -> None:
    code, told = run("explain", SECOND)
    assert code == 0
    assert (told["status"], told["gate"]) == ("blocked", "quality")
    assert told["next"] == "lockgate release --model flights"
    assert told["hint"] == "first mend what gate quality names"
    assert [gate for gate, _ in told["failing"]] == ["quality"]


def test_the_run_of_a_release_names_it_whole_or_cut_short() -> None:
    assert run("explain", RUNS[1])[1]["release"] == SECOND
    assert run("explain", "1d7e8011")[1]["release"] == FIRST


def test_a_run_that_carried_no_release_is_bad_input() -> None:
    code, told = run("explain", "00000000-0000-4000-8000-000000000000")
    assert code == 2
    assert "no release was carried by run" in told["message"]


def test_only_what_differs_is_told_unless_all_is_asked_for() -> None:
    _, told = run("diff", FIRST, SECOND)
    _, everything = run("diff", FIRST, SECOND, "--all")
    found = {each["what"]: each for each in told["differences"]}
    assert all(each["differs"] for each in found.values())
    assert (found["code"]["first"], found["code"]["second"]) == ("c", "d")
    assert (found["quality"]["first"], found["quality"]["second"]) == ("PASS", "FAIL")
    assert (found["quality.score"]["first"], found["quality.score"]["second"]) == (0.9, 0.1)
    assert "spec" not in found
    assert len(everything["differences"]) > len(told["differences"])
    assert "spec" in {each["what"] for each in everything["differences"]}


def test_a_release_does_not_differ_from_itself() -> None:
    result = CliRunner().invoke(app, ["diff", FIRST, FIRST])
    assert result.exit_code == 0
    assert "do not differ" in result.stdout


def test_the_score_is_told_release_by_release() -> None:
    code, told = run("maturity", "flights")
    assert code == 0
    assert [each["release"] for each in told["releases"]] == [FIRST, SECOND]
    assert all(len(each["findings"]) == 28 and each["meaning"] for each in told["releases"])


def test_the_delivery_figures_are_told() -> None:
    code, told = run("metrics", "--model", "flights")
    assert code == 0
    assert (told["releases"], told["promotions"], told["failure_fraction"]) == (2, 0, None)


@pytest.mark.parametrize("command", ["maturity", "metrics"])
def test_figures_of_an_unknown_model_are_bad_input(command: str) -> None:
    code, told = run(command, "nonsense")
    assert code == 2
    assert "nonsense" in told["message"]


def test_people_get_tables() -> None:
    for arguments in (["maturity", "flights", "--tests"], ["metrics", "flights"], ["diff", FIRST, SECOND]):
        result = CliRunner().invoke(app, arguments)
        assert result.exit_code == 0, result.stderr
        assert result.stdout.strip()
