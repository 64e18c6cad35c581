"""Whole rollouts, simulated: traffic as observations, and then all that decides in production."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.rollout.observations import LabelSeen, Observation, Seen
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import course_of, rate_sd
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec_sections.rollout import (
    GuardrailsSection,
    Metric,
    PlanSection,
    QualityGuardrail,
    RolloutSection,
    RolloutStrategy,
    ScoreGuardrail,
    StepSection,
)
from lockgate.stages.calibrating import Ended, carried_through

GUARDRAILS = GuardrailsSection(score=ScoreGuardrail(), quality=QualityGuardrail())
"""All of them: errors have 0.05 * 2 / 5.5 = 0.018 of the error."""


Sample: TypeAlias = NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class World:
    """What traffic is like.

    Attributes:
        per_minute: Requests, of both arms.
        entities: How many clients there are, who come again at random; 0: every request is a new one's.
        failure: The champion's failures a request; clients differ (gamma, variance 1) where they come again.
        risk: The challenger's over the champion's.
        burst: How often a client fails in a row.
        slower: The challenger's latency over the champion's.
        worse: What labels say is added to the challenger's error, on the scale of the probability.
        lost: Share of the challenger's requests that the log loses.
    """

    per_minute: float = 300.0
    entities: int = 0
    failure: float = 0.01
    risk: float = 1.0
    burst: int = 1
    slower: float = 1.0
    worse: float = 0.0
    lost: float = 0.0


def section_of(shares: tuple[float, ...], bake_s: float, max_duration_s: float | None = None) -> RolloutSection:
    return RolloutSection(
        strategy=RolloutStrategy.CANARY,
        steps=tuple(StepSection(set_weight=share, bake_s=bake_s) for share in shares),
        guardrails=GUARDRAILS,
        plan=PlanSection(metric=Metric.ERRORS, margin=0.02),
        max_duration_s=max_duration_s,
    )


class Told(NamedTuple):
    """What a tally reads of an `Observation`: a tuple is made four times as fast."""

    time: float
    prediction_id: str
    arm: str
    propensity: float
    entity: str | None
    failed: bool
    latency_us: int
    scores: tuple[float, ...]
    shadow: bool = False
    flags: int = 0


class Became(NamedTuple):
    """As `LabelSeen`."""

    prediction_id: str
    row: int
    label: str
    received: float


class Drawn:
    """Requests as the log would tell them, look by look; their labels come with the look after."""

    def __init__(self, rng: np.random.Generator, world: World) -> None:
        self._rng, self._world = rng, world
        self._passed_s, self._number = 0.0, 0
        self._names = [f"client-{index}" for index in range(world.entities)]
        self._buckets = rng.random(max(world.entities, 1))
        self._hazards = world.failure * rng.gamma(1.0, 1.0, max(world.entities, 1))
        self._unlabelled: list[Became] = []

    def until(self, now_s: float, *, share: float, shadow: float) -> Seen:
        assert shadow == 0
        rng, world = self._rng, self._world
        n = rng.poisson(world.per_minute * (now_s - self._passed_s) / 60)
        times = np.sort(rng.uniform(self._passed_s, now_s, n))
        who = rng.integers(0, max(world.entities, 1), n)
        buckets, hazards = self._buckets[who], self._hazards[who]
        if not world.entities:
            buckets, hazards = rng.random(n), np.full(n, world.failure)
        ours = buckets < share
        fails = rng.random(n) < np.minimum(hazards * np.where(ours, world.risk, 1.0), 1.0)
        latency = 1e4 * rng.lognormal(0, 0.5, n) * np.where(ours, world.slower, 1.0)
        truth = rng.random(n) < 0.3
        score = np.clip(0.3 + 0.2 * (truth - 0.3) + rng.normal(0, 0.1, n) + np.where(ours, world.worse, 0), 0, 1)
        kept = np.flatnonzero(~(ours & (rng.random(n) < world.lost)))
        told = np.repeat(kept, np.where(fails[kept], world.burst, 1))
        arms, names = ((CHAMPION, 1.0 - share), (CHALLENGER, share)), self._names
        columns = (each[told].tolist() for each in (times, who, ours, fails, latency.astype(int), score))
        observations = [
            Told(time, str(number), *arms[arm], names[client] if names else None, bad, took, () if bad else (value,))
            for number, (time, client, arm, bad, took, value) in enumerate(zip(*columns, strict=True), self._number)
        ]
        labels, self._unlabelled = self._unlabelled, self._labels(told, truth, now_s + 1)
        self._passed_s, self._number = now_s, self._number + len(observations)
        return Seen(
            observations=cast("tuple[Observation, ...]", observations),
            labels=cast("tuple[LabelSeen, ...]", labels),
            cursor="",
        )

    def _labels(self, told: Sample, truth: Sample, received: float) -> list[Became]:
        """Return what became of each request, under the number of the last of its tries."""
        last = np.flatnonzero(np.diff(told, append=-1))
        said = zip((last + self._number).tolist(), truth[told[last]].tolist(), strict=True)
        return [Became(str(number), 0, "yes" if true else "no", received) for number, true in said]


def rollout(seed: int, world: World, section: RolloutSection, look_s: float = 10.0) -> Ended:
    """One rollout, looked at every `look_s` seconds until it ends."""
    section = replace(section, look_s=look_s)
    course = course_of(section, sd=rate_sd(world.failure, section.plan.margin))
    tally = Tally(course, section, TaskKind.BINARY, ("no", "yes"))
    return carried_through(course, tally, Drawn(np.random.default_rng(seed), world))
