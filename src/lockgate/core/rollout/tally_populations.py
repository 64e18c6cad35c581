"""Counts by sub-population: for each declared column, what the tally of the whole counts, value by value.

An entity counts once *in each population it has requests of*, by the rules of `tally`: its first failure there at the
share and arm of that request, its score and loss in the step and arm in which it was first seen there. Whether a
request is of a population follows from its inputs, which no arm can influence, so every population is a rollout of its
own, and its tests hold whatever happens in the others.

Populations are told apart in the order of the log. Where neither values nor ranges are declared, the last one is all
that came too late for one of their own.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Final

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Json
from lockgate.core.online.failures import FailureCounts, StepFailures
from lockgate.core.online.means import Contrast
from lockgate.core.online.populations import Population, Populations
from lockgate.core.rollout.observations import LabelSeen, Observation
from lockgate.core.rollout.tally_entities import (
    ANSWERED,
    FAILED,
    LABELLED,
    LIVE,
    OF_CHALLENGER,
    PAIRED,
    SCORED,
    Entities,
    first_seen,
    key_of,
    stratum_of,
)
from lockgate.core.rollout.tally_labelled import take_label, wait_for_label
from lockgate.core.rollout.tally_losses import Losses, Waiting
from lockgate.core.rollout.tally_strata import EVEN, PAIRS, Stratum, merged, stratum_from
from lockgate.core.spec_sections.rollout_conditions import SubpopulationSection

MISSING: Final = "(missing)"
REST: Final = "(all that came later)"
MAX_REMEMBERED: Final = 250_000
"""Entities of a column, each once for every population it is seen in. Ours: 22 MB; beyond it new ones are not observed,
which no bucket can influence."""
_LOSS, _SCORE = "loss", "score"


class ColumnTally:
    """What was counted of the sub-populations of one column; arm 1 is the challenger.

    Attributes:
        section: What was declared.
        values: The populations, in the order they are told apart.
    """

    def __init__(self, section: SubpopulationSection, task: TaskKind, classes: Sequence[str], due_s: float) -> None:
        self.section = section
        self.values: list[str] = list(declared_values(section))
        self._slots = {value: slot for slot, value in enumerate(self.values)}
        self._strata: list[dict[int, Stratum]] = [{} for _ in self.values]
        self._entities = Entities(MAX_REMEMBERED)
        self._losses = None if section.loss_tolerated is None else Losses(task, classes, due_s)

    def live(self, seen: Observation, arm: int, place: tuple[int, float], score: float | None) -> None:
        """Take up a request that was routed with both arms in force.

        Args:
            seen: The request.
            arm: Whose answer it was.
            place: Number and share of its stratum.
            score: Its score, where it was answered.
        """
        slot = self._slot_of(seen)
        if slot is None:
            return
        key, state = self._known(slot, seen)
        if state is None:
            return
        was, here = state, self._at(slot, *place)
        if not state & LIVE:
            here.entities[arm] += 1
            state |= first_seen(challenger=bool(arm), stratum=place[0], period=0, second=0)
        if seen.failed:
            here.failures[arm] += not state & FAILED
            state |= FAILED
        else:
            state = self._answered(seen, arm, (slot, key, state), score)
        if key is not None and state != was:
            self._entities.put(key, state)

    def pair(self, live: Observation, copy: Observation, scores: tuple[float, float] | None) -> None:
        """Take up a live answer of the champion and the challenger's to a copy, and both scores where both answered."""
        slot = self._slot_of(live)
        if slot is None:
            return
        key, state = self._known(slot, live)
        if state is None:
            return
        was, here = state, self._at(slot, PAIRS, EVEN)
        if live.failed != copy.failed and not state & FAILED:
            here.failures[1 if copy.failed else 0] += 1
            state |= FAILED
        if not live.failed and not state & PAIRED:
            here.entities = [each + 1 for each in here.entities]
            state |= PAIRED
        if scores is not None and not state & SCORED:
            for arm, score in enumerate(scores):
                here.add(_SCORE, arm, score)
            state |= SCORED
        if scores is not None and self._losses is not None and not state & LABELLED:
            waiting = Waiting(live.time, key, PAIRS, slot, EVEN, live.scores, copy.scores)
            state = wait_for_label(self._losses, live.prediction_id, waiting, state | ANSWERED)
        if key is not None and state != was:
            self._entities.put(key, state)

    def label(self, label: LabelSeen) -> None:
        """Take up a label."""
        if self._losses is not None:
            take_label(self._losses, self._entities, label)

    def pass_time(self, now: float) -> None:
        """Take up the losses that have become due by a time."""
        for due in [] if self._losses is None else self._losses.due(now):
            here = self._strata[due.period][due.stratum]
            for arm, loss in enumerate((due.champion, due.challenger)):
                if loss is not None:
                    here.add(_LOSS, arm, loss)

    def populations(self) -> Populations:
        """Return what was counted, as it is judged and recorded."""
        told = tuple(self._population(slot, value) for slot, value in enumerate(self.values))
        return replace(_nothing_of(self.section), values=told)

    def state(self) -> dict[str, Json]:
        """Return it as JSON."""
        return {
            "values": list(self.values),
            "strata": [[[at, each.state()] for at, each in strata.items()] for strata in self._strata],
            "entities": self._entities.to_bytes().hex(),
            "losses": None if self._losses is None else self._losses.state(),
        }

    def load(self, state: Mapping[str, Any]) -> None:
        """Take up what `state` returned."""
        self.values = list(state["values"])
        self._slots = {value: slot for slot, value in enumerate(self.values)}
        self._strata = [{at: stratum_from(each) for at, each in strata} for strata in state["strata"]]
        self._entities.load(bytes.fromhex(state["entities"]))
        if self._losses is not None:
            self._losses.load(state["losses"])

    def _slot_of(self, seen: Observation) -> int | None:
        """Return the population of a request; None where it is of none that is declared."""
        value = value_in(self.section, seen.slices.get(self.section.column))
        found = self._slots.get(value)
        if found is not None or self.section.values is not None:
            return found
        if len(self.values) >= most_of(self.section) - 1:
            value = REST
        if value not in self._slots:
            self._slots[value] = len(self.values)
            self.values.append(value)
            self._strata.append({})
        return self._slots[value]

    def _known(self, slot: int, seen: Observation) -> tuple[bytes | None, int | None]:
        """Return what the entity is kept under in a population, and its state there; None where there is no room."""
        if seen.entity is None:
            return None, 0
        key = key_of(f"{slot}\0{seen.entity}")
        return key, self._entities.of(key)

    def _at(self, slot: int, stratum: int, share: float) -> Stratum:
        strata = self._strata[slot]
        found = strata.get(stratum)
        if found is None:
            found = strata[stratum] = Stratum(share)
        return found

    def _answered(self, seen: Observation, arm: int, of: tuple[int, bytes | None, int], score: float | None) -> int:
        """Take up an answer, which counts in the step and arm its entity was first seen in, and only by that arm."""
        slot, key, state = of
        mine, stratum = bool(state & OF_CHALLENGER) == bool(arm), stratum_of(state)
        if not state & SCORED:
            state |= SCORED
            if mine and score is not None:
                self._strata[slot][stratum].add(_SCORE, arm, score)
        if not mine or self._losses is None or state & LABELLED:
            return state
        both = (None, seen.scores) if arm else (seen.scores, None)
        waiting = Waiting(seen.time, key, stratum, slot, EVEN, *both)  # the slot, where the whole has a bandit's period
        return wait_for_label(self._losses, seen.prediction_id, waiting, state | ANSWERED)

    def _population(self, slot: int, value: str) -> Population:
        section, counted = self.section, self._strata[slot]
        paired = [each for at, each in counted.items() if at == PAIRS]
        strata = [*paired, *merged(each for at, each in counted.items() if at != PAIRS)]
        failures = tuple(
            StepFailures(share=each.share, challenger=each.failures[1], champion=each.failures[0])
            for each in strata
            if any(each.failures)
        )
        return Population(
            value=value,
            challenger=sum(each.entities[1] for each in strata),
            champion=sum(each.entities[0] for each in strata),
            failures=FailureCounts(steps=failures),
            score=None if section.score_tolerated is None else _contrast(strata, _SCORE),
            loss=None if section.loss_tolerated is None else _contrast(strata, _LOSS),
        )


def _nothing_of(section: SubpopulationSection) -> Populations:
    """Return what is declared of a column, before anything has come."""
    return Populations(
        column=section.column,
        most=most_of(section),
        fewest=section.fewest,
        may_be_small=section.may_be_small,
        score_tolerated=section.score_tolerated,
        loss_tolerated=section.loss_tolerated,
    )


def most_of(section: SubpopulationSection) -> int:
    """Return how many populations a column may have; its error is split over so many.

    >>> most_of(SubpopulationSection(column="a")), most_of(SubpopulationSection(column="a", edges=(0.0,)))
    (20, 3)
    """
    return len(declared_values(section)) or section.most


def error_parts(section: SubpopulationSection) -> int:
    """Return how many tests the error of a column is split over.

    >>> error_parts(SubpopulationSection(column="a", values=("x", "y"), score_tolerated=0.1))
    6
    """
    return _nothing_of(section).tests


def declared_values(section: SubpopulationSection) -> tuple[str, ...]:
    """Return the populations that are known before the start; of ranges also the missing numbers.

    >>> declared_values(SubpopulationSection(column="a", edges=(0.0, 10.0)))
    ('below 0', '0 to below 10', 'from 10', '(missing)')
    """
    if section.values is not None:
        return section.values
    if not section.edges:
        return ()
    edges = [f"{edge:g}" for edge in section.edges]
    between = (f"{low} to below {high}" for low, high in pairwise(edges))
    return (f"below {edges[0]}", *between, f"from {edges[-1]}", MISSING)


def value_in(section: SubpopulationSection, text: str | None) -> str:
    """Return the population of a logged value: itself, or the range its number is in.

    >>> by_age = SubpopulationSection(column="age", edges=(18.0, 65.0))
    >>> [value_in(by_age, text) for text in ("17", "18", "old", None)]
    ['below 18', '18 to below 65', '(missing)', '(missing)']
    """
    if text is None:
        return MISSING
    if not section.edges:
        return text
    try:
        number = float(text)
    except ValueError:
        return MISSING
    return MISSING if math.isnan(number) else declared_values(section)[bisect_right(section.edges, number)]


def _contrast(strata: Sequence[Stratum], name: str) -> Contrast:
    steps = (each.contrast(name) for each in strata)
    return Contrast(steps=tuple(each for each in steps if each.challenger.n or each.champion.n))
