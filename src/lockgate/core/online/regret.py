"""What a bandit saves and a fixed split costs: simulated rewards forgone, period by period."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from lockgate.core.online.bandit import ArmRewards, Posterior, RewardBatch, RewardKind, advance, learn, weights
from lockgate.core.online.thompson import chances


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """What is simulated.

    Attributes:
        rates: True success rate of each arm, in 0..1; the first is the champion.
        entities: New entities a period.
        periods: How many periods.
        delay: Periods until a reward arrives.
        floor: Least share of each arm.
        discount: See `bandit.Posterior`.
    """

    rates: Mapping[str, float]
    entities: int
    periods: int
    delay: int = 0
    floor: float = 0.05
    discount: float = 1.0


def simulate(world: World, *, seed: int, fixed: bool) -> tuple[float, ...]:
    """Return the expected successes forgone up to the end of each period, against sending all to the best arm.

    Args:
        world: What is simulated.
        seed: Of the assignment and the rewards.
        fixed: True for an equal split of all arms, False for the bandit.

    Source: the usual pseudo-regret (Lattimore and Szepesvari 2020, 4.3).

    >>> simulate(World(rates={"a": 0.5, "b": 0.4}, entities=100, periods=2), seed=1, fixed=True)  # 50 * .1 a period
    (5.0, 10.0)
    """
    rng = np.random.default_rng(seed)
    names = list(world.rates)
    posterior = Posterior(kind=RewardKind.BINARY, arms=dict.fromkeys(names, ArmRewards()), discount=world.discount)
    split = dict.fromkeys(names, 1.0 / len(names))
    waiting: list[RewardBatch] = []
    forgone, found = 0.0, []
    for period in range(world.periods):
        if not fixed:
            due = [batch for batch in waiting if batch.period + world.delay < period]
            waiting = [batch for batch in waiting if batch.period + world.delay >= period]
            posterior = learn(posterior, due)
            split = weights(chances(posterior), champion=names[0], floor=world.floor)
        counts = [world.entities / len(names)] * len(names) if fixed else _assigned(rng, world.entities, split)
        forgone += sum(
            n * (max(world.rates.values()) - world.rates[name]) for n, name in zip(counts, names, strict=True)
        )
        found.append(round(forgone, 9))
        for n, name in zip(counts, names, strict=True):
            wins = float(rng.binomial(int(n), world.rates[name]))
            waiting.append(RewardBatch(arm=name, period=period, n=int(n), total=wins, squares=wins))
        posterior = advance(posterior)
    return tuple(found)


def _assigned(rng: np.random.Generator, entities: int, split: Mapping[str, float]) -> list[float]:
    shares = np.clip(np.array(list(split.values())), 0.0, None)
    return [float(n) for n in rng.multinomial(entities, shares / shares.sum())]
