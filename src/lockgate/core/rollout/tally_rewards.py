"""What a bandit learns from: rewards by the period and arm in which their entity was first seen, and each arm's worth.

    plan metric   reward of an entity
    errors        1 where its first request was answered, else 0
    loss          1 - its loss
    kpi           its number, negated where higher is worse

Periods are of time, from the first entity that was split, so that late rewards keep their age. Weights are the
caller's: they come back as logged propensities. For the worth of each arm (`off_policy`) entities enter in the order in
which their rewards are due; arm means of earlier ones tell nothing of a later one's arm.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from lockgate.core.ids import Json, to_json
from lockgate.core.online import off_policy
from lockgate.core.online.bandit import ArmRewards, Posterior, RewardBatch, RewardKind, learn
from lockgate.core.online.off_policy import ArmValue, Logged
from lockgate.core.records import read_record
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import Course, StepKind
from lockgate.core.rollout.tally_entities import TEN_BITS
from lockgate.core.spec_sections.rollout import Metric

_ARMS: Final = (CHAMPION, CHALLENGER)


class Rewards:
    """Sums by period and arm, and the running estimate of each arm's worth.

    Attributes:
        metric: What rewards follow from.
    """

    def __init__(self, course: Course, period_s: float) -> None:
        self.metric = course.metric
        self._discount, self._period_s = course.discount, period_s
        self._sums: dict[tuple[int, int], list[float]] = {}
        self._values: dict[str, ArmValue] = {name: ArmValue() for name in _ARMS}
        self._new: list[Logged] = []
        self._began: float | None = None

    def period(self, time: float) -> int:
        """Return the period of a time; the first time asked for begins period 0."""
        if self._began is None:
            self._began = time
        return min(max(int((time - self._began) // self._period_s), 0), TEN_BITS)

    def add(self, arm: int, period: int, share: float, value: float) -> None:
        """Take up an entity's value of the metric, higher being worse.

        Args:
            arm: 1 is the challenger.
            period: In which the entity was first seen.
            share: The challenger's, then.
            value: The value.
        """
        reward = -value if self.metric is Metric.KPI else 1.0 - value
        sums = self._sums.setdefault((period, arm), [0, 0.0, 0.0])
        sums[0] += 1
        sums[1] += reward
        sums[2] += reward * reward
        propensity = share if arm else 1.0 - share
        if propensity > 0:
            self._new.append(Logged(arm=_ARMS[arm], propensity=propensity, reward=reward))
        if len(self._new) >= 10_000:  # so that what waits for the next look is bounded
            self._fold()

    def posterior(self, time: float) -> Posterior:
        """Return what is believed of the arms at a time."""
        kind = RewardKind.BINARY if self.metric is Metric.ERRORS else RewardKind.REAL
        now = max([self.period(time), *(period for period, _ in self._sums)]) if self._began is not None else 0
        before = Posterior(kind=kind, arms={name: ArmRewards() for name in _ARMS}, discount=self._discount, period=now)
        batches = [
            RewardBatch(arm=_ARMS[arm], period=period, n=int(n), total=total, squares=squares)
            for (period, arm), (n, total, squares) in sorted(self._sums.items())
        ]
        return learn(before, batches)

    def shown(self) -> dict[str, Json]:
        """Return each arm's worth, with its standard error and the entities behind it."""
        self._fold()
        return {name: to_json(off_policy.effect(value)) for name, value in self._values.items()}

    def _fold(self) -> None:
        self._values = off_policy.observe(self._values, self._new)
        self._new = []

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        self._fold()
        return {
            "sums": [[*key, *sums] for key, sums in self._sums.items()],
            "values": to_json(self._values),
            "began": self._began,
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self._sums = {(period, arm): sums for period, arm, *sums in state["sums"]}
        self._values = {name: read_record(ArmValue, each) for name, each in state["values"].items()}
        self._began = state["began"]


def rewards_of(course: Course) -> Rewards | None:
    """Return what a course with periods of a bandit learns from; None for any other, or without a metric."""
    period_s = next((step.bake_s for step in course.steps if step.kind is StepKind.ADAPT), None)
    if period_s is None or course.metric in (None, Metric.DISAGREEMENT):
        return None
    return Rewards(course, period_s)
