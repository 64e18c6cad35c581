"""Several approved releases beside one champion: begun together, carried by one run, one promoted at most."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace

from lockgate.core.ids import Digest, Json, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout import record
from lockgate.core.rollout.attempts import spent
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.several import arm_name, course_beside
from lockgate.errors import BadInput, IntegrityError
from lockgate.line.attempts import attempt_of
from lockgate.line.carrying import DECIDED, Page, Show, world_of
from lockgate.line.counting import traffic_log
from lockgate.line.giving_up import ACTOR, give_up, record_of, void_of
from lockgate.line.model_line import Line
from lockgate.line.planning import plan_of
from lockgate.line.rolling import Standing, put_begun, wished_again
from lockgate.line.rollout import check_unchanged, finish_promotion, production, promotion_of
from lockgate.line.several_words import arms_content
from lockgate.stages import promote as promoting
from lockgate.stages.rolling_several import Several, shared_arm
from lockgate.stages.rollout_world import World
from lockgate.stages.shared_lane import SharedLane


def begin_several(line: Line, releases: Sequence[str], *, run: str) -> Standing:
    """Put the courses of several approved releases on record, once, and return where their rollouts stand.

    Raises:
        ApprovalVoid: What was approved of one is not what would ship.
        BadInput: Two are of one bundle, or there is no champion to compare them with.
        ConfigError: The spec allows no several at once.
        NotBlessed: A gate of one is missing.
        TransientError: A drill is under way, which takes a minute; ask again.
    """
    names = tuple(ReleaseId(each) for each in releases)
    found = {name: record_of(line, name) for name in names}
    _refuse_others(names, found.values())
    missing = [name for name, each in found.items() if each is None or (each.ended and wished_again(line, each))]
    if missing:
        bundles = {name: _allowed_bundle(line, name) for name in missing}
        if len(set(bundles.values())) < len(missing):
            raise BadInput(f"two of {', '.join(missing)} are of one bundle; compare releases that differ")
        _begin(line, names, bundles, run)
    return standing_of(line, names)


def _refuse_others(names: Sequence[ReleaseId], found: Iterable[RolloutRecord | None]) -> None:
    for each in found:
        if each is not None and not each.ended and {each.rollout.release, *each.course.beside} != set(names):
            told = f"the rollout of {each.rollout.release} is under way, and not beside all of {', '.join(names)}"
            raise BadInput(f"{told}; wait for it, or end it first: lockgate rollout abort {each.rollout.release}")


def _allowed_bundle(line: Line, name: ReleaseId) -> Digest:
    """Return the bundle of a release that may be rolled out now."""
    check_unchanged(line, name)
    allowed = promotion_of(line, name)
    promoting.require_allowed(production(line, actor=ACTOR), allowed.blessing, allowed.staging, allowed.dossier)
    return allowed.blessing.subjects.bundle


def _begin(line: Line, names: Sequence[ReleaseId], bundles: Mapping[ReleaseId, Digest], run: str) -> None:
    """Begin those that have not; who was begun by a process that died says when it was, and by which salt."""
    champion = production(line, actor=ACTOR).traffic().champion
    if champion is None:
        raise BadInput(f"{line.model} has no champion to compare them with; the first is rolled out alone")
    forecast = plan_of(line, challengers=len(names))
    begun = next((each for each in (record_of(line, name) for name in names) if each and not each.ended), None)
    began = line.services.clock.now().timestamp() if begun is None else begun.rollout.began
    salt = _salt(line, names) if begun is None else begun.salt
    for place, name in enumerate(names, 1):
        if name in bundles:
            beside = tuple(each for each in names if each != name)
            attempt = attempt_of(line, bundles[name], champion)
            section = spent(line.spec.rollout, attempt)
            course = course_beside(section, sd=forecast.sd, arm=arm_name(place), beside=beside)
            course = replace(course, attempt=attempt)
            rollout = Rollout.at_start(name, bundles[name], champion, began=began)
            payload = record.begun_payload(course, rollout, salt=salt, run=run) | {"forecast": forecast.content}
            put_begun(line, name, payload)


def _salt(line: Line, names: Sequence[ReleaseId]) -> str:
    before = line.ledger.rows(line.model, release=names[0], events=(Event.ROLLOUT_BEGUN,))
    return f"{names[0]}/{len(before) + 1}+{len(names) - 1}"


def carry_several(line: Line, standing: Standing, show: Show) -> Standing:
    """Carry several rollouts to their ends, and return where they stand then.

    Args:
        line: The model's line.
        standing: Where they stand.
        show: Given the record of one of them now and then, for its page.

    Raises:
        TransientError: Something does not answer; run again.
    """
    names = tuple(ReleaseId(each) for each in (standing.release, *standing.beside))
    if not standing.ended:
        _carry(line, _records(line, names), show)
    for found in _records(line, names):
        if found.ended and found.rollout.verdict is RolloutVerdict.PROMOTE:
            finish_promotion(line, found.rollout.release)
    return standing_of(line, names)


def _carry(line: Line, found: Sequence[RolloutRecord], show: Show) -> None:
    """Carry those that may be; every other is left out before the first is taken out, which routes who is left."""
    names, champion = tuple(each.rollout.release for each in found), found[0].rollout.champion
    with ExitStack() as held:
        target = held.enter_context(closing(line.services.target("production")))
        several = Several(lane=SharedLane(target, line.model, champion, [shared_arm(each) for each in found]))
        several.lane.take_stock()
        useless: list[tuple[RolloutRecord, str, World]] = []
        for each in found:
            if not each.ended:
                log = held.enter_context(closing(traffic_log(line)))
                page = SharedPage(line, each.rollout.release, names, show)
                world = world_of(line, each, log, target, page)
                void = _joined(line, several, each, world)
                useless += [] if void is None else [(each, void, several.seen_by(world, each.rollout.release))]
        for each, _, _ in useless:
            several.lane.leave_out(each.rollout.release)
        for each, void, own in useless:
            give_up(line, each, void, own)
        several.run()


def _joined(line: Line, several: Several, found: RolloutRecord, world: World) -> str | None:
    """Let a rollout be carried with the others, or say why it cannot be: it is void, or its tally is of no use."""
    void = void_of(line, found.rollout.release) if found.rollout.phase not in DECIDED else None
    try:
        if void is None:
            several.join(world, found)
    except IntegrityError as useless:
        return useless.message
    return void


class SharedPage(Page):
    """The page of one of several, which shows how the others stand, too."""

    def __init__(self, line: Line, release: ReleaseId, names: Sequence[ReleaseId], show: Show) -> None:
        """Take whose page it is, who is beside it, and who publishes it."""
        super().__init__(line, release, lambda found, shown: show(found, {**shown, "beside": self._beside()}))
        self._names = names

    def _beside(self) -> Json:
        return arms_content(_records(self._line, self._names))


def standing_of(line: Line, names: Sequence[ReleaseId]) -> Standing:
    """Return where several rollouts stand: promoted where one was, rolled back where all were, else inconclusive."""
    found = _records(line, names)
    ended = all(each.ended for each in found)
    verdicts = [each.rollout.verdict for each in found]
    promoted = RolloutVerdict.PROMOTE in verdicts
    all_back = all(each is RolloutVerdict.ROLL_BACK for each in verdicts)
    verdict = RolloutVerdict.ROLL_BACK if all_back else RolloutVerdict.INCONCLUSIVE
    share = found[0].course.steps[0].share
    told = [f"{each.rollout.release} {_said(each)}: {each.rollout.reason}" for each in found]
    standing = Standing(
        model=line.model,
        release=names[0],
        beside=tuple(names[1:]),
        title="done" if ended else f"{len(names)} challengers, {100 * share:.3g} % of entities each",
        step=found[0].rollout.step,
        sentence="; ".join(told),
    )
    return (
        standing
        if not ended
        else replace(standing, ended=True, verdict=(RolloutVerdict.PROMOTE if promoted else verdict).value)
    )


def _said(found: RolloutRecord) -> str:
    return (found.rollout.verdict.value if found.rollout.verdict else found.rollout.phase.value).replace("_", " ")


def _records(line: Line, names: Sequence[ReleaseId]) -> list[RolloutRecord]:
    """Return the rollouts on record.

    Raises:
        IntegrityError: There is none of one of them.
    """
    found = {name: record_of(line, name) for name in names}
    for name, each in found.items():
        if each is None:
            raise IntegrityError(f"the ledger holds no rollout of {name}", release=name)
    return [each for each in found.values() if each is not None]
