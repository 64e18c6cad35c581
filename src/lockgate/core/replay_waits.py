"""What a replay does in less time, or without people, than a spec says; each of it is named in the report."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from lockgate.core.ids import Json
from lockgate.core.rollout.step_list import StepKind, steps_of
from lockgate.core.spec import ReleaseSpec, Risk
from lockgate.core.spec_sections.rollout import RolloutStrategy

SHORTEST: Final[Mapping[str, float]] = {
    "bake_s": 10.0,
    "period_s": 10.0,
    "look_s": 2.0,
    "block_s": 3.0,
    "duration_s": 20.0,
}
"""Ours: at the 140 requests a second that a replay sends, 10 s at half of the traffic are 700 clients an arm, where two
arms without a failure are told alike from some 300 on (`rollout plan`); a look takes 0.1 s; a load test of 8 s had too
few requests at the target rate to say anything, one of 20 s has enough."""
LONGEST_ROLLOUT_S: Final = 180.0  # ours: the shortened steps, and twice as long again for the plan's further looks


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortened:
    """Something that a replay does in less time, or without people, than the spec says.

    Attributes:
        what: The key in the spec.
        was: What the spec says.
        now: What the replay does.
    """

    what: str
    was: str
    now: str


def merged(given: Mapping[str, Json], over: Mapping[str, Json]) -> dict[str, Json]:
    """Return a mapping with another laid over it, key by key all the way down; lists are replaced whole.

    >>> merged({"a": {"b": 1, "c": 2}, "d": [1]}, {"a": {"b": 9}, "d": [2]})
    {'a': {'b': 9, 'c': 2}, 'd': [2]}
    """
    result = dict(given)
    for key, value in over.items():
        before = result.get(key)
        both = isinstance(value, Mapping) and isinstance(before, Mapping)
        result[key] = merged(before, value) if both else value  # type: ignore[arg-type]  # narrowed by `both`
    return result


def without_waits(spec: ReleaseSpec) -> tuple[dict[str, Json], tuple[Shortened, ...]]:
    """Return what is laid over a spec so that a release of it takes a minute and asks nobody, and what that changes."""
    over: dict[str, Json] = {"approval": {"mode": "when_all_pass", "four_eyes": False}}
    told = [*_approval(spec)]
    if spec.model.risk is Risk.HIGH:
        told.append(Shortened(what="model.risk", was="high: people decide", now="low: nobody is there to decide"))
        over["model"] = {"risk": Risk.LOW.value}
    if spec.monitoring.schedule is not None:  # nobody is silent where time jumps over a month
        told.append(Shortened(what="monitoring.schedule", was=spec.monitoring.schedule, now="once a month"))
        over["monitoring"] = {"schedule": None}
    if spec.retraining.schedule is not None:
        told.append(
            Shortened(what="retraining.schedule", was=spec.retraining.schedule, now="left out: a file starts it")
        )
    steps, changed = _steps(spec)
    told += changed
    rollout: dict[str, Json] = {}
    if changed:
        rollout["steps"] = steps
    for key, was, most in _rollout_limits(spec):
        if was is None or was > most:
            told.append(Shortened(what=f"rollout.{key}", was=_seconds(was), now=_seconds(most)))
            rollout = merged(rollout, _nested(key, most))
    if rollout:
        over["rollout"] = rollout
    stress = getattr(spec.gates.get("stress"), "duration_s", 0.0)
    if stress > SHORTEST["duration_s"]:
        told.append(
            Shortened(what="gates.stress.duration_s", was=_seconds(stress), now=_seconds(SHORTEST["duration_s"]))
        )
        over["gates"] = {"stress": {"duration_s": SHORTEST["duration_s"]}}
    return over, tuple(told)


def _approval(spec: ReleaseSpec) -> Iterator[Shortened]:
    mode = spec.approval.mode.value
    if mode != "when_all_pass":
        who = "two people" if spec.approval.four_eyes else "a person"
        yield Shortened(what="approval.mode", was=f"{mode}: {who} decides", now="when_all_pass: passing gates approve")


def _steps(spec: ReleaseSpec) -> tuple[list[Json], list[Shortened]]:
    """Return the rollout's steps without pauses and with short bakes, and what that changes."""
    longest = SHORTEST["bake_s"]
    steps: list[Json] = []
    told: list[Shortened] = []
    for number, step in enumerate(steps_of(spec.rollout), 1):
        where = f"rollout.steps.{number}"
        if step.kind is StepKind.ADAPT:
            continue  # a bandit's periods, see below
        if step.kind is StepKind.PAUSE:
            told.append(Shortened(what=where, was=f"pause: {step.reason}", now="left out: nobody resumes it"))
            continue
        baked = min(step.bake_s or longest, longest)  # without the pause after it, it must be looked at itself
        if baked != step.bake_s:
            told.append(Shortened(what=f"{where}.bake_s", was=_seconds(step.bake_s), now=_seconds(baked)))
        steps.append({"shadow" if step.kind is StepKind.SHADOW else "set_weight": step.share, "bake_s": baked})
    return steps, told


def _rollout_limits(spec: ReleaseSpec) -> Iterator[tuple[str, float | None, float]]:
    """Yield key, value and the most a replay takes, of what a rollout waits for."""
    if not spec.rollout.strategy.has_steps:
        return
    yield "look_s", spec.rollout.look_s, SHORTEST["look_s"]
    baked_s = SHORTEST["bake_s"] * len(steps_of(spec.rollout))
    yield "max_duration_s", spec.rollout.max_duration_s, max(LONGEST_ROLLOUT_S, 3.0 * baked_s)
    if spec.rollout.strategy is RolloutStrategy.BANDIT:
        yield "bandit.period_s", spec.rollout.bandit.period_s, SHORTEST["period_s"]
    if spec.rollout.guardrails.latency is not None:
        yield "guardrails.latency.block_s", spec.rollout.guardrails.latency.block_s, SHORTEST["block_s"]


def _nested(key: str, value: Json) -> dict[str, Json]:
    first, _, rest = key.partition(".")
    return {first: _nested(rest, value) if rest else value}


def _seconds(value: float | None) -> str:
    return "what the steps take" if value is None else f"{value:g} s"
