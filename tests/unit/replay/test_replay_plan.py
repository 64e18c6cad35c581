"""Which months are replayed, what is shortened, and the arithmetic of the comparison."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from lockgate.core import replay_comparison as comparison
from lockgate.core.replay_plan import Ended, MonthDone, PolicyDone, months_of
from lockgate.core.replay_waits import merged, without_waits
from lockgate.core.rollout.step_list import steps_of
from lockgate.errors import BadInput
from lockgate.spec_file import parse_spec
from tests.e2e.toy_project import HUMAN, POLICY, spec
from tests.unit.replay.fake_ground import MONTHS, scored_month

MEASURES = ("auc", "log_loss", "brier")


@pytest.mark.parametrize(
    ("batches", "since", "until", "said"),
    [
        ((), "mar", "apr", "no history"),
        (MONTHS, "june", "apr", "--from: toy has no month 'june'; months: jan"),
        (MONTHS, "mar", "june", "--to: toy has no month 'june'"),
        (MONTHS, "apr", "mar", "--from apr comes after --to mar"),
        (MONTHS, "jan", "mar", "nothing comes before it"),
    ],
)
def test_months_that_cannot_be_replayed_are_refused_with_what_is_there(
    batches: tuple[str, ...], since: str, until: str, said: str
) -> None:
    with pytest.raises(BadInput, match=said):
        months_of("toy", batches, since, until)


def test_the_last_month_is_followed_by_what_comes_after_if_there_is_anything() -> None:
    assert months_of("toy", MONTHS, "mar", "apr").following("apr") == "may"
    assert months_of("toy", MONTHS, "mar", "may").following("may") is None


def _toy(approval: dict[str, Any], **sections: Any) -> Any:
    return parse_spec(spec("toy", approval) | sections)


def test_whatever_is_shortened_is_named_and_the_spec_is_still_one() -> None:
    rollout = {
        "strategy": "canary",
        "steps": [{"set_weight": 0.1, "bake_s": 600}, {"pause": "look at it"}, {"set_weight": 0.5, "bake_s": 5}],
        "look_s": 10,
    }
    given = spec("toy", HUMAN) | {"rollout": rollout, "gates": {"stress": {"duration_s": 60}}}
    over, told = without_waits(parse_spec(given))
    short = parse_spec(merged(given, over))
    assert [each.bake_s for each in short.rollout.steps] == [10.0, 5.0]
    assert short.approval.mode.value == "when_all_pass"
    assert {each.what for each in told} == {
        *("approval.mode", "rollout.steps.1.bake_s", "rollout.steps.2", "rollout.look_s", "rollout.max_duration_s"),
        *("rollout.guardrails.latency.block_s", "gates.stress.duration_s"),
    }
    assert without_waits(short)[1] == (), "what is short already is left as it is"


@pytest.mark.parametrize("strategy", ["shadow", "canary", "linear", "a_b", "bandit", "blue_green"])
def test_no_strategy_waits_longer_than_minutes_also_where_the_spec_names_no_steps(strategy: str) -> None:
    given = spec("toy", HUMAN) | {"rollout": {"strategy": strategy}}
    short = parse_spec(merged(given, without_waits(parse_spec(given))[0]))
    assert sum(each.bake_s for each in steps_of(short.rollout)) <= 180.0


def test_a_rollout_of_many_steps_still_has_time_for_all_of_them() -> None:
    steps = [{"set_weight": share / 100, "bake_s": 3600} for share in range(2, 42, 2)]
    given = spec("toy", HUMAN) | {"rollout": {"strategy": "canary", "steps": steps, "max_duration_s": 200_000}}
    short = parse_spec(merged(given, without_waits(parse_spec(given))[0])).rollout
    assert (len(short.steps), short.max_duration_s) == (20, 600.0)


def test_a_spec_that_waits_for_nobody_is_replayed_as_it_is() -> None:
    assert without_waits(_toy(POLICY))[1] == ()


def test_nobody_can_approve_a_risky_model_in_a_replay_so_that_is_said() -> None:
    given = spec("toy", HUMAN)
    given["model"] |= {"risk": "high"}
    over, told = without_waits(parse_spec(given))
    assert parse_spec(merged(given, over)).approval.mode.value == "when_all_pass"
    assert "model.risk" in {each.what for each in told}


def done(month: str, champion: str, ended: Ended, newest: str) -> MonthDone:
    at = datetime(2013, 3, 1, tzinfo=UTC)
    return MonthDone(
        month=month,
        began=at,
        until=at,
        champion=champion,
        asked=1,
        answered=1,
        labelled=1,
        ended=ended,
        alarms=None,
        newest=newest,
        seconds=1.0,
    )


def released(release: str, outcome: str = "promoted") -> Ended:
    return Ended(decision="released", why="new data", release=release, outcome=outcome)


POLICY_DONE = PolicyDone(
    name="p",
    digest="d",
    first="a",
    months=(
        done("jan", "a", released("b", "blocked"), "b"),
        done("feb", "a", released("c"), "c"),
        done("mar", "c", Ended(decision="held back", why="too few"), "c"),
    ),
)
SCORED = {
    "jan": scored_month("jan", {"a": 0.5}),
    "feb": scored_month("feb", {"a": 0.5, "b": 0.9}),
    "mar": scored_month("mar", {"a": 0.9, "b": 0.7, "c": 0.1}),
}


def test_never_is_the_first_always_the_newest_and_the_oracle_the_best_of_those_there_were() -> None:
    chosen = comparison.choices(POLICY_DONE, SCORED, "log_loss")
    assert chosen == {
        "served": ("a", "a", "c"),
        "never": ("a", "a", "a"),
        "always": ("a", "b", "c"),
        "monthly": ("a", "b", "c"),
        "oracle": ("a", "b", "a"),
    }


def _with_a_fit_aside() -> PolicyDone:
    """The same months, the last one's fit made aside, and one after it that all of them were judged on."""
    *before, held_back = POLICY_DONE.months
    apr = done("apr", "c", released("d"), "d")
    return replace(POLICY_DONE, months=(*before, replace(held_back, monthly="monthly-mar"), apr))


def test_monthly_is_the_fit_made_aside_where_the_policy_trained_nothing_and_always_an_older_one() -> None:
    policy = _with_a_fit_aside()
    scored = SCORED | {"apr": scored_month("apr", dict.fromkeys("abc", 0.5) | {"monthly-mar": 0.9})}
    chosen = comparison.choices(policy, scored, "auc")
    assert chosen["always"] == ("a", "b", "c", "c")
    assert chosen["monthly"] == ("a", "b", "c", "monthly-mar")
    assert chosen["oracle"][-1] == "monthly-mar"
    assert comparison.changes(policy) == {"served": 2, "never": 0, "always": 3, "monthly": 4}


def test_where_the_policy_trained_on_every_month_always_and_monthly_are_named_as_one() -> None:
    told: Any = comparison.compare(POLICY_DONE, SCORED, MEASURES)
    assert told["alike"] == [["always", "monthly"]]


def test_who_took_over_last_is_judged_on_the_month_after_or_stands_there_unjudged() -> None:
    policy = _with_a_fit_aside()
    scored = SCORED | {"apr": scored_month("apr", {"c": 0.5}), "may": scored_month("may", {"c": 0.5, "d": 0.1})}
    *_, unjudged = comparison.takeovers(policy, scored, MEASURES)
    assert (unjudged["release"], unjudged["judged_on"], unjudged["worse"]) == ("d", None, [])
    *_, judged = comparison.takeovers(policy, scored, MEASURES, "may")
    assert (judged["judged_on"], judged["worse"]) == ("may", list(MEASURES))


def test_the_mean_over_months_weighs_each_month_alike() -> None:
    months = list(SCORED.values())
    metric = comparison.over_months(months, ("a", "b", "c"), "auc")
    blocks = sum(each.blocks for each in months)
    values = [month.value(release, "auc") for month, release in zip(months, ("a", "b", "c"), strict=True)]
    assert float(metric.statistic(np.ones((1, blocks)))[0]) == pytest.approx(sum(values) / 3, abs=1e-12)


def test_an_interval_of_the_mean_is_there_and_holds_it() -> None:
    told: Any = comparison.compare(POLICY_DONE, SCORED, MEASURES)
    each = told["means"]["served"]["auc"]
    assert each["low"] < each["estimate"] < each["high"]
    assert all(math.isfinite(each[name]) for name in ("low", "high"))


def test_what_served_gained_nothing_over_itself_and_lost_to_the_oracle() -> None:
    told: Any = comparison.compare(POLICY_DONE, SCORED, MEASURES)["gained_over"]
    for measure in MEASURES:
        assert told["oracle"][measure]["estimate"] < 0
    assert told["never"]["auc"]["high"] < 0, "c, which took over, knows next to nothing"


def test_a_release_that_took_over_and_was_worse_than_whom_it_replaced_is_told() -> None:
    (taken,) = comparison.takeovers(POLICY_DONE, SCORED, MEASURES)
    assert (taken["release"], taken["replaced"], taken["judged_on"]) == ("c", "a", "mar")
    assert taken["worse"] == list(MEASURES)


def test_a_release_that_was_as_good_is_not_called_worse() -> None:
    equal = SCORED | {"mar": scored_month("mar", {"a": 0.5, "b": 0.5, "c": 0.5})}
    (taken,) = comparison.takeovers(POLICY_DONE, equal, MEASURES)
    assert taken["worse"] == []


def test_months_that_nothing_watched_count_as_that_and_never_as_quiet() -> None:
    told: Any = comparison.alarms(POLICY_DONE, SCORED, {"a": 0.2}, loss="brier", tolerated=None)
    assert told["counted"]["not_monitored"] == 3
    assert told["counted"]["quiet"] == 0


def test_outcomes_count_releases_gates_and_what_was_held_back() -> None:
    assert comparison.outcomes(POLICY_DONE) == {
        "opened": 2,
        "by_harm": 0,
        "held_back": 1,
        "outcomes": {"blocked": 1, "promoted": 1},
        "stopped_by": {},
    }
