"""The errors of several challengers together, by simulation: three beside one champion, whose users they share."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.delivery import exact_interval
from lockgate.core.ids import ReleaseId
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.observations import Observation, Seen
from lockgate.core.rollout.routing import CHAMPION
from lockgate.core.rollout.several import arm_name, as_pair, course_beside
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec import GuardrailsSection, PlanSection, RolloutSection, RolloutStrategy, StepSection
from lockgate.stages.calibrating import carried_through

ARMS = tuple(arm_name(place) for place in (1, 2, 3))
LAST_S, RATE, SHARE = 60.0, 25, 0.25
MARGIN, PAST = 0.1, 0.05
SPLIT = RolloutSection(
    strategy=RolloutStrategy.A_B,
    steps=(StepSection(set_weight=0.75, bake_s=10.0),),
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=MARGIN, looks=(0.5, 1.0), sd=math.sqrt((PAST + MARGIN) * (1 - PAST - MARGIN))),
    look_s=5.0,
    max_duration_s=LAST_S,
)
UNWATCHED = replace(SPLIT, guardrails=GuardrailsSection(alpha=1e-6, latency=None, contract=None))
"""Where the plan alone decides: guardrails would take out nearly all that are worse by the margin before it looks."""


@dataclass
class PairTraffic:
    """What one of them sees of a stream that all share; implements `calibrating.Traffic`."""

    stream: Sequence[Observation]
    arm: str
    at: int = 0

    def until(self, now_s: float, *, share: float, shadow: float) -> Seen:
        del share, shadow
        first = self.at
        while self.at < len(self.stream) and self.stream[self.at].time <= now_s:
            self.at += 1
        seen = (as_pair(each, arm=self.arm, share=SHARE, many=3) for each in self.stream[first : self.at])
        return Seen(observations=tuple(each for each in seen if each is not None), cursor="")


def stream(draw: np.random.Generator, fails: float) -> list[Observation]:
    """Requests of ever new entities, of which the champion fails `PAST` and every challenger `fails`."""
    times = np.sort(draw.uniform(0.0, LAST_S, size=round(RATE * LAST_S)))
    arms = draw.choice([*ARMS, CHAMPION], size=len(times))
    chances = draw.random(len(times))
    return [
        Observation(
            time=float(time),
            prediction_id=f"p{number}",
            arm=str(arm),
            propensity=SHARE,
            entity=f"e{number}",
            failed=bool(chance < (PAST if arm == CHAMPION else fails)),
            latency_us=1000,
        )
        for number, (time, arm, chance) in enumerate(zip(times, arms, chances, strict=True))
    ]


def verdicts(section: RolloutSection, fails: float, seed: int) -> Counter[RolloutVerdict]:
    """Carry three challengers through one stream, and count their verdicts; one that passes counts as promoted."""
    shared, found = stream(np.random.default_rng(seed), fails), Counter[RolloutVerdict]()
    for arm in ARMS:
        others = [ReleaseId(each) for each in ARMS if each != arm]
        course = replace(course_beside(section, sd=None, arm=arm, beside=others), beside=())
        tally = Tally(course, section, TaskKind.BINARY, ("no", "yes"))
        found[carried_through(course, tally, PairTraffic(shared, arm)).verdict] += 1
    return found


def runs_with(verdict: RolloutVerdict, section: RolloutSection, fails: float, runs: int) -> int:
    """Count the runs in which any of the three came to a verdict."""
    return sum(verdicts(section, fails, seed)[verdict] > 0 for seed in range(runs))


def check_at_most(alpha: float, hits: int, runs: int) -> None:
    low, high = exact_interval(hits, runs)
    assert low <= alpha, f"{hits} of {runs} runs, [{low:.4f}, {high:.4f}], declared are {alpha}"


def test_three_equal_challengers_are_seldom_rolled_back_and_mostly_pass() -> None:
    found = [verdicts(SPLIT, PAST, seed) for seed in range(6)]

    check_at_most(SPLIT.guardrails.alpha, sum(each[RolloutVerdict.ROLL_BACK] > 0 for each in found), len(found))
    assert sum(each[RolloutVerdict.PROMOTE] for each in found) >= 10, "of eighteen"


def test_three_that_are_worse_by_the_margin_seldom_pass() -> None:
    check_at_most(SPLIT.plan.alpha, runs_with(RolloutVerdict.PROMOTE, UNWATCHED, PAST + MARGIN, 6), 6)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_of_three_equal_challengers_is_rolled_back_with_at_most_the_declared_chance() -> None:
    check_at_most(SPLIT.guardrails.alpha, runs_with(RolloutVerdict.ROLL_BACK, SPLIT, PAST, 2000), 2000)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_any_of_three_that_are_worse_by_the_margin_passes_with_at_most_the_declared_chance() -> None:
    check_at_most(SPLIT.plan.alpha, runs_with(RolloutVerdict.PROMOTE, UNWATCHED, PAST + MARGIN, 2000), 2000)
