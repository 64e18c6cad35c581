"""What a policy was worth: the quality of what served, beside never retraining, always the newest, and hindsight.

    served      the champion of each month, as it stood at the month's beginning
    never       the first champion, all the time
    always      the newest fit that the policy made, whether it was released or not; else an older one
    monthly     a fit of every month's data, for the next month, without policy and gates; where the policy made no fit
                of a month's data, one that the replay made aside
    oracle      the best of all these fits so far, chosen by the month itself: nobody can have it

Always and monthly differ after months of whose data the policy made no fit, and nowhere else: where it trains on every
month's data they are the same, and `alike` says so.

Each month is judged on all of its labelled rows; the mean over months weighs each month alike. Intervals are clustered
by the spec's block (day) of all months together, `intervals.block_interval`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise, takewhile
from typing import Final

import numpy as np

from lockgate.core.block_statistics import Metric, Statistic, gain
from lockgate.core.ids import Json
from lockgate.core.intervals import Estimate, block_interval, metric_interval
from lockgate.core.metrics import Floats
from lockgate.core.replay_plan import MonthDone, PolicyDone
from lockgate.errors import MeasurementError

SERVED: Final = "served"
NEVER: Final = "never"
ALWAYS: Final = "always"
MONTHLY: Final = "monthly"
ORACLE: Final = "oracle"
CURVES: Final = (SERVED, NEVER, ALWAYS, MONTHLY, ORACLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredMonth:
    """One month, answered by every fit there was.

    Attributes:
        month: The batch.
        rows: Labelled rows.
        blocks: How many blocks they lie in.
        metrics: By release, then by measure.
    """

    month: str
    rows: int
    blocks: int
    metrics: Mapping[str, Mapping[str, Metric]]

    def value(self, release: str, measure: str) -> float:
        """Return a measure's plain value."""
        return float(self.metrics[release][measure].statistic(np.ones((1, self.blocks)))[0])

    def interval(self, release: str, measure: str) -> Estimate:
        """Return a measure with its interval."""
        return metric_interval(self.metrics[release][measure], self.blocks)

    def gained(self, ours: str, theirs: str, measure: str) -> Estimate:
        """Return by how much one release is better than another; positive is better."""
        pair = self.metrics[ours][measure], self.metrics[theirs][measure]
        return block_interval(gain(*pair), self.blocks)


def known_releases(policy: PolicyDone, month: str) -> tuple[str, ...]:
    """Return every release with a fit before a month's own data landed, oldest first."""
    return tuple(dict.fromkeys([policy.first, *(done.newest for done in _before(policy, month))]))


def monthly_fits(policy: PolicyDone, month: str) -> tuple[str, ...]:
    """Return the fits that a calendar had before a month's own data landed, oldest first."""
    return tuple(dict.fromkeys([policy.first, *(done.monthly or done.newest for done in _before(policy, month))]))


def _before(policy: PolicyDone, month: str) -> Iterator[MonthDone]:
    return takewhile(lambda done: done.month != month, policy.months)


def choices(policy: PolicyDone, scored: Mapping[str, ScoredMonth], measure: str) -> Mapping[str, tuple[str, ...]]:
    """Return which release each curve takes, month by month."""
    taken: dict[str, list[str]] = {curve: [] for curve in CURVES}
    for done in policy.months:
        known, monthly = known_releases(policy, done.month), monthly_fits(policy, done.month)
        best = _best(scored[done.month], tuple(dict.fromkeys([*known, *monthly])), measure)
        for curve, fit in zip(CURVES, (done.champion, policy.first, known[-1], monthly[-1], best), strict=True):
            taken[curve].append(fit)
    return {curve: tuple(fits) for curve, fits in taken.items()}


def alike(chosen: Mapping[str, Sequence[str]]) -> list[list[str]]:
    """Return the curves that take the same fit in every month, each group in the order of `CURVES`.

    >>> alike({"served": "ab", "never": "aa", "always": "ab", "monthly": "ac", "oracle": "ac"})
    [['served', 'always'], ['monthly', 'oracle']]
    """
    groups: dict[tuple[str, ...], list[str]] = {}
    for curve, fits in chosen.items():
        groups.setdefault(tuple(fits), []).append(curve)
    return [group for group in groups.values() if len(group) > 1]


def changes(policy: PolicyDone) -> dict[str, Json]:
    """Return how often each curve but the oracle puts another fit into production, the last month's data too."""
    fits = {
        ALWAYS: [policy.first, *(done.newest for done in policy.months)],
        MONTHLY: [policy.first, *(done.monthly or done.newest for done in policy.months)],
    }
    turns = {curve: sum(before != after for before, after in pairwise(each)) for curve, each in fits.items()}
    return {SERVED: sum(each.promoted for done in policy.months for each in done.releases), NEVER: 0, **turns}


def _best(month: ScoredMonth, releases: Sequence[str], measure: str) -> str:
    sign = -1.0 if month.metrics[releases[0]][measure].higher_is_better is False else 1.0
    return max(releases, key=lambda each: sign * month.value(each, measure))


def over_months(months: Sequence[ScoredMonth], releases: Sequence[str], measure: str) -> Metric:
    """Return a measure's mean over months, as a function of how often each block of all months counts.

    Raises:
        MeasurementError: There is no month.
    """
    if not months:
        raise MeasurementError("no month was replayed, so there is nothing to compare")
    each = [month.metrics[release][measure] for month, release in zip(months, releases, strict=True)]
    edges = [0, *accumulate(month.blocks for month in months)]

    def statistic(weights: Floats) -> Floats:
        parts = [one.statistic(weights[:, edges[at] : edges[at + 1]]) for at, one in enumerate(each)]
        return np.asarray(np.mean(parts, axis=0))

    return replace(each[0], statistic=statistic)


def compare(policy: PolicyDone, scored: Mapping[str, ScoredMonth], measures: Sequence[str]) -> dict[str, Json]:
    """Return means by curve and measure, and by how much what served is better than each other curve."""
    months = [scored[done.month] for done in policy.months]
    blocks = sum(month.blocks for month in months)
    means: dict[str, dict[str, Json]] = {}
    gained: dict[str, dict[str, Json]] = {}
    for measure in measures:
        taken = {
            name: over_months(months, chosen, measure) for name, chosen in choices(policy, scored, measure).items()
        }
        for name, metric in taken.items():
            means.setdefault(name, {})[measure] = metric_interval(metric, blocks).to_json()
            if name != SERVED:
                better: Statistic = gain(taken[SERVED], metric)
                gained.setdefault(name, {})[measure] = block_interval(better, blocks).to_json()
    same = alike(choices(policy, scored, measures[0]))
    return {"means": means, "gained_over": gained, "alike": [list(group) for group in same]}


def by_month(policy: PolicyDone, scored: Mapping[str, ScoredMonth], measures: Sequence[str]) -> list[dict[str, Json]]:
    """Return each month's values by curve and measure, with the interval of what served."""
    told: list[dict[str, Json]] = []
    chosen = {measure: choices(policy, scored, measure) for measure in measures}
    for at, done in enumerate(policy.months):
        month = scored[done.month]
        curves: dict[str, Json] = {
            name: {measure: month.value(chosen[measure][name][at], measure) for measure in measures} for name in CURVES
        }
        bounds = {measure: month.interval(done.champion, measure).to_json() for measure in measures}
        told.append({"month": done.month, "rows": month.rows, "days": month.blocks, "curves": curves, "served": bounds})
    return told


def takeovers(
    policy: PolicyDone, scored: Mapping[str, ScoredMonth], measures: Sequence[str], after: str | None = None
) -> Iterator[dict[str, Json]]:
    """Yield every release that took over, judged on the first month in which it served, against whom it replaced.

    Of several that took over in one month only the last one served a month: those before it stand there unjudged, and
    it is held against who served when the month began.

    Args:
        policy: What was replayed.
        scored: Every month's scores.
        measures: By which.
        after: The month after the last one, if it is scored too; None: who took over last stands there unjudged.
    """
    following = [*(each.month for each in policy.months[1:]), after]
    for done, next_month in zip(policy.months, following, strict=True):
        *short, release = [str(each.release) for each in done.releases if each.promoted] or [""]
        for each in (*short, *([release] if release and next_month is None else [])):
            yield {"release": each, "replaced": done.champion, "judged_on": None, "gain": {}, "worse": []}
        if not release or next_month is None:
            continue
        month = scored[next_month]
        gains = {measure: month.gained(release, done.champion, measure) for measure in measures}
        worse: list[Json] = [measure for measure, each in gains.items() if each.high < 0.0]
        facts: dict[str, Json] = {"release": release, "replaced": done.champion, "judged_on": next_month}
        yield {**facts, "gain": {measure: each.to_json() for measure, each in gains.items()}, "worse": worse}


def alarms(
    policy: PolicyDone,
    scored: Mapping[str, ScoredMonth],
    at_release: Mapping[str, float],
    *,
    loss: str,
    tolerated: float | None,
) -> dict[str, Json]:
    """Return which months' alarms were true: the champion's loss really was worse than at release, beyond what is told.

    Args:
        policy: What was replayed.
        scored: Every month's scores.
        at_release: Each champion's loss on the holdout it was judged on.
        loss: Which measure that is.
        tolerated: How much worse it may be; None: a twentieth of what it was at release.
    """
    told: list[Json] = []
    counted = {"true": 0, "false": 0, "missed": 0, "quiet": 0, "not_monitored": 0}
    for done in policy.months:
        before = at_release.get(done.champion)
        now = scored[done.month].value(done.champion, loss)
        limit = None if before is None else before + (0.05 * before if tolerated is None else tolerated)
        harmed = None if limit is None or not np.isfinite([now, limit]).all() else now > limit
        kind = _alarm_kind(done, harmed=harmed)
        counted[kind] = counted.get(kind, 0) + 1
        names: list[Json] = [each.name for each in done.alarms or ()]
        told.append(
            {"month": done.month, "loss": now, "at_release": before, "limit": limit, "kind": kind, "found": names}
        )
    return {"measure": loss, "counted": {**counted}, "months": told}


def _alarm_kind(done: MonthDone, *, harmed: bool | None) -> str:
    if done.alarms is None:
        return "not_monitored"
    if harmed is None:
        return "unknown"
    if any(each.about_quality for each in done.alarms):
        return "true" if harmed else "false"
    return "missed" if harmed else "quiet"


def outcomes(policy: PolicyDone) -> dict[str, Json]:
    """Return how many releases there were, how they ended, and which gates stopped how many."""
    ended: dict[str, int] = {}
    gates: dict[str, int] = {}
    for each in (each for done in policy.months for each in done.releases):
        ended[each.outcome] = ended.get(each.outcome, 0) + 1
        if each.gate:
            gates[each.gate] = gates.get(each.gate, 0) + 1
    return {
        "opened": sum(ended.values()),
        "by_harm": sum(len(done.harm) for done in policy.months),
        "held_back": sum(done.ended.release is None for done in policy.months),
        "outcomes": {**ended},
        "stopped_by": {**gates},
    }
