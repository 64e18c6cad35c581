"""What a policy is held to: pass, fail, or not measured, from the result alone."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.core.replay_aims import aims


def policy(**over: Any) -> dict[str, Any]:
    """Return a policy's part of a result that reaches every aim."""
    gain = {"estimate": -0.003, "low": -0.006, "high": 0.0, "se": 0.002}
    return {
        "measures": ["auc", "log_loss"],
        "gained_over": {"always": {"auc": gain}},
        "cost": {"takeovers": {"served": 1, "always": 3}},
        "takeovers": [{"release": "r-0002", "judged_on": "apr", "gain": {"auc": gain}, "worse": []}],
        "alarms": {"counted": {"true": 1, "false": 1, "missed": 0, "quiet": 1, "not_monitored": 0}},
        "months": [{}, {}, {}],
    } | over


def held(**over: Any) -> list[str]:
    told: Any = aims(policy(**over))
    return [each["held"] for each in told]


def _always(value: float | None, measure: str = "auc") -> dict[str, Any]:
    return {"measures": [measure], "gained_over": {"always": {measure: {"estimate": value}}}}


def _turns(served: int, always: int) -> dict[str, Any]:
    return {"cost": {"takeovers": {"served": served, "always": always}}}


def _counted(**kinds: int) -> dict[str, Any]:
    return {"alarms": {"counted": kinds}}


def test_a_policy_that_reaches_every_aim_passes_all_three() -> None:
    assert held() == ["pass"] * 3


@pytest.mark.parametrize(
    ("over", "verdict"),
    [
        (_always(-0.0051), "fail"),
        (_always(0.02), "pass"),
        (_turns(3, 3), "fail"),
        (_always(None), "not measured"),
        (_always(-0.001, "rmse"), "not measured"),
        ({"cost": {}}, "not measured"),
    ],
)
def test_close_to_always_needs_both_the_figure_and_fewer_takeovers(over: dict[str, Any], verdict: str) -> None:
    assert held(**over) == [verdict, "pass", "pass"]


@pytest.mark.parametrize(
    ("taken", "verdict"),
    [
        ([{"release": "r-0002", "judged_on": "apr", "worse": ["auc"]}], "fail"),
        ([], "not measured"),
        ([{"release": "r-0002", "judged_on": None, "worse": []}], "not measured"),
        (
            [{"release": "r-0002", "judged_on": "apr", "gain": {"auc": {"high": float("nan")}}, "worse": []}],
            "not measured",
        ),
        ([{"release": "r-0002", "judged_on": "apr", "gain": {}, "worse": []}], "not measured"),
    ],
)
def test_no_worse_champion_needs_one_that_was_judged(taken: list[Any], verdict: str) -> None:
    assert held(takeovers=taken) == ["pass", verdict, "pass"]


@pytest.mark.parametrize(
    ("over", "verdict"),
    [
        (_counted(false=2, quiet=1), "fail"),
        (_counted(false=2, not_monitored=1), "fail"),
        (_counted(false=1, not_monitored=1, quiet=1), "not measured"),
        (_counted(unknown=1, quiet=2), "not measured"),
        ({"alarms": {}, "months": []}, "not measured"),
    ],
)
def test_quiet_counts_false_alarms_and_passes_nothing_that_was_not_watched(over: dict[str, Any], verdict: str) -> None:
    assert held(**over) == ["pass", "pass", verdict]


def test_the_figures_behind_a_verdict_are_told_with_it() -> None:
    told: Any = aims(policy())
    assert "-0.0030 (-0.0060 to 0.0000); 1 takeovers against 3" in told[0]["told"]
    assert "3 months" in told[2]["told"]
