"""A gate never passes because a number is missing, endless, of another type, or hidden by another number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import pytest

from lockgate.core.gates.measured import count
from lockgate.core.gates.registry import GATES, gate_named
from lockgate.core.ids import Json
from lockgate.core.verdict import Direction, GateReport, Verdict, compare
from tests.unit.judgement.scenes import check_of, evidence_of

CHAMPION = "c" * 64


def judged(gate: str, measurements: Mapping[str, Json], **thresholds: Any) -> GateReport:
    found = gate_named(gate)
    return found.judge(evidence_of(gate, measurements), found.thresholds(**thresholds))


def test_a_number_that_needs_rows_behind_it_is_an_error_when_nobody_counted_them() -> None:
    assert compare("psi", 0.1, 0.2, Direction.AT_MOST, n=None, n_min=200, reason="").verdict is Verdict.ERROR
    assert compare("psi", 0.3, 0.2, Direction.AT_MOST, n=None, n_min=200, reason="").verdict is Verdict.FAIL


@pytest.mark.parametrize(("observed", "side"), [(math.inf, Direction.AT_LEAST), (-math.inf, Direction.AT_MOST)])
def test_an_endless_number_never_passes(observed: float, side: Direction) -> None:
    assert compare("x", observed, 1.0, side, reason="").verdict is Verdict.ERROR
    assert compare("x", -observed, 1.0, side, reason="").verdict is Verdict.FAIL


@pytest.mark.parametrize("given", [-1, 2.5, math.inf, "3 rows", None, True])
def test_what_is_no_whole_number_of_at_least_none_is_no_count(given: Json) -> None:
    assert count({"n": given}, "n") is None


def test_a_history_of_less_than_no_batches_does_not_make_its_checks_advice() -> None:
    report = judged("batch", {"history": {"batches": -1, "ratio": 9.0}})
    assert check_of(report, "batch_rows_high").required


@pytest.mark.parametrize("gate", [gate.name for gate in GATES])
@pytest.mark.parametrize("odd", [-math.inf, math.inf, "x", True, [], {}, [None], {"n": None}])
def test_no_gate_raises_or_passes_on_measurements_of_another_kind(gate: str, odd: Json) -> None:
    parts = ("rows", "n", "blocks", "champion", "features", "perturbations", "groups", "slices", "columns")
    assert judged(gate, dict.fromkeys(parts, odd)).verdict is not Verdict.PASS


def _drifted(**changed: Json) -> dict[str, Json]:
    features = {"a": {"psi": 0.01, "q_value": 0.9, "noise_floor": 0.1}}
    rows: dict[str, Json] = {"rows": 5_000, "features": features, "not_compared": []}
    return {"champion": CHAMPION, **rows, "training": rows, **changed}


def test_drift_of_rows_that_nobody_counted_is_no_pass() -> None:
    assert judged("drift", _drifted()).verdict is Verdict.PASS
    assert judged("drift", _drifted(rows=None)).verdict is Verdict.ERROR


def test_features_that_could_not_be_compared_are_told() -> None:
    check = check_of(judged("drift", _drifted(not_compared=["b", "c"])), "features_not_compared")
    assert check.verdict is Verdict.FAIL
    assert "b, c" in check.reason


SKEW: dict[str, Json] = {
    "champion": CHAMPION,
    "requests": 400,
    "features": {"joined": 400, "match_fraction": 0.995, "by_feature": {"a": 0.99}},
    "answers": {"compared": 400, "largest_difference": 0.0},
}


@pytest.mark.parametrize(
    "changed",
    [
        {"features": {"match_fraction": 0.995, "by_feature": {"a": 0.99}}},
        {"features": {"joined": 400, "match_fraction": 0.995, "by_feature": {}}},
        {"answers": {"largest_difference": 0.0}},
    ],
)
def test_skew_without_its_counts_or_its_features_is_no_pass(changed: dict[str, Json]) -> None:
    assert judged("skew", SKEW).verdict is Verdict.PASS
    assert judged("skew", {**SKEW, **changed}).verdict is Verdict.ERROR


PLACE: dict[str, Json] = {"values": 10, "findings": {}}
PRIVACY: dict[str, Json] = {
    **dict.fromkeys(("data", "log", "probe_requests", "bundle"), PLACE),
    "declared_and_logged": [],
    "named_like_personal": [],
}


@pytest.mark.parametrize("place", ["data", "log", "probe_requests", "bundle"])
def test_a_place_where_nobody_counted_what_was_looked_at_is_no_pass(place: str) -> None:
    assert judged("privacy", PRIVACY).verdict is Verdict.PASS
    assert judged("privacy", {**PRIVACY, place: {"findings": {}}}).verdict is Verdict.ERROR


def test_a_bundle_of_no_readable_part_was_not_looked_at() -> None:
    assert judged("privacy", {**PRIVACY, "bundle": {"values": 0, "findings": {}}}).verdict is Verdict.INCONCLUSIVE


def _slice(name: str) -> dict[str, Json]:
    excess = {"estimate": -0.1, "low": -0.2, "high": 0.0, "se": 0.05, "unit": "nat"}
    return {"slice": name, "n": 900, "blocks": 25, "loss": 0.4, "excess": excess, "min_rows": None}


def test_a_declared_slice_column_that_was_not_measured_is_no_pass() -> None:
    found: dict[str, Json] = {
        "basis": "champion",
        "overall_loss": 0.5,
        "declared": ["city", "hour & city"],
        "slices": [_slice("city=oslo"), _slice("hour=1 & city=oslo")],
        "unlisted": {"slices": 0, "rows": 0, "largest": 0},
    }
    assert judged("slices", found).verdict is Verdict.PASS
    report = judged("slices", {**found, "slices": [_slice("city=oslo")]})
    assert report.verdict is Verdict.ERROR
    assert "hour & city" in report.reason


def _training(**changed: Json) -> dict[str, Json]:
    loss = {"train": 0.4, "train_of_own_constant": 0.6, "validation": 0.45, "validation_of_own_constant": 0.6}
    rows = {"train": 900, "validation": 900}
    whole = {"converged": True, "finite": True, "loss": {**loss, "validation_of_train_constant": 0.6}, "rows": rows}
    return {**whole, **changed}


@pytest.mark.parametrize("rows", [-math.inf, math.inf, None, "x", 1.5])
def test_a_fit_on_rows_that_nobody_counted_is_no_pass(rows: Json) -> None:
    assert judged("training", _training()).verdict is Verdict.PASS
    assert judged("training", _training(rows={"train": 900, "validation": rows})).verdict is not Verdict.PASS
