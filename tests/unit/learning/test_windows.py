"""What is learnt from: incident times, weights by age, and what a spec may ask for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.adapters.split import split
from lockgate.adapters.trainer import check_training
from lockgate.core.learning.windows import span_of, weights_by_age, within_incidents
from lockgate.core.spec import ApprovalMode, IncidentSection, RetrainingSection, Window
from lockgate.errors import BadInput, ConfigError
from lockgate.models import TRAINERS, refuse_weights
from lockgate.models.checkpoint import nowhere
from lockgate.models.fit_process import fit_key
from lockgate.models.frames import columns_read, labelled_rows
from lockgate.spec_file import parse_spec
from tests.unit.data.toy import toy_rows, toy_spec
from tests.unit.models.rows import rows, snapshot_in, spec_of
from tests.unit.spec.test_spec_file import SMALL

SPEC = toy_spec()
WEIGHTED = RetrainingSection(window=Window.WEIGHTED, half_life_days=5)


def incident(since: str, until: str) -> IncidentSection:
    return IncidentSection(since=since, until=until, reason="a sensor stood still")


def retraining(**section: Any) -> Any:
    return replace(SPEC, retraining=RetrainingSection(**section))


def test_a_day_alone_is_meant_whole_and_a_time_to_the_second() -> None:
    days = span_of(incident("2024-01-03", "2024-01-04"))
    assert days == (datetime(2024, 1, 3, tzinfo=UTC), datetime(2024, 1, 5, tzinfo=UTC))
    times = span_of(incident("2024-01-03T06:00", "2024-01-03T08:00+01:00"))
    assert times == (datetime(2024, 1, 3, 6, tzinfo=UTC), datetime(2024, 1, 3, 7, tzinfo=UTC))


@pytest.mark.parametrize(("since", "until"), [("2024-01-05", "2024-01-04"), ("soon", "2024-01-04"), ("2024-01-01", "")])
def test_a_time_that_is_none_or_runs_backwards_is_refused(since: str, until: str) -> None:
    with pytest.raises(BadInput):
        span_of(incident(since, until))


def test_the_end_of_an_incident_is_sound_again_and_its_start_is_not() -> None:
    since, until = span_of(incident("2024-01-03T06:00", "2024-01-03T07:00"))
    at = np.array([since.timestamp() - 1, since.timestamp(), until.timestamp() - 1, until.timestamp(), np.nan])
    found = within_incidents(at, [incident("2024-01-03T06:00", "2024-01-03T07:00")])
    assert found.tolist() == [False, True, True, False, False]


def test_a_row_one_half_life_older_weighs_half_and_the_mean_is_one() -> None:
    weights = weights_by_age(np.array([0.0, 10.0, 20.0]), 10.0)
    assert weights[0] / weights[1] == pytest.approx(2)
    assert weights.mean() == pytest.approx(1)
    assert (weights_by_age(np.array([0.0, 1e9]), 1.0) >= 0).all()


def test_rows_of_an_incident_leave_train_and_validation_and_stay_in_the_holdout() -> None:
    frame = toy_rows(30)
    plain = split(frame, SPEC)
    days = frame["t"].dt.floor("D")
    named = [sorted(days[plain.rows[part]].unique())[1] for part in ("train", "validation", "holdout")]
    section = tuple(incident(f"{day:%Y-%m-%d}", f"{day:%Y-%m-%d}") for day in named)
    found = split(frame, retraining(quarantine=section))
    assert not set(days[found.rows["train"]]) & set(named)
    assert not set(days[found.rows["validation"]]) & set(named)
    assert (found.rows["holdout"] == plain.rows["holdout"]).all()
    lost = {part: int(plain.rows[part].sum() - found.rows[part].sum()) for part in plain.rows}
    assert lost["train"] > 0
    assert found.quarantined["train"] == lost["train"]
    assert found.quarantined["validation"] == lost["validation"]
    assert found.quarantined["holdout"] > lost["holdout"] == 0


def test_without_an_incident_nothing_is_counted_as_one() -> None:
    assert split(toy_rows(30), SPEC).quarantined == {}


def test_a_quarantine_that_leaves_nothing_to_train_on_is_told_as_such() -> None:
    with pytest.raises(BadInput, match="beside the rows in retraining"):
        split(toy_rows(30), retraining(quarantine=(incident("2024-01-01", "2024-01-15"),)))


def test_a_rolling_window_keeps_the_newest_training_days() -> None:
    frame = toy_rows(30)
    found = split(frame, retraining(window=Window.ROLLING, window_days=3))
    same = split(frame, replace(SPEC, split=replace(SPEC.split, train_window_days=3)))
    assert frame["t"][found.rows["train"]].dt.floor("D").nunique() == 3
    assert (found.rows["train"] == same.rows["train"]).all()


def weighted_spec(family: str) -> Any:
    return replace(spec_of(family=family), retraining=WEIGHTED)


def aged(n: int = 400) -> pd.DataFrame:
    frame = rows(n)
    frame["t"] = pd.Timestamp("2026-01-01", tz="UTC") + pd.to_timedelta(np.arange(n) % 20, unit="D")
    return frame


@pytest.mark.parametrize("family", ["xgboost", "logistic", "random_forest"])
def test_a_family_that_takes_weights_fits_another_model_with_them(family: str) -> None:
    frame, spec = aged(), weighted_spec(family)
    weighted = labelled_rows(frame[[*columns_read(spec)]], spec)
    assert weighted.weight is not None
    plain = replace(weighted, weight=None)
    few = {} if family == "logistic" else {"n_estimators": 10}
    answers = [
        TRAINERS[family].fit(each, plain, spec, few, nowhere()).native.predict_proba(plain.features)[:, 1]
        for each in (plain, weighted)
    ]
    assert np.abs(answers[0] - answers[1]).max() > 0.001


def test_equal_weights_change_nothing() -> None:
    frame, spec = aged(), weighted_spec("logistic")
    plain = replace(labelled_rows(frame, spec), weight=None)
    equal = replace(plain, weight=np.ones(len(plain)))
    answers = [
        TRAINERS["logistic"].fit(each, plain, spec, {}, nowhere()).native.predict_proba(plain.features)[:, 1]
        for each in (plain, equal)
    ]
    assert answers[0] == pytest.approx(answers[1], abs=1e-6)


def test_a_family_that_takes_no_weights_is_refused_by_name(tmp_path: Any) -> None:
    spec = weighted_spec("estimator")
    spec = replace(spec, training=replace(spec.training, estimator="tests.estimators:plain"))
    with pytest.raises(ConfigError, match="use xgboost, logistic, linear, random_forest"):
        check_training(spec, tmp_path)
    refuse_weights(replace(spec, retraining=RetrainingSection()))


def test_a_fit_is_another_one_with_another_half_life(tmp_path: Any) -> None:
    folder = snapshot_in(tmp_path / "snapshot", n=50).folder
    parts = (folder / "train.parquet", folder / "validation.parquet")
    longer = replace(WEIGHTED, half_life_days=9)
    keys = [fit_key(replace(spec_of(), retraining=each), *parts) for each in (RetrainingSection(), WEIGHTED, longer)]
    assert len(set(keys)) == 3


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ({"window": "rolling"}, "needs retraining.window_days"),
        ({"window": "weighted"}, "needs retraining.half_life_days"),
        ({"window_days": 30}, "is for window: rolling"),
        ({"half_life_days": 30}, "is for window: weighted"),
        ({"quarantine": [{"since": "2013-05-02", "until": "2013-05-01", "reason": "x"}]}, "is not after"),
        ({"quarantine": [{"since": "2013-05-01", "until": "2013-05-01", "reason": " "}]}, "reason is empty"),
        ({"automation": "full"}, "needs rollout.strategy: canary or linear"),
        ({"automation": "sometimes"}, "automation"),
        ({"schedule": "daily"}, "is not a cron"),
    ],
)
def test_a_section_that_contradicts_itself_is_refused(section: dict[str, Any], says: str) -> None:
    given = SMALL | {"retraining": section, "rollout": {"strategy": "blue_green"}}
    with pytest.raises(ConfigError, match=says):
        parse_spec(given)


def test_a_rolling_window_is_said_once_and_for_splits_by_time_only() -> None:
    rolling = {"retraining": {"window": "rolling", "window_days": 30}}
    with pytest.raises(ConfigError, match="say the same thing"):
        parse_spec(SMALL | rolling | {"split": {"train_window_days": 30}})
    with pytest.raises(ConfigError, match=r"needs split\.method: time"):
        parse_spec(SMALL | rolling | {"split": {"method": "random"}})
    assert parse_spec(SMALL | rolling).retraining.window_days == 30


def test_days_of_an_incident_may_stand_in_the_yaml_unquoted() -> None:
    import yaml

    text = "quarantine: [{since: 2013-05-01, until: 2013-05-02 06:00:00+00:00, reason: clock}]"
    spec = parse_spec(SMALL | {"retraining": yaml.safe_load(text)})
    assert span_of(spec.retraining.quarantine[0])[1] == datetime(2013, 5, 2, 6, tzinfo=UTC)


@pytest.mark.parametrize("level", ["approve", "full"])
def test_a_level_that_approves_by_itself_makes_passing_gates_decide_but_never_for_high_risk(level: str) -> None:
    given = SMALL | {"retraining": {"automation": level}, "rollout": {"strategy": "canary"}}
    assert parse_spec(given).approval.mode is ApprovalMode.WHEN_ALL_PASS
    risky = given | {"model": {**given["model"], "risk": "high"}}
    with pytest.raises(ConfigError, match="not allowed for a model of risk: high"):
        parse_spec(risky)
    with pytest.raises(ConfigError, match=r"approval\.mode: human asks for them"):
        parse_spec(given | {"approval": {"mode": "human"}})
    with pytest.raises(ConfigError, match="four_eyes"):
        parse_spec(given | {"approval": {"four_eyes": True}})


@pytest.mark.parametrize("level", ["notify", "train"])
def test_a_level_that_does_not_approve_leaves_the_approval_to_people(level: str) -> None:
    assert parse_spec(SMALL | {"retraining": {"automation": level}}).approval.mode is ApprovalMode.HUMAN
