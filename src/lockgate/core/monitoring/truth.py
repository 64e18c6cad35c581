"""Truth: what answers turned out to cost, day by day, against the loss at release and what is tolerated beyond it.

    quality.loss      mean loss of the day, against the loss at release: callers are worse off, whatever the cause
    quality.skill     the same, less what the difficulty of the days explains (binary): how much is saved of the loss
                      of a constant answer, the share of positives in the days before. A season with few positives
                      makes every loss small and hides a model that no longer tells them apart. After `FIRST_DAYS` it
                      is held to its first days of service too
    quality.slice:s   the loss of a slice, against its own at release
    quality.labels    how many rows that are old enough have a label

A day counts once all its labels are due and enough of them are there; the unit is the day. Whether a row of days is
harm is the detector's to say, with the part of the false alarms that `judged.PARTS` gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from itertools import pairwise

from lockgate.core.ids import Json
from lockgate.core.monitoring.detector import LEAST_DAYS, Course, watch
from lockgate.core.monitoring.findings import Finding, State, Subject
from lockgate.core.monitoring.judged import Window, answered_labelled, coverage
from lockgate.core.monitoring.summary import DaySummary, LabelSums

LEAST_ROWS_A_DAY = 30
"""Labelled rows that a day needs; ours: the mean of fewer is no mean of a day."""
PRIOR_ROWS = 200
"""Rows that the share of positives at release counts as, when the constant answer begins. Ours: less than a day."""
SLICE_MARGIN_SE = 2.0
"""Standard errors of a slice's loss at release that it must exceed besides. Ours: of many slices some were lucky at
release, and would be alarmed about for ever (16 slices, simulated: 7.6 false alarms a year without, 0.4 with)."""
RATE_DAYS = 14
"""Days before a day whose share of positives the constant answer gives. Ours: two weeks follow a season."""
FIRST_DAYS = 28
"""Days of service after which a champion is also held to how it did in them, where that was better than on its holdout.
Ours: a holdout is one season, and one that was hard there would never be seen to decay."""
FIRST_MARGIN_SE = 2.0
"""Standard errors that this is loosened by; ours: first days that were lucky would alarm for ever."""
_SHOWN_DAYS = 28


@dataclass(frozen=True, slots=True)
class _Day:
    """A day's mean, and what it is held to."""

    day: str
    mean: float
    allowed: float


def judge_truth(window: Window) -> tuple[Finding, ...]:
    """Judge realised loss, skill, slices and the coverage of labels."""
    labels = _judge_labels(window)
    days = [day for day in window.due if _counts(window, day)]
    loss = window.reference.loss
    if loss is None:
        reason = "the bundle's evaluation does not say what its loss was; nothing can be held to it"
        ask = f"release a bundle that was evaluated: lockgate release --model {window.reference.model}"
        return labels, window.finding("quality.loss", Subject.TRUTH, state=State.BROKEN, reason=reason, next=ask)
    tolerated = window.reference.tolerated(window.section.loss_tolerated)
    found = [_judge(window, "quality.loss", _raw(days, loss.mean + tolerated), loss.day_sd, window.level("loss"))]
    skill = skill_days(window, days, tolerated)
    if skill:
        found.append(_judge(window, "quality.skill", skill, _skill_sd(window), window.level("skill")))
    return labels, *found, *_judge_slices(window, days, tolerated)


def skill_days(window: Window, days: Sequence[DaySummary], tolerated: float) -> list[_Day]:
    """Return each day's loss, and what a model as good as at release would lose on it; none where that is unknown."""
    loss, positive = window.reference.loss, window.reference.positive
    if loss is None or positive is None or not 0 < positive < 1 or window.reference.naive is None:
        return []
    kept = loss.mean / (positive * (1.0 - positive))
    found: list[_Day] = []
    first: list[tuple[float, float]] = []
    for at, day in enumerate(days):
        if at == FIRST_DAYS:
            kept = min(kept, _kept_at_first(first))
        before = days[max(0, at - RATE_DAYS) : at]
        rows = PRIOR_ROWS + sum(each.labels.n for each in before)
        rate = (PRIOR_ROWS * positive + math.fsum(each.labels.observed for each in before)) / rows
        share = day.labels.observed / day.labels.n
        naive = share * (1.0 - rate) ** 2 + (1.0 - share) * rate**2
        first.append((day.labels.loss / day.labels.n, naive))
        found.append(_Day(day.day, day.labels.loss / day.labels.n, kept * naive * (1.0 + tolerated / loss.mean)))
    return found


def _kept_at_first(days: Sequence[tuple[float, float]]) -> float:
    """Return how much of a constant answer's loss was left in the first days of service, and `FIRST_MARGIN_SE` more.

    >>> round(_kept_at_first([(0.15, 0.2), (0.17, 0.2)] * 14), 4)  # 0.8, days differ from it by .01, se .00192 / .2
    0.8192
    """
    naive = math.fsum(each for _, each in days) / len(days)
    kept = math.fsum(loss for loss, _ in days) / (naive * len(days))
    spread = math.fsum((loss - kept * each) ** 2 for loss, each in days) / (len(days) - 1)
    return kept + FIRST_MARGIN_SE * math.sqrt(spread / len(days)) / naive


def _skill_sd(window: Window) -> float:
    """Return a day's deviation of skill at release; the gate's skill is in its own loss, the share is taken over."""
    loss, naive = window.reference.loss, window.reference.naive
    return 0.0 if loss is None or naive is None else naive["se"] * math.sqrt(loss.days) * loss.mean


def _raw(days: Sequence[DaySummary], allowed: float) -> list[_Day]:
    return [_Day(day.day, day.labels.loss / day.labels.n, allowed) for day in days]


def _counts(window: Window, day: DaySummary) -> bool:
    answered, labelled = answered_labelled(day)
    return day.labels.n >= LEAST_ROWS_A_DAY and labelled >= window.section.coverage * answered


def _judge(window: Window, name: str, days: Sequence[_Day], sd: float, level: float) -> Finding:
    if len(days) < LEAST_DAYS:
        reason = f"{len(days)} days have all their labels; {LEAST_DAYS} are needed"
        return window.finding(name, Subject.TRUTH, state=State.NO_DATA, reason=reason,
                              next="wait for labels, or see why they do not come: quality.labels")  # fmt: skip
    course = watch([each.mean - each.allowed for each in days], sd, level)
    recent = days[-min(window.section.reference_days, len(days)) :]
    observed = math.fsum(each.mean for each in recent) / len(recent)
    allowed = math.fsum(each.allowed for each in recent) / len(recent)
    state = State.HARM if course.alarmed else State.NOISE if observed > allowed else State.OK
    loss = window.reference.loss
    at_stake = max(observed - allowed, 0.0) / (loss.mean if loss else 1.0)
    if course.since is not None:  # the days of the alarm say how bad it is, not the good ones before it
        bad = days[course.since - LEAST_DAYS + 1 :] if course.since >= LEAST_DAYS else days
        worse = math.fsum(each.mean - each.allowed for each in bad) / len(bad)
        at_stake = max(at_stake, worse / (loss.mean if loss else 1.0), 0.0)
    return window.finding(
        name,
        Subject.TRUTH,
        state=state,
        observed=observed,
        threshold=allowed,
        unit=loss.unit if loss else "1",
        harm=at_stake,
        reason=_words(name, state, observed, allowed, len(recent)),
        evidence=_evidence(course, days, allowed),
        next=_next(window, name, state),
    )


def _words(name: str, state: State, observed: float, allowed: float, days: int) -> str:
    said = f"loss {observed:.4g} a row over {days} days, {allowed:.4g} allowed"
    if name == "quality.skill":
        said += " at the difficulty of these days"
    if state is State.HARM:
        return f"{said}; day after day it is larger than chance explains"
    if state is State.NOISE:
        return f"{said}; larger, and still within what chance explains"
    return said


def _next(window: Window, name: str, state: State) -> str:
    model = window.reference.model
    if state is State.OK:
        return ""
    if state is State.NOISE:
        return "nothing yet; it is watched every day"
    if name == "quality.loss":
        return f"see quality.skill: where it is fine, the days were harder; else: lockgate release --model {model}"
    return f"train on newer data: lockgate release --model {model}; or take it back: lockgate rollback {model}"


def _evidence(course: Course, days: Sequence[_Day], allowed: float) -> dict[str, Json]:
    shown = list(zip(days, course.evidence, strict=True))[-_SHOWN_DAYS:]
    return {
        "days": course.days,
        "evidence": course.evidence[-1],
        "level": course.level,
        "alarm_since": None if course.since is None else days[course.since].day,
        "allowed": allowed,
        "last": [{"day": day.day, "loss": day.mean, "allowed": day.allowed, "evidence": e} for day, e in shown],
    }


def _judge_slices(window: Window, days: Sequence[DaySummary], tolerated: float) -> list[Finding]:
    loss, known = window.reference.loss, window.reference.slices
    if loss is None:
        return []
    names = sorted({name for day in days for name in day.by_slice if name in known})
    level = window.level("slices") * len(names)
    found = []
    for name in names:
        share, sd_share = known[name]
        told = [(day.day, day.by_slice[name]) for day in days if name in day.by_slice]
        allowed = loss.mean * share + tolerated + SLICE_MARGIN_SE * loss.mean * sd_share / math.sqrt(loss.days)
        counted = [_Day(day, _mean(sums), allowed) for day, sums in told if sums.n >= LEAST_ROWS_A_DAY]
        if len(counted) >= LEAST_DAYS:
            sd = max(loss.day_sd, loss.mean * sd_share)
            found.append(_judge(window, f"quality.slice:{name}", counted, sd, level))
    return found


def _mean(sums: LabelSums) -> float:
    return sums.loss / sums.n


def _judge_labels(window: Window) -> Finding:
    first = window.recent[0].day if window.recent else ""
    due = [day for day in window.due if day.day >= first]
    found, least = coverage(due), window.section.coverage
    gaps = [_gap(one.day, other.day) for one, other in pairwise(due)]
    evidence: dict[str, Json] = {
        "days": len(due),
        "labelled": sum(day.labels.n for day in due),
        "unusable": sum(day.unusable_labels for day in due),
        "known_before_prediction": sum(day.label_delay_s[0] for day in due if day.label_delay_s),
        "days_missing": sum(gap - 1 for gap in gaps),
        "label_delay_s": window.label_delay_s,
    }
    if found is None:
        reason = "no answered row is old enough to have a label"
        return window.finding("quality.labels", Subject.TRUTH, state=State.NO_DATA, threshold=least, reason=reason,
                              evidence=evidence, next="wait; or see that traffic reaches production: lockgate status",
                              unit="fraction")  # fmt: skip
    state = State.OK if found >= least else State.NO_DATA
    reason = f"{found:.0%} of rows that are old enough have a label, {least:.0%} are asked for"
    return window.finding(
        "quality.labels",
        Subject.TRUTH,
        state=state,
        observed=found,
        threshold=least,
        unit="fraction",
        reason=reason,
        evidence=evidence,
        next="" if found >= least else "send labels to POST /labels of production",
    )


def _gap(one: str, other: str) -> int:
    return (date.fromisoformat(other) - date.fromisoformat(one)).days
