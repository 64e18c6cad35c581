"""Thompson sampling in periods: an arm's weight is its chance to be best, above a floor, below what guardrails allow.

Weights hold for a period and for *new* entities, so an entity's propensity is the weight at its assignment, and is
logged. Rewards arrive late and count with the period in which their entity was assigned; older periods count less
(`discount`), which bounds the memory: the effective sample is at most rewards a period / (1 - discount). The posterior
is a few sums, kept as JSON; `thompson.chances` turns it into chances.

Source: Thompson 1933; Chapelle and Li 2011 (batches, delay); Garivier and Moulines 2011 (discounting).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum


class RewardKind(StrEnum):
    """`BINARY` rewards are 0 or 1 (beta posterior), `REAL` ones have any value (Student's t posterior)."""

    BINARY = "binary"
    REAL = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmRewards:
    """Discounted sums of one arm; `n` is its effective sample.

    Attributes:
        n: Rewards, each by the discount of its age.
        total: Their sum, likewise; for binary the successes.
        squares: Sum of their squares, likewise.
    """

    n: float = 0.0
    total: float = 0.0
    squares: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Posterior:
    """The persisted state.

    Attributes:
        kind: What rewards are.
        arms: Sums by arm, champion included; the prior is not in them.
        discount: What a period takes off, in 0..1; 1 forgets nothing.
        period: The period now.
    """

    kind: RewardKind
    arms: Mapping[str, ArmRewards]
    discount: float = 1.0
    period: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class RewardBatch:
    """Rewards that arrived together, of entities assigned in one period to one arm.

    Attributes:
        arm: The arm.
        period: The period of assignment, at most the period now.
        n: How many.
        total: Their sum.
        squares: Sum of their squares.
    """

    arm: str
    period: int
    n: int
    total: float
    squares: float


def advance(posterior: Posterior, periods: int = 1) -> Posterior:
    """Return the posterior some periods later, older rewards counting less.

    >>> later = advance(Posterior(kind=RewardKind.BINARY, arms={"a": ArmRewards(n=10.0, total=4.0)}, discount=0.5), 2)
    >>> later.period, later.arms["a"].n, later.arms["a"].total  # a quarter of each
    (2, 2.5, 1.0)
    """
    factor = posterior.discount**periods
    arms = {name: _scaled(arm, factor) for name, arm in posterior.arms.items()}
    return replace(posterior, arms=arms, period=posterior.period + periods)


def learn(posterior: Posterior, batches: Sequence[RewardBatch]) -> Posterior:
    """Return the posterior after some rewards, however late.

    Raises:
        ValueError: A batch is of an unknown arm or a period to come, or its numbers are impossible.

    >>> before = Posterior(kind=RewardKind.BINARY, arms={"a": ArmRewards()}, discount=0.5, period=3)
    >>> learn(before, [RewardBatch(arm="a", period=2, n=10, total=4.0, squares=4.0)]).arms["a"].n  # one period old
    5.0
    """
    arms = dict(posterior.arms)
    for batch in batches:
        if batch.arm not in arms:
            raise ValueError(f"rewards of arm {batch.arm!r}; the posterior has {', '.join(sorted(arms))}")
        fits = posterior.kind is RewardKind.REAL or 0 <= batch.total == batch.squares <= batch.n
        if batch.n < 0 or batch.period > posterior.period or not math.isfinite(batch.total + batch.squares) or not fits:
            raise ValueError(f"impossible rewards in period {posterior.period}: {batch}")
        factor, arm = posterior.discount ** (posterior.period - batch.period), arms[batch.arm]
        arms[batch.arm] = ArmRewards(
            n=arm.n + factor * batch.n,
            total=arm.total + factor * batch.total,
            squares=arm.squares + factor * batch.squares,
        )
    return replace(posterior, arms=arms)


def weights(
    best: Mapping[str, float], *, champion: str, floor: float, caps: Mapping[str, float] | None = None
) -> dict[str, float]:
    """Return the share of new entities for each arm: its chance, at least the floor, at most its cap.

    Args:
        best: Chances by arm, from `thompson.chances`.
        champion: The arm that takes what caps free.
        floor: Least share of each arm, in 0..1/arms; keeps every arm's propensity, and so its estimate, bounded.
        caps: Most that a guardrail allows an arm, by arm; wins over the floor. It can only shrink an arm.

    Raises:
        ValueError: Unknown champion, or a floor that does not fit.

    >>> weights({"champion": 0.1, "b": 0.9}, champion="champion", floor=0.1, caps={"b": 0.5})  # .1 + .8 * .9 = .82
    {'champion': 0.5, 'b': 0.5}
    """
    if champion not in best or not 0 <= floor * len(best) <= 1:
        raise ValueError(f"a floor of {floor} for {len(best)} arms, champion {champion!r}; arms are {sorted(best)}")
    free = 1.0 - floor * len(best)
    allowed = {name: max((caps or {}).get(name, 1.0), 0.0) for name in best}
    found = {name: min(floor + free * chance, allowed[name]) for name, chance in best.items()}
    found[champion] = 1.0 - math.fsum(share for name, share in found.items() if name != champion)
    return found


def _scaled(arm: ArmRewards, factor: float) -> ArmRewards:
    return ArmRewards(n=arm.n * factor, total=arm.total * factor, squares=arm.squares * factor)
