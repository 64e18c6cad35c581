"""A/A: the whole rule, champion against champion, on replayed traffic. How often is it wrong, how often undecided?

What decides here is what decides in production: tally, guardrails, plan, machine. Only the server and the clock are
left out, so that an hour takes a second. With planted failures the same tells how often and how soon they are found.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from lockgate.core.contract import TaskKind
from lockgate.core.delivery import exact_interval
from lockgate.core.ids import Digest, Json, ReleaseId, to_json
from lockgate.core.online.guardrails import RolloutVerdict, State
from lockgate.core.rollout import machine
from lockgate.core.rollout.machine import Phase, Rollout
from lockgate.core.rollout.observations import Seen
from lockgate.core.rollout.steps import Course
from lockgate.core.rollout.tally import Tally
from lockgate.core.spec_sections.rollout import RolloutSection
from lockgate.stages.looking import Observer, added, is_due
from lockgate.stages.replayed_traffic import Replay, Stretch

_OVER = frozenset({Phase.ENDED, Phase.RETURNING, Phase.PROMOTING})
_ORDER = (RolloutVerdict.ROLL_BACK, RolloutVerdict.PROMOTE, RolloutVerdict.INCONCLUSIVE)
_NOBODY = Digest("0" * 64)


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictShare:
    """How often a verdict came.

    Attributes:
        verdict: promote, roll_back or inconclusive.
        runs: How many runs ended so.
        fraction: Of all runs.
        low: Exact 95 % interval of that.
        high: Its other end.
        median_s: When, in the median, in seconds after the start; None where no run ended so.
    """

    verdict: str
    runs: int
    fraction: float
    low: float
    high: float
    median_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """What many replayed rollouts came to.

    Attributes:
        runs: How many there were.
        harm: Share of the challenger's requests that was made to fail.
        alpha: The declared chance to roll back an equal challenger.
        power: The declared chance to promote one, by the plan's last look; None without a plan.
        verdicts: Roll back, promote and inconclusive, in that order.
        stopped_by: How many runs each guardrail rolled back, or each reason left undecided.
        requests: How many requests there were to replay.
        notes: What to keep in mind.
    """

    runs: int
    harm: float
    alpha: float
    power: float | None
    verdicts: tuple[VerdictShare, ...]
    stopped_by: Mapping[str, int]
    requests: int
    notes: tuple[str, ...] = ()

    @property
    def content(self) -> dict[str, Json]:
        """Return it as JSON."""
        written = to_json(self)
        return {**(written if isinstance(written, dict) else {}), "sentence": self.sentence}

    @property
    def sentence(self) -> str:
        """Say in one sentence what came of it."""
        back, promoted, undecided = self.verdicts
        ends = f"{promoted.runs} promoted, {undecided.runs} inconclusive"
        interval = f"95 % interval {back.low:.3f} to {back.high:.3f}"
        if self.harm:
            return f"{back.runs} of {self.runs} that failed {self.harm:g} were rolled back ({interval}); {ends}"
        said = f"{back.runs} of {self.runs} equal challengers were rolled back ({interval}, declared {self.alpha:g})"
        return f"{said}; {ends}"

    @property
    def keeps_its_word(self) -> bool:
        """Whether the false rollbacks are compatible with the declared error."""
        return self.harm > 0 or self.verdicts[0].low <= self.alpha


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a rollout ended.

    Attributes:
        verdict: promote, roll_back or inconclusive.
        after_s: When, in seconds after the start.
        by: Which guardrail showed harm first, or why nothing was decided; empty for a promotion.
    """

    verdict: RolloutVerdict
    after_s: float
    by: str


class Traffic(Protocol):
    """What the log tells, as time goes on: replayed (`Replay`) or drawn."""

    def until(self, now_s: float, *, share: float, shadow: float) -> Seen:
        """Return what comes by a time after what was returned before, routed with one share all the while."""
        ...


def calibrate(  # noqa: PLR0913 - what is replayed, by which rule, how often; half are keywords
    course: Course,
    section: RolloutSection,
    task: TaskKind,
    classes: Sequence[str],
    stretch: Stretch,
    *,
    runs: int,
    harm: float,
    seed: int,
    told: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """Replay a stretch of traffic through the whole rule, many times.

    Args:
        course: The course; one with steps.
        section: The spec's `rollout`.
        task: What is predicted.
        classes: By index.
        stretch: What is replayed; not empty.
        runs: How often.
        harm: Share of the challenger's requests that fail besides, 0..1.
        seed: Of everything that is drawn.
        told: Given how many runs are done, after each.
    """
    rng, ends = np.random.default_rng(seed), []
    for run in range(runs):
        tally = Tally(course, section, task, classes)
        ends.append(carried_through(course, tally, Replay(stretch, rng, harm_fraction=harm)))
        told(run + 1)
    return Calibration(
        runs=runs,
        harm=harm,
        alpha=section.guardrails.alpha,
        power=None if course.plan is None else course.plan.power,
        verdicts=tuple(_share(verdict, ends) for verdict in _ORDER),
        stopped_by=dict(Counter(each.by for each in ends if each.by).most_common()),
        requests=len(stretch.live),
        notes=_notes(course, stretch),
    )


def carried_through(course: Course, tally: Tally, traffic: Traffic) -> Ended:
    """Carry one rollout through, a look at a time, by all that decides in production.

    Args:
        course: The course; one with steps.
        tally: A new one of that course.
        traffic: What is counted; its time begins at 0.
    """
    observer, now = Observer(course=course), 0.0
    rollout = Rollout.at_start(ReleaseId("replayed"), _NOBODY, _NOBODY, began=now)
    rollout = _advanced(course, rollout, machine.Began(now=now))
    looked, since = now, None
    while rollout.phase not in _OVER:
        now += course.look_s
        tally.take(traffic.until(now, share=rollout.share, shadow=rollout.shadow))
        since = added(since, tally.counted(now))
        if not is_due(now - looked, since, rollout, course.look_s):
            continue
        looked, counted, since = now, since, None
        judged = observer.look(
            counted,
            share=rollout.exposure,
            steps_done=machine.steps_done(course, rollout, now),
            time_is_up=machine.time_is_up(course, rollout, now),
        )
        event = machine.looked(course, judged.look, judged.decision, now=now, next_share=judged.next_share)
        rollout = _advanced(course, rollout, event)
    return Ended(verdict=rollout.verdict or RolloutVerdict.INCONCLUSIVE, after_s=now, by=_by(observer, rollout))


def _advanced(course: Course, rollout: Rollout, event: machine.RolloutEvent) -> Rollout:
    """Let the machine move; what it wants placed is in place at once, and nobody leaves a pause waiting."""
    rollout, _ = machine.advance(course, rollout, event)
    if rollout.phase is Phase.PLACING:
        return _advanced(course, rollout, machine.Placed(now=event.now))
    if rollout.phase is Phase.PAUSED:
        resumed = machine.PersonAsked(now=event.now, what=machine.Wish.RESUME, by="replay", reason="")
        return _advanced(course, rollout, resumed)
    return rollout


def _by(observer: Observer, rollout: Rollout) -> str:
    """Return which guardrail showed harm first, or why nothing was decided; empty for a promotion."""
    harm = (each.guardrail for look in observer.looks for each in look.findings if each.state is State.HARM)
    if rollout.verdict is RolloutVerdict.ROLL_BACK:
        return next(harm, rollout.reason)
    return "" if rollout.verdict is RolloutVerdict.PROMOTE else rollout.reason


def _share(verdict: RolloutVerdict, ends: Sequence[Ended]) -> VerdictShare:
    times = [each.after_s for each in ends if each.verdict is verdict]
    low, high = exact_interval(len(times), len(ends))
    return VerdictShare(
        verdict=verdict.value,
        runs=len(times),
        fraction=len(times) / len(ends),
        low=low,
        high=high,
        median_s=float(np.median(times)) if times else None,
    )


def _notes(course: Course, stretch: Stretch) -> tuple[str, ...]:
    found = []
    if stretch.span_s < course.max_duration_s:
        found.append(
            f"the log holds {stretch.span_s / 60:.3g} minutes and a rollout may take {course.max_duration_s / 60:.3g}: "
            "who comes round again is taken as somebody new"
        )
    if "quality" in course.guardrails and not stretch.labels:
        found.append("no label has come for this traffic, so the quality guardrail had no data in any run")
    return tuple(found)
