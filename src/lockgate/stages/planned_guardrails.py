"""What each guardrail will be able to see, and from when on, in a course on traffic such as the recent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from lockgate.core.online import latency_blocks
from lockgate.core.online.means import FEWEST, Effect, lower
from lockgate.core.rollout.steps import Course, StepKind
from lockgate.core.spec_sections.rollout import GuardrailsSection, LatencyGuardrail, QualityGuardrail
from lockgate.stages.planned_looks import Slot, Spread, slots
from lockgate.stages.recent_traffic import NewEntities, RecentTraffic

_POINTS: Final = 500
_MINUTE_S: Final = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailForecast:
    """One guardrail before the start.

    Attributes:
        guardrail: Its name.
        alpha: Chance that it, at any look, calls a challenger harmful that is not.
        e_value: The e-value at which it stops the rollout, 1 / alpha; a mean stops where its bound at alpha does.
        from_s: When it has data first, in seconds after the start; None: not by the longest duration.
        sees: One sentence: what it sees, how soon, and what it does not.
    """

    guardrail: str
    alpha: float
    e_value: float
    from_s: float | None
    sees: str


def guardrail_forecasts(
    section: GuardrailsSection, course: Course, traffic: RecentTraffic, new: NewEntities, labels: Spread
) -> tuple[GuardrailForecast, ...]:
    """Return what each guardrail of a course will see; `errors`' sentence is left for who simulates it.

    Args:
        section: The spec's guardrails.
        course: The course.
        traffic: Recent traffic.
        new: How new entities come.
        labels: Coverage and delay of labels; `sd` that of the loss where it is known.
    """
    held = slots(course)
    always = {
        "contract": f"first flags of entities; {traffic.flagged_fraction:.2g} of recent requests have one",
        "arrivals": "entities that arrive in other shares than the split's: a broken measurement, no harm",
    }

    def told(name: str, alpha: float) -> tuple[float | None, str]:
        if name == "latency" and section.latency is not None:
            return _latency(section.latency, alpha, held, traffic)
        if name == "score" and section.score is not None:  # either way, each with half of alpha
            return _mean(alpha / 2.0, section.score.tolerated, held, new, Spread(sd=traffic.score_sd, source=""))
        if name == "quality" and section.quality is not None:
            return _quality(section.quality, alpha, held, new, labels)
        tolerated = next((each.tolerated for each in section.kpi if f"kpi:{each.name}" == name), None)
        if tolerated is None:
            return 0.0, always.get(name, "")
        from_s, sees = _mean(alpha, tolerated, held, new, Spread(sd=None, source=""))
        return from_s, f"{sees}; nothing while its file has no lines of the rollout's entities"

    found = {name: (alpha, *told(name, alpha)) for name, alpha in course.guardrails.items()}
    return tuple(
        GuardrailForecast(guardrail=name, alpha=alpha, e_value=1.0 / alpha, from_s=from_s, sees=sees)
        for name, (alpha, from_s, sees) in found.items()
    )


def pluses_needed(alpha: float) -> int:
    """Return how many blocks in a row must be slower until the latency guardrail stops a rollout.

    >>> pluses_needed(0.01)  # 2^9 (.6^9 + .7^9 + .8^9 + .9^9 + .98^9) / 5 = 144; eight would give 78
    9
    """
    wanted, pluses = math.log(1.0 / alpha), 1
    while latency_blocks.log_e(latency_blocks.Blocks(quantile=0.5, pluses=pluses)) < wanted:
        pluses += 1
    return pluses


def _latency(
    section: LatencyGuardrail, alpha: float, held: Sequence[Slot], traffic: RecentTraffic
) -> tuple[float | None, str]:
    per_block = traffic.requests_per_minute * section.block_s / _MINUTE_S
    told = [slot for slot in held if _fewest(slot, per_block) >= latency_blocks.FEWEST_REQUESTS]
    what = f"p{100 * section.quantile:g} above {section.tolerated_ratio:g} times the champion's"
    if not told:
        most = max((_fewest(slot, per_block) for slot in held), default=0.0)
        return None, (
            f"{what}: never, for at most {most:.2g} requests of an arm come in a block of {section.block_s:g} s and "
            f"{latency_blocks.FEWEST_REQUESTS} are needed; lengthen rollout.guardrails.latency.block_s or the share"
        )
    needed = pluses_needed(alpha)
    blocks = sum(int((slot.ends_s - slot.starts_s) // section.block_s) for slot in told)
    said = f"{what} in {needed} blocks of {section.block_s:g} s one after the other, {needed * section.block_s:g} s"
    if blocks < needed:
        said += f"; only {blocks} such blocks fit, so it cannot stop this rollout: shorten block_s or bake longer"
    return told[0].starts_s + section.block_s, said


def _fewest(slot: Slot, requests: float) -> float:
    """Return how many of some requests the arm with fewer gets; what a copy takes is not judged, so of those none."""
    share = slot.step.share
    return 0.0 if slot.step.kind is StepKind.SHADOW else requests * min(share, 1.0 - share)


def _quality(
    section: QualityGuardrail, alpha: float, held: Sequence[Slot], new: NewEntities, labels: Spread
) -> tuple[float | None, str]:
    if labels.coverage <= 0.0:
        return None, "nothing: no label has come for recent requests, and without labels it never says clear"
    if labels.coverage < section.coverage:
        return None, (
            f"nothing: {labels.coverage:.2g} of recent requests have a label, rollout.guardrails.quality.coverage "
            f"asks for {section.coverage:g}"
        )
    from_s, said = _mean(alpha, section.tolerated, held, new, labels)
    return from_s, f"{said}; labels come for {labels.coverage:.2g} of requests, after {labels.delay_s:.3g} s"


def _mean(
    alpha: float, tolerated: float, held: Sequence[Slot], new: NewEntities, spread: Spread
) -> tuple[float | None, str]:
    """Return from when on a difference of means is measured, and which shows by the last bake, about half the time."""
    from_s, effective = None, 0.0
    for slot in held:
        times = np.linspace(slot.starts_s, slot.ends_s, _POINTS)
        met = new.by(np.maximum(times - spread.delay_s, 0.0)) * spread.coverage
        low = float(new.by(np.array([slot.starts_s]))[0]) * spread.coverage
        one, other = slot.arms(np.maximum(met - low, 0.0))
        enough = np.minimum(one, other) >= FEWEST
        if bool(enough.any()):
            from_s = float(times[int(np.argmax(enough))]) if from_s is None else from_s
            pairs = slot.step.kind is StepKind.SHADOW
            effective += float(one[-1] if pairs else one[-1] * other[-1] / (one[-1] + other[-1]))
    if from_s is None:
        return None, f"nothing: it needs {FEWEST} entities of either arm in a step, and so many do not come"
    if spread.sd is None or not spread.sd > 0:
        return from_s, f"means that differ by more than {tolerated:.4g}, from {FEWEST} entities of either arm on"
    effect = Effect(value=0.0, se=spread.sd / math.sqrt(effective), effective=effective)
    least = tolerated - lower(effect, min(alpha, 0.4), tuned_for=1000.0)
    return (
        from_s,
        f"means that differ by {least:.3g} or more, about half the time by the end (tolerated {tolerated:.4g})",
    )
