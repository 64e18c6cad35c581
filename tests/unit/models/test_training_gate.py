"""The training gate: what passes, what fails, and that nothing unmeasured passes."""

from __future__ import annotations

from typing import Any

import pytest

from lockgate.core.gates import training
from lockgate.core.verdict import Verdict
from tests.unit.models.rows import judged


def good() -> dict[str, Any]:
    return {
        "rows": {"train": 1000, "validation": 500},
        "converged": True,
        "finite": True,
        "rounds": {"best": 40, "fitted": 60},
        "loss": {
            "train": 0.50,
            "validation": 0.55,
            "validation_of_train_constant": 0.68,
            "train_of_own_constant": 0.67,
            "validation_of_own_constant": 0.67,
        },
    }


def failing(measured: dict[str, Any]) -> set[str]:
    report = judged(training.GATE, measured)
    assert report.verdict is Verdict.FAIL
    return {check.name for check in report.checks if check.verdict is Verdict.FAIL and check.required}


def test_a_good_fit_passes() -> None:
    assert judged(training.GATE, good()).verdict is Verdict.PASS


def test_a_solver_that_did_not_finish_fails() -> None:
    assert failing(good() | {"converged": False}) == {"converged"}


def test_an_answer_that_is_no_number_fails() -> None:
    assert failing(good() | {"finite": False}) == {"finite"}


def test_no_better_than_a_constant_fails() -> None:
    measured = good()
    measured["loss"] |= {"validation": 0.68, "train": 0.67}
    assert failing(measured) == {"improvement_over_constant"}


def test_rows_learned_by_heart_fail() -> None:
    measured = good()
    measured["loss"]["train"] = 0.01
    assert failing(measured) == {"overfit_gap"}


def test_a_harder_month_is_no_overfitting() -> None:
    measured = good()
    measured["loss"] = {
        "train": 0.30,
        "train_of_own_constant": 0.40,
        "validation": 0.525,
        "validation_of_own_constant": 0.70,
        "validation_of_train_constant": 0.72,
    }
    report = judged(training.GATE, measured)
    gap = next(check for check in report.checks if check.name == "overfit_gap")
    assert gap.observed == pytest.approx(0)
    assert report.verdict is Verdict.PASS


def test_still_improving_is_shown_and_does_not_block() -> None:
    report = judged(training.GATE, good() | {"rounds": {"best": 60, "fitted": 60}})
    shown = next(check for check in report.checks if check.name == "rounds_after_best")
    assert (shown.verdict, shown.required, report.verdict) == (Verdict.FAIL, False, Verdict.PASS)


def test_a_family_without_rounds_has_no_such_check() -> None:
    report = judged(training.GATE, good() | {"rounds": None})
    assert report.verdict is Verdict.PASS
    assert "rounds_after_best" not in {check.name for check in report.checks}


def test_too_few_rows_are_inconclusive() -> None:
    assert judged(training.GATE, good() | {"rows": {"train": 1000, "validation": 99}}).verdict is Verdict.INCONCLUSIVE


@pytest.mark.parametrize("absent", ["converged", "finite", "loss"])
def test_what_was_not_measured_is_an_error(absent: str) -> None:
    measured = good()
    del measured[absent]
    assert judged(training.GATE, measured).verdict is Verdict.ERROR


@pytest.mark.parametrize("value", ["NaN", None, "x", [], True])
def test_what_is_no_number_is_an_error(value: Any) -> None:
    measured = good()
    measured["loss"]["validation"] = value
    assert judged(training.GATE, measured).verdict is Verdict.ERROR


def test_no_measurements_at_all_are_an_error() -> None:
    assert judged(training.GATE, {}).verdict is Verdict.ERROR
