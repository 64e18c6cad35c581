"""Each arm's chance to be the best, by a bandit's posterior.

Nothing is drawn: the chances are integrals, and the same sums give the same weights, now and when they are recomputed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lockgate.core.online.bandit import ArmRewards, Posterior, RewardKind

POINTS = 1000
"""Midpoints of the quantile scale that a chance is integrated over. Ours: exact to 1 / 2000 even for a step."""


def chances(posterior: Posterior) -> dict[str, float]:
    """Return each arm's posterior chance to have the highest mean reward; they sum to 1.

    Binary: beta(1 + successes, 1 + failures). Real: Student's t with n - 1 degrees of freedom about the mean (reference
    prior). While an arm has no posterior with a spread (real, n < 2 or all alike), all chances are equal.

    Source: Russo et al. 2018, A Tutorial on Thompson Sampling; P(i best) = E[prod_j F_j(F_i^-1(U))], U uniform.

    >>> arms = {"champion": ArmRewards(), "challenger": ArmRewards(n=1.0, total=1.0, squares=1.0)}
    >>> found = chances(Posterior(kind=RewardKind.BINARY, arms=arms))
    >>> round(found["challenger"], 4)  # of beta(2, 1) and a uniform: E[theta] = 2/3
    0.6667
    """
    names = list(posterior.arms)
    scale = (np.arange(POINTS) + 0.5) / POINTS
    laws = [_law(posterior.kind, posterior.arms[name]) for name in names]
    if not all(_has_spread(posterior.kind, posterior.arms[name]) for name in names):
        return dict.fromkeys(names, 1.0 / len(names))
    found = []
    for i, law in enumerate(laws):
        at, best = law.quantile(scale), np.ones(POINTS)
        for j, other in enumerate(laws):
            best = best * (other.below(at) if j != i else 1.0)
        found.append(float(best.mean()))
    whole = math.fsum(found)
    return {name: chance / whole for name, chance in zip(names, found, strict=True)}


@dataclass(frozen=True, slots=True)
class _Law:
    """A posterior of a mean: beta(a, b), or Student's t with `a` degrees of freedom, centre and width."""

    kind: RewardKind
    a: float
    b: float
    centre: float = 0.0
    width: float = 1.0

    def quantile(self, chance: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy import special  # type: ignore[import-untyped]  # no stubs installed

        if self.kind is RewardKind.BINARY:
            return np.asarray(special.betaincinv(self.a, self.b, chance))
        return np.asarray(self.centre + self.width * special.stdtrit(self.a, chance))

    def below(self, at: NDArray[np.float64]) -> NDArray[np.float64]:
        from scipy import special

        if self.kind is RewardKind.BINARY:
            return np.asarray(special.betainc(self.a, self.b, at))
        return np.asarray(special.stdtr(self.a, (at - self.centre) / self.width))


def _law(kind: RewardKind, arm: ArmRewards) -> _Law:
    if kind is RewardKind.BINARY:
        return _Law(kind, 1.0 + arm.total, 1.0 + max(arm.n - arm.total, 0.0))
    if not _has_spread(kind, arm):
        return _Law(kind, 1.0, 1.0)
    mean = arm.total / arm.n
    return _Law(kind, arm.n - 1.0, 1.0, mean, math.sqrt((arm.squares / arm.n - mean**2) / (arm.n - 1.0)))


def _has_spread(kind: RewardKind, arm: ArmRewards) -> bool:
    if kind is RewardKind.BINARY:
        return True
    return arm.n >= 2 and arm.squares / arm.n - (arm.total / arm.n) ** 2 > 1e-12 * arm.squares / arm.n
