"""Sample-ratio mismatch at any look: do entities arrive in the arms as often as the split says?

If they do not, something between the router and the log loses or repeats some of them, and no comparison of arms is
worth anything. The unit is the entity when it is first seen in the rollout, counted in that step and arm: a new
entity's bucket is uniform, a returning one's is no new evidence. Each step has its own shares; its e-value is a
Dirichlet mixture around them, and steps multiply.

Source: Lindon and Malek 2022, Anytime-Valid Inference For Multinomial Count Data, NeurIPS 35, section 2 (the Bayes
factor of a Dirichlet against a point is an e-process; the p-value is the running minimum of its inverse).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

CONCENTRATIONS = (2.0, 100.0, 10_000.0)
"""Prior weight on the declared shares, a third each. Ours: at 2 an arm that gets nothing shows within twenty entities,
at 10,000 (a share known to a hundredth) a loss of a few in a hundred shows as early as it can."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepArrivals:
    """New entities while one split was in force.

    Attributes:
        shares: What the split gives each arm, champion included; each in 0..1, they sum to 1.
        entities: Entities first seen, by arm, in the same order.
    """

    shares: tuple[float, ...]
    entities: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Arrivals:
    """The sufficient statistic: one entry a step, whose order does not matter."""

    steps: tuple[StepArrivals, ...]


def log_e(arrivals: Arrivals) -> float:
    """Return the natural logarithm of the e-value against "entities arrive as the shares say".

    Args:
        arrivals: New entities by step and arm.

    Returns:
        0 without entities; inf where an arm of share 0 got one; NaN where shares do not sum to 1, or a count is
        negative.

    Source: equation 5 of the paper above.

    >>> log_e(Arrivals(steps=()))
    0.0
    >>> two = Arrivals(steps=(StepArrivals(shares=(0.5, 0.5), entities=(2, 0)),))
    >>> round(math.exp(log_e(two)), 5)  # 1/3*4, 50*51/(100*101)*4 = 1.0099, 5000*5001/(10000*10001)*4 = 1.0001; a third
    1.11444
    """
    return math.fsum(sorted(_step(step) for step in arrivals.steps))


def p_value(arrivals: Arrivals, before: float = 1.0) -> float:
    """Return the p-value that may be read at every look: the smallest inverse e-value so far.

    Args:
        arrivals: New entities up to this look.
        before: The p-value of the look before.

    Returns:
        In 0..1; NaN where `log_e` is.

    Source: proposition 2 of the paper above.

    >>> round(p_value(Arrivals(steps=(StepArrivals(shares=(0.5, 0.5), entities=(2, 0)),))), 4)  # 1 / 1.11444, as above
    0.8973
    """
    found = log_e(arrivals)
    return math.nan if math.isnan(found) else min(before, math.exp(min(-found, 0.0)))


def _step(step: StepArrivals) -> float:
    shares, entities = step.shares, step.entities
    sound = len(shares) == len(entities) > 0 and min(shares) >= 0 and abs(math.fsum(shares) - 1.0) < 1e-9
    if not sound or min(entities) < 0:
        return math.nan
    if any(seen and not share for share, seen in zip(shares, entities, strict=True)):
        return math.inf
    return _log_mixture(tuple((share, seen) for share, seen in zip(shares, entities, strict=True) if share))


@lru_cache(maxsize=4096)  # a step that is over stays as it is; a bandit has hundreds of them
def _log_mixture(told: tuple[tuple[float, int], ...]) -> float:
    logs = [_log_bayes_factor(told, weight) for weight in CONCENTRATIONS]
    top = max(logs)
    return top + math.log(math.fsum(math.exp(each - top) for each in logs) / len(logs))


def _log_bayes_factor(told: Sequence[tuple[float, int]], weight: float) -> float:
    n = sum(seen for _, seen in told)
    arms = (math.lgamma(weight * p + k) - math.lgamma(weight * p) - k * math.log(p) for p, k in told)
    return math.lgamma(weight) - math.lgamma(weight + n) + math.fsum(arms)
