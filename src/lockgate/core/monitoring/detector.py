"""Whether daily losses have become larger than is allowed, judged every day, with a stated rate of false alarms.

A release's rollout is tested once against its start. A champion is watched for months and may begin to fail on any day,
so a test that remembers the good days since its release sees it late. This is a detector of *changes*: one test is
begun every day, and their sum is compared with a level A. While the mean is within what is allowed, the expected time
to a false alarm is at least A days (Shiryaev 1963; Roberts 1966; of any law: Shin, Ramdas and Rinaldo 2024,
E-detectors, a nonparametric framework for sequential change detection, New England Journal of Statistics in Data
Science 2).

One day adds `exp(l z - (exp(l c) - 1 - l c) / c^2)` with z = (loss - allowed) / sd, cut at c: at most 1 on average
where the mean is allowed and the standard deviation is at most sd (Bennett 1962). The cut makes one storm day worth
three deviations and no more. Days that follow each other are alike, which the promise does not know: how far it
holds for them is simulated (docs/statistics.md).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

CUT_SD: Final = 3.0
"""Ours: 1 day in 700 of an even law lies beyond; heavier tails, which weather has, must not alarm alone."""
STAKES: Final = (0.25, 0.5, 1.0)
"""The bets l, a third each. Ours: best for means that are 0.25, 0.5 and about 1.2 deviations too large."""
MEMORY: Final = 20.0
"""Evidence is kept up to so many times A. Ours: an alarm ends after some good days, not after as many as were bad."""
LEAST_DAYS: Final = 3
"""Ours: fewer days are never harm, whatever they held."""
TRAILING_DAYS: Final = 28
DAYS_A_MONTH: Final = 365.25 / 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """How a detector went.

    Attributes:
        evidence: The sum of the tests after each day.
        level: A: at or above it is an alarm.
        days: How many days counted.
        since: Index of the day on which the alarm that lasts began; None without one.
        alarms: How many alarms began.
    """

    evidence: tuple[float, ...]
    level: float
    days: int
    since: int | None
    alarms: int

    @property
    def alarmed(self) -> bool:
        """Whether there is an alarm after the last day."""
        return self.since is not None


def level_of(false_per_month: float) -> float:
    """Return A, the days that a detector with this part of the false alarms must last on average without one.

    >>> round(level_of(0.5), 1)
    60.9
    """
    return DAYS_A_MONTH / false_per_month


def watch(excess: Sequence[float], sd: float, level: float) -> Course:
    """Follow a detector through some days.

    Args:
        excess: By day, oldest first: mean loss less what is allowed.
        sd: Standard deviation of a day's mean as it was before the first, above 0. Where the last `TRAILING_DAYS` days
            vary more, theirs counts: it is known before the day, so the promise holds.
        level: From `level_of`.

    Returns:
        No alarm for numbers that are none, an sd of 0 included: nothing that is missing may count.

    >>> quiet, harmed = watch([0.0] * 60, 1.0, 60.0), watch([1.5] * 20, 1.0, 60.0)
    >>> quiet.alarmed, harmed.alarmed, harmed.since
    (False, True, 7)
    """
    sums = [0.0] * len(STAKES)
    evidence: list[float] = []
    since: int | None = None
    alarms = 0
    for at, value in enumerate(excess):
        spread = spread_before(excess[max(0, at - TRAILING_DAYS) : at], sd)
        if math.isfinite(value) and spread > 0:
            sums = [min((kept + 1.0) * _step(value / spread, stake), MEMORY * level) for kept, stake in
                    zip(sums, STAKES, strict=True)]  # fmt: skip
        evidence.append(math.fsum(sums) / len(sums))
        above = evidence[-1] >= level and at + 1 >= LEAST_DAYS
        if above and since is None:
            since, alarms = at, alarms + 1
        elif not above:
            since = None
    return Course(evidence=tuple(evidence), level=level, days=len(evidence), since=since, alarms=alarms)


def spread_before(days: Sequence[float], sd: float) -> float:
    """Return the standard deviation that a day is held to: the larger of the reference's and of the days before it.

    >>> spread_before([], 2.0)
    2.0
    """
    known = [each for each in days if math.isfinite(each)]
    found = 0.0
    if len(known) >= LEAST_DAYS:
        mean = math.fsum(known) / len(known)
        found = math.sqrt(math.fsum((each - mean) ** 2 for each in known) / (len(known) - 1))
    return max(sd, found)


def _step(z: float, stake: float) -> float:
    scaled = stake * CUT_SD
    return math.exp(stake * min(z, CUT_SD) - (math.exp(scaled) - 1.0 - scaled) / CUT_SD**2)
