"""Whether a proxy's decision holds: the labels that have come since, of the rollout's own requests."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.core.ids import Json, to_json
from lockgate.core.online.guardrails import RolloutVerdict
from lockgate.core.rollout.look_record import requests_read
from lockgate.core.rollout.observations import Observation
from lockgate.core.rollout.proxy import rests_on
from lockgate.core.rollout.proxy_truth import TruthFound, TruthSays, count_again, truth_found
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.several import as_pair
from lockgate.core.rollout.step_list import StepKind
from lockgate.errors import LockgateError
from lockgate.line.model_line import Line

if TYPE_CHECKING:
    from collections.abc import Sequence

SAYS = {
    TruthSays.BETTER: "better",
    TruthSays.NOT_WORSE: "not worse by more than the margin",
    TruthSays.WORSE: "worse",
    TruthSays.CANNOT_SAY: "cannot say yet",
}
_DID = {
    RolloutVerdict.PROMOTE: "promoted it",
    RolloutVerdict.ROLL_BACK: "rolled back, by a guardrail",
    RolloutVerdict.INCONCLUSIVE: "inconclusive",
}


def check_proxy(line: Line, record: RolloutRecord) -> TruthFound | None:
    """Compare the losses of both arms of a rollout that went by a proxy; None of any other, and before its end.

    Task and label delay are those of the spec as it is now.

    Raises:
        TransientError: The logs cannot be read now.
    """
    from lockgate.adapters.rollout_log import read_stretch

    course, ended, plan = record.course, record.ended_at, record.course.plan
    if course.truth is None or ended is None or plan is None:
        return None
    spec, now = line.spec, line.services.clock.now().timestamp()
    since = record.rollout.began
    state = line.services.settings.serving("production")
    stretch = read_stretch(state, line.model, since=since, until=ended.timestamp(), now=now)
    counted = count_again(
        course,
        spec.rollout,
        spec.task.kind,
        spec.task.classes,
        due_s=spec.data.label_delay_s,
        now=now,
        observations=_as_counted(record, stretch.observations),
        labels=stretch.labels,
    )
    rows = line.ledger.rows(line.model, release=record.rollout.release, after=record.begun - 1)
    return truth_found(counted, course.truth, alpha=2.0 * plan.alpha, requests=requests_read(rows))


def proxy_truth_words(record: RolloutRecord, found: TruthFound) -> str:
    """Say in one sentence what the proxy decided and what the truth says of it."""
    metric, truth = record.course.metric, record.course.truth
    did = _DID.get(record.rollout.verdict or RolloutVerdict.INCONCLUSIVE, "")
    of = f"{found.champion_labelled} entities of the champion and {found.challenger_labelled} of the challenger"
    had = "" if found.coverage is None else f", {found.coverage:.1%} of those due"
    what = f"the proxy {metric.value if metric else ''}: {did}; the truth ({truth.metric.value if truth else ''})"
    return f"{what}: {SAYS[found.says]}, by labels of {of}{had}. {found.reason[:1].upper()}{found.reason[1:]}"


def proxy_truth_next(record: RolloutRecord, found: TruthFound) -> str:
    """Say what is to be done where a promotion by a proxy was found out; empty elsewhere."""
    if found.says is not TruthSays.WORSE or record.rollout.verdict is not RolloutVerdict.PROMOTE:
        return ""
    model = record.rollout.release.rpartition("-")[0]
    proxy = "and do not declare the proxy again"
    return f"if it still serves, put the champion before it back: lockgate rollback {model}; {proxy}"


def proxy_truth_content(record: RolloutRecord, found: TruthFound | None, broken: str = "") -> Json:
    """Return what the truth says, for a program; null where no proxy decided, or has not yet."""
    if broken:
        return {"says": TruthSays.CANNOT_SAY.value, "reason": broken}
    if found is None:
        return None
    written = to_json(found)
    verdict = record.rollout.verdict
    return {
        **(written if isinstance(written, dict) else {}),
        "proxy": None if record.course.metric is None else record.course.metric.value,
        "proxy_said": None if verdict is None else verdict.value,
        "sentence": proxy_truth_words(record, found),
        "next": proxy_truth_next(record, found),
    }


def proxy_truth_told(line: Line, record: RolloutRecord) -> tuple[list[tuple[str, str]], Json]:
    """Return what the truth says of a rollout, as lines with the style each is shown in, and for a program."""
    try:
        found = check_proxy(line, record)
    except LockgateError as broken:
        said = f"the truth cannot be read now: {broken.message}"
        return [(f"  truth {said}", "yellow")], proxy_truth_content(record, None, said)
    if found is None:
        return [], None
    style = {TruthSays.WORSE: "bold red", TruthSays.CANNOT_SAY: "yellow"}.get(found.says, "green")
    lines = [(f"  truth {proxy_truth_words(record, found)}", style)]
    following = proxy_truth_next(record, found)
    return [*lines, *([(f"        {following}", "bold red")] if following else [])], proxy_truth_content(record, found)


def promoted_by(record: RolloutRecord | None) -> str:
    """Return what a sentence on a promotion has to add where it rests on a proxy; empty elsewhere."""
    said = "" if record is None else rests_on(record.course.metric, record.course.truth)
    return f"; {said}" if said else ""


def _as_counted(record: RolloutRecord, observations: Sequence[Observation]) -> tuple[Observation, ...]:
    """Return requests as the rollout saw them: where others were beside it, as those of two arms."""
    course = record.course
    if not course.beside:
        return tuple(observations)
    share, many = max(each.share for each in course.steps if each.kind is StepKind.WEIGHT), len(course.beside) + 1
    pairs = (as_pair(each, arm=course.arm, share=share, many=many) for each in observations)
    return tuple(each for each in pairs if each is not None)
