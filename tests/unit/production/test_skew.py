"""Logged requests recomputed offline: what is the same passes, a broken column or another model's answers do not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.gates import skew
from lockgate.core.ids import Digest, Json, ModelName
from lockgate.core.replay import LoggedRequest
from lockgate.core.spec import DataSection, ModelSection, ReleaseSpec, TaskSection
from lockgate.core.verdict import GateReport, Verdict
from lockgate.stages.skew import measure_skew
from tests.unit.data.toy import judged as judge

CHAMPION = Digest("a" * 64)
SPEC = ReleaseSpec(
    model=ModelSection(name=ModelName("toy")),
    task=TaskSection(kind=TaskKind.BINARY, classes=("no", "yes")),
    data=DataSection(suite="toy", label="label", time="time", key=("id",), numeric=("x", "z"), categorical=("city",)),
)


def landed(rows: int = 400, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=rows)
    x[::7] = np.nan
    city = rng.choice(["oslo", "rome", None], size=rows)
    return pd.DataFrame({"id": np.arange(rows), "x": x, "z": rng.normal(size=rows), "city": city})


def ask(frame: pd.DataFrame) -> Any:
    score = 1 / (1 + np.exp(-frame["x"].fillna(0.0).to_numpy(np.float32) - frame["z"].to_numpy(np.float32)))
    return score.astype(np.float32)


def asked(frame: pd.DataFrame, *, digest: str = CHAMPION, by: str = "request_id") -> list[LoggedRequest]:
    answers = ask(frame).tolist()
    requests = []
    for at, row in enumerate(frame.to_dict("records")):
        inputs: dict[str, Json] = {name: None if pd.isna(row[name]) else row[name] for name in ("x", "z", "city")}
        for name in ("x", "z"):
            inputs[name] = None if inputs[name] is None else float(np.float32(row[name]))  # as JSON of a float32 reads
        said = {by: str(row["id"])}
        requests.append(LoggedRequest(rows=(inputs,), outputs={"probability": [answers[at]]}, digest=digest, **said))
    return requests


def judged(measured: dict[str, Json], **thresholds: Any) -> GateReport:
    return judge(skew.GATE, measured, **thresholds)


def verdict_of(report: GateReport, check: str) -> Verdict:
    return next(each.verdict for each in report.checks if each.name == check)


@pytest.mark.parametrize("by", ["request_id", "entity"])
def test_production_that_computes_what_training_computed_passes(by: str) -> None:
    rows = landed()
    measured = measure_skew(SPEC, CHAMPION, asked(rows, by=by), rows, ask)
    report = judged(measured, required=True)
    assert report.verdict is Verdict.PASS
    assert measured["features"] == {"joined": 400, "exact_rows": 400, "match_fraction": 1.0, "by_feature": {}}
    assert measured["answers"] == {"compared": 400, "exact_fraction": 1.0, "largest_difference": 0.0}


def test_one_column_in_another_unit_is_stopped_by_its_own_share_though_the_rest_is_whole() -> None:
    rows = landed()
    served = rows.assign(z=rows["z"] * 1.609344)
    report = judged(measure_skew(SPEC, CHAMPION, asked(served), rows, ask))
    assert report.verdict is Verdict.FAIL
    (check,) = [each for each in report.checks if each.name == "worst_feature_match_fraction"]
    assert check.verdict is Verdict.FAIL
    assert "farthest apart: z" in check.reason


def test_a_null_that_production_fills_is_another_value() -> None:
    rows = landed()
    report = judged(measure_skew(SPEC, CHAMPION, asked(rows.assign(x=rows["x"].fillna(0.0))), rows, ask))
    assert verdict_of(report, "worst_feature_match_fraction") is Verdict.FAIL


def test_answers_that_the_bundle_does_not_give_are_stopped() -> None:
    rows = landed()
    shifted = [
        replace(each, outputs={"probability": [float(np.float32(each.outputs["probability"][0] + 1e-3))]})  # type: ignore[operator]
        for each in asked(rows)
    ]
    report = judged(measure_skew(SPEC, CHAMPION, shifted, rows, ask))
    assert report.verdict is Verdict.FAIL
    assert verdict_of(report, "answer_difference") is Verdict.FAIL


def test_answers_of_another_bundle_are_not_held_against_the_champion() -> None:
    rows = landed()
    measured = measure_skew(SPEC, CHAMPION, asked(rows, digest="b" * 64), rows, lambda frame: ask(frame) + 0.5)
    assert measured["answers"] == {"compared": 0, "exact_fraction": None, "largest_difference": None}


def test_requests_that_name_no_row_are_compared_by_their_answers_alone() -> None:
    rows = landed()
    unnamed = [replace(each, request_id=None) for each in asked(rows)]
    measured = measure_skew(SPEC, CHAMPION, unnamed, rows, ask)
    report = judged(measured)
    assert report.verdict is Verdict.PASS
    assert verdict_of(report, "feature_match_fraction") is Verdict.INCONCLUSIVE
    assert judged(measured, required=True).verdict is Verdict.INCONCLUSIVE


def test_a_key_of_several_columns_is_joined_by_a_bar() -> None:
    spec = replace(SPEC, data=replace(SPEC.data, key=("id", "leg")))
    rows = landed().assign(leg="b")
    requests = [replace(each, request_id=f"{each.request_id}|b") for each in asked(rows)]
    features: Any = measure_skew(spec, CHAMPION, requests, rows, ask)["features"]
    assert features["joined"] == 400


def test_no_champion_is_not_applicable_and_an_unread_log_is_an_error() -> None:
    rows = landed()
    assert judged(measure_skew(SPEC, None, None, rows, ask)).verdict is Verdict.PASS
    report = judged(measure_skew(SPEC, CHAMPION, None, rows, ask))
    assert report.verdict is Verdict.ERROR
    assert verdict_of(report, "log_read") is Verdict.ERROR


def test_an_empty_log_passes_unless_the_spec_asks_for_traffic() -> None:
    measured = measure_skew(SPEC, CHAMPION, [], landed(), ask)
    assert judged(measured).verdict is Verdict.PASS
    assert judged(measured, required=True).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("part", ["features", "answers", "requests"])
@pytest.mark.parametrize("broken", [None, "x", {}, {"joined": "x"}, {"compared": float("nan")}])
def test_a_measurement_that_is_not_there_never_passes(part: str, broken: Json) -> None:
    rows = landed()
    measured = measure_skew(SPEC, CHAMPION, asked(rows), rows, ask)
    assert judged({**measured, part: broken}).verdict is Verdict.ERROR


def test_a_shifted_column_of_unnamed_requests_is_told() -> None:
    rows = landed(2_000)
    served = [replace(each, request_id=None) for each in asked(rows.assign(z=rows["z"] + 2.0))]
    report = judged(measure_skew(SPEC, CHAMPION, served, rows, ask))
    (check,) = [each for each in report.checks if each.name == "production_psi"]
    assert check.verdict is Verdict.FAIL
    assert not check.required
    assert check.reason.startswith("z ")


def test_a_feature_that_the_champion_does_not_have_yet_is_not_held_against_its_requests() -> None:
    rows = landed().assign(new=1.0)
    more = replace(SPEC, data=replace(SPEC.data, numeric=(*SPEC.data.numeric, "new")))
    report = judged(measure_skew(more, CHAMPION, asked(rows), rows, ask))
    assert report.verdict is Verdict.PASS


def test_a_column_of_the_champion_that_callers_never_send_is_another_value() -> None:
    rows = landed()
    silent = [
        replace(each, rows=tuple({k: v for k, v in row.items() if k != "city"} for row in each.rows))
        for each in asked(rows)
    ]
    assert judged(measure_skew(SPEC, CHAMPION, silent, rows, ask)).verdict is Verdict.PASS
    report = judged(measure_skew(SPEC, CHAMPION, silent, rows, ask, takes=("x", "z", "city")))
    (check,) = [each for each in report.checks if each.name == "worst_feature_match_fraction"]
    assert check.verdict is Verdict.FAIL
    assert "farthest apart: city" in check.reason
    before = [replace(each, digest="b" * 64) for each in silent]  # of a predecessor that may not take it
    assert judged(measure_skew(SPEC, CHAMPION, before, rows, ask, takes=("city",))).verdict is Verdict.PASS
