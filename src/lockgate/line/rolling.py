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
from lockgate.core.rollout import machine, record
from lockgate.core.rollout.machine import Phase, Rollout
from lockgate.core.rollout.record import RolloutRecord, read_rollout
from lockgate.core.rollout.steps import Course, Step, StepKind, course_of
from lockgate.errors import IntegrityError
from lockgate.line.counting import tally_of, traffic_log
from lockgate.line.model_line import Line
from lockgate.line.rollout import check_unchanged, finish_promotion, production, promotion_of, roll_out
from lockgate.ports import TrafficLog
from lockgate.stages import promote as promoting
from lockgate.stages.rolling_out import Controller
from lockgate.stages.rollout_world import World
from lockgate.stages.routing import Lane

ACTOR = "roll-out-model"
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
    """
    name = ReleaseId(release)
    check_unchanged(line, name)
    begun = _record(line, name)
    if begun is not None and not (begun.ended and _wished_again(line, begun)):
        return _standing(line, begun)
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
    line.ledger.append(line.model, Event.ROLLOUT_BEGUN, payload, release=name, actor=ACTOR)
    if line.spec.rollout.plan.enforce and refusals:
        end: dict[str, Json] = {"verdict": RolloutVerdict.INCONCLUSIVE.value, "reason": f"refused: {refusals[0]}"}
        line.ledger.append(line.model, Event.ROLLOUT_ENDED, end, release=name, actor=ACTOR)
    found = _record(line, name)
    if found is None:
        raise IntegrityError(f"the rollout of {release} was written and cannot be read back", release=release)
    return _standing(line, found)


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
    return any(row.payload.get("what") == "start" and row.seq > begun.begun for row in asked)


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
    found = _record(line, name)
    if found is None:
        raise IntegrityError(f"the ledger holds no rollout of {standing.release}", release=standing.release)
    if not found.ended:
        with closing(traffic_log(line)) as log:
            controller = _controller(line, found, log, _Page(line, name, show))
            controller.take_over()
            controller.run(lambda rollout: rollout.step != standing.step)
        found = _record(line, name) or found
    if found.ended and found.rollout.verdict is RolloutVerdict.PROMOTE:
        finish_promotion(line, name)
    return _standing(line, found)


def end_abandoned(line: Line, release: ReleaseId, reason: str) -> Rollout:
    """Let the champion answer alone where a rollout's process is gone and nobody takes it over."""
    found = _record(line, release)
    if found is None or found.ended:
        raise IntegrityError(f"{release} has no rollout under way", release=release)
    with closing(traffic_log(line)) as log:
        controller = _controller(line, found, log, lambda _: None)
        if found.rollout.phase in (Phase.PROMOTING, Phase.RETURNING):
            controller.take_over()
        else:
            now = line.services.clock.now().timestamp()
            controller.advance(machine.PersonAsked(now=now, what=machine.Wish.ABORT, by="reaper", reason=reason))
        return controller.run(lambda _: False)


def _record(line: Line, release: ReleaseId) -> RolloutRecord | None:
    return read_rollout(line.ledger.rows(line.model, release=release), release)


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
        found = _record(self._line, self._release)
        if found is None:
            return
        now, place = time.monotonic(), (found.rollout.step, found.rollout.phase.value)
        if place != self._place or now - self._at >= SHOWN_EVERY_S:
            self._at, self._place = now, place
            self._show(found, self._shown)


def _controller(
    line: Line, found: RolloutRecord, log: TrafficLog, show: Callable[[Mapping[str, Json]], None]
) -> Controller:
    from lockgate.adapters.tally_file import TallyFile

    services, name, section = line.services, found.rollout.release, line.spec.rollout
    target = services.target("production")
    allowed = promotion_of(line, name)
    switch = production(line, actor=ACTOR)
    world = World(
        lane=Lane(
            ledger=line.ledger,
            router=target,
            model=line.model,
            release=name,
            champion=found.rollout.champion,
            challenger=found.rollout.challenger,
            salt=found.salt,
            lease_s=found.course.lease_s,
            timeout_s=section.timeout_s,
            actor=ACTOR,
            sleep=time.sleep,
        ),
        log=log,
        keeper=TallyFile(services.settings.release(name) / "rollout.tally"),
        clock=services.clock,
        readback=partial(target.readback, line.model, found.rollout.champion, section.readback_requests),
        promote=partial(
            promoting.promote,
            switch,
            allowed.blessing,
            allowed.staging,
            allowed.dossier,
            why=f"{name}: {allowed.reason}",
        ),
        tally=partial(tally_of, line, found.course, section),
        show=show,
    )
    return Controller.of(world, found)
