"""From observations to sufficient statistics: one contribution an entity, by the share that was in force.

    failure, flag   an entity's first, with the share and arm of that request; of pairs the first *discordant* one (one
                    arm failed and the other did not), at share 1/2
    arrival         when an entity is first routed with both arms in force, in that step and arm
    value           score, loss, business number: once, in the step and arm the entity was first seen in; a value whose
                    answer another arm gave (the entity moved before it was ever answered) does not count
    first request   whether it failed: the plan's metric `errors`

A request without an entity is an entity of its own. What was answered with propensity 1 of the champion (before the
start, or the lease lapsed) is outside, and counts nowhere but as the live half of a pair.

Every observation is taken up by itself, in the order of the log, so that what is counted does not depend on how the log
was cut into readings: a tally that was saved, lost and read again goes on exactly where it stopped. (Labels and numbers
of the business that are read before the answer they are of wait for it, so of several that one may count.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from lockgate.core.contract import TaskKind
from lockgate.core.ids import digest_of
from lockgate.core.online.ratio_mismatch import p_value
from lockgate.core.rollout import tally_bytes
from lockgate.core.rollout.observations import Observation, Seen
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION
from lockgate.core.rollout.steps import Course, StepKind
from lockgate.core.rollout.tally_counted import Counted, Measured, evidence_names
from lockgate.core.rollout.tally_days import day_ends, day_of, days_counted
from lockgate.core.rollout.tally_entities import MAX_ENTITIES
from lockgate.core.rollout.tally_intake import Intake
from lockgate.core.rollout.tally_paired import take_pair
from lockgate.core.rollout.tally_pairs import Costs, Window
from lockgate.core.rollout.tally_populations import ColumnTally
from lockgate.core.rollout.tally_shown import shown
from lockgate.core.spec_sections.rollout import RolloutSection

__all__ = ["Counted", "Tally", "evidence_names"]

_ARMS = {CHAMPION: 0, CHALLENGER: 1}


class Tally:
    """What a rollout has counted so far."""

    def __init__(  # noqa: PLR0913 - what was declared; half are keywords
        self,
        course: Course,
        section: RolloutSection,
        task: TaskKind,
        classes: Sequence[str],
        *,
        costs: Costs | None = None,
        due_s: float = 0.0,
        max_entities: int = MAX_ENTITIES,
    ) -> None:
        """Begin with nothing.

        Args:
            course: What is counted for.
            section: What is tolerated.
            task: What is predicted.
            classes: By index; of binary the second is the one whose probability is answered.
            costs: What happened, to what was decided, to its cost; ranks flips. None: all alike.
            due_s: Age at which an answer's label is due, in seconds; see `tally_losses`.
            max_entities: How many are remembered; see `tally_entities`.

        Raises:
            ConfigError: More business numbers are declared than can be followed.
        """
        self._course, self._section = course, section
        self._intake = Intake(
            course, section.guardrails, task, classes, costs=costs, due_s=due_s, max_entities=max_entities
        )
        self._window = Window()
        self._columns = tuple(ColumnTally(each, task, classes, due_s) for each in section.subpopulations)
        self._day_ends = math.inf if course.stability is None else -math.inf
        self._shadows = any(step.kind is StepKind.SHADOW for step in course.steps)
        self._outside = self._lost = 0
        self._counted = [0, 0]  # requests at the counting before, champion's and challenger's
        self._p_before = 1.0
        self._began_with = digest_of([course, section, task, list(classes), costs, due_s])

    def take(self, seen: Seen) -> None:
        """Take up one reading of the logs."""
        for observation in seen.observations:
            self._observe(observation)
        for label in seen.labels:
            self._intake.label(label)
            for column in self._columns:
                column.label(label)
        for kpi in seen.kpis:
            self._intake.kpi(kpi)
        self._lost += seen.lost

    def counted(self, now: float) -> Counted:
        """Return what has been counted by a time, in seconds since the epoch, and begin the next look.

        Takes no longer with more entities.
        """
        intake = self._intake
        for due in intake.losses.due(now):
            intake.due(due)
        for column in self._columns:
            column.pass_time(now)
        measured = Measured(
            course=self._course,
            guardrails=self._section.guardrails,
            strata=intake.strata.whole(),
            blocks=None if intake.blocks is None else intake.blocks.counted,
            coverage=intake.losses.coverage(),
            p_before=self._p_before,
            populations=tuple(each.populations() for each in self._columns),
            days=days_counted(self._course, self._section.guardrails, intake.strata),
        )
        champion, challenger = (now - then for now, then in zip(intake.requests, self._counted, strict=True))
        found = Counted(
            evidence=measured.evidence(),
            contrast=measured.contrast(),
            paired=measured.paired(),
            bandit=None if intake.rewards is None else intake.rewards.posterior(intake.clock),
            challenger_requests=challenger,
            champion_requests=champion,
            challenger_entities=measured.entities(1),
            champion_entities=measured.entities(0),
            coverage=measured.coverage,
            shown=shown(intake, self._window, outside=self._outside, lost=self._lost),
            lost_requests=self._lost,
            read_requests=sum(intake.requests),
            labels=None if self._course.truth is None else intake.losses.so_far(),
        )
        p_now = p_value(measured.arrivals(), self._p_before)
        self._p_before = self._p_before if math.isnan(p_now) else p_now
        self._counted = list(intake.requests)
        return found

    def to_bytes(self) -> bytes:
        """Return everything, for `from_bytes`."""
        state = {
            "began_with": self._began_with,
            "numbers": [self._outside, self._lost, self._counted, self._p_before],
            "not_observed": self._intake.entities.not_observed,
            "intake": self._intake.state(),
            "window": self._window.state(),
            "columns": [each.state() for each in self._columns],
        }
        return tally_bytes.packed(state, self._intake.entities.to_bytes())

    @classmethod
    def from_bytes(  # noqa: PLR0913 - as a new one
        cls,
        data: bytes,
        course: Course,
        section: RolloutSection,
        task: TaskKind,
        classes: Sequence[str],
        *,
        costs: Costs | None = None,
        due_s: float = 0.0,
        max_entities: int = MAX_ENTITIES,
    ) -> Tally:
        """Return the tally whose `to_bytes` this is.

        Raises:
            ConfigError: As for a new one.
            IntegrityError: The bytes are damaged, or the tally was begun with something else.
        """
        made = cls(course, section, task, classes, costs=costs, due_s=due_s, max_entities=max_entities)
        state, entities = tally_bytes.unpacked(data, made._began_with)
        made._outside, made._lost, made._counted, made._p_before = state["numbers"]
        made._intake.entities.load(entities)
        made._intake.entities.not_observed = state["not_observed"]
        made._intake.load(state["intake"])
        made._window.load(state["window"])
        if course.stability is not None and made._intake.strata.day is not None:
            made._day_ends = day_ends(made._intake.strata.day, course.stability)
        for column, kept in zip(made._columns, state["columns"], strict=True):
            column.load(kept)
        return made

    def _observe(self, seen: Observation) -> None:
        intake = self._intake
        if seen.time > intake.clock:
            if seen.time >= self._day_ends:
                self._begin_day(seen.time)
            intake.pass_time(seen.time)
        arm = _ARMS.get(seen.arm)
        stratum = -1 if arm is None or seen.shadow else intake.strata.of(arm, seen.propensity)
        if arm is not None and stratum >= 0:
            intake.live(seen, arm, stratum)
            for column in self._columns:
                place = stratum, intake.strata.all[stratum].share
                column.live(seen, arm, place, None if seen.failed else intake.score(seen))
            return
        if not seen.shadow:
            self._outside += 1
        if self._shadows and arm == int(seen.shadow):  # a copy is the challenger's, its live answer the champion's
            self._half(seen)

    def _begin_day(self, time: float) -> None:
        if self._course.stability is not None:
            day = day_of(time, self._course.stability)
            self._intake.strata.begin_day(day)
            self._day_ends = day_ends(day, self._course.stability)

    def _half(self, seen: Observation) -> None:
        other = self._window.join(seen)
        if other is not None:
            live, copy = (other, seen) if seen.shadow else (seen, other)
            take_pair(self._intake, live, copy)
            for column in self._columns:
                answered = not live.failed and not copy.failed
                column.pair(live, copy, (self._intake.score(live), self._intake.score(copy)) if answered else None)
