"""A rollout as its flow carries it: begun once, then step by step, one call a step; resumed after a crash anywhere."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, replace

from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout import record
from lockgate.core.rollout.attempts import spent
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.state import Wish
from lockgate.core.rollout.steps import Course, Step, StepKind, course_of
from lockgate.errors import IntegrityError, LedgerConflict
from lockgate.line.attempts import attempt_of, too_many
from lockgate.line.carrying import DECIDED, Page, Show, world_of
from lockgate.line.counting import traffic_log
from lockgate.line.giving_up import ACTOR, give_up, record_of, void_of
from lockgate.line.model_line import Line
from lockgate.line.rollout import (
    check_unchanged,
    finish_promotion,
    production,
    promotion_of,
    roll_out,
    wait_for_drill,
)
from lockgate.stages import promote as promoting
from lockgate.stages.rolling_out import Controller


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
        beside: Releases whose challengers are beside the champion with it.
    """

    model: str
    release: str
    title: str
    step: int
    ended: bool = False
    verdict: str = ""
    sentence: str = ""
    beside: tuple[str, ...] = ()


def begin_rollout(line: Line, release: str, *, run: str, beside: Sequence[str] = ()) -> Standing:
    """Put the course of an approved release on record, once, and return where its rollout stands.

    The first champion, and a spec without steps, have no course: the switch alone follows. With others `beside` it,
    theirs are begun, too.

    Raises:
        ApprovalVoid: What was approved is not what would ship.
        NotBlessed: A gate is missing.
        TransientError: A drill is under way, which takes a minute; ask again.
    """
    from lockgate.line.rolling_several import begin_several

    if beside:
        return begin_several(line, (release, *beside), run=run)
    name = ReleaseId(release)
    check_unchanged(line, name)
    begun = record_of(line, name)
    if begun is not None and not begun.ended and begun.course.beside:
        return begin_several(line, in_order(begun), run=run)
    if begun is not None and not (begun.ended and wished_again(line, begun)):
        return _standing(line, _unless_refused(line, begun))
    switch = production(line, actor=ACTOR)
    champion = switch.traffic().champion
    allowed = promotion_of(line, name)
    challenger = allowed.blessing.subjects.bundle
    attempt = attempt_of(line, challenger, champion) if champion is not None else 1
    forecast = _forecast(line, attempt) if champion is not None and champion != challenger else None
    if forecast is None or champion is None:
        return Standing(model=line.model, release=release, title="the switch, verified from live answers", step=-1)
    promoting.require_allowed(switch, allowed.blessing, allowed.staging, allowed.dossier)
    course, told, refusals = forecast
    now = line.services.clock.now().timestamp()
    rollout = Rollout.at_start(name, challenger, champion, began=now)
    payload = record.begun_payload(course, rollout, salt=_salt(line, name), run=run) | {"forecast": told}
    if begun is None and line.spec.rollout.challengers > 1:
        payload["refused"] = _waits_for_others(line, name)
    elif refused := too_many(attempt) or (refusals[0] if line.spec.rollout.plan.enforce and refusals else None):
        payload["refused"] = refused
    return _standing(line, _unless_refused(line, put_begun(line, name, payload)))


def put_begun(line: Line, name: ReleaseId, payload: dict[str, Json]) -> RolloutRecord:
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


def in_order(found: RolloutRecord) -> tuple[ReleaseId, ...]:
    """Return the releases of several challengers in the order of their arms."""
    place, others = int(found.course.arm.rpartition("-")[2]) - 1, found.course.beside
    return (*others[:place], found.rollout.release, *others[place:])


def _waits_for_others(line: Line, name: ReleaseId) -> str:
    many = line.spec.rollout.challengers
    told = f"rollout.challengers is {many}, so it waits for {'another' if many == 2 else f'{many - 1} others'}"
    return f"{told}; start them together: lockgate rollout start {name} --beside RELEASE"


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


def _forecast(line: Line, attempt: int) -> tuple[Course, dict[str, Json], tuple[str, ...]] | None:
    """Return the course, what this traffic can show on it, and why that is too little; None without steps."""
    from lockgate.line.planning import plan_of

    section = line.spec.rollout
    if not section.strategy.has_steps:
        return None
    found = plan_of(line, challengers=1, attempt=attempt)
    course = course_of(spent(section, attempt), sd=found.sd)
    return replace(course, attempt=attempt), found.content, found.refusals


def wished_again(line: Line, begun: RolloutRecord) -> bool:
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
    if standing.beside:
        from lockgate.line.rolling_several import carry_several

        return carry_several(line, standing, show)
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
        _carry(line, found, standing.step, Page(line, name, show))
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
    with ExitStack() as held:
        try:
            controller = _controller(line, found, held, show)
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
        with ExitStack() as held:
            controller = _controller(line, found, held, lambda _: None)
            controller.take_over()
            controller.run(lambda _: False)
    elif not _aborted(line, found):
        give_up(line, found, reason)
    ended = (record_of(line, release) or found).rollout
    if ended.verdict is RolloutVerdict.PROMOTE:
        finish_promotion(line, release)
    return ended


def _aborted(line: Line, found: RolloutRecord) -> bool:
    """Answer an abort that nobody has heard; False where another wish comes before it, or the tally is of no use."""
    if not found.wishes or found.wishes[0].what != Wish.ABORT:
        return False
    with ExitStack() as held:
        try:
            controller = _controller(line, found, held, lambda _: None)
        except IntegrityError:
            return False
        controller.hear()
        controller.run(lambda _: False)
    return True


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


def _controller(
    line: Line, found: RolloutRecord, held: ExitStack, show: Callable[[Mapping[str, Json]], None]
) -> Controller:
    log, target = held.enter_context(closing(traffic_log(line))), line.services.target("production")
    return Controller.of(world_of(line, found, log, held.enter_context(closing(target)), show), found)
