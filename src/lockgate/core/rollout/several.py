"""Several challengers beside one champion: what each is declared with, what it sees, which one is promoted.

Each challenger is compared with the champion by a rollout of its own, as if it were alone: own looks, own guardrails,
own plan. The champion is a control that they share, so their errors depend on each other; each declared error is
therefore divided by their number. By Boole's inequality the chance that any of them is called harmful though it is not,
and the chance that any is promoted though it is worse by the margin, stay at most the declared ones, whatever the
dependence. Choosing the best of those that passed adds nothing to it: a choice among promotions that were allowed.

Source: Dunn 1961, Multiple comparisons among means (JASA 56, 52-64). Dunnett 1955 would spend a little less on a shared
control; it needs the joint distribution of all statistics, which e-values and losses with delays do not give.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from lockgate.core.ids import ReleaseId
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.routing import CHALLENGER, CHAMPION, ONE_OF
from lockgate.core.rollout.several_rules import refuse_unless_split
from lockgate.core.rollout.step_list import refusal
from lockgate.core.rollout.steps import Course, course_of
from lockgate.core.spec_sections.rollout import RolloutSection

_STEP: Final = 10_000  # servers route in basis points
_SAME: Final = 1e-6  # propensities that are nearer are the same, see `tally_strata`


def arm_name(place: int) -> str:
    """Return what a server calls the challenger at a place, from 1.

    >>> arm_name(2)
    'challenger-2'
    """
    return f"{ONE_OF}{place}"


def course_beside(section: RolloutSection, *, sd: float | None, arm: str, beside: Sequence[ReleaseId]) -> Course:
    """Return the course of one of several challengers that are beside the champion at once.

    Its errors, of guardrails and of the plan, are those of the spec divided by the number of challengers. Where the
    spec names no steps, all arms have one share; where it does, `set_weight` is what the challengers have together.

    Args:
        section: The spec's `rollout`.
        sd: As for `course_of`.
        arm: What the server calls the challenger.
        beside: The releases of the others, at least one.

    Raises:
        ConfigError: The section cannot be carried out so; names the key.

    >>> from lockgate.core.spec_sections.rollout import RolloutStrategy
    >>> section = RolloutSection(strategy=RolloutStrategy.A_B)
    >>> course = course_beside(section, sd=None, arm="challenger-1", beside=["toy-0003", "toy-0004"])
    >>> [step.share for step in course.steps], round(sum(course.guardrails.values()), 6), round(course.plan.alpha, 6)
    ([0.25], 0.016667, 0.008333)
    """
    many = len(beside) + 1
    refuse_unless_split(section, many)
    rails, plan = section.guardrails, section.plan
    divided = replace(
        section,
        guardrails=replace(rails, alpha=rails.alpha / many),
        plan=replace(plan, alpha=plan.alpha / many),
    )
    course = course_of(divided, sd=sd)
    steps = tuple(replace(step, share=_each(section, step.share, many)) for step in course.steps)
    if not all(0.0 < step.share < 1.0 for step in steps):
        told = f"leaves each of {many} challengers less than a basis point; choose a larger one"
        raise refusal("rollout.steps[0].set_weight", told)
    return replace(course, steps=steps, arm=arm, beside=tuple(beside))


def champion_share(share: float, many: int) -> float:
    """Return the champion's share of entities beside so many challengers of one share.

    >>> champion_share(0.25, 3)
    0.25
    """
    return max(0.0, round(1.0 - many * share, 9))


def pair_share(share: float, many: int) -> float:
    """Return the challenger's share of those entities that meet it or the champion.

    >>> pair_share(0.25, 3), pair_share(0.1, 2)  # .25 / (.25 + .25), .1 / (.1 + .8)
    (0.5, 0.11111111111111112)
    """
    return share / (share + champion_share(share, many))


def as_pair(seen: Observation, *, arm: str, share: float, many: int) -> Observation | None:
    """Return a request as one of several challengers sees it: a comparison of two arms, every other arm left out.

    Its propensity becomes that of its arm among the two: p / (p + p of the other). That is exact, because shares do not
    change while the challengers are beside each other: an arm that was taken out keeps its buckets, and the champion's
    bundle answers them.

    Args:
        seen: As it was logged.
        arm: What the server calls this challenger.
        share: The share of each challenger.
        many: How many there are.

    Returns:
        None for a request of another arm. What was routed by other shares (before the start, after a lapsed lease) has
        propensity 1 of the champion: it counts nowhere.
    """
    if seen.shadow or seen.arm not in (CHAMPION, arm):
        return None
    mine, theirs = share, champion_share(share, many)
    is_mine = seen.arm == arm
    if abs(seen.propensity - (mine if is_mine else theirs)) > _SAME:
        return replace(seen, arm=CHAMPION, propensity=1.0)
    ours = pair_share(share, many)
    return replace(seen, arm=CHALLENGER if is_mine else CHAMPION, propensity=ours if is_mine else 1.0 - ours)


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One of several challengers, as far as choosing goes.

    Attributes:
        release: Whose it is.
        is_open: Whether its rollout has not ended.
        passed: Whether its last look would have promoted it.
        effect: By how much the plan's metric is worse than the champion's, at the plan's last look; NaN: none was due.
    """

    release: ReleaseId
    is_open: bool
    passed: bool
    effect: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """Which challenger is promoted.

    Attributes:
        winner: The best of those that passed.
        outdone: The others that passed, best first.
    """

    winner: Contender
    outdone: tuple[Contender, ...]


def choose(contenders: Sequence[Contender]) -> Choice | None:
    """Return which challenger is promoted; None while one is still open that has not passed, or where none passed.

    The least effect wins; of equal ones the older release, by its name.

    >>> one = Contender(release="toy-0002", is_open=True, passed=True, effect=0.01)
    >>> other = Contender(release="toy-0003", is_open=True, passed=True, effect=-0.01)
    >>> choose([one, other]).winner.release, choose([one, replace(other, passed=False)])
    ('toy-0003', None)
    """
    still = [each for each in contenders if each.is_open]
    if not still or not all(each.passed for each in still):
        return None
    first, *others = sorted(still, key=rank)
    return Choice(winner=first, outdone=tuple(others))


def rank(contender: Contender) -> tuple[float, str]:
    """Return what contenders are ordered by, the best first; one without an effect is last."""
    return (math.inf if math.isnan(contender.effect) else contender.effect, contender.release)


def _each(section: RolloutSection, share: float, many: int) -> float:
    told = share / many if section.steps else 1.0 / (many + 1)
    return math.floor(told * _STEP + _SAME) / _STEP
