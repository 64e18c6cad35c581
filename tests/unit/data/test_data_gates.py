"""Each gate of the data passes on good measurements, fails on a known-bad one for that reason, and errs on none."""

from __future__ import annotations

import math
from typing import Any

import pytest

from lockgate.core.gates import Gate, batch, drift, expectations, leakage, schema
from lockgate.core.ids import Json
from lockgate.core.verdict import Verdict
from tests.unit.data.toy import errors, failing, judged, without

SCHEMA: dict[str, Any] = {
    "batches": [{"name": "a.parquet", "quarantined": None}],
    "accepted": 1,
    "quarantined": 0,
    "snapshot": {"rows": {"train": 900}},
    "too_short": None,
    "columns": {"there": 9, "missing": [], "mistyped": []},
    "contract": {"champion": "c" * 64, "changes": []},
}


def result(**facts: Json) -> dict[str, Json]:
    met = {"id": "1", "type": "expect_x", "column": "a", "severity": "critical", "success": True, "raised": False}
    return {**met, "observed": None, **facts}


EXPECTATIONS: dict[str, Any] = {
    "expected": 1,
    "row_count_expectations": 1,
    "frames": {"batch": {"rows": 90, "results": [result()]}, "train": {"rows": 900, "results": [result()]}},
}
BATCH: dict[str, Any] = {
    "rows": 1000,
    "train_rows": 5000,
    "split_rows": 9000,
    "duplicate_share": 0.0,
    "batch_age_s": 0.0,
    "label_lag_s": 3600.0,
    "unlabelled_share": 0.05,
    "label": {"kind": "binary", "rarest": "yes", "rarest_share": 0.2},
    "history": {"batches": 4, "median_rows": 1100.0, "ratio": 0.91},
    "copied_share": 0.0,
    "champion": "c" * 64,
    "champion_rows": 5500,
    "rows_ratio": 1.1,
    "label_shift": {"shift": 0.02, "n": 4000},
}
LEAKAGE: dict[str, Any] = {
    "kind": "multiclass",
    "method": "time",
    "train_rows": 5000,
    "expected": ["a", "b"],
    "features": {
        name: {"score": 0.6, "worst_score": 0.7, "worst_class": "x", "missing": {"purity": 0.0, "class": None, "n": 0}}
        for name in ("a", "b")
    },
    "forbidden_features": [],
    "shared_keys": {"train_validation": 0, "train_holdout": 0, "validation_holdout": 0},
    "gap_s": {"train_validation": 60.0, "validation_holdout": 60.0},
    "null_patterns": {
        name: {
            "filled": {"purity": 0.1, "class": "x", "n": 4000},
            "label_gap": 0.1,
            "unlabelled": {"gap": 0.0, "share": 0.1, "rest": 0.1, "n": 100},
            "newest": {"gap": 0.0, "share": 0.1, "rest": 0.1, "n": 100},
        }
        for name in ("a", "b")
    },
    "twins": {
        pair: {"share": 0.01, "natural": 0.01, "excess": 0.0, "n": 900}
        for pair in ("train_validation", "train_holdout")
    },
    "shared_groups": dict.fromkeys(("train_validation", "train_holdout", "validation_holdout"), 0),
    "shared_entities": dict.fromkeys(("train_validation", "train_holdout", "validation_holdout"), 7),
    "times": {"asked_at": {"n": 900, "later_share": 0.0}},
}
MOVED: dict[str, Any] = {
    "rows": 1000,
    "features": {"a": {"psi": 0.01}, "b": {"psi": 0.3}, "c": {"psi": 0.02}, "d": {"psi": 0.0}},
    "domain": {"n": 1000, "auc": {"estimate": 0.52, "low": 0.45, "high": 0.58}, "by": []},
}
DRIFT: dict[str, Any] = {"champion": "c" * 64, **MOVED, "training": MOVED}
GOOD = [
    (schema.GATE, SCHEMA),
    (expectations.GATE, EXPECTATIONS),
    (batch.GATE, BATCH),
    (leakage.GATE, LEAKAGE),
    (drift.GATE, DRIFT),
]


@pytest.mark.parametrize(("gate", "measured"), GOOD, ids=lambda each: getattr(each, "name", ""))
def test_good_measurements_pass(gate: Gate, measured: dict[str, Json]) -> None:
    report = judged(gate, measured)
    assert report.verdict is Verdict.PASS, report.reason


@pytest.mark.parametrize(("gate", "_measured"), GOOD, ids=lambda each: getattr(each, "name", ""))
def test_no_measurements_are_an_error(gate: Gate, _measured: object) -> None:
    assert judged(gate, {}).verdict is Verdict.ERROR


NEEDED = [
    *[(schema.GATE, SCHEMA, p) for p in ("quarantined", "columns", "columns.missing", "columns.mistyped", "snapshot")],
    *[
        (expectations.GATE, EXPECTATIONS, p)
        for p in (
            "expected",
            "row_count_expectations",
            "frames",
            "frames.batch",
            "frames.train",
            "frames.train.results",
        )
    ],
    *[
        (batch.GATE, BATCH, p)
        for p in ("rows", "train_rows", "duplicate_share", "batch_age_s", "label_lag_s", "unlabelled_share", "label")
    ],
    *[
        (leakage.GATE, LEAKAGE, p)
        for p in (
            *("expected", "features", "features.a", "features.b.score", "features.a.missing", "features.a.worst_score"),
            *("forbidden_features", "shared_keys", "shared_keys.train_holdout", "gap_s"),
            "gap_s.validation_holdout",
        )
    ],
    *[(drift.GATE, DRIFT, p) for p in ("features", "features.a.psi")],
]


@pytest.mark.parametrize(("gate", "measured", "path"), NEEDED, ids=lambda each: getattr(each, "name", str(each)[:40]))
def test_a_missing_measurement_is_an_error_and_never_a_pass(gate: Gate, measured: dict[str, Json], path: str) -> None:
    report = judged(gate, without(measured, path))
    assert report.verdict is Verdict.ERROR
    assert errors(report)


@pytest.mark.parametrize("junk", [None, "NaN", "much", True, [], {}, -math.inf, [[]], {"a": None}])
@pytest.mark.parametrize(("gate", "measured"), GOOD, ids=lambda each: getattr(each, "name", ""))
def test_malformed_measurements_never_raise_and_never_pass_the_whole(
    gate: Gate, measured: dict[str, Json], junk: Json
) -> None:
    for name in measured:
        judged(gate, {**measured, name: junk})
    assert judged(gate, dict.fromkeys(set(measured) - {"champion"}, junk)).verdict is not Verdict.PASS


# -- known bad, one reason each --------------------------------------------------------------------------------------


def test_a_quarantined_file_fails_and_its_reason_is_told() -> None:
    refused = [{"name": "bad.parquet", "quarantined": "columns missing: a"}]
    report = judged(schema.GATE, {**SCHEMA, "quarantined": 1, "batches": refused})
    assert failing(report) == {"quarantined_files"}
    assert "bad.parquet: columns missing: a" in report.reason


def test_a_quarantined_first_file_fails_though_there_is_no_snapshot() -> None:
    measured = {**SCHEMA, "quarantined": 1, "snapshot": None, "columns": None, "too_short": "nothing was ingested"}
    assert judged(schema.GATE, measured).verdict is Verdict.FAIL


def test_a_spec_that_names_what_the_rows_do_not_have_fails() -> None:
    columns = {"there": 9, "missing": ["z"], "mistyped": ["a"]}
    report = judged(schema.GATE, {**SCHEMA, "columns": columns})
    assert failing(report) == {"columns_missing", "columns_mistyped"}
    assert "z" in report.reason


def with_results(*results: dict[str, Json]) -> dict[str, Json]:
    frames = {"batch": {"rows": 90, "results": list(results)}, "train": EXPECTATIONS["frames"]["train"]}
    return {**EXPECTATIONS, "frames": frames}


def test_an_unmet_critical_expectation_fails() -> None:
    report = judged(expectations.GATE, with_results(result(success=False, observed=-4)))
    assert failing(report) == {"failed_critical"}
    assert "expect_x(a) saw -4" in report.reason


def test_an_unmet_warning_is_shown_and_does_not_block() -> None:
    report = judged(expectations.GATE, with_results(result(success=False, severity="warning")))
    assert report.verdict is Verdict.PASS
    assert [c.name for c in report.checks if c.verdict is Verdict.FAIL] == ["failed_warning"]


def test_an_expectation_that_raised_fails_even_as_a_warning() -> None:
    report = judged(expectations.GATE, with_results(result(success=False, severity="warning", raised=True)))
    assert failing(report) == {"raised"}


def test_an_expectation_that_was_not_evaluated_fails() -> None:
    assert failing(judged(expectations.GATE, {**EXPECTATIONS, "expected": 2})) == {"evaluated"}


def test_a_suite_of_nothing_is_an_error() -> None:
    frames = {name: {"rows": 0, "results": []} for name in ("batch", "train")}
    report = judged(expectations.GATE, {**EXPECTATIONS, "expected": 0, "frames": frames})
    assert report.verdict is Verdict.ERROR


def test_a_suite_without_a_row_count_fails() -> None:
    assert failing(judged(expectations.GATE, {**EXPECTATIONS, "row_count_expectations": 0})) == {
        "row_count_expectations"
    }


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("rows", 99, "batch_rows"),
        ("train_rows", 499, "train_rows"),
        ("duplicate_share", 1e-4, "duplicate_share"),
        ("batch_age_s", 46 * 86_400.0, "batch_age"),
        ("label_lag_s", 8 * 86_400.0, "label_lag"),
        ("unlabelled_share", 0.3, "unlabelled_share"),
        ("label", {"kind": "binary", "rarest": "yes", "rarest_share": 0.004}, "rarest_class_share"),
        ("label", {"kind": "regression", "distinct": 1}, "label_values"),
    ],
)
def test_a_bad_batch_fails_for_its_reason(name: str, value: Json, check: str) -> None:
    assert failing(judged(batch.GATE, {**BATCH, name: value})) == {check}


def leaking(**facts: Json) -> dict[str, Json]:
    features = {**LEAKAGE["features"], "a": {**LEAKAGE["features"]["a"], **facts}}
    return {**LEAKAGE, "features": features}


@pytest.mark.parametrize(
    ("facts", "check"),
    [
        ({"score": 0.81}, "single_feature_score"),
        ({"worst_score": 0.96}, "class_auc"),
        ({"missing": {"purity": 0.95, "class": "x", "n": 900}}, "missing_purity"),
    ],
)
def test_a_feature_that_knows_the_answer_fails_and_is_named(facts: dict[str, Json], check: str) -> None:
    report = judged(leakage.GATE, leaking(**facts))
    assert failing(report) == {check}
    assert " a (" in report.reason


def test_a_leak_that_was_seen_is_a_leak_though_another_feature_was_not_measured() -> None:
    assert judged(leakage.GATE, without(leaking(score=0.9), "features.b")).verdict is Verdict.FAIL


def test_a_feature_that_a_person_vouched_for_does_not_block() -> None:
    assert judged(leakage.GATE, leaking(score=0.99), known_strong=("a",)).verdict is Verdict.PASS


def test_a_regression_is_judged_by_its_own_bound() -> None:
    features = {"a": {"score": 0.9}, "b": {"score": 0.1}}
    measured = {**LEAKAGE, "kind": "regression", "features": features}
    assert judged(leakage.GATE, measured).verdict is Verdict.PASS
    assert failing(judged(leakage.GATE, {**measured, "features": {**features, "a": {"score": 0.96}}})) == {
        "single_feature_score"
    }


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("forbidden_features", ["a"], "forbidden_features"),
        ("shared_keys", {"train_validation": 0, "train_holdout": 3, "validation_holdout": 0}, "shared_keys"),
        ("gap_s", {"train_validation": 60.0, "validation_holdout": -1.0}, "time_order"),
    ],
)
def test_parts_that_are_not_apart_fail(name: str, value: Json, check: str) -> None:
    assert failing(judged(leakage.GATE, {**LEAKAGE, name: value})) == {check}


@pytest.mark.parametrize("method", ["group", "random"])
def test_a_split_that_is_not_by_time_has_no_order_to_keep(method: str) -> None:
    assert judged(leakage.GATE, {**LEAKAGE, "method": method, "gap_s": None}).verdict is Verdict.PASS


def test_without_a_champion_ever_drift_is_not_applicable() -> None:
    report = judged(drift.GATE, {"champion": None, "rows": 1000})
    assert report.verdict is Verdict.PASS
    assert [c.verdict for c in report.checks] == [Verdict.NOT_APPLICABLE]


def test_a_champion_that_nobody_mentions_is_an_error_and_not_a_first_release() -> None:
    assert judged(drift.GATE, without(DRIFT, "champion")).verdict is Verdict.PASS
    assert judged(drift.GATE, {"rows": 1000}).verdict is Verdict.ERROR


def test_a_champion_without_a_profile_is_an_error() -> None:
    assert judged(drift.GATE, {**DRIFT, "features": {}}).verdict is Verdict.ERROR


def test_drifted_features_are_shown_and_do_not_block() -> None:
    features = {name: {"psi": 0.9} for name in "abcd"}
    report = judged(drift.GATE, {**DRIFT, "features": features})
    assert report.verdict is Verdict.PASS
    assert [c.name for c in report.checks if c.verdict is Verdict.FAIL] == ["drifted_features"]


def test_a_batch_that_has_nothing_to_do_with_the_reference_fails() -> None:
    features = {"a": {"psi": 4.0}, "b": {"psi": 2.0}, "c": {"psi": 0.1}, "d": {"psi": 0.1}}
    report = judged(drift.GATE, {**DRIFT, "features": features})
    assert failing(report) == {"unrelated_features"}
    assert "a (4.00)" in report.reason


def test_drift_of_a_few_rows_is_inconclusive() -> None:
    assert judged(drift.GATE, {**DRIFT, "rows": 150}).verdict is Verdict.INCONCLUSIVE
