"""One look at a rollout: statistics -> findings -> the plan, where a look of it is due -> one decision.

Judges with `core.online` alone, from what is then recorded; so whoever holds the record looks again and decides alike.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from lockgate.core.online import bandit, thompson
from lockgate.core.online.findings import Evidence, judge
from lockgate.core.online.guardrails import Decision, Finding, Look, State, decide, lost_too_many
from lockgate.core.online.means import Effect
from lockgate.core.online.plan import Design, design
from lockgate.core.online.plan_look import PlanLook
from lockgate.core.online.plan_look import judge as judge_plan
from lockgate.core.rollout.effects import effect_of
from lockgate.core.rollout.look_record import p_after
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.proxy import with_proxy
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally_counted import Counted, evidence_names

PATIENT_LOOKS = 3
"""Ours: at 5 % of 300 requests a minute, looks ten seconds apart find no request of the challenger three times in a row
in 3 % of rollouts of ten minutes; half a minute apart, practically never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What one look found.

    Attributes:
        counted: The statistics, as they were judged.
        look: What was decided on.
        decision: What was decided.
        plan: What the plan said, where a look of it was due.
        effect: What the plan was told then.
        next_share: What a bandit would give the challenger next; None where there is none.
    """

    counted: Counted
    look: Look
    decision: Decision
    plan: PlanLook | None = None
    effect: Effect | None = None
    next_share: float | None = None


@dataclass(slots=True, kw_only=True)
class Observer:
    """The looks of one rollout so far.

    Attributes:
        course: What was declared.
        looks: What was decided on, oldest first.
        effects: What the plan was told at each look of it that was due.
        p_before: The p-value of the arrivals at the last look.
    """

    course: Course
    looks: list[Look] = field(default_factory=list)
    effects: list[Effect] = field(default_factory=list)
    p_before: float = 1.0
    _design: Design | None = None

    def glance(self, counted: Counted) -> Finding | None:
        """Return harm that the statistics show now, None where they show none; nothing is remembered."""
        return next((each for each in map(judge, self._evidence(counted)) if each.state is State.HARM), None)

    def look(self, counted: Counted, *, share: float, steps_done: bool, time_is_up: bool) -> Judged:
        """Judge the statistics and remember that they were looked at.

        Args:
            counted: What the tally holds.
            share: The challenger's share of entities now.
            steps_done: Whether the last step's bake is over.
            time_is_up: Whether the declared duration is over.
        """
        evidence = self._evidence(counted)
        counted = replace(counted, evidence=evidence)
        findings = tuple(judge(each) for each in evidence)
        plan, effect = self._plan_look(counted)
        look = Look(
            share=share,
            challenger_requests=counted.challenger_requests,
            champion_requests=counted.champion_requests,
            findings=findings,
            non_inferior=None if plan is None else plan.verdict,
            steps_done=steps_done,
            time_is_up=time_is_up,
            behind=counted.behind,
            lost_requests=counted.lost_requests,
            read_requests=counted.read_requests,
        )
        self.looks.append(look)
        self.p_before = p_after(evidence, self.p_before)
        course = self.course
        decision = decide(self.looks, declared=evidence_names(course), patience=course.patience)
        return Judged(
            counted=counted,
            look=look,
            decision=with_proxy(decision, course.metric, course.truth, counted.labels),
            plan=plan,
            effect=effect,
            next_share=self._next_share(counted, share, findings),
        )

    def _evidence(self, counted: Counted) -> tuple[Evidence, ...]:
        return tuple(
            each if each.arrivals is None else replace(each, p_before=self.p_before) for each in counted.evidence
        )

    def _plan_look(self, counted: Counted) -> tuple[PlanLook | None, Effect | None]:
        """Look at the plan where its next declared information has come; several at once are one look.

        While too much of the log is lost it waits: what it says once holds to the end.
        """
        plan = self.course.plan
        if plan is None or self.course.metric is None or lost_too_many(counted.lost_requests, counted.read_requests):
            return None, None
        if self._design is None:
            self._design = design(plan)
        effect = effect_of(counted, self.course.metric, plan)
        before = self.effects[-1].effective / self._design.effective if self.effects else 0.0
        due = next((each for each in plan.fractions if each > before + 1e-9), None)
        if due is None or not math.isfinite(effect.value) or effect.effective < due * self._design.effective:
            return None, None
        self.effects.append(effect)
        return judge_plan(plan, self._design, self.effects), effect

    def _next_share(self, counted: Counted, share: float, findings: Sequence[Finding]) -> float | None:
        """Return what the rewards give the challenger; a guardrail that is half way to harm, or blind, halves it."""
        if counted.bandit is None:
            return None
        caps = {} if all(map(is_at_ease, findings)) else {CHALLENGER: share / 2.0}
        chances = thompson.chances(counted.bandit)
        return bandit.weights(chances, champion=CHAMPION, floor=self.course.floor, caps=caps)[CHALLENGER]


def is_at_ease(finding: Finding) -> bool:
    """Tell whether a guardrail shows no harm and is less than half way to it: half the log e-value, or the bound.

    >>> near = Finding(guardrail="errors", state=State.CLEAR, observed=2.4, threshold=4.6, reason="")
    >>> is_at_ease(near), is_at_ease(replace(near, observed=2.2))
    (False, True)
    """
    return finding.state in (State.CLEAR, State.UNMET) and not finding.observed > finding.threshold / 2.0


def is_due(waited_s: float, since: Counted, rollout: Rollout, look_s: float) -> bool:
    """Tell whether it is time for a look; one that would find an arm without a request waits `PATIENT_LOOKS` as long.

    >>> from lockgate.core.rollout.tally import Counted
    >>> nobody = Counted(evidence=(), contrast=None, paired=None, bandit=None, challenger_requests=0,
    ...     champion_requests=9, challenger_entities=0, champion_entities=9, coverage=None, shown={})
    >>> canary = Rollout.at_start("toy-0002", "b" * 64, "a" * 64, began=0.0)
    >>> [is_due(waited_s, nobody, replace(canary, share=0.1), 10.0) for waited_s in (10.0, 30.0)]
    [False, True]
    """
    empty = (rollout.exposure > 0 and not since.challenger_requests) or (
        rollout.exposure < 1 and not since.champion_requests
    )
    return waited_s >= look_s * (PATIENT_LOOKS if empty else 1)


def added(since: Counted | None, now: Counted) -> Counted:
    """Return the newest statistics with the requests of every glance since the last look."""
    if since is None:
        return now
    return replace(
        now,
        challenger_requests=since.challenger_requests + now.challenger_requests,
        champion_requests=since.champion_requests + now.champion_requests,
    )
