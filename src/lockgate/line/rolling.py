"""A rollout as its flow carries it: begun once, then step by step, one call a step; resumed after a crash anywhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from functools import partial

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout import record
from lockgate.core.rollout.machine import Phase, Rollout
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.steps import Course, Step, StepKind, course_of
from lockgate.errors import IntegrityError, LedgerConflict
from lockgate.line.counting import tally_of, traffic_log
from lockgate.line.giving_up import ACTOR, give_up, keeper_of, lane_of, record_of, void_of
from lockgate.line.model_line import Line
from lockgate.line.rollout import (
    check_unchanged,
    finish_promotion,
    production,
    promotion_of,
    roll_out,
    wait_for_drill,
)
from lockgate.ports import TrafficLog
from lockgate.stages import promote as promoting
from lockgate.stages.rolling_out import Controller
from lockgate.stages.rollout_world import World

DECIDED = (Phase.PROMOTING, Phase.RETURNING, Phase.ENDED)
SHOWN_EVERY_S = 15.0
"""Ours: each page is a new version in the orchestrator's database, with pictures."""
Show = Callable[[RolloutRecord, Mapping[str, Json]], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a rollout stands between two tasks of its flow.

    Attributes:
        model: The model.
        release: The release.
        title: What happens next, for the run's page: "step 2 of 3: 20 % of entities for 300 s".
        step: Which step comes; -1 for the switch alone.
        ended: Whether nothing more happens.
        verdict: How it ended; empty before, and for the switch alone.
        sentence: Why it is where it is.
    """

    model: str
    release: str
    title: str
    step: int
    ended: bool = False
    verdict: str = ""
    sentence: str = ""


def begin_rollout(line: Line, release: str, *, run: str) -> Standing:
    """Put the course of an approved release on record, once, and return where its rollout stands.

    The first champion, and a spec without steps, have no course: the switch alone follows.

    Raises:
        ApprovalVoid: What was approved is not what would ship.
        NotBlessed: A gate is missing.
        TransientError: A drill is under way, which takes a minute; ask again.
    """
    name = ReleaseId(release)
    check_unchanged(line, name)
    begun = record_of(line, name)
    if begun is not None and not (begun.ended and _wished_again(line, begun)):
        return _standing(line, _unless_refused(line, begun))
    switch = production(line, actor=ACTOR)
    champion = switch.traffic().champion
    allowed = promotion_of(line, name)
    challenger = allowed.blessing.subjects.bundle
    forecast = _forecast(line) if champion is not None and champion != challenger else None
    if forecast is None or champion is None:
        return Standing(model=line.model, release=release, title="the switch, verified from live answers", step=-1)
    promoting.require_allowed(switch, allowed.blessing, allowed.staging, allowed.dossier)
    course, told, refusals = forecast
    now = line.services.clock.now().timestamp()
    rollout = Rollout.at_start(name, challenger, champion, began=now)
    payload = record.begun_payload(course, rollout, salt=_salt(line, name), run=run) | {"forecast": told}
    if line.spec.rollout.plan.enforce and refusals:
        payload["refused"] = refusals[0]
    return _standing(line, _unless_refused(line, _begun(line, name, payload)))


def _begun(line: Line, name: ReleaseId, payload: dict[str, Json]) -> RolloutRecord:
    """Put the beginning on record, unless another process was first; return the rollout on record.

    Raises:
        TransientError: A drill is under way.
    """
    while True:
        seen = line.ledger.last_seq(line.model)
        found = record_of(line, name)
        if found is not None and not found.ended:
            return found
        wait_for_drill(line)
        try:
            line.ledger.append(line.model, Event.ROLLOUT_BEGUN, payload, release=name, actor=ACTOR, expect_seq=seen)
        except LedgerConflict:
            continue


def _unless_refused(line: Line, found: RolloutRecord) -> RolloutRecord:
    """End a rollout that the plan refused, also where the process died before that was on record."""
    name = found.rollout.release
    rows = line.ledger.rows(line.model, release=name, events=(Event.ROLLOUT_BEGUN,))
    refused = next((row.payload.get("refused") for row in rows if row.seq == found.begun), None)
    if refused is None or found.ended:
        return found
    end: dict[str, Json] = {"verdict": RolloutVerdict.INCONCLUSIVE.value, "reason": f"refused: {refused}"}
    line.ledger.append(line.model, Event.ROLLOUT_ENDED, end, release=name, actor=ACTOR)
    return record_of(line, name) or found


def _forecast(line: Line) -> tuple[Course, dict[str, Json], tuple[str, ...]] | None:
    """Return the course, what this traffic can show on it, and why that is too little; None without steps."""
    from lockgate.line.planning import plan_of

    section = line.spec.rollout
    if not section.strategy.has_steps:
        return None
    found = plan_of(line)
    return course_of(section, sd=found.sd), found.content, found.refusals


def _wished_again(line: Line, begun: RolloutRecord) -> bool:
    """Tell whether somebody asked for another rollout of the release since this one ended."""
    asked = line.ledger.rows(line.model, release=begun.rollout.release, events=(Event.ROLLOUT_ASKED,))
    return any(row.payload.get("what") == "start" and row.seq > begun.last for row in asked)


def _salt(line: Line, release: ReleaseId) -> str:
    before = line.ledger.rows(line.model, release=release, events=(Event.ROLLOUT_BEGUN,))
    return f"{release}/{len(before) + 1}"


def carry_on(line: Line, standing: Standing, show: Show) -> Standing:
    """Carry a rollout through the step it stands at, and return where it stands then.

    Args:
        line: The model's line.
        standing: Where it stands.
        show: Given the record now and then, for the page.

    Raises:
        RolloutAborted: The switch alone could not be verified and was undone.
        TransientError: Something does not answer; run again.
    """
    if standing.step < 0:
        told = roll_out(line, standing.release)
        return Standing(
            model=standing.model, release=standing.release, title="done", step=-1, ended=True, sentence=told["sentence"]
        )
    name = ReleaseId(standing.release)
    found = record_of(line, name)
    if found is None:
        raise IntegrityError(f"the ledger holds no rollout of {standing.release}", release=standing.release)
    if not found.ended:
        _carry(line, found, standing.step, _Page(line, name, show))
        found = record_of(line, name) or found
    if found.ended and found.rollout.verdict is RolloutVerdict.PROMOTE:
        finish_promotion(line, name)
    return _standing(line, found)


def _carry(line: Line, found: RolloutRecord, step: int, show: Callable[[Mapping[str, Json]], None]) -> None:
    """Carry a rollout through a step; one whose approval is void, or whose tally is no use, goes back instead."""
    steps = found.rollout.phase not in DECIDED
    void = void_of(line, found.rollout.release) if steps else None
    if void is not None:
        give_up(line, found, void)
        return
    with closing(traffic_log(line)) as log:
        try:
            controller = _controller(line, found, log, show)
        except IntegrityError as useless:
            give_up(line, found, useless.message)
            return
        controller.take_over()
        controller.run(lambda rollout: rollout.step != step)


def end_abandoned(line: Line, release: ReleaseId, reason: str) -> Rollout:
    """Let the champion answer alone where a rollout's process is gone and nobody takes it over; finish what is decided.

    Raises:
        TransientError: The server does not answer, or somebody carries it on after all.
    """
    found = record_of(line, release)
    if found is None or found.ended:
        raise IntegrityError(f"{release} has no rollout under way", release=release)
    if found.rollout.phase in DECIDED:
        with closing(traffic_log(line)) as log:
            controller = _controller(line, found, log, lambda _: None)
            controller.take_over()
            controller.run(lambda _: False)
    else:
        give_up(line, found, reason)
    ended = (record_of(line, release) or found).rollout
    if ended.verdict is RolloutVerdict.PROMOTE:
        finish_promotion(line, release)
    return ended


def _standing(line: Line, found: RolloutRecord) -> Standing:
    rollout, steps = found.rollout, found.course.steps
    ended = found.ended
    title = "done" if ended else f"step {rollout.step + 1} of {len(steps)}: {_words(steps[rollout.step])}"
    return Standing(
        model=line.model,
        release=rollout.release,
        title=title,
        step=rollout.step,
        ended=ended,
        verdict=rollout.verdict.value if ended and rollout.verdict is not None else "",
        sentence=rollout.reason,
    )


def _words(step: Step) -> str:
    if step.kind is StepKind.PAUSE:
        return f"waits: {step.reason}"
    what = "of requests copied" if step.kind is StepKind.SHADOW else "of entities"
    return f"{100 * step.share:.3g} % {what} for {step.bake_s:g} s"


class _Page:
    """Shows a rollout's page, not too often: when it has moved, and now and then between."""

    def __init__(self, line: Line, release: ReleaseId, show: Show) -> None:
        self._line, self._release, self._show = line, release, show
        self._at, self._place, self._shown = float("-inf"), (-1, ""), dict[str, Json]()

    def __call__(self, shown: Mapping[str, Json]) -> None:
        self._shown = dict(shown) or self._shown
        found = record_of(self._line, self._release)
        if found is None:
            return
        now, place = time.monotonic(), (found.rollout.step, found.rollout.phase.value)
        if place != self._place or now - self._at >= SHOWN_EVERY_S:
            self._at, self._place = now, place
            self._show(found, self._shown)


def _controller(
    line: Line, found: RolloutRecord, log: TrafficLog, show: Callable[[Mapping[str, Json]], None]
) -> Controller:
    name, section = found.rollout.release, line.spec.rollout
    target = line.services.target("production")
    decided = found.rollout.phase in DECIDED  # nothing is counted any more, so what was kept need not be of use
    world = World(
        lane=lane_of(line, found),
        log=log,
        keeper=keeper_of(line, name),
        clock=line.services.clock,
        readback=partial(target.readback, line.model, found.rollout.champion, section.readback_requests),
        promote=partial(_promote, line, found),
        tally=lambda kept: tally_of(line, found.course, section, None if decided else kept),
        show=show,
    )
    return Controller.of(world, found)


def _promote(line: Line, found: RolloutRecord) -> None:
    """Make the challenger the champion, if it still is what was approved."""
    name, switch = found.rollout.release, production(line, actor=ACTOR)
    if (name, found.rollout.challenger) not in switch.traffic().promoted:
        check_unchanged(line, name)
    allowed = promotion_of(line, name)
    why = f"{name}: {allowed.reason}"
    promoting.promote(switch, allowed.blessing, allowed.staging, allowed.dossier, why=why)
