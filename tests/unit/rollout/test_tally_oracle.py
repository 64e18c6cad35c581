"""Whatever comes in whatever pieces, the tally says what a slow count over the whole log says, also after a restart."""

from __future__ import annotations

import itertools
import math
import random
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.contract import TaskKind
from lockgate.core.ids import to_json
from lockgate.core.rollout.observations import KpiSeen, LabelSeen, Observation, Seen
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally import Counted, Tally
from lockgate.core.spec_sections.rollout import Metric, RolloutSection, RolloutStrategy, StepSection
from tests.unit.rollout.tally_world import BEGAN, EVERYTHING, evidence, section_of

STEPS = (
    StepSection(shadow=1.0, bake_s=100),
    StepSection(set_weight=0.05, bake_s=100),
    StepSection(set_weight=0.5, bake_s=100),
)
MIXED = section_of(guardrails=EVERYTHING, metric=Metric.LOSS, steps=STEPS)
SHADOW = section_of(RolloutStrategy.SHADOW, metric=Metric.DISAGREEMENT)
BANDIT = RolloutSection(strategy=RolloutStrategy.BANDIT, guardrails=EVERYTHING)
CLASSES = ("no", "yes")
END = BEGAN + 2000


def log_of(seed: int, size: int = 400) -> Seen:
    """A log of few entities that come again and again: a shadow, two weights, a lapsed lease."""
    rng = random.Random(seed)  # noqa: S311 - a simulation
    observations, labels, kpis = [], [], []
    for n in range(size):
        at = BEGAN + 300 * n / size + rng.random()
        entity = rng.choice([None, *(f"client-{k}" for k in range(40))])
        told: dict[str, Any] = {"time": at, "prediction_id": f"p{n}", "entity": entity}
        for each in _halves(rng, n / size):
            failed = rng.random() < 0.2
            answer: dict[str, Any] = {} if failed else {"scores": (rng.random(),), "labels": (rng.choice(CLASSES),)}
            flags, latency_us = int(rng.random() < 0.1), rng.randrange(500, 20_000)
            observations.append(
                Observation(**told, **each, **answer, failed=failed, flags=flags, latency_us=latency_us)
            )
        if rng.random() < 0.7:
            said = rng.choice((*CLASSES, "perhaps"))
            labels.append(LabelSeen(prediction_id=f"p{n}", row=0, label=said, received=at + 50 * rng.random()))
        if rng.random() < 0.5:
            when = math.floor(at) + rng.choice((-20, 5))
            value = rng.randrange(64) / 64  # sums are exact: one that waits for its entity is added in another order
            kpis.append(KpiSeen(name="bookings", time=when, entity=str(entity), value=value))
    return Seen(observations=tuple(observations), labels=tuple(labels), kpis=tuple(kpis), cursor="")


def _halves(rng: random.Random, passed: float) -> Iterator[dict[str, Any]]:
    if passed < 0.3 or rng.random() < 0.05:
        yield {"arm": "champion", "propensity": 1.0}
        if rng.random() < 0.8:
            yield {"arm": "challenger", "propensity": 0.8, "shadow": True}
        return
    share = 0.05 if passed < 0.6 else 0.5
    arm = "challenger" if rng.random() < share * 1.2 else "champion"
    yield {"arm": arm, "propensity": share if arm == "challenger" else 1 - share}


@dataclass
class Slow:
    """The count, entity by entity, over the whole log at once."""

    failures: dict[tuple[float, str], int] = field(default_factory=lambda: defaultdict(int))
    flags: dict[tuple[float, str], int] = field(default_factory=lambda: defaultdict(int))
    arrivals: dict[tuple[float, str], int] = field(default_factory=lambda: defaultdict(int))
    scores: dict[tuple[float, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    losses: dict[tuple[float, str], list[float]] = field(default_factory=lambda: defaultdict(list))
    kpis: dict[tuple[float, str], list[float]] = field(default_factory=lambda: defaultdict(list))


PAIR = -1.0


def slow(log: Seen) -> Slow:
    """Recompute from the rules, without state: what each entity's history comes to."""
    by_entity: dict[str, list[tuple[Observation, ...]]] = defaultdict(list)
    copies = {each.prediction_id: each for each in log.observations if each.shadow}
    for each in log.observations:
        if not each.shadow and (each.propensity < 1 or each.prediction_id in copies):
            halves = (each, copies[each.prediction_id]) if each.propensity == 1 else (each,)
            by_entity[each.entity or f"request {each.prediction_id}"].append(halves)
    found = Slow()
    for entity, history in by_entity.items():
        _one(found, entity, history, log)
    return found


def _share(each: Observation) -> float:
    return round(each.propensity if each.arm == "challenger" else 1 - each.propensity, 6)


def _one(found: Slow, entity: str, history: list[tuple[Observation, ...]], log: Seen) -> None:
    met = next((halves[0] for halves in history if len(halves) == 1), None)
    for counts, name in ((found.failures, "failed"), (found.flags, "flags")):
        for halves in history:
            wrong = [each.arm for each in halves if getattr(each, name)]
            if len(wrong) == 1:
                counts[(PAIR if len(halves) == 2 else _share(halves[0]), wrong[0])] += 1
                break
    if met is not None:
        found.arrivals[(_share(met), met.arm)] += 1
    answered = [halves for halves in history if not any(each.failed for each in halves)]
    if answered:
        _value(found.scores, answered[0], met, [each.scores[0] for each in answered[0]])
    usable = {each.label for each in log.labels} - {"perhaps"}
    for told in log.labels:
        of = [each for each in answered if each[0].prediction_id == told.prediction_id]
        if not of or told.label not in usable or (len(of[0]) == 1 and met is not None and of[0][0].arm != met.arm):
            continue
        truth = float(told.label == "yes")
        _value(found.losses, of[0], met, [(each.scores[0] - truth) ** 2 for each in of[0]])
        break
    if met is not None:
        later = [each.value for each in log.kpis if each.entity == entity and each.time >= math.floor(met.time)]
        found.kpis[(_share(met), met.arm)].extend(later[:1])


def _value(
    into: dict[tuple[float, str], list[float]],
    halves: tuple[Observation, ...],
    met: Observation | None,
    values: list[float],
) -> None:
    if len(halves) == 2:
        for each, value in zip(halves, values, strict=True):
            into[PAIR, each.arm].append(value)
    elif met is not None and halves[0].arm == met.arm:
        into[_share(met), met.arm].extend(values)


def tally_of(section: RolloutSection, due_s: float = 0.0) -> Tally:
    return Tally(course_of(section, sd=0.3), section, TaskKind.BINARY, CLASSES, due_s=due_s)


def again(tally: Tally, section: RolloutSection, due_s: float = 0.0) -> Tally:
    """The tally after its process was killed and another one took over."""
    return Tally.from_bytes(tally.to_bytes(), tally._course, section, TaskKind.BINARY, CLASSES, due_s=due_s)


def counts_of(found: Counted, name: str) -> dict[tuple[float, str], int]:
    told = evidence(found, name).failures
    assert told is not None
    both = [((each.share, "challenger"), each.challenger) for each in told.steps]
    both += [((each.share, "champion"), each.champion) for each in told.steps]
    return {key: n for key, n in both if n}


@pytest.mark.parametrize("seed", range(8))
def test_the_tally_says_what_a_slow_count_over_the_whole_log_says(seed: int) -> None:
    log, tally = log_of(seed), tally_of(MIXED)
    tally.take(log)
    found, expected = tally.counted(END), slow(log)
    for name, counts in (("errors", expected.failures), ("contract", expected.flags)):
        pooled: dict[tuple[float, str], int] = defaultdict(int)
        for (share, arm), n in counts.items():
            pooled[0.5 if share == PAIR else share, arm] += n
        told = evidence(found, name).failures
        assert told is not None
        got: dict[tuple[float, str], int] = defaultdict(int)
        for step in told.steps:
            got[round(step.share, 6), "challenger"] += step.challenger
            got[round(step.share, 6), "champion"] += step.champion
        assert {key: n for key, n in got.items() if n} == pooled
    strata = {round(each.share, 6): each for each in tally._intake.strata.live()} | {PAIR: tally._intake.strata.all[0]}
    for name, values in (("score", expected.scores), ("loss", expected.losses), ("kpi:bookings", expected.kpis)):
        for (share, arm), told_values in values.items():
            sums = strata[share].values[name][int(arm == "challenger")] if told_values else None
            assert sums is None or sums.n == len(told_values)
            assert sums is None or sums.total == pytest.approx(math.fsum(told_values))
        n = sum(sum(each.n for each in stratum.values[name]) for stratum in strata.values() if name in stratum.values)
        assert n == sum(len(each) for each in values.values())
    for (share, arm), n in expected.arrivals.items():
        assert strata[share].entities[int(arm == "challenger")] == n


def _pieces(log: Seen, ends: list[int]) -> Iterator[Seen]:
    """The log as readings that end there; labels are never read before the answer they are of."""
    begin, labelled, told = 0, 0, 0
    for end in ends:
        last = end == ends[-1]
        known = {each.prediction_id for each in log.observations[:end]}
        labels = list(itertools.takewhile(lambda each: each.prediction_id in known, log.labels[labelled:]))  # noqa: B023
        kpis = log.kpis[told:] if last else log.kpis[told : end // 2]
        yield Seen(observations=log.observations[begin:end], labels=tuple(labels), kpis=kpis, cursor="")
        begin, labelled, told = end, labelled + len(labels), max(told, end // 2)


@given(seed=st.integers(0, 999), cuts=st.lists(st.integers(0, 250), max_size=6), saves=st.integers(0, 63))
@settings(max_examples=15, deadline=None)
@pytest.mark.parametrize("section", [MIXED, SHADOW, BANDIT])
def test_a_log_in_pieces_with_restarts_between_comes_to_the_same(
    section: RolloutSection, seed: int, cuts: list[int], saves: int
) -> None:
    log = log_of(seed, 250)
    whole, pieces = tally_of(section, 20.0), tally_of(section, 20.0)
    whole.take(log)
    for n, part in enumerate(_pieces(log, [*sorted(cuts), len(log.observations)])):
        pieces.take(part)
        if saves >> n & 1:
            pieces = again(pieces, section, 20.0)
    assert to_json(pieces.counted(END)) == to_json(whole.counted(END))
    assert to_json(again(pieces, section, 20.0).counted(END)) == to_json(again(whole, section, 20.0).counted(END))
