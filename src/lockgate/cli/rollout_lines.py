"""A rollout or a drill as it goes on: what one ledger row says of it, in lines for a person who watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby

from lockgate.core.drills import DrillVerdict, is_drill, seconds_of
from lockgate.core.ids import Digest, Json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.online.guardrails import Finding, RolloutVerdict, State
from lockgate.core.records import read_record
from lockgate.core.rollout.machine import Rollout
from lockgate.core.rollout.proxy import rests_on
from lockgate.core.rollout.record import read_begun, read_look
from lockgate.core.rollout.steps import Step, StepKind
from lockgate.errors import IntegrityError

Line = tuple[str, str]
"""Text, and the style it is shown in."""

_TOLD_MOVES = ("unplaced", "person_asked", "lost_routing", "resumed", "promotion_failed")
_STYLES = {
    RolloutVerdict.PROMOTE: "green",
    RolloutVerdict.ROLL_BACK: "bold red",
    RolloutVerdict.INCONCLUSIVE: "yellow",
}
_DRILL_STYLES = {
    DrillVerdict.PASSED: "green",
    DrillVerdict.FAILED: "bold red",
    DrillVerdict.INCONCLUSIVE: "yellow",
}


def rollout_lines(row: LedgerRow) -> tuple[Line, ...]:
    """Return what a row says of a rollout or a drill; nothing for a row about something else."""
    tell = _TELLERS.get(row.event)
    if tell is None:
        return ()
    try:
        return tuple(tell(row))
    except (IntegrityError, KeyError, TypeError, ValueError) as wrong:
        return ((f"  row {row.seq} ({row.event.value}) cannot be read: {wrong}", "yellow"),)


def step_words(step: Step) -> str:
    """Say what a step does.

    >>> step_words(Step(kind=StepKind.WEIGHT, share=0.1, bake_s=12.0))
    '10 % of entities for 12 s'
    """
    if step.kind is StepKind.PAUSE:
        return f"a pause ({step.reason})"
    what = "of requests copied to it" if step.kind is StepKind.SHADOW else "of entities"
    return f"{100 * step.share:.3g} % {what} for {step.bake_s:g} s"


def _begun(row: LedgerRow) -> Iterator[Line]:
    begun = read_begun(row)
    what = "fault planted: a faulty copy" if is_drill(row.release) else "rollout begun: challenger"
    yield f"  {what} {_short(begun.rollout.challenger)} beside {_short(begun.rollout.champion)}", "bold"
    for number, step in enumerate(begun.course.steps, 1):
        yield f"    step {number}: {step_words(step)}", ""
    said = rests_on(begun.course.metric, begun.course.truth)
    if said:
        yield f"    a promotion is by proxy: {said}", "bold yellow"
    yield from _forecast(row.payload.get("forecast"))
    for line in _texts(row.payload.get("allocation")):
        yield f"    guardrail {line}", ""


def _forecast(told: Json) -> Iterator[Line]:
    """Say what harm could be seen, by the plan."""
    if not isinstance(told, Mapping):
        return
    if told.get("sentence"):
        yield f"    by the plan: {told['sentence']}", "cyan"
    least = [each.get("least_harm") for each in _objects(told.get("steps"))]
    shares = [f"step {number} {_percent(share)}" for number, share in enumerate(least, 1) if share is not None]
    if shares:
        yield f"    least share of failures it would see by the end of {', '.join(shares)}", "cyan"
    if isinstance(told.get("promoted_fraction"), int | float):
        yield f"    an equal challenger is promoted with chance {told['promoted_fraction']:.2f}", "cyan"
    for what in ("refusals", "warnings"):
        for line in _texts(told.get(what)):
            yield f"    {line}", "yellow"


def _routed(row: LedgerRow) -> Iterator[Line]:
    weight, shadow = _number(row.payload["weight"]), _number(row.payload["shadow"])
    given = f"{100 * weight:.3g} % of entities" if weight else "no entity"
    copied = f", {100 * shadow:.3g} % of requests copied" if shadow else ""
    answers = row.payload.get("answers")
    proof = f", read back from {answers} live answers" if answers else ", verified"
    who = "the faulty copy" if is_drill(row.release) else "the challenger"
    yield f"  ▸ {row.payload.get('environment')} gives {who} {given}{copied}{proof}", "bold"


def _moved(row: LedgerRow) -> Iterator[Line]:
    event = row.payload["event"]
    kind = event.get("kind") if isinstance(event, Mapping) else None
    if kind in _TOLD_MOVES:
        state = read_record(Rollout, row.payload["state"])
        yield f"    {state.reason}; {state.next}", "yellow"


def _looked(row: LedgerRow) -> Iterator[Line]:
    found = read_look(row)
    look, findings = found.look, found.look.findings
    harm = next((each for each in findings if each.state is State.HARM), None)
    said = [
        f"    look {found.number:>2}, step {found.step + 1}, share {100 * look.share:.3g} %",
        f"{look.challenger_requests} challenger and {look.champion_requests} champion requests",
        *_states(findings),
    ]
    if found.plan is not None:
        said.append(f"plan: {found.plan.reason}")
    yield "; ".join(said), "bold red" if harm is not None else ""
    if harm is not None:
        yield f"      harm seen by {harm.guardrail}: {harm.reason}", "bold red"
    if found.decision.verdict is not RolloutVerdict.CONTINUE:
        verdict = found.decision.verdict
        yield f"      decided: {verdict.value}; {found.decision.reason}; {found.decision.next}", _STYLES[verdict]


def _states(findings: Sequence[Finding]) -> Iterator[str]:
    """Say which guardrails are clear, which are not, worst first."""
    order = list(State)
    ordered = sorted(findings, key=lambda each: order.index(each.state))
    for state, group in groupby(ordered, key=lambda each: each.state):
        yield f"{state.value.replace('_', ' ')}: {', '.join(each.guardrail for each in group)}"


def _asked(row: LedgerRow) -> Iterator[Line]:
    yield f"    {row.payload.get('what')} asked by {row.payload.get('by')}: {row.payload.get('reason')}", "bold"


def _ended(row: LedgerRow) -> Iterator[Line]:
    verdict = RolloutVerdict(str(row.payload["verdict"]))
    yield f"  rollout ended, {verdict.value}: {row.payload.get('reason')}", _STYLES[verdict]


def _drilled(row: LedgerRow) -> Iterator[Line]:
    verdict, times = DrillVerdict(str(row.payload["verdict"])), seconds_of(row)
    parts = [("seen", times.detected), ("decided", times.decided), ("switched", times.switched)]
    parts += [("champion restored", times.restored)]
    after = [f"{what} after {at_s:.1f} s" for what, at_s in parts if at_s is not None]
    if after:
        yield f"  since the fault: {', '.join(after)}", "bold"
    lost, asked = row.payload.get("lost"), row.payload.get("asked")
    yield f"  requests lost: {lost}; the drill itself asked {asked} times", ""
    yield f"  drill {verdict.value}: {row.payload.get('reason')}", _DRILL_STYLES[verdict]


_TELLERS: Mapping[Event, Callable[[LedgerRow], Iterator[Line]]] = {
    Event.ROLLOUT_BEGUN: _begun,
    Event.ROUTING_VERIFIED: _routed,
    Event.ROLLOUT_MOVED: _moved,
    Event.ROLLOUT_LOOK: _looked,
    Event.ROLLOUT_ASKED: _asked,
    Event.ROLLOUT_ENDED: _ended,
    Event.DRILL: _drilled,
}


def _short(digest: Digest) -> str:
    return digest[:12]


def _percent(share: Json) -> str:
    return f"{100 * _number(share):.2g} %"


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{value!r} is no number")
    return float(value)


def _texts(value: Json) -> tuple[str, ...]:
    return tuple(str(each) for each in value) if isinstance(value, list) else ()


def _objects(value: Json) -> tuple[Mapping[str, Json], ...]:
    return tuple(each for each in value if isinstance(each, Mapping)) if isinstance(value, list) else ()
