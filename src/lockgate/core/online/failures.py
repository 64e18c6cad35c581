r"""Harm shown by failures: an e-process over the *first failure of each entity*, valid at every look.

**What is counted.** An entity counts once in a rollout: at its first failure, with the step in which it happened and
the arm that answered. Ten failures of one client are one. (A request that names no entity is an entity of its own.)

**Why it is valid.** If the challenger fails whom the champion would fail (H0), an entity's failures do not depend on
its bucket, and buckets are uniform (a salted hash, with a new salt for each rollout). All that is known of an entity
before its first failure is that it had none, which under H0 says nothing of its bucket. So that first failure, in a
step whose challenger owns the share p of the buckets, is the challenger's with chance p exactly, whatever happened to
others before; entities that moved to the challenger as its weight grew change nothing in this. For x failures of the
challenger and y of the champion in step k, and a relative risk theta,

    q_k = p_k theta / (1 - p_k + p_k theta)
    E   = sum_j w_j prod_k (q_kj / p_k)^x_k ((1 - q_kj) / (1 - p_k))^y_k

is then a martingale that starts at 1: P(E ever reaches 1 / alpha) <= alpha (Ville 1939). It needs one thing of the
controller: a step's share may follow anything that happened, but not what is known of the buckets of entities that have
not failed yet.

**A better challenger is safe too.** Let its failures come later, or never. While shares do not shrink, moving a
failure of the challenger to a later step multiplies E by (1 - p + p theta) / (1 - p' + p' theta) <= 1, dropping it by
(1 - p + p theta) / theta <= 1: E is never above what it would be under H0, on every path. After a share was shrunk the
bound is that of H0 itself.

Source: Ville 1939; Robbins 1970 (mixtures); ter Schure, Perez-Ortiz, Ly and Gruenwald 2024, The Anytime-Valid Logrank
Test (the conditional likelihood of whose event it was; here the share of buckets stands for the share at risk, which
makes it exact without counting who is at risk).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

RISKS = (1.25, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0)
"""Relative risks that are bet on. Ours: a factor of at most 3 between neighbours costs little (at 1 -> 3 % errors 2 of
15 minutes against knowing that it is 3)."""
RISK_WEIGHTS = (0.1, 0.1, 0.2, 0.3, 0.15, 0.1, 0.05)
"""Ours: the prior of the bet, heaviest where minutes matter; any weights that sum to 1 are valid."""
_HARM = tuple(zip(RISKS, RISK_WEIGHTS, strict=True))
_EITHER = tuple((factor, weight / 2) for risk, weight in _HARM for factor in (risk, 1.0 / risk))
_WIDEST = math.log(1e6)  # relative risks beyond a million either way are not told apart


_Part: TypeAlias = tuple[float, float, float]
"""Share, failures of the challenger, failures of the champion."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepFailures:
    """First failures of entities while one share was in force.

    Attributes:
        share: The challenger's share of the buckets of both arms, in 0..1; at 0 and 1 the step says nothing.
        challenger: Entities whose first failure the challenger answered.
        champion: Entities whose first failure the champion answered.
    """

    share: float
    challenger: int
    champion: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureCounts:
    """The sufficient statistic: one entry a step, in the order of the steps (which the value does not depend on)."""

    steps: tuple[StepFailures, ...]


def log_e(counts: FailureCounts) -> float:
    """Return the natural logarithm of the e-value against "the challenger does not fail more".

    Args:
        counts: First failures by step.

    Returns:
        0 without failures; NaN where a share is outside 0..1 or a count is negative.

    Source: the module's docstring.

    >>> one = FailureCounts(steps=(StepFailures(share=0.5, challenger=1, champion=0),))
    >>> round(math.exp(log_e(one)), 4)  # sum of w 2 theta/(1+theta): .1111+.12+.2667+.45+.25+.1818+.0968
    1.4764
    """
    return _log_mixture(_told(counts), _HARM) if _sound(counts) else math.nan


def interval(counts: FailureCounts, alpha: float) -> tuple[float, float]:
    """Return an interval for the relative risk that holds at all looks at once with probability 1 - alpha.

    The relative risks not rejected by a two-sided mixture of the same grid: theta where
    log(mixture likelihood) - log(likelihood of theta) < log(1 / alpha). Exact at theta = 1; elsewhere it takes risks to
    be proportional and failed entities to be few among all of their arm.

    Args:
        counts: First failures by step.
        alpha: Error over all looks, in 0..1.

    Returns:
        Lower and upper bound, in 0..inf; (0, inf) without failures; NaN where `log_e` is.

    Source: Howard, Ramdas, McAuliffe and Sekhon 2021, section 2 (confidence sequences from mixtures).

    >>> interval(FailureCounts(steps=()), 0.05)
    (0.0, inf)
    >>> low, high = interval(FailureCounts(steps=(StepFailures(share=0.5, challenger=30, champion=10),)), 0.05)
    >>> low > 1, low < 3 < high
    (True, True)
    """
    if not _sound(counts):
        return math.nan, math.nan
    told = _told(counts)
    best = _log_mixture(told, _EITHER)

    def rejected(log_risk: float) -> bool:
        return best - _log_ratio(told, math.exp(log_risk)) >= math.log(1.0 / alpha)

    peak = _bisect(lambda log_risk: _score(told, math.exp(log_risk)) <= 0, -_WIDEST, _WIDEST)
    low = _bisect(lambda log_risk: not rejected(log_risk), -_WIDEST, peak) if rejected(-_WIDEST) else -math.inf
    high = _bisect(rejected, peak, _WIDEST) if rejected(_WIDEST) else math.inf
    return math.exp(low), math.exp(high)


def detectable(counts: FailureCounts, alpha: float) -> float:
    """Return the smallest relative risk that would have reached 1 / alpha by now, if failures came as expected.

    Takes the champion's failures as they are, so y p / (1 - p) theta expected of the challenger. What "not shown" is
    worth: a rollout that says 8 here has not looked closely.

    Args:
        counts: First failures by step; the challenger's are not read.
        alpha: Error of this guardrail, in 0..1.

    Returns:
        Above 1; inf where a millionfold would not show; NaN where `log_e` is.

    Source: ours, log E at the expected counts.

    >>> counts = FailureCounts(steps=(StepFailures(share=0.1, challenger=0, champion=27),))
    >>> round(detectable(counts, 0.01), 1)  # 270 a minute at 1 % for ten minutes; beside it 3 a minute at theta
    3.7
    >>> detectable(FailureCounts(steps=()), 0.01)
    inf
    """
    if not _sound(counts):
        return math.nan
    return _detectable(tuple((share, y) for share, _, y in _told(counts)), alpha)


@lru_cache(maxsize=256)  # from one look to the next the champion mostly has no new failure
def _detectable(champion: tuple[tuple[float, float], ...], alpha: float) -> float:
    wanted = math.log(1.0 / alpha)
    bets = [
        (math.log(weight), math.log(risk), [math.log1p(share * (risk - 1.0)) for share, _ in champion])
        for risk, weight in _HARM
    ]

    def seen(log_risk: float) -> bool:
        odds = math.exp(log_risk)
        expected = [(y * share / (1.0 - share) * odds, y) for share, y in champion]
        return wanted <= _log_sum(
            log_weight
            + math.fsum(x * log_bet - (x + y) * owned for (x, y), owned in zip(expected, all_owned, strict=True))
            for log_weight, log_bet, all_owned in bets
        )

    return math.exp(_bisect(seen, 0.0, _WIDEST)) if seen(_WIDEST) else math.inf


def _sound(counts: FailureCounts) -> bool:
    return all(0 <= step.share <= 1 and step.challenger >= 0 and step.champion >= 0 for step in counts.steps)


def _told(counts: FailureCounts) -> Sequence[_Part]:
    # sorted, so that the sum has one order and the value does not depend on that of the steps
    return sorted((s.share, float(s.challenger), float(s.champion)) for s in counts.steps if 0 < s.share < 1)


def _log_mixture(told: Sequence[_Part], bets: Sequence[tuple[float, float]]) -> float:
    return _log_sum(math.log(weight) + _log_ratio(told, risk) for risk, weight in bets)


def _log_sum(logs: Iterable[float]) -> float:
    """Return the logarithm of the sum of what these are logarithms of."""
    known = list(logs)
    top = max(known)
    return top + math.log(math.fsum(math.exp(each - top) for each in known))


def _log_ratio(told: Sequence[_Part], risk: float) -> float:
    """Return the log likelihood of a relative risk, less that of 1."""
    log_risk = math.log(risk)
    return math.fsum(x * log_risk - (x + y) * math.log1p(share * (risk - 1.0)) for share, x, y in told)


def _score(told: Sequence[_Part], risk: float) -> float:
    """Return the derivative of the log likelihood in log theta: observed less expected of the challenger."""
    return math.fsum(x - (x + y) * p * risk / (1.0 - p + p * risk) for p, x, y in told)


def _bisect(holds: Callable[[float], bool], low: float, high: float) -> float:
    """Return where a condition begins to hold between two ends (it is monotone, false to true), to 1e-9."""
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high
