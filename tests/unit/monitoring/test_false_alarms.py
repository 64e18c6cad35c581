"""How often the statistical alarms are wrong in a year of unchanged quality, and how soon they see a worse one.

Days follow each other: an even or a skewed law (storms) with a correlation from day to day. The loss at release, and
how much a day of it varies, are themselves drawn from 21 days before, as a bundle's are.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from lockgate.core.monitoring.detector import DAYS_A_MONTH, level_of, watch
from lockgate.core.monitoring.judged import PARTS
from lockgate.core.monitoring.truth import SLICE_MARGIN_SE

HOLDOUT, YEAR = 21, 365
LOSS, SD = 0.178, 0.038
"""A day's Brier score on the flights' holdout, and its standard deviation."""


def year(draw: np.random.Generator, *, alike: float, storms: bool) -> np.ndarray:
    """Return a holdout and a year after it."""
    noise = draw.standard_normal(HOLDOUT + YEAR)
    for at in range(1, len(noise)):
        noise[at] = alike * noise[at - 1] + math.sqrt(1 - alike**2) * noise[at]
    if storms:
        width = 0.6
        mean = math.exp(width**2 / 2)
        noise = (np.exp(width * noise) - mean) / (mean * math.sqrt(math.exp(width**2) - 1))
    return LOSS + SD * noise


def alarms(  # each but the first is a keyword
    runs: int, *, alike: float, storms: bool, part: float, worse: float = 0.0, margin_se: float = 0.0
) -> tuple[np.ndarray, list[int]]:
    """Return alarms a year by run, and the day of the first where there was one."""
    found, first = [], []
    for run in range(runs):
        days = year(np.random.default_rng([run, 11]), alike=alike, storms=storms)
        release = days[:HOLDOUT]
        allowed = 1.05 * release.mean() + margin_se * release.std(ddof=1) / math.sqrt(HOLDOUT)
        excess = days[HOLDOUT:] + worse - allowed
        course = watch(excess.tolist(), float(release.std(ddof=1)), level_of(part))
        found.append(course.alarms)
        above = [at for at, evidence in enumerate(course.evidence) if evidence >= course.level]
        first += above[:1]
    return np.array(found), first


def test_the_parts_are_the_whole_budget() -> None:
    assert sum(PARTS.values()) == pytest.approx(1.0)


def test_a_year_of_unchanged_quality_stays_within_its_part_of_the_budget() -> None:
    found, _ = alarms(25, alike=0.3, storms=True, part=PARTS["loss"])
    assert found.mean() <= 12 * PARTS["loss"]


def test_a_loss_a_quarter_larger_is_seen_within_a_month() -> None:
    found, first = alarms(15, alike=0.3, storms=True, part=PARTS["loss"], worse=0.25 * LOSS)
    assert (found > 0).mean() > 0.9
    assert np.median(first) <= DAYS_A_MONTH


@pytest.mark.soak
@pytest.mark.parametrize("alike", [0.0, 0.3, 0.55])
@pytest.mark.parametrize("storms", [False, True])
@pytest.mark.parametrize("alarm", ["loss", "skill"])
def test_each_alarm_keeps_its_part_whatever_the_days_are_like(*, alike: float, storms: bool, alarm: str) -> None:
    found, _ = alarms(400, alike=alike, storms=storms, part=PARTS[alarm])
    high = found.mean() + 1.96 * found.std() / math.sqrt(len(found))
    assert high <= 12 * PARTS[alarm], f"{found.mean():.2f} a year, at most {high:.2f}"


@pytest.mark.soak
@pytest.mark.parametrize("slices", [1, 4, 16])
@pytest.mark.parametrize("storms", [False, True])
def test_slices_keep_their_part_together_even_if_each_goes_its_own_way(*, slices: int, storms: bool) -> None:
    part = PARTS["slices"] / slices
    found, _ = alarms(400, alike=0.3, storms=storms, part=part, margin_se=SLICE_MARGIN_SE)
    high = slices * (found.mean() + 1.96 * found.std() / math.sqrt(len(found)))
    assert high <= 12 * PARTS["slices"], f"{slices * found.mean():.2f} a year, at most {high:.2f}"
