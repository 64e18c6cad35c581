"""Takes up one observation, label or number after the other; what counts, and where, stands in `tally`."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally_counted import LOSS, SCORE
from lockgate.core.rollout.tally_entities import (
    ANSWERED,
    FAILED,
    FLAGGED,
    LABELLED,
    LIVE,
    OF_CHALLENGER,
    SCORED,
    Entities,
    first_seen,
    key_of,
    period_of,
    stratum_of,
)
from lockgate.core.rollout.tally_kpis import Kpis, value_name
from lockgate.core.rollout.tally_labelled import take_label, wait_for_label
from lockgate.core.rollout.tally_latency import Histogram, OpenBlocks
from lockgate.core.rollout.tally_losses import Due, Losses, Waiting
from lockgate.core.rollout.tally_pairs import Agreement, Costs
from lockgate.core.rollout.tally_rewards import rewards_of
from lockgate.core.rollout.tally_strata import Strata
from lockgate.core.spec_sections.rollout import GuardrailsSection, Metric


class _Part(Protocol):
    def state(self) -> dict[str, Json]: ...

    def load(self, state: Mapping[str, Any]) -> None: ...


class Intake:
    """Everything that observations change; pairs of numbers are champion's, then challenger's.

    Attributes:
        requests: Requests of either arm that count.
        failed: Those that it had no answer to.
        clock: The latest time of the log.
        origin: What the seconds of entities' states count from; NaN before the first entity.
        times_copies: See `Course.times_copies`.
    """

    def __init__(  # noqa: PLR0913 - what was declared
        self,
        course: Course,
        guardrails: GuardrailsSection,
        task: TaskKind,
        classes: Sequence[str],
        *,
        costs: Costs | None,
        due_s: float,
        max_entities: int,
    ) -> None:
        self.guardrails, self.costs = guardrails, costs
        self.entities, self.strata = Entities(max_entities), Strata()
        self.agreement = Agreement()
        self.losses, self.kpis = Losses(task, classes, due_s), Kpis(guardrails.kpi)
        self.rewards = rewards_of(course)
        self.blocks = None if guardrails.latency is None else OpenBlocks(guardrails.latency)
        self.histograms = (Histogram(), Histogram())
        self.requests, self.failed = [0, 0], [0, 0]
        self.clock, self.origin = -math.inf, math.nan
        self.times_copies = course.times_copies
        late = course.truth is not None
        self.labels_wanted = late or "quality" in course.guardrails or course.metric is Metric.LOSS
        self._width = len(classes) if task is TaskKind.MULTICLASS else 1

    def pass_time(self, time: float) -> None:
        """Move the log's time on to one that is later than before."""
        self.clock = time
        if self.blocks is not None and time >= self.blocks.next_close:
            self.blocks.close(time)

    def live(self, seen: Observation, arm: int, stratum: int) -> None:
        """Take up a request that was routed with both arms in force; arm 1 is the challenger."""
        self.request(seen, arm, seen.time)
        key, state = None, 0
        if seen.entity is not None:
            key = key_of(seen.entity)
            known = self.entities.of(key)
            if known is None:
                return
            state = known
        was = state
        if not state & LIVE:
            state = self._arrived(seen, arm, stratum, key, state)
        if seen.failed:
            if not state & FAILED:
                self.strata.all[stratum].failures[arm] += 1
                state |= FAILED
        elif not state & LABELLED and (self.labels_wanted or not state & SCORED):
            state = self._answered(seen, arm, key, state)
        if seen.flags and not state & FLAGGED:
            self.strata.all[stratum].flags[arm] += 1
            state |= FLAGGED
        if key is not None and state != was:
            self.entities.put(key, state)

    def request(self, seen: Observation, arm: int, time: float) -> None:
        """Take up what is counted by request: latency, in the block of a time, and how many there are."""
        self.requests[arm] += 1
        if seen.failed:
            self.failed[arm] += 1
            return
        self.histograms[arm].add(seen.latency_us)
        if self.blocks is not None:
            self.blocks.add(arm, time, seen.latency_us)

    def _arrived(self, seen: Observation, arm: int, stratum: int, key: bytes | None, state: int) -> int:
        here = self.strata.all[stratum]
        here.entities[arm] += 1
        here.unanswered[arm] += seen.failed
        period = 0 if self.rewards is None else self.rewards.period(seen.time)
        if self.rewards is not None and self.rewards.metric is Metric.ERRORS:
            self.rewards.add(arm, period, here.share, float(seen.failed))
        second = 0
        if self.kpis.names:
            if math.isnan(self.origin):
                self.origin = math.floor(seen.time)
            second = int(seen.time - self.origin)
        state |= first_seen(challenger=bool(arm), stratum=stratum, period=period, second=second)
        if key is not None and key in self.kpis.early:
            for name, time, value in self.kpis.early.pop(key):
                state = self._kpi_of(state, name, time, value)
        return state

    def _answered(self, seen: Observation, arm: int, key: bytes | None, state: int) -> int:
        mine = bool(state & OF_CHALLENGER) == bool(arm)
        stratum = stratum_of(state)
        if not state & SCORED:
            state |= SCORED
            if mine:
                self.strata.all[stratum].add(SCORE, arm, self.score(seen))
        if not mine or not self.labels_wanted:
            return state
        if not state & ANSWERED:
            self.losses.first_answer(seen.time, champion=not arm, challenger=bool(arm))
        scores = (None, seen.scores) if arm else (seen.scores, None)
        period, propensity = period_of(state), self.strata.all[stratum].share
        waiting = Waiting(seen.time, key, stratum, period, propensity, *scores)
        return wait_for_label(self.losses, seen.prediction_id, waiting, state | ANSWERED)

    def label(self, label: LabelSeen) -> None:
        """Take up a label."""
        take_label(self.losses, self.entities, label)

    def due(self, due: Due) -> None:
        """Take up a loss that has become due."""
        if due.champion is not None and due.challenger is not None:
            self.strata.add_pair(LOSS, due.challenger, due.champion)
            return
        arm, loss = (0, due.champion) if due.champion is not None else (1, due.challenger)
        if loss is None:
            return
        self.strata.all[due.stratum].add(LOSS, arm, loss)
        if self.rewards is not None and self.rewards.metric is Metric.LOSS:
            self.rewards.add(arm, due.period, due.propensity, loss)

    def kpi(self, seen: KpiSeen) -> None:
        """Take up a number of the business."""
        if not self.kpis.known(seen):
            return
        key = key_of(seen.entity)
        state = self.entities.states.get(key, 0)
        if not state & LIVE:
            self.kpis.keep(key, seen)
            return
        after = self._kpi_of(state, seen.name, seen.time, seen.value)
        if after != state:
            self.entities.put(key, after)

    def _kpi_of(self, state: int, name: str, time: float, value: float) -> int:
        after = self.kpis.counts(state, name, time, self.origin)
        if after is None:
            return state
        arm, here = int(bool(state & OF_CHALLENGER)), self.strata.all[stratum_of(state)]
        here.add(value_name(name), arm, value)
        rewards = self.rewards
        if rewards is not None and rewards.metric is Metric.KPI and name == self.kpis.names[0]:
            worse = value if self.guardrails.kpi[0].higher_is_worse else -value
            rewards.add(arm, period_of(state), here.share, worse)
        return after

    def score(self, seen: Observation) -> float:
        """Return a request's score: the mean over its rows of what `ScoreGuardrail` compares; NaN without rows."""
        scores = seen.scores[:: self._width]
        return scores[0] if len(scores) == 1 else math.fsum(scores) / len(scores) if scores else math.nan

    def state(self) -> dict[str, Json]:
        """Return its own numbers and its parts', but for the entities, as JSON."""
        return {
            "numbers": [self.requests, self.failed, self.clock, self.origin],
            "histograms": [each.bins for each in self.histograms],
            "parts": {name: part.state() for name, part in self._parts().items()},
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.requests, self.failed, self.clock, self.origin = state["numbers"]
        champion, challenger = state["histograms"]
        self.histograms = (Histogram(champion), Histogram(challenger))
        for name, part in self._parts().items():
            part.load(state["parts"][name])

    def _parts(self) -> dict[str, _Part]:
        found: dict[str, _Part | None] = {
            "strata": self.strata,
            "agreement": self.agreement,
            "losses": self.losses,
            "kpis": self.kpis,
            "rewards": self.rewards,
            "blocks": self.blocks,
        }
        return {name: part for name, part in found.items() if part is not None}
