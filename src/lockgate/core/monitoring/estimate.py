"""Before truth: what answers would cost if their probabilities were true, beside how wrong that was on past days.

The expected loss of a calibrated answer is known without a label. It sees that rows have become harder; it cannot
see that the same rows now mean something else (concept drift), so it may raise an eyebrow and never clears
anything. Its own past error stands beside it: expected less realised, on the days whose labels came.
"""

from __future__ import annotations

import math

from lockgate.core.ids import Json
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judged import Window, answered_labelled
from lockgate.core.monitoring.summary import DaySummary

LEAST_PAST_DAYS = 7
"""Ours: fewer days of its own past say nothing of its error."""
TRUSTED = 0.5
"""It is worth suspicion when its past error is at most this part of the excess that it sees. Ours."""


def judge_estimate(window: Window) -> tuple[Finding, ...]:
    """Judge the expected loss of the days whose labels are not due, or did not come."""
    loss = window.reference.loss
    waiting = [day for day in window.recent if day.expected_loss.n > 0 and not _is_known(window, day)]
    rows = sum(day.expected_loss.n for day in waiting)
    if loss is None or rows < window.section.min_rows:
        reason = "too few rows wait for labels, or this task has no expected loss"
        return (window.finding("estimate.loss", Subject.ESTIMATE, state=State.NO_DATA, reason=reason),)
    expected = math.fsum(day.expected_loss.total for day in waiting) / rows
    past = _past(window)
    bias, error = _error(past)
    allowed = loss.mean + window.reference.tolerated(window.section.loss_tolerated)
    excess = expected - allowed
    suspected = excess > 0 and error is not None and error <= TRUSTED * excess
    evidence: dict[str, Json] = {
        "rows": rows, "days": len(waiting), "past_days": len(past), "past_bias": bias, "past_error": error,
        "harm_suspected": suspected, "blind_to": "concept drift",
    }  # fmt: skip
    wrong = "its own past error is not known" if error is None else f"on past days it was wrong by {error:.4g}"
    said = f"expected loss {expected:.4g} a row if its probabilities are true, {allowed:.4g} allowed; {wrong}"
    return (
        window.finding(
            "estimate.loss", Subject.ESTIMATE, state=State.NOISE if excess > 0 else State.OK, observed=expected,
            threshold=allowed, unit=loss.unit, harm=max(excess, 0.0) / loss.mean * (1.0 if suspected else 0.5),
            reason=f"{said}. Blind to concept drift: it clears nothing", evidence=evidence,
            next="look at the inputs that drift, and wait for labels" if excess > 0 else "",
        ),
    )  # fmt: skip


def _is_known(window: Window, day: DaySummary) -> bool:
    answered, labelled = answered_labelled(day)
    return window.is_due(day) and labelled >= window.section.coverage * answered


def _past(window: Window) -> list[float]:
    """Return expected less realised loss of each past day of the window that has both."""
    due = [day for day in window.due if day.labels.n and day.expected_loss.n and _is_known(window, day)]
    return [_less(day) for day in due[-window.section.reference_days :]]


def _less(day: DaySummary) -> float:
    return day.expected_loss.total / day.expected_loss.n - day.labels.loss / day.labels.n


def _error(past: list[float]) -> tuple[float | None, float | None]:
    """Return the mean error and its root mean square."""
    if len(past) < LEAST_PAST_DAYS:
        return None, None
    return math.fsum(past) / len(past), math.sqrt(math.fsum(each * each for each in past) / len(past))
