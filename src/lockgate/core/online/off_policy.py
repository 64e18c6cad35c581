"""What is each arm worth, from traffic that a bandit split unevenly? AIPW with logged propensities, and its interval.

For every entity t and arm a, with e the logged chance of the arm it got and m the arm's mean reward so far,

    score_t(a) = m_t(a) + 1{got a} / e_t (reward_t - m_t(a))

has mean "reward of a", whatever the weights were: they and m come from the past alone. Floors keep 1 / e bounded.
Entities enter when their reward is *due*, never as it happens to arrive: a failure that is reported sooner than a
success would be counted too often.

Source: Robins, Rotnitzky and Zhao 1994 (AIPW); Waudby-Smith, Wu, Ramdas, Karampatziakis and Mineiro 2024, Anytime-valid
off-policy inference for contextual bandits; the interval is that of `means`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lockgate.core.online.means import Effect, Sums, mean_effect


@dataclass(frozen=True, slots=True, kw_only=True)
class Logged:
    """One entity.

    Attributes:
        arm: The arm it got.
        propensity: The chance it had to get it, in 0..1, 0 excluded.
        reward: What came of it.
    """

    arm: str
    propensity: float
    reward: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArmValue:
    """The running state of one arm.

    Attributes:
        scores: Sums of its scores, over all entities of all arms.
        seen: Entities that got it.
        reward: Sum of their rewards.
    """

    scores: Sums = field(default_factory=Sums)
    seen: int = 0
    reward: float = 0.0


def observe(values: Mapping[str, ArmValue], entities: Sequence[Logged]) -> dict[str, ArmValue]:
    """Return the state of every arm after some more entities, in the order of their assignment.

    Args:
        values: What was before, one entry for every arm.
        entities: In order; m of the first is 0.

    Raises:
        ValueError: An unknown arm, a propensity outside 0..1, or a reward that is not finite.

    >>> found = observe({"a": ArmValue(), "b": ArmValue()}, [Logged(arm="a", propensity=0.5, reward=1.0)] * 2)
    >>> found["a"].scores.total, found["b"].scores.total  # 0 + 1/.5, then 1 + (1 - 1)/.5
    (3.0, 0.0)
    """
    now = dict(values)
    for entity in entities:
        if entity.arm not in now or not 0 < entity.propensity <= 1 or not math.isfinite(entity.reward):
            raise ValueError(f"{entity} cannot count; arms are {sorted(now)}, propensities in 0..1, rewards finite")
        for name, value in now.items():
            now[name] = _scored(value, entity, got=name == entity.arm)
    return now


def effect(value: ArmValue) -> Effect:
    """Return an arm's mean reward with its standard error; for `means.interval`.

    Returns:
        NaN below `means.FEWEST` entities.

    >>> effect(ArmValue(scores=Sums(n=100, total=50.0, squares=50.0))).value
    0.5
    """
    return mean_effect(value.scores)


def _scored(value: ArmValue, entity: Logged, *, got: bool) -> ArmValue:
    mean = value.reward / value.seen if value.seen else 0.0
    score = mean + ((entity.reward - mean) / entity.propensity if got else 0.0)
    scores = Sums(n=value.scores.n + 1, total=value.scores.total + score, squares=value.scores.squares + score * score)
    return ArmValue(scores=scores, seen=value.seen + got, reward=value.reward + (entity.reward if got else 0.0))
