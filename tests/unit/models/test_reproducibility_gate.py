"""The reproducibility gate and its measurement: what passes, what fails, what nobody can say, and why it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lockgate.core.gates import reproducibility
from lockgate.core.gates.reproducibility import Refit, Thresholds
from lockgate.core.ids import Json
from lockgate.core.reproduction import answer_difference, answer_digest, differing_paths, model_digest
from lockgate.core.spec import ReleaseSpec, SearchSection
from lockgate.core.verdict import Check, Verdict
from lockgate.errors import BadInput, ConfigError, LockgateError, MeasurementError
from lockgate.ports import Fit, Snapshot
from lockgate.spec_file import parse_spec
from lockgate.stages.reproducing import measure_reproducibility
from tests.e2e.toy_project import spec as toy_spec
from tests.unit.models.rows import judged, spec_of

SAME: dict[str, Json] = {"rows": 500, "differing": 0, "largest": 0.0, "digests": ["a", "a"]}
REFIT: dict[str, Json] = {**SAME, "graphs": ["g", "g"], "same_graph": True}
OTHER: dict[str, Json] = {**REFIT, "differing": 3, "largest": 0.25, "same_graph": False}
NEVER = Thresholds(refit=Refit.NEVER)


def check(measured: Any, name: str, thresholds: Thresholds | None = None) -> Check:
    report = judged(reproducibility.GATE, measured, thresholds)
    return next(each for each in report.checks if each.name == name)


# -- the gate ----------------------------------------------------------------------------------------------------------


def test_the_same_again_passes() -> None:
    report = judged(reproducibility.GATE, {"reloaded": SAME, "refit": REFIT})
    assert report.verdict is Verdict.PASS
    assert all(each.required for each in report.checks)


@pytest.mark.parametrize(
    ("refit", "failing"),
    [
        ({**REFIT, "differing": 1, "largest": 1e-12}, "refitted_answers_differ"),
        ({**REFIT, "same_graph": False}, "refitted_graph_same"),
    ],
)
def test_one_bit_in_one_row_or_in_the_graph_fails(refit: dict[str, Json], failing: str) -> None:
    measured = {"reloaded": SAME, "refit": refit}
    assert judged(reproducibility.GATE, measured).verdict is Verdict.FAIL
    assert check(measured, failing).verdict is Verdict.FAIL


def test_a_saved_model_that_answers_otherwise_fails_even_without_a_second_fit() -> None:
    measured = {"reloaded": {**SAME, "differing": 1}, "refit": None}
    assert judged(reproducibility.GATE, measured, NEVER).verdict is Verdict.FAIL


def test_the_reason_says_by_how_much_and_which_parameter_to_set() -> None:
    threads = {"reloaded": SAME, "refit": OTHER, "cause": "threads"}
    assert "by up to 0.25" in judged(reproducibility.GATE, threads).reason
    assert "set training.threads: 1" in judged(reproducibility.GATE, threads).reason
    assert "random_state" in judged(reproducibility.GATE, {**threads, "cause": "randomness"}).reason
    assert "was not found out" in judged(reproducibility.GATE, {**threads, "cause": None}).reason


def test_a_fit_that_is_not_repeated_passes_and_is_shown_to_be_unknown() -> None:
    measured = {"reloaded": SAME, "refit": None}
    assert judged(reproducibility.GATE, measured, NEVER).verdict is Verdict.PASS
    shown = check(measured, "refitted_answers_differ", NEVER)
    assert (shown.verdict, shown.required, shown.observed) == (Verdict.INCONCLUSIVE, False, None)
    assert "was not repeated" in shown.reason


def test_a_second_fit_that_was_made_counts_whatever_the_spec_says() -> None:
    assert judged(reproducibility.GATE, {"reloaded": SAME, "refit": OTHER}, NEVER).verdict is Verdict.FAIL


def test_a_second_fit_that_was_asked_for_and_is_not_there_is_an_error() -> None:
    assert judged(reproducibility.GATE, {"reloaded": SAME, "refit": None}).verdict is Verdict.ERROR


def test_a_second_fit_beyond_its_time_is_inconclusive() -> None:
    report = judged(reproducibility.GATE, {"reloaded": SAME, "refit": None, "refit_beyond_time": 30.0})
    assert report.verdict is Verdict.INCONCLUSIVE
    assert "30 s" in report.reason
    assert "gates.reproducibility.time_limit_s" in report.reason


def test_few_rows_cannot_show_equality_but_one_row_shows_a_difference() -> None:
    few = {"reloaded": SAME, "refit": {**REFIT, "rows": 99}}
    assert judged(reproducibility.GATE, few).verdict is Verdict.INCONCLUSIVE
    few = {"reloaded": SAME, "refit": {**OTHER, "rows": 99}}
    assert judged(reproducibility.GATE, few).verdict is Verdict.FAIL


@pytest.mark.parametrize(
    "measured",
    [
        {},
        {"reloaded": SAME},
        {"reloaded": None, "refit": REFIT},
        {"reloaded": SAME, "refit": {}},
        {"reloaded": SAME, "refit": {**REFIT, "differing": "NaN"}},
        {"reloaded": SAME, "refit": {**REFIT, "rows": None}},
        {"reloaded": SAME, "refit": {**REFIT, "same_graph": "yes"}},
    ],
)
def test_what_was_not_measured_is_an_error(measured: Any) -> None:
    assert judged(reproducibility.GATE, measured).verdict is Verdict.ERROR


def test_a_model_of_high_risk_may_not_give_the_second_fit_up() -> None:
    given = toy_spec("toy", {"mode": "human"})
    given["gates"] = {"reproducibility": {"refit": "never"}}
    assert parse_spec(given).gates["reproducibility"] == NEVER
    given["model"]["risk"] = "high"
    with pytest.raises(ConfigError, match=r"gates\.reproducibility\.refit: never is not allowed.*risk: high"):
        parse_spec(given)


def test_a_search_may_not_take_all_the_time_of_the_fit() -> None:
    given = toy_spec("toy", {"mode": "human"})
    given["training"] |= {"search": {"space": {"max_depth": [2, 4]}, "time_budget_s": 60.0}, "time_limit_s": 60.0}
    with pytest.raises(ConfigError, match=r"training\.search\.time_budget_s is 60; it must be less than"):
        parse_spec(given)


# -- the measurement ---------------------------------------------------------------------------------------------------


@dataclass
class FakeRefitter:
    """Compares as it is told: `refits` are handed out one after the other."""

    refits: list[Mapping[str, Json] | LockgateError]
    fitted: list[ReleaseSpec] = field(default_factory=list)

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:  # noqa: ARG002 - as the port
        self.fitted.append(spec)
        return Fit(folder=out, family=spec.training.family, facts={})

    def ask_again(self, spec: ReleaseSpec, snapshot: Snapshot, fit: Fit) -> Mapping[str, Json]:  # noqa: ARG002
        return SAME

    def fit_again(
        self,
        spec: ReleaseSpec,
        snapshot: Snapshot,  # noqa: ARG002 - as the port
        fit: Fit,  # noqa: ARG002 - as the port
        out: Path,  # noqa: ARG002 - as the port
        time_limit_s: float,  # noqa: ARG002 - as the port
    ) -> Mapping[str, Json]:
        self.fitted.append(spec)
        found = self.refits.pop(0)
        if isinstance(found, LockgateError):
            raise found
        return {"reloaded": SAME, "refit": found}


def measure(refitter: FakeRefitter, asked: Thresholds | None = None, **training: Any) -> dict[str, Json]:
    spec = replace(spec_of(**training), gates={"reproducibility": asked or Thresholds()})
    fit = Fit(folder=Path("fit"), family="xgboost", facts={"parameters": {"max_depth": 3}})
    return measure_reproducibility(refitter, spec, None, fit, Path("release"))  # type: ignore[arg-type]  # never read


def test_the_second_fit_takes_what_the_search_chose() -> None:
    refitter = FakeRefitter([REFIT])
    measured = measure(refitter, search=SearchSection(space={"max_depth": (2, 9)}))
    assert [(each.training.search, each.training.parameters) for each in refitter.fitted] == [(None, {"max_depth": 3})]
    assert "not repeated" in str(measured["search"])


def test_what_is_the_same_again_is_not_fitted_a_third_time() -> None:
    refitter = FakeRefitter([REFIT])
    assert "cause" not in measure(refitter)
    assert len(refitter.fitted) == 1


@pytest.mark.parametrize(("alone", "cause"), [(REFIT, "threads"), (OTHER, "randomness")])
def test_a_difference_is_traced_by_two_fits_in_one_thread(alone: Mapping[str, Json], cause: str) -> None:
    refitter = FakeRefitter([OTHER, alone])
    assert measure(refitter)["cause"] == cause
    assert [each.training.threads for each in refitter.fitted] == [None, 1, 1]


def test_a_difference_in_one_thread_is_randomness_without_another_fit() -> None:
    refitter = FakeRefitter([OTHER])
    assert measure(refitter, threads=1)["cause"] == "randomness"
    assert len(refitter.fitted) == 1


def test_a_second_fit_beyond_its_time_is_told_and_the_saved_model_asked_all_the_same() -> None:
    measured = measure(FakeRefitter([MeasurementError("too long", limit="time")]), Thresholds(time_limit_s=2.0))
    assert (measured["refit"], measured["refit_beyond_time"], measured["reloaded"]) == (None, 2.0, SAME)


def test_a_second_fit_that_breaks_otherwise_is_no_measurement() -> None:
    with pytest.raises(MeasurementError, match="memory"):
        measure(FakeRefitter([MeasurementError("memory", limit="memory")]))


def test_a_cause_that_cannot_be_found_in_the_time_is_unknown() -> None:
    assert measure(FakeRefitter([OTHER, MeasurementError("too long", limit="time")]))["cause"] is None


def test_a_fit_that_is_not_to_be_repeated_is_not() -> None:
    refitter = FakeRefitter([])
    measured = measure(refitter, NEVER)
    assert (measured["refit"], measured["reloaded"], refitter.fitted) == (None, SAME, [])


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_equal_bits_are_equal_and_missing_answers_count_by_their_bits() -> None:
    answers = np.array([0.1, np.nan, np.inf])
    assert answer_difference(answers, answers.copy())["differing"] == 0
    assert answer_difference(answers, np.array([0.1, 0.2, np.inf]))["differing"] == 1


def test_one_step_of_one_probability_is_one_row() -> None:
    first = np.full((4, 3), 0.25)
    second = first.copy()
    second[2, 1] = np.nextafter(second[2, 1], 1)
    found = answer_difference(first, second)
    assert (found["rows"], found["differing"]) == (4, 1)
    assert found["largest"] == np.spacing(0.25)


@pytest.mark.parametrize("second", [np.zeros(3), np.zeros((4, 1)), np.zeros(4, np.float32)])
def test_answers_of_another_form_differ_in_every_row(second: Any) -> None:
    found = answer_difference(np.zeros(4), second)
    assert (found["differing"], found["largest"]) == (4, None)


def test_no_rows_differ_in_nothing() -> None:
    assert answer_difference(np.zeros(0), np.zeros(0))["differing"] == 0


def test_the_digest_of_answers_knows_their_order_and_form() -> None:
    digests = {answer_digest(each) for each in (np.array([1.0, 2.0]), np.array([2.0, 1.0]), np.array([[1.0, 2.0]]))}
    assert len(digests) == 3


def test_the_model_is_its_graph_contract_and_profile_and_nothing_else() -> None:
    parts = {"model.onnx": "a", "contract.json": "b", "reference_profile.json": "c", "card.md": "d"}
    assert model_digest(parts) == model_digest({**parts, "card.md": "x"})
    for name in ("model.onnx", "contract.json", "reference_profile.json"):
        assert model_digest(parts) != model_digest({**parts, name: "x"})
    with pytest.raises(KeyError):
        model_digest({"model.onnx": "a"})


def test_where_two_values_differ_is_told_by_path() -> None:
    assert differing_paths({"a": [1, 2], "b": 1}, {"a": [1, 3], "b": 1}) == ["a"]
    assert differing_paths({f"k{at}": at for at in range(20)}, {}, most=3) == ["k0", "k1", "k10"]
    assert differing_paths(1, 2) == ["(whole)"]


def test_errors_are_not_swallowed() -> None:
    with pytest.raises(BadInput):
        measure(FakeRefitter([BadInput("no such row")]))
