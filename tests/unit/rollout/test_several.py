"""Several challengers, purely: what each is declared with, what it sees of the log, who is chosen."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.ids import ReleaseId
from lockgate.core.online.guardrails import Decision, RolloutVerdict
from lockgate.core.rollout.machine import Chosen, Looked, Outdone, Phase, Place, Promote, Return, Rollout, advance
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.several import (
    Contender,
    arm_name,
    as_pair,
    champion_share,
    choose,
    course_beside,
    pair_share,
)
from lockgate.core.rollout.steps import course_of
from lockgate.core.rollout.tally_strata import OUTSIDE, Strata
from lockgate.core.spec import RolloutSection, RolloutStrategy, StepSection
from lockgate.errors import ConfigError
from lockgate.serving.routing.sticky import BUCKETS, split
from tests.unit.rollout.several_world import R2, R3, R4, SPLIT
from tests.unit.rollout.world import A, B

# -- what is declared --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("many", range(2, 8))
def test_errors_are_divided_among_the_challengers_and_shares_are_whole_basis_points(many: int) -> None:
    section = RolloutSection(strategy=RolloutStrategy.A_B)
    others = [ReleaseId(f"toy-{place}") for place in range(1, many)]

    found = course_beside(section, sd=None, arm=arm_name(1), beside=others)

    alone = course_of(section, sd=None)
    assert {name: alpha * many for name, alpha in found.guardrails.items()} == pytest.approx(dict(alone.guardrails))
    assert found.plan is not None
    assert alone.plan is not None
    assert found.plan.alpha * many == pytest.approx(alone.plan.alpha)
    share = found.steps[0].share
    assert share == pytest.approx(1 / (many + 1), abs=1e-4)
    weights = {arm_name(place): share for place in range(1, many + 1)}
    assert set(split("salt", weights, None).shares().values()) <= {
        round(share * BUCKETS),
        BUCKETS - many * round(share * BUCKETS),
    }


def test_a_weight_of_the_spec_is_what_the_challengers_have_together() -> None:
    section = replace(
        SPLIT,
        steps=(
            StepSection(set_weight=0.5, bake_s=10.0),
            StepSection(pause="look"),
            StepSection(set_weight=0.5, bake_s=9.0),
        ),
    )

    found = course_beside(section, sd=None, arm="challenger-1", beside=[R3, R4])

    assert [step.share for step in found.steps] == [0.1666, 0.1666, 0.1666]
    assert champion_share(0.1666, 3) == pytest.approx(0.5002)


@pytest.mark.parametrize(
    ("section", "key"),
    [
        (RolloutSection(strategy=RolloutStrategy.BANDIT), "rollout.strategy"),
        (RolloutSection(strategy=RolloutStrategy.CANARY), "rollout.strategy"),
        (replace(SPLIT, steps=(StepSection(shadow=1.0, bake_s=9.0), *SPLIT.steps)), r"rollout.steps\[0\].shadow"),
        (replace(SPLIT, steps=(StepSection(set_weight=0.0002, bake_s=9.0),)), r"rollout.steps\[0\].set_weight"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_its_key(section: RolloutSection, key: str) -> None:
    with pytest.raises(ConfigError, match=key):
        course_beside(section, sd=None, arm="challenger-1", beside=[R3, R4])


def test_more_than_a_server_holds_are_refused() -> None:
    with pytest.raises(ConfigError, match="2 to 7"):
        course_beside(SPLIT, sd=None, arm="challenger-1", beside=[ReleaseId(f"toy-{place}") for place in range(7)])


def test_a_spec_that_wants_several_with_another_strategy_is_refused_before_any_release() -> None:
    with pytest.raises(ConfigError, match=r"rollout\.strategy"):
        course_of(RolloutSection(strategy=RolloutStrategy.CANARY, challengers=2), sd=None)


# -- what each sees ----------------------------------------------------------------------------------------------------


def request(arm: str, propensity: float) -> Observation:
    return Observation(time=1.0, prediction_id="p", arm=arm, propensity=propensity)


@given(many=st.integers(2, 7), share=st.integers(1, 1400))
def test_both_arms_of_a_pair_land_in_one_stratum_whose_share_is_theirs(many: int, share: int) -> None:
    weight = share / 10_000
    strata = Strata()

    mine = as_pair(request("challenger-2", weight), arm="challenger-2", share=weight, many=many)
    theirs = as_pair(request("champion", champion_share(weight, many)), arm="challenger-2", share=weight, many=many)

    assert mine is not None
    assert theirs is not None
    assert (mine.arm, theirs.arm) == ("challenger", "champion")
    assert strata.of(1, mine.propensity) == strata.of(0, theirs.propensity) > 0
    assert mine.propensity == pytest.approx(pair_share(weight, many))


def test_other_arms_and_other_shares_count_nowhere() -> None:
    assert as_pair(request("challenger-1", 0.25), arm="challenger-2", share=0.25, many=3) is None
    assert as_pair(replace(request("champion", 0.25), shadow=True), arm="challenger-2", share=0.25, many=3) is None
    for seen in (request("champion", 1.0), request("champion", 0.5), request("challenger-2", 0.5)):
        outside = as_pair(seen, arm="challenger-2", share=0.25, many=3)
        assert outside is not None
        assert Strata().of(0, outside.propensity) == OUTSIDE


def test_entities_of_a_pair_are_split_as_its_share_says_whoever_else_is_there() -> None:
    draw = np.random.default_rng(3)
    arms, weights = ["challenger-1", "challenger-2", "champion"], [0.3, 0.3, 0.4]
    drawn = draw.choice(arms, size=20_000, p=weights)

    pairs = [
        as_pair(request(arm, 0.4 if arm == "champion" else 0.3), arm="challenger-1", share=0.3, many=2) for arm in drawn
    ]

    told = [each.arm == "challenger" for each in pairs if each is not None]
    share = pair_share(0.3, 2)
    assert abs(np.mean(told) - share) < 4 * math.sqrt(share * (1 - share) / len(told))


# -- who is chosen -----------------------------------------------------------------------------------------------------

effects = st.floats(-1, 1) | st.just(math.nan)


@given(st.lists(st.tuples(st.booleans(), st.booleans(), effects), min_size=1, max_size=7))
def test_the_choice_is_the_best_of_those_that_are_left_and_never_made_while_one_is_undecided(
    told: list[tuple[bool, bool, float]],
) -> None:
    contenders = [
        Contender(release=ReleaseId(f"toy-{place:04}"), is_open=is_open, passed=passed, effect=effect)
        for place, (is_open, passed, effect) in enumerate(told)
    ]

    choice = choose(contenders)

    left = [each for each in contenders if each.is_open]
    assert (choice is not None) == (bool(left) and all(each.passed for each in left))
    if choice is not None:
        assert {choice.winner, *choice.outdone} == set(left)
        known = [each.effect for each in left if not math.isnan(each.effect)]
        assert choice.winner.effect == min(known) if known else math.isnan(choice.winner.effect)
        assert choose(list(reversed(contenders))) == choice


# -- the machine -------------------------------------------------------------------------------------------------------


def baking(*, passed: bool) -> Rollout:
    begun = Rollout.at_start(R2, B, A, began=0.0)
    return replace(begun, phase=Phase.BAKING, share=0.25, passed=passed, clear=passed)


def look(verdict: RolloutVerdict, now: float = 30.0) -> Looked:
    return Looked(now=now, decision=Decision(verdict=verdict, reason="because", next=""), blind=False, clear=True)


def test_one_of_several_waits_where_one_alone_would_be_promoted() -> None:
    together = course_beside(SPLIT, sd=None, arm="challenger-1", beside=[R3, R4])

    waits, commands = advance(together, baking(passed=False), look(RolloutVerdict.PROMOTE))
    alone, promoted = advance(replace(together, beside=()), baking(passed=False), look(RolloutVerdict.PROMOTE))

    assert (waits.phase, waits.passed, commands) == (Phase.BAKING, True, ())
    assert (alone.phase, promoted) == (Phase.PROMOTING, (Promote(),))


def test_a_pass_is_of_the_last_look_alone() -> None:
    together = course_beside(SPLIT, sd=None, arm="challenger-1", beside=[R3, R4])

    later, _ = advance(together, baking(passed=True), look(RolloutVerdict.CONTINUE))

    assert not later.passed
    assert advance(together, later, Chosen(now=40.0, reason="")) == (later, ())


@pytest.mark.parametrize(("phase", "passed"), list(itertools.product(Phase, (False, True))))
def test_chosen_and_outdone_move_only_who_may_be_moved(phase: Phase, passed: bool) -> None:
    together = course_beside(SPLIT, sd=None, arm="challenger-1", beside=[R3, R4])
    rollout = replace(baking(passed=passed), phase=phase)

    chosen, promotes = advance(together, rollout, Chosen(now=1.0, reason="the best"))
    outdone, returns = advance(together, rollout, Outdone(now=1.0, by=R3, reason="another is better"))

    may_promote = phase is Phase.BAKING and passed
    assert (promotes == (Promote(),)) == may_promote
    assert (chosen.phase is Phase.PROMOTING) == (may_promote or phase is Phase.PROMOTING)
    is_open = phase in (Phase.BEGUN, Phase.PLACING, Phase.BAKING, Phase.PAUSED)
    assert any(isinstance(each, Return) for each in returns) == is_open
    assert not any(isinstance(each, Place) for each in (*promotes, *returns))
    assert outdone.verdict is (RolloutVerdict.INCONCLUSIVE if is_open else rollout.verdict)
