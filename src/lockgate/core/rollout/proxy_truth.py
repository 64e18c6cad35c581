"""After a rollout that went by a proxy: what do the labels say that have come since?

The rollout's own requests are counted again, by the rules of the tally (an entity counts once, in the step and arm it
was first seen in, with the loss of its first labelled answer, once that answer is due), now with the labels. What is
compared is randomised as it was then: nothing but the arm tells the two groups apart.

Whoever asks again as labels come looks more than once, so the interval is one that holds at all looks (`means`), at
twice the plan's own one-sided error. It is of the entities that have a label: their share is said with it, and below
the declared one nothing is concluded.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from lockgate.core.contract import TaskKind
from lockgate.core.online.means import FEWEST, Contrast, Effect, difference_effect, interval, mean_effect
from lockgate.core.rollout.observations import LabelSeen, Observation, Seen
from lockgate.core.rollout.proxy import Truth
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally import Counted, Tally
from lockgate.core.rollout.tally_counted import TUNED_FOR
from lockgate.core.spec_sections.rollout import GuardrailsSection, RolloutSection

LEAST_LOGGED: Final = 0.98
"""Share of the rollout's requests that the log must still hold. Ours: two in a hundred that went by no rule of the
arms' (a damaged file) change a mean by less than its error; more may be a day of one kind, gone with its retention."""
_BATCH: Final = 10_000


class TruthSays(StrEnum):
    """What the truth says of the challenger."""

    BETTER = "better"
    NOT_WORSE = "not_worse"
    WORSE = "worse"
    CANNOT_SAY = "cannot_say"


@dataclass(frozen=True, slots=True, kw_only=True)
class TruthFound:
    """What the labels say after a rollout that went by a proxy.

    Attributes:
        says: `WORSE`: the interval lies above 0 and reaches the margin; `NOT_WORSE`: it lies below the margin;
            `BETTER`: below 0; `CANNOT_SAY`: none of these, or there is too little.
        worse_by: The challenger's mean loss less the champion's; NaN where it cannot be estimated.
        low: Lower end of its interval; -inf likewise.
        high: Upper end; inf likewise.
        margin: How much worse would still have been acceptable.
        alpha: Two-sided error of the interval, over all looks there may ever be.
        champion_labelled: Entities whose loss counts.
        challenger_labelled: Likewise.
        coverage: Their share among those with a due answer, the lower of both arms; None where none is due.
        logged_fraction: The share of the rollout's requests that the log still holds.
        reason: One sentence.
    """

    says: TruthSays
    worse_by: float
    low: float
    high: float
    margin: float
    alpha: float
    champion_labelled: int
    challenger_labelled: int
    coverage: float | None
    logged_fraction: float
    reason: str


def count_again(  # noqa: PLR0913 - a rollout, what is predicted, and what was logged
    course: Course,
    section: RolloutSection,
    task: TaskKind,
    classes: Sequence[str],
    *,
    due_s: float,
    now: float,
    observations: Sequence[Observation],
    labels: Mapping[str, Sequence[LabelSeen]],
) -> Counted:
    """Return what a rollout's own log says of the loss.

    Args:
        course: The course that was declared; its `truth` is what is counted.
        section: The spec's `rollout`.
        task: What is predicted.
        classes: By index.
        due_s: Age at which an answer's label is due, in seconds.
        now: Until when labels count, seconds since the epoch.
        observations: Those of the rollout, in the order of their times.
        labels: By prediction.

    Raises:
        ValueError: The course declares no proxy.
    """
    if course.truth is None:
        raise ValueError("the course declares no proxy, so there is no truth to count beside it")
    loss_alone = replace(course, metric=course.truth.metric, guardrails={}, stability=None)
    rails = GuardrailsSection(latency=None, contract=None)
    bare = replace(section, guardrails=rails, subpopulations=(), stability=None)
    tally = Tally(loss_alone, bare, task, classes, due_s=due_s)
    for batch in _batches(observations, labels):
        tally.take(batch)
    return tally.counted(now)


def truth_found(counted: Counted, truth: Truth, *, alpha: float, requests: int) -> TruthFound:
    """Return what the losses of a rollout say.

    Args:
        counted: What `count_again` returned.
        truth: What was declared.
        alpha: Two-sided error of the interval, over all looks, in 0..1.
        requests: How many requests of both arms the rollout itself had counted by its last look.

    >>> from lockgate.core.online.means import StepSums, Sums
    >>> from lockgate.core.rollout.proxy import LabelCount
    >>> from lockgate.core.spec_sections.rollout import Metric
    >>> good, bad = Sums(n=900, total=90.0, squares=18.0), Sums(n=900, total=270.0, squares=90.0)
    >>> counted = Counted(evidence=(), contrast=Contrast(steps=(StepSums(challenger=bad, champion=good),)), paired=None,
    ...     bandit=None, challenger_requests=900, champion_requests=900, challenger_entities=900, champion_entities=900,
    ...     coverage=1.0, shown={}, read_requests=1800)
    >>> truth = Truth(metric=Metric.LOSS, margin=0.05, because="so", coverage=0.8)
    >>> found = truth_found(counted, truth, alpha=0.05, requests=1800)
    >>> found.says.value, round(found.worse_by, 9)  # 270 / 900 - 90 / 900
    ('worse', 0.2)
    """
    effect, champion, challenger = _effect(counted)
    low, high = interval(effect, alpha, tuned_for=TUNED_FOR)
    logged = min(1.0, counted.read_requests / requests) if requests > 0 else 0.0
    lacking = _lacking(counted, truth, requests, min(champion, challenger), logged)
    says = TruthSays.CANNOT_SAY if lacking else _says(low, high, truth.margin)
    return TruthFound(
        says=says,
        worse_by=effect.value,
        low=low,
        high=high,
        margin=truth.margin,
        alpha=alpha,
        champion_labelled=champion,
        challenger_labelled=challenger,
        coverage=counted.coverage,
        logged_fraction=logged,
        reason=lacking or _words(says, effect.value, low, high, truth),
    )


def _batches(observations: Sequence[Observation], labels: Mapping[str, Sequence[LabelSeen]]) -> Iterable[Seen]:
    """Yield observations with their labels right behind them, so that no answer and no label has to wait long."""
    told: set[str] = set()
    for at in range(0, len(observations), _BATCH):
        some = observations[at : at + _BATCH]
        names = [name for name in dict.fromkeys(each.prediction_id for each in some) if name not in told]
        told.update(names)
        known = tuple(label for name in names for label in labels.get(name, ()))
        yield Seen(observations=tuple(some), labels=known, cursor="")


def _effect(counted: Counted) -> tuple[Effect, int, int]:
    """Return by how much the challenger's loss is higher, and how many entities of champion and challenger tell it."""
    if counted.paired is not None:
        return mean_effect(counted.paired), counted.paired.n, counted.paired.n
    contrast = counted.contrast or Contrast(steps=())
    enough = [step for step in contrast.steps if min(step.challenger.n, step.champion.n) >= FEWEST]
    one, other = sum(step.champion.n for step in enough), sum(step.challenger.n for step in enough)
    return difference_effect(contrast), one, other


def _lacking(counted: Counted, truth: Truth, requests: int, fewer: int, logged: float) -> str:
    """Say why nothing is concluded; empty where something may be."""
    if requests <= 0:
        return "no look of the rollout had counted a request"
    if logged < LEAST_LOGGED:
        told = f"the log holds {logged:.1%} of the rollout's requests any more, and {LEAST_LOGGED:.0%} are needed"
        return f"{told}; keep the archive longer than labels take"
    if counted.coverage is None or fewer < FEWEST:
        due = "no label is due yet" if counted.coverage is None else f"labels of {fewer} entities of an arm are there"
        return f"{due}; {FEWEST} of either arm in one step are needed. Ask again later"
    if counted.coverage < truth.coverage:
        told = f"{counted.coverage:.1%} of the due answers have a label and {truth.coverage:.0%} are needed"
        return f"{told} (rollout.plan.proxy.coverage); those without may be of another kind"
    return ""


def _says(low: float, high: float, margin: float) -> TruthSays:
    if high < 0:
        return TruthSays.BETTER
    if high < margin:
        return TruthSays.NOT_WORSE
    return TruthSays.WORSE if low > 0 else TruthSays.CANNOT_SAY


def _words(says: TruthSays, value: float, low: float, high: float, truth: Truth) -> str:
    by = f"{value:.3g} ({low:.3g} to {high:.3g})"
    if not math.isfinite(value):
        return "the losses do not vary, or cannot be compared"
    what = truth.metric.value
    beyond = (
        f", more than the margin of {truth.margin:g}" if low >= truth.margin else f"; the margin is {truth.margin:g}"
    )
    return {
        TruthSays.BETTER: f"the challenger's {what} is lower, by {-value:.3g} ({-high:.3g} to {-low:.3g})",
        TruthSays.NOT_WORSE: f"the challenger's {what} is not worse by the margin of {truth.margin:g}: {by}",
        TruthSays.WORSE: f"the challenger's {what} is worse by {by}{beyond}",
        TruthSays.CANNOT_SAY: f"the challenger's {what} is worse by {by}: that holds both 0 and the margin of "
        f"{truth.margin:g}; more labels will tell",
    }[says]
