"""What a replayed policy is held to: each aim passes, fails, or was not measured, from the result's JSON. Pure.

    close to always     mean AUC of what served at most 0.005 below that of always, with fewer takeovers
    no worse champion   no release that took over was worse than the champion it replaced, at the bound of the interval
    quiet               at most one false alarm

What was not measured does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Final

from lockgate.core.estimates import items, number
from lockgate.core.ids import Json
from lockgate.core.replay_comparison import ALWAYS, SERVED
from lockgate.core.replay_words import NAMES, at, spread, worse

AUC_TOLERATED: Final = 0.005
"""Ours: a sixteenth of what the demo's first champion loses in seven months without retraining (AUC 0.71 to 0.63)."""
FALSE_ALARMS_TOLERATED: Final = 1  # ours: one a replay; a watch that cries more often is switched off
_RANKED: Final = ("auc", "macro_auc")


class Held(StrEnum):
    """What became of an aim."""

    PASS = "pass"  # noqa: S105 - no password
    FAIL = "fail"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True, kw_only=True)
class Aim:
    """One aim, and what became of it.

    Attributes:
        aim: What is wanted, in words.
        held: Whether it was reached.
        told: The figures behind it, in words.
    """

    aim: str
    held: Held
    told: str


def aims(policy: Mapping[str, Json]) -> list[Json]:
    """Return each aim with what became of it, as JSON, from one policy's part of the result."""
    return [asdict(each) for each in (_close(policy), _no_worse(policy), _quiet(policy))]


def _close(policy: Mapping[str, Json]) -> Aim:
    aim = f"mean AUC of what served at most {AUC_TOLERATED} below always retraining, with fewer takeovers"
    measure = str(items(policy.get("measures"))[0])
    gained = at(policy, "gained_over", ALWAYS, measure)
    value = number(at(gained, "estimate"))
    ours, theirs = (number(at(policy, "cost", "takeovers", curve)) for curve in (SERVED, ALWAYS))
    if measure not in _RANKED:
        return Aim(aim=aim, held=Held.NOT_MEASURED, told=f"the model is measured by {NAMES[measure]}")
    if value is None or ours is None or theirs is None:
        return Aim(aim=aim, held=Held.NOT_MEASURED, told="there is no number for it")
    held = value >= -AUC_TOLERATED and ours < theirs
    told = f"{NAMES[measure]} against always {spread(gained)}; {ours:.0f} takeovers against {theirs:.0f}"
    return Aim(aim=aim, held=Held.PASS if held else Held.FAIL, told=told)


def _no_worse(policy: Mapping[str, Json]) -> Aim:
    aim = "no release worse than the champion it replaced, at the bound of the interval"
    taken = items(policy.get("takeovers"))
    judged = [each for each in taken if at(each, "judged_on") is not None]
    left = [str(at(each, "release")) for each in taken if at(each, "judged_on") is None]
    unknown = [str(at(each, "release")) for each in judged if not _has_intervals(each)]
    beside = f"; {', '.join(left)} took over, and no month tells of it" if left else ""
    found = worse(policy)
    if found:
        return Aim(aim=aim, held=Held.FAIL, told=f"worse: {'; '.join(found)}, of {len(judged)} judged{beside}")
    if not judged:
        return Aim(aim=aim, held=Held.NOT_MEASURED, told=f"no release took over that a month tells of{beside}")
    if unknown:
        told = f"the month that tells of {', '.join(unknown)} is too short for an interval{beside}"
        return Aim(aim=aim, held=Held.NOT_MEASURED, told=told)
    return Aim(aim=aim, held=Held.PASS, told=f"{len(judged)} took over, none worse{beside}")


def _has_intervals(taken: Json) -> bool:
    gain = at(taken, "gain")
    return (
        isinstance(gain, Mapping) and bool(gain) and all(number(at(each, "high")) is not None for each in gain.values())
    )


def _quiet(policy: Mapping[str, Json]) -> Aim:
    aim = f"at most {FALSE_ALARMS_TOLERATED} false alarm"
    counted = at(policy, "alarms", "counted")
    false = int(number(at(counted, "false")) or 0)
    unseen = int(sum(number(at(counted, kind)) or 0 for kind in ("not_monitored", "unknown")))
    months = len(items(policy.get("months")))
    told = f"{false} false in {months - unseen} months that were watched"
    if false > FALSE_ALARMS_TOLERATED:
        return Aim(aim=aim, held=Held.FAIL, told=told)
    if unseen or not months:
        return Aim(aim=aim, held=Held.NOT_MEASURED, told=f"{told}; {unseen} were not, or had nothing to hold against")
    return Aim(aim=aim, held=Held.PASS, told=told)
