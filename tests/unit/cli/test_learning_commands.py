"""What `lockgate windows` and `lockgate counterfactuals` show of a report, and what they say where there is nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lockgate.cli import counterfactual_command, windows_command
from lockgate.cli.app import app
from lockgate.cli.surface import Surface
from tests.line_world import LineWorld, line_world

GAIN = {"estimate": 0.0123, "low": 0.004, "high": 0.02, "se": 0.004}
LOSS = {"log_loss": {"estimate": 0.51, "low": 0.5, "high": 0.52, "se": 0.01}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[LineWorld]:
    with line_world(tmp_path) as made:
        yield made


def compared(**more: Any) -> dict[str, Any]:
    windows = {name: {"metrics": {"log_loss": 0.5}} for name in ("expanding", "rolling-60")}
    other = {"name": "rolling-60", "metrics": LOSS, "gain": {"by_block": GAIN, "by_period": {**GAIN, "low": "NaN"}},
             "periods": 4, "says": "better", "detectable": 0.008}  # fmt: skip
    return {
        "model": "toy",
        "metrics": {"log_loss": {"unit": "nat"}},
        "rows": 900,
        "windows": [{"name": "expanding", "metrics": LOSS}, other],
        "periods": [{"since": "2024-02-01", "rows": 900, "windows": windows}],
        "recommendation": {"says": "change", "why": "it gains", "lines": ["window: rolling", "window_days: 60"]},
        "not_tried": "",
        "left": [],
        "failures": [],
        "row": 7,
        **more,
    }


def test_a_change_that_is_recommended_is_shown_as_the_lines_of_a_spec(capsys: pytest.CaptureFixture[str]) -> None:
    windows_command.show(Surface("windows"), compared(), "windows.png")
    out = capsys.readouterr().out
    assert "retraining:  # windows compared: ledger row 7\n  window: rolling\n  window_days: 60" in out
    assert "+0.0123 [+0.004, +0.02]" in out
    assert "unknown" in out, "the interval over periods has no end"
    assert "picture: windows.png" in out


def test_what_was_left_out_is_told_and_an_inconclusive_past_asks_for_no_change(
    capsys: pytest.CaptureFixture[str],
) -> None:
    left = compared(
        recommendation={"says": "inconclusive", "why": "nothing is shown", "lines": ["window: expanding"]},
        not_tried="weighted: the fit takes no weights",
        left=["2024-01-01"],
        failures=[{"since": "2024-03-01", "window": "rolling-60", "reason": "too short"}],
        row=None,
    )
    windows_command.show(Surface("windows"), left)
    out = capsys.readouterr().out
    for said in (
        "not tried: weighted",
        "no time was left for 1 periods (2024-01-01)",
        "2024-03-01, rolling-60: too short",
    ):
        assert said in out
    assert "retraining:" not in out


def test_while_periods_are_left_a_change_is_not_recommended_yet(capsys: pytest.CaptureFixture[str]) -> None:
    partly = compared(left=["2024-01-01"], row=None)
    assert windows_command.speaks(compared())
    assert not windows_command.speaks(partly)
    windows_command.show(Surface("windows"), partly)
    out = capsys.readouterr().out
    assert "call it again to go on" in out
    assert "write into the spec" not in out


def test_each_decision_is_shown_with_its_figures_or_why_there_are_none(capsys: pytest.CaptureFixture[str]) -> None:
    took = {"release": "toy-0002", "at": "2024-03-01T10:00:00+00:00", "before": "a" * 64, "n": 900, "verdict": "right",
            "reason": "it gains", "metrics": {"log_loss": {"gain": GAIN}},
            "unanswered": {"now": 3, "before": 2, "either": 4}}  # fmt: skip
    held = {"seq": 9, "at": "2024-04-01T10:00:00+00:00", "times": 3, "champion": "b" * 64, "n": 0, "metrics": {},
            "verdict": "not measured", "reason": "no labelled row landed since"}  # fmt: skip
    report = {"model": "toy", "took_over": [took], "held_back": [held], "summary": "looked back: ...", "row": 12}
    counterfactual_command.show(Surface("counterfactuals"), report)  # type: ignore[arg-type]
    out = capsys.readouterr().out
    for said in (
        "toy-0002",
        "a" * 12,
        "log_loss +0.0123 [+0.004, +0.02]",
        "right",
        "(3 times)",
        "row 12 of lockgate",
        "900 (4 unanswered)",
    ):
        assert said in out
    assert "no labelled row landed since" in out


def test_without_rows_and_decisions_both_commands_say_so(world: LineWorld) -> None:
    assert world.state.releases == 0
    runner = CliRunner()
    windows = runner.invoke(app, ["windows", "toy", "--json"])
    assert windows.exit_code == 2, windows.output
    assert "nothing was ingested for toy" in json.loads(windows.stdout)["message"]
    told = runner.invoke(app, ["counterfactuals", "toy", "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert said["schema"] == "lockgate.counterfactuals/1"
    assert (said["took_over"], said["held_back"], said["row"]) == ([], [], None)
