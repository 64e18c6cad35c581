"""The plan: boundaries as published and as another integral says, and the errors it declares when it is carried out."""

from __future__ import annotations

import json
import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lockgate.core.ids import to_json
from lockgate.core.online.boundaries import Spending, crossing, lower_bounds, spent, upper_bounds
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.online.means import Contrast, Effect, StepSums, Sums
from lockgate.core.online.plan import Plan, design, entities_needed
from lockgate.core.online.plan_look import judge
from lockgate.core.online.rates import rate_effect
from lockgate.core.records import read_record

FIFTHS = (0.2, 0.4, 0.6, 0.8, 1.0)


def steps(kind: Spending, times: tuple[float, ...], alpha: float) -> list[float]:
    return [b - a for a, b in pairwise([0.0, *(spent(kind, time, alpha) for time in times)])]


@pytest.mark.parametrize(
    ("kind", "looks", "published"),
    [
        (Spending.OBRIEN_FLEMING, 5, (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)),
        (Spending.POCOCK, 5, (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)),
        (Spending.OBRIEN_FLEMING, 2, (2.9626, 1.9686)),
    ],
)
def test_the_boundaries_are_the_published_ones(kind: Spending, looks: int, published: tuple[float, ...]) -> None:
    # 2e-4: the published ones come from a coarser integral; the next test has an exact second opinion
    times = tuple((k + 1) / looks for k in range(looks))
    assert upper_bounds(times, steps(kind, times, 0.025)) == pytest.approx(published, abs=2e-4)


@pytest.mark.parametrize("kind", Spending)
def test_three_looks_agree_with_the_multivariate_normal(kind: Spending) -> None:
    times = (0.3, 0.7, 1.0)
    errors = steps(kind, times, 0.025)
    bounds = upper_bounds(times, errors)
    cov = [[math.sqrt(min(a, b) / max(a, b)) for b in times] for a in times]
    for k in (1, 2, 3):
        stays = stats.multivariate_normal(cov=np.array(cov)[:k, :k], abseps=1e-7, releps=1e-7).cdf(bounds[:k])
        assert 1 - float(stays) == pytest.approx(sum(errors[:k]), abs=2e-6)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.floats(0.02, 1.0), min_size=1, max_size=8), st.sampled_from(list(Spending)), st.floats(0.005, 0.2))
def test_all_of_the_error_is_spent_whenever_looks_are_made(gaps: list[float], kind: Spending, alpha: float) -> None:
    times = tuple(float(time) for time in np.cumsum(gaps) / sum(gaps))
    times = (*times[:-1], 1.0)
    bounds = upper_bounds(times, steps(kind, times, alpha))
    ups, downs = crossing(times, [-math.inf] * len(times), bounds, 0.0)
    assert sum(ups) == pytest.approx(alpha, abs=1e-7)
    assert sum(downs) == 0


def test_power_and_error_at_a_drift_agree_with_simulated_paths() -> None:
    rng, runs = np.random.default_rng(1), 100_000
    upper = upper_bounds(FIFTHS, steps(Spending.POCOCK, FIFTHS, 0.025))
    lower = lower_bounds(FIFTHS, steps(Spending.POCOCK, FIFTHS, 0.1), upper, 3.3)
    ups, downs = crossing(FIFTHS, lower, upper, 3.3)
    z = (rng.normal(3.3 * 0.2, math.sqrt(0.2), (runs, 5)).cumsum(axis=1)) / np.sqrt(FIFTHS)
    crosses = (z >= upper) | (z < lower)
    first = np.where(crosses.any(axis=1), crosses.argmax(axis=1), 4)
    won = z[np.arange(runs), first] >= np.array(upper)[first]
    for k in range(5):
        assert ((first == k) & won).mean() == pytest.approx(ups[k], abs=5e-3)
        assert ((first == k) & ~won).mean() == pytest.approx(downs[k], abs=5e-3)


def test_a_futility_bound_that_is_passed_by_costs_no_error() -> None:
    found = design(Plan(margin=0.1, sd=1.0, futility=True))
    ups, _ = crossing(FIFTHS, (-math.inf,) * 5, found.upper, 0.0)
    assert sum(ups) == pytest.approx(0.025, abs=1e-7)
    assert found.promoted_by[-1] == pytest.approx(0.92, abs=1e-6)
    assert list(found.lower) == sorted(found.lower)
    assert found.lower[-1] == pytest.approx(found.upper[-1], abs=1e-9)


def test_a_plan_survives_the_record() -> None:
    plan = Plan(margin=0.1, sd=1.0, fractions=(0.5, 1.0), spending=Spending.POCOCK)
    again = read_record(Plan, json.loads(json.dumps(to_json(plan))))
    assert again == plan
    assert design(again) == design(plan)


@pytest.mark.parametrize(
    "wrong",
    [
        {"margin": 0.0},
        {"margin": math.nan},
        {"sd": -1.0},
        {"alpha": 0.95},
        {"power": 1.0},
        {"fractions": ()},
        {"fractions": (0.5, 0.9)},
        {"fractions": (0.5, 0.5, 1.0)},
    ],
)
def test_a_plan_that_is_none_is_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        design(Plan(**{"margin": 0.1, "sd": 1.0} | wrong))  # type: ignore[arg-type]


PLAN = Plan(margin=0.1, sd=1.0)
DESIGN = design(PLAN)


def effect(value: float, fraction: float) -> Effect:
    effective = fraction * DESIGN.effective
    return Effect(value=value, se=1 / math.sqrt(effective), effective=effective)


def test_a_look_promotes_goes_on_or_ends() -> None:
    assert judge(PLAN, DESIGN, [effect(-0.2, 0.2)]).verdict is RolloutVerdict.CONTINUE
    assert judge(PLAN, DESIGN, [effect(-0.3, 0.2)]).verdict is RolloutVerdict.PROMOTE
    bad = [effect(0.1, fraction) for fraction in FIFTHS]
    assert judge(PLAN, DESIGN, bad[:4]).verdict is RolloutVerdict.CONTINUE
    assert judge(PLAN, DESIGN, bad).verdict is RolloutVerdict.INCONCLUSIVE


def test_more_information_than_planned_makes_it_the_last_look() -> None:
    assert judge(PLAN, DESIGN, [effect(0.1, 1.3)]).verdict is RolloutVerdict.INCONCLUSIVE
    assert judge(PLAN, DESIGN, [effect(0.0, 1.3)]).verdict is RolloutVerdict.PROMOTE


@pytest.mark.parametrize(
    "broken",
    [
        Effect(value=math.nan, se=math.nan, effective=0.0),
        Effect(value=-9.0, se=0.0, effective=500.0),
        Effect(value=-9.0, se=math.nan, effective=500.0),
        Effect(value=-9.0, se=1e-9, effective=100.0),
    ],
)
def test_a_look_that_could_not_measure_never_promotes(broken: Effect) -> None:
    looks = [effect(0.05, 0.2), broken]
    assert judge(PLAN, DESIGN, looks).verdict is RolloutVerdict.CONTINUE
    assert judge(PLAN, DESIGN, [*looks, broken, broken, broken]).verdict is RolloutVerdict.INCONCLUSIVE
    assert judge(PLAN, DESIGN, [broken] * 5).verdict is RolloutVerdict.INCONCLUSIVE or broken.effective == 100.0


def test_no_look_at_all_is_no_promotion() -> None:
    assert judge(PLAN, DESIGN, []).verdict is RolloutVerdict.CONTINUE


@settings(max_examples=30, deadline=None)
@given(st.floats(-0.5, 0.5), st.floats(0, 0.3))
def test_a_worse_estimate_never_promotes_what_a_better_one_does_not(value: float, worse: float) -> None:
    better, other = (judge(PLAN, DESIGN, [effect(v, 0.6)]).verdict for v in (value, value + worse))
    assert better is RolloutVerdict.PROMOTE or other is not RolloutVerdict.PROMOTE


def test_a_hopeless_challenger_ends_early_where_futility_is_asked_for() -> None:
    plan = Plan(margin=0.1, sd=1.0, futility=True)
    found = design(plan)
    effective = 0.6 * found.effective
    hopeless = Effect(value=0.15, se=1 / math.sqrt(effective), effective=effective)
    assert judge(plan, found, [hopeless]).verdict is RolloutVerdict.INCONCLUSIVE
    assert judge(PLAN, DESIGN, [effect(0.15, 0.6)]).verdict is RolloutVerdict.CONTINUE


def promoted(runs: int, seed: int, *, rate: float, worse: float, growing: bool) -> float:
    """Share of rollouts promoted: failures of entities at 5 %, margin 1 point, looks at fifths, growing or half."""
    plan = Plan(margin=0.01, sd=math.sqrt(0.06 * 0.94))  # as at the margin
    found = design(plan)
    shares = (0.05, 0.2, 0.5, 0.5, 0.5) if growing else (0.5,) * 5
    per_look = [entities_needed(found, share) / 5 for share in shares]
    rng, wins = np.random.default_rng(seed), 0
    for _ in range(runs):
        steps_so_far, effects = [], []
        for share, n in zip(shares, per_look, strict=True):
            ours, theirs = math.ceil(n * share), math.ceil(n * (1 - share))
            bad, other = float(rng.binomial(ours, rate + worse)), float(rng.binomial(theirs, rate))
            steps_so_far.append(
                StepSums(
                    challenger=Sums(n=ours, total=bad, squares=bad),
                    champion=Sums(n=theirs, total=other, squares=other),
                )
            )
            effects.append(rate_effect(Contrast(steps=tuple(steps_so_far)), plan.margin))
            verdict = judge(plan, found, effects).verdict
            if verdict is not RolloutVerdict.CONTINUE:
                wins += verdict is RolloutVerdict.PROMOTE
                break
    return wins / runs


@pytest.mark.parametrize("growing", [False, True])
def test_an_equal_model_is_promoted_and_one_worse_by_the_margin_is_not(growing: bool) -> None:
    assert promoted(60, 1, rate=0.05, worse=0.0, growing=growing) >= stats.binom.ppf(0.001, 60, 0.9) / 60
    assert promoted(60, 2, rate=0.05, worse=0.01, growing=growing) <= stats.binom.ppf(0.999, 60, 0.025) / 60


@pytest.mark.soak
@pytest.mark.parametrize("growing", [False, True])
def test_promotion_keeps_its_errors_in_2000_rollouts(growing: bool) -> None:
    equal = promoted(2000, 3, rate=0.05, worse=0.0, growing=growing)
    worse = promoted(2000, 4, rate=0.05, worse=0.01, growing=growing)
    print(f"growing {growing}: equal promoted {equal:.4f}, worse by the margin {worse:.4f} of 0.025")  # noqa: T201
    assert equal >= 0.9
    assert worse <= stats.binom.ppf(0.999, 2000, 0.025) / 2000
