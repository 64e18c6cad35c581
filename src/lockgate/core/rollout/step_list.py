"""The steps of a rollout: those of the spec, or those that its strategy brings.

    strategy    its steps where the spec names none
    shadow      copies of all requests for 600 s
    canary      5 %, 20 %, 50 % of entities, 300 s each
    linear      10 % to 50 % in five steps of 300 s
    a_b         half of the entities for an hour
    bandit      `bandit.periods` periods, from half of the entities on; steps of the spec (shadow, pause) come before
    blue_green  none: the switch alone

Shares never shrink from step to step: the errors of the tests count on it (see `core.online.failures`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from lockgate.core.spec_sections.rollout import RolloutSection, RolloutStrategy, StepSection
from lockgate.errors import ConfigError

EVEN = 0.5
"""The share at which a bandit begins: nothing is known yet."""


class StepKind(StrEnum):
    """What a step does: `ADAPT` is one period of a bandit, whose share follows the rewards."""

    SHADOW = "shadow"
    WEIGHT = "weight"
    PAUSE = "pause"
    ADAPT = "adapt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step.

    Attributes:
        kind: What it does.
        share: The challenger's share of entities; of a shadow step that of the requests that are copied; of a pause
            that of the step before, which stays; of a period of a bandit that of its start unless rewards say another.
        bake_s: How long it is held, in seconds; a pause is held until somebody resumes.
        reason: What a pause waits for.
    """

    kind: StepKind
    share: float
    bake_s: float
    reason: str = ""


def steps_of(section: RolloutSection) -> tuple[Step, ...]:
    """Return the steps that a section asks for, in order; none for blue_green.

    Raises:
        ConfigError: A step cannot be carried out; names the key.
    """
    if section.strategy is RolloutStrategy.BLUE_GREEN:
        if section.steps:
            raise ConfigError(
                "rollout.steps are given and rollout.strategy is blue_green, which switches at once; leave the steps "
                "out, or choose canary, linear, shadow or a_b",
                key="rollout.steps",
            )
        return ()
    if not section.steps:
        return _own_steps(section)
    given = _given_steps(section.steps)
    _refuse_shrinking(given)
    _refuse_other_strategies(section.strategy, given)
    return (*given, *_own_steps(section)) if section.strategy is RolloutStrategy.BANDIT else given


def _own_steps(section: RolloutSection) -> tuple[Step, ...]:
    """Return the steps of a strategy whose spec names none; what they are stands in the module's docstring."""
    shares, bake_s, kind = {
        RolloutStrategy.SHADOW: ((1.0,), 600.0, StepKind.SHADOW),
        RolloutStrategy.CANARY: ((0.05, 0.2, 0.5), 300.0, StepKind.WEIGHT),
        RolloutStrategy.LINEAR: ((0.1, 0.2, 0.3, 0.4, 0.5), 300.0, StepKind.WEIGHT),
        RolloutStrategy.A_B: ((EVEN,), 3600.0, StepKind.WEIGHT),
        RolloutStrategy.BANDIT: ((EVEN,) * section.bandit.periods, section.bandit.period_s, StepKind.ADAPT),
    }[section.strategy]
    return tuple(Step(kind=kind, share=share, bake_s=bake_s) for share in shares)


def _given_steps(given: Sequence[StepSection]) -> tuple[Step, ...]:
    steps: list[Step] = []
    for index, each in enumerate(given):
        step = _given_step(f"rollout.steps[{index}]", each, steps[-1] if steps else None)
        if step.bake_s == 0 and step.kind is not StepKind.PAUSE:
            following = given[index + 1].pause if index + 1 < len(given) else None
            if following is None:
                raise refusal(
                    f"rollout.steps[{index}].bake_s", "is 0, so nothing would be seen of the step; say how long"
                )
        steps.append(step)
    return tuple(steps)


def _given_step(key: str, each: StepSection, before: Step | None) -> Step:
    said = [name for name in ("shadow", "set_weight", "pause") if getattr(each, name) is not None]
    if len(said) != 1:
        told = " and ".join(said) or "none of them"
        raise refusal(key, f"has {told}; a step is exactly one of shadow, set_weight and pause")
    if each.shadow is not None:
        return Step(kind=StepKind.SHADOW, share=each.shadow, bake_s=each.bake_s)
    if each.set_weight is not None:
        return Step(kind=StepKind.WEIGHT, share=each.set_weight, bake_s=each.bake_s)
    if before is None:
        raise refusal(f"{key}.pause", "is the first step, with nothing to look at yet; put it after a step")
    if not (each.pause or "").strip():
        raise refusal(f"{key}.pause", "is empty; say what is to be looked at before `lockgate rollout resume`")
    if each.bake_s:
        raise refusal(f"{key}.bake_s", f"is {each.bake_s:g} and somebody ends a pause; leave it out")
    return Step(kind=StepKind.PAUSE, share=before.share, bake_s=0.0, reason=each.pause or "")


def _refuse_shrinking(steps: Sequence[Step]) -> None:
    live = [(index, step) for index, step in enumerate(steps) if step.kind is not StepKind.PAUSE]
    for (_, before), (index, step) in pairwise(live):
        if before.kind is StepKind.WEIGHT and step.kind is StepKind.SHADOW:
            key = f"rollout.steps[{index}].shadow"
            raise refusal(key, f"comes after set_weight {before.share:g}; shares may not shrink, so shadow comes first")
        if before.kind is step.kind is StepKind.WEIGHT and step.share < before.share:
            raise refusal(
                f"rollout.steps[{index}].set_weight",
                f"is {step.share:g} after {before.share:g}; shares may not shrink",
            )


def _refuse_other_strategies(strategy: RolloutStrategy, steps: Sequence[Step]) -> None:
    weights = [index for index, step in enumerate(steps) if step.kind is StepKind.WEIGHT]
    if strategy is RolloutStrategy.SHADOW and weights:
        key = f"rollout.steps[{weights[0]}].set_weight"
        raise refusal(key, "shows users the challenger's answers, and rollout.strategy is shadow; choose canary")
    if strategy is RolloutStrategy.BANDIT and weights:
        key = f"rollout.steps[{weights[0]}].set_weight"
        raise refusal(key, "is fixed, and rollout.strategy is bandit, whose weights follow rewards; leave it out")
    if strategy is RolloutStrategy.A_B and len({steps[index].share for index in weights}) > 1:
        key = f"rollout.steps[{weights[-1]}].set_weight"
        raise refusal(key, "is another split than before, and rollout.strategy is a_b, a fixed one; choose canary")
    if strategy not in (RolloutStrategy.SHADOW, RolloutStrategy.BANDIT) and not weights:
        told = f"holds no set_weight, and rollout.strategy is {strategy.value}; choose shadow, or add one"
        raise refusal("rollout.steps", told)
    if strategy is RolloutStrategy.SHADOW and not any(step.kind is StepKind.SHADOW for step in steps):
        raise refusal("rollout.steps", "holds no shadow, and rollout.strategy is shadow; add one")


def refusal(key: str, what: str) -> ConfigError:
    """Return the error that a key of the spec is refused with."""
    return ConfigError(f"{key} {what}", key=key)
