"""The plan by which a rollout promotes: group-sequential non-inferiority, its looks declared before the start.

H0: the challenger is worse by the margin or more. Rejecting it at any declared look, with error at most alpha over all
of them, promotes. An anytime test would do too; where the largest sample is known, a plan needs some 40 % less of it.

At look k the statistic is z = (margin - difference) / SE, difference in the sense "challenger worse by". Information is
counted in effective entities (`means.Effect`), which no outcome can influence; error is spent by the information that
is really there, all that is left at the last look. The futility bound is not binding: it may be passed by at no cost.

Source: Lan and DeMets 1983; Jennison and Turnbull 2000, ch. 7 and 19; non-inferiority as in ICH E9, 3.3.2.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from lockgate.core.online.boundaries import Spending, crossing, lower_bounds, spent, upper_bounds


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is declared before the start.

    Attributes:
        margin: How much worse is still acceptable, above 0, in the metric's unit.
        sd: Standard deviation of the metric between entities, from past traffic; a wrong one costs power, not error.
            For a rate (`rates.rate_effect`) that at the margin: sqrt(q (1 - q)), q = past rate + margin.
        fractions: Information at each look over all of it; increasing, the last is 1.
        alpha: One-sided chance to promote a challenger that is worse by the margin. 0.025: as ICH E9 asks.
        power: Chance to promote one that is truly equal, by the last look. 0.92: ours, so that 0.9 is kept where `sd`
            is a few percent off.
        spending: How alpha is spent, and the second error too.
        futility: Whether a look may end the rollout because promotion has become unlikely.
    """

    margin: float
    sd: float
    fractions: tuple[float, ...] = (0.2, 0.4, 0.6, 0.8, 1.0)
    alpha: float = 0.025
    power: float = 0.92
    spending: Spending = Spending.OBRIEN_FLEMING
    futility: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Design:
    """What follows from a plan.

    Attributes:
        upper: Bound on z at each look; promote at or above it.
        lower: Futility bound; -inf without.
        drift: Mean of z at the last look if the two are truly equal.
        inflation: Largest sample over that of a single look with the same errors.
        effective: Effective entities at the last look, n1 n0 / (n1 + n0).
        promoted_by: Chance that a truly equal challenger has been promoted, by look.
    """

    upper: tuple[float, ...]
    lower: tuple[float, ...]
    drift: float
    inflation: float
    effective: float
    promoted_by: tuple[float, ...]


@lru_cache(maxsize=64)  # a tenth of a second; who replays or verifies many rollouts asks for the same again
def design(plan: Plan) -> Design:
    """Return bounds, largest sample and chances of a plan.

    Raises:
        ValueError: The plan is none; says which number.

    Source: as above; the drift is found by bisection on the power.

    >>> found = design(Plan(margin=0.1, sd=1.0))
    >>> round(found.inflation, 3), round(found.drift, 3)  # sqrt(1.023) * (1.960 + 1.405)
    (1.023, 3.403)
    >>> round(found.effective)  # (3.403 * 1.0 / 0.1)^2
    1158
    """
    _refuse_nonsense(plan)
    upper = upper_bounds(plan.fractions, increments(plan, plan.fractions, plan.alpha))
    low, high = 0.0, 16.0
    while high - low > 1e-8:
        middle = (low + high) / 2
        ups, _ = crossing(plan.fractions, futility_bounds(plan, plan.fractions, upper, middle), upper, middle)
        low, high = (low, middle) if math.fsum(ups) >= plan.power else (middle, high)
    lower = futility_bounds(plan, plan.fractions, upper, high)
    ups, _ = crossing(plan.fractions, lower, upper, high)
    return Design(
        upper=upper,
        lower=lower,
        drift=high,
        inflation=(high / _single_look(plan)) ** 2,
        effective=(high * plan.sd / plan.margin) ** 2,
        promoted_by=tuple(math.fsum(ups[: k + 1]) for k in range(len(ups))),
    )


def entities_needed(found: Design, share: float) -> float:
    """Return how many entities both arms need together at one share, in 0..1.

    >>> round(entities_needed(design(Plan(margin=0.1, sd=1.0)), 0.5))  # 1158 / (0.5 * 0.5)
    4632
    """
    return found.effective / (share * (1.0 - share)) if 0 < share < 1 else math.inf


def futility_bounds(plan: Plan, fractions: Sequence[float], upper: Sequence[float], drift: float) -> tuple[float, ...]:
    """Return the futility bound on z at each look; -inf where the plan has none.

    Args:
        plan: The plan.
        fractions: Information at each look over all of it; the last is 1.
        upper: The bounds above.
        drift: Mean of z at the last look if the two are truly equal.

    Source: `boundaries.lower_bounds`, the second error spent as alpha is.

    >>> futility_bounds(Plan(margin=0.1, sd=1.0), [1.0], [1.96], 3.4), futility_bounds(
    ...     Plan(margin=0.1, sd=1.0, futility=True), [1.0], [1.96], 3.4
    ... )
    ((-inf,), (1.96,))
    """
    if not plan.futility:
        return (-math.inf,) * len(upper)
    return lower_bounds(fractions, increments(plan, fractions, 1.0 - plan.power), upper, drift)


def increments(plan: Plan, fractions: Sequence[float], error: float) -> list[float]:
    """Return how much of an error is spent at each look, by the plan's spending function (`boundaries.spent`).

    >>> evenly = Plan(margin=0.1, sd=1.0, spending=Spending.POCOCK)
    >>> [round(error, 6) for error in increments(evenly, [0.5, 1.0], 0.025)]  # .025 log(1 + (e - 1) / 2); the rest
    [0.015503, 0.009497]
    """
    levels = [0.0, *(spent(plan.spending, fraction, error) for fraction in fractions)]
    return [after - before for before, after in pairwise(levels)]


def _single_look(plan: Plan) -> float:
    from scipy import special  # type: ignore[import-untyped]  # no stubs installed

    return float(special.ndtri(plan.power) - special.ndtri(plan.alpha))


def _refuse_nonsense(plan: Plan) -> None:
    for name, value in (("margin", plan.margin), ("sd", plan.sd)):
        if not (math.isfinite(value) and value > 0):
            raise ValueError(f"{name} is {value}; it must be above 0 and finite")
    if not 0 < plan.alpha < plan.power < 1:
        raise ValueError(f"alpha {plan.alpha} and power {plan.power} must be 0 < alpha < power < 1")
    looks = (0.0, *plan.fractions)
    if looks[-1] != 1.0 or any(after <= before for before, after in pairwise(looks)):
        raise ValueError(f"looks at {plan.fractions} must increase from above 0 to 1")
