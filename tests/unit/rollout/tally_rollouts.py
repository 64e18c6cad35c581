"""Whole rollouts, simulated: traffic as observations, the real tally, the real judges, the real decision."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.online import plan_look
from lockgate.core.online.findings import judge
from lockgate.core.online.guardrails import Look, RolloutVerdict, decide
from lockgate.core.online.means import Effect
from lockgate.core.online.plan import Design, design
from lockgate.core.rollout.effects import effect_of
from lockgate.core.rollout.observations import LabelSeen, Observation, Seen
from lockgate.core.rollout.steps import Course, course_of, rate_sd
from lockgate.core.rollout.tally import Counted, Tally, evidence_names
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

GUARDRAILS = GuardrailsSection(score=ScoreGuardrail(), quality=QualityGuardrail())
"""All of them: errors have 0.05 * 2 / 5.5 = 0.018 of the error."""


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


@dataclass(frozen=True, kw_only=True)
class End:
    """How a rollout ended.

    Attributes:
        verdict: CONTINUE where it was still going on.
        after_s: When.
        reason: Why.
    """

    verdict: RolloutVerdict
    after_s: float
    reason: str


def section_of(shares: tuple[float, ...], bake_s: float, max_duration_s: float | None = None) -> RolloutSection:
    return RolloutSection(
        strategy=RolloutStrategy.CANARY,
        steps=tuple(StepSection(set_weight=share, bake_s=bake_s) for share in shares),
        guardrails=GUARDRAILS,
        plan=PlanSection(metric=Metric.ERRORS, margin=0.02),
        max_duration_s=max_duration_s,
    )


class Traffic:
    """Requests as the log would tell them, look by look."""

    def __init__(self, rng: np.random.Generator, world: World) -> None:
        self._rng, self._world, self._ids = rng, world, itertools.count()
        self._buckets = rng.random(max(world.entities, 1))
        self._hazards = world.failure * rng.gamma(1.0, 1.0, max(world.entities, 1))
        self._unlabelled: list[LabelSeen] = []

    def reading(self, begin: float, end: float, share: float) -> Seen:
        rng, world = self._rng, self._world
        n = rng.poisson(world.per_minute * (end - begin) / 60)
        times = np.sort(rng.uniform(begin, end, n))
        if world.entities:
            who = rng.integers(0, world.entities, n)
            buckets, hazards = self._buckets[who], self._hazards[who]
            names: list[str | None] = [f"client-{each}" for each in who.tolist()]
        else:
            buckets, hazards, names = rng.random(n), np.full(n, world.failure), [None] * n
        ours = buckets < share
        fails = rng.random(n) < np.minimum(hazards * np.where(ours, world.risk, 1.0), 1.0)
        latency = 1e4 * rng.lognormal(0, 0.5, n) * np.where(ours, world.slower, 1.0)
        truth = rng.random(n) < 0.3
        score = np.clip(0.3 + 0.2 * (truth - 0.3) + rng.normal(0, 0.1, n) + np.where(ours, world.worse, 0), 0, 1)
        kept = ~(ours & (rng.random(n) < world.lost))
        rows = zip(times.tolist(), names, ours.tolist(), fails.tolist(), latency.tolist(), score.tolist(), strict=True)
        observations: list[Observation] = []
        labels = self._unlabelled
        self._unlabelled = []
        for row, true, keep in zip(rows, truth.tolist(), kept.tolist(), strict=True):
            if keep:
                observations.extend(self._requests(row, share))
                said = "yes" if true else "no"
                name = observations[-1].prediction_id
                self._unlabelled.append(LabelSeen(prediction_id=name, row=0, label=said, received=end + 1))
        return Seen(observations=tuple(observations), labels=tuple(labels), cursor="")

    def _requests(self, row: tuple[float, str | None, bool, bool, float, float], share: float) -> Iterator[Observation]:
        time, entity, ours, failed, latency_us, score = row
        for _ in range(self._world.burst if failed else 1):
            yield Observation(
                time=time,
                prediction_id=str(next(self._ids)),
                arm="challenger" if ours else "champion",
                propensity=share if ours else 1.0 - share,
                entity=entity,
                failed=failed,
                latency_us=int(latency_us),
                scores=() if failed else (score,),
            )


class Controller:
    """Looks as a rollout does: step by step, the plan's looks when their information is there."""

    def __init__(self, section: RolloutSection, past_failure: float) -> None:
        self.course: Course = course_of(section, sd=rate_sd(past_failure, section.plan.margin))
        self.tally = Tally(self.course, section, TaskKind.BINARY, ("no", "yes"))
        assert self.course.plan is not None
        assert self.course.metric is not None
        self._plan, self._metric = self.course.plan, self.course.metric
        self._design: Design = _designed(self.course)
        self._effects: list[Effect] = []
        self._looks: list[Look] = []

    def share(self, passed_s: float) -> float:
        steps = self.course.steps
        ends = itertools.accumulate(step.bake_s for step in steps)
        return next((step.share for step, end in zip(steps, ends, strict=True) if passed_s < end), steps[-1].share)

    def look(self, passed_s: float, now: float) -> End:
        counted = self.tally.counted(now)
        up = passed_s >= self.course.max_duration_s
        self._looks.append(
            Look(
                share=self.share(passed_s),
                challenger_requests=counted.challenger_requests,
                champion_requests=counted.champion_requests,
                findings=tuple(judge(each) for each in counted.evidence),
                non_inferior=self._planned(counted, time_is_up=up),
                steps_done=passed_s >= sum(step.bake_s for step in self.course.steps),
                time_is_up=up,
            )
        )
        said = decide(self._looks, declared=evidence_names(self.course), patience=self.course.patience)
        return End(verdict=said.verdict, after_s=passed_s, reason=said.reason)

    def _planned(self, counted: Counted, *, time_is_up: bool) -> RolloutVerdict | None:
        found = effect_of(counted, self._metric, self._plan)
        past = len(self._effects)
        if past >= len(self._plan.fractions):
            return None
        due = found.effective >= self._plan.fractions[past] * self._design.effective
        if not due and not time_is_up:
            return None
        self._effects.append(found)
        return plan_look.judge(self._plan, self._design, self._effects).verdict


_DESIGNS: dict[float, Design] = {}


def _designed(course: Course) -> Design:
    assert course.plan is not None
    if course.plan.sd not in _DESIGNS:  # a second of bisection, the same for all runs
        _DESIGNS[course.plan.sd] = design(course.plan)
    return _DESIGNS[course.plan.sd]


def rollout(seed: int, world: World, section: RolloutSection, look_s: float = 10.0) -> End:
    """One rollout, looked at every `look_s` seconds until it ends."""
    traffic, controller = Traffic(np.random.default_rng(seed), world), Controller(section, world.failure)
    began, passed_s = 1_000_000.0, 0.0
    while True:
        share = controller.share(passed_s)
        controller.tally.take(traffic.reading(began + passed_s, began + passed_s + look_s, share))
        passed_s += look_s
        end = controller.look(passed_s, began + passed_s)
        if end.verdict is not RolloutVerdict.CONTINUE or passed_s >= controller.course.max_duration_s:
            return end
