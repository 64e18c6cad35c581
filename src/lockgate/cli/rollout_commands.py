"""`lockgate rollout start | pause | resume | abort | promote | status`: what people say to a rollout under way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model, Name, Person, Reason, Release, choose_model, either, model_of
from lockgate.cli.roles import require_role
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.rollout.record import RolloutRecord

Beside = Annotated[
    list[str] | None,
    typer.Option(
        "--beside", metavar="RELEASE", help="Another release to compare at the same time; once for each, at most six."
    ),
]

_PROMOTE, _PAUSE, _RESUME, _ABORT = "promote", "pause", "resume", "abort"


def start(surface: Surface, release: Release, beside: Beside = None, approver: Person = None) -> int:
    """Roll an approved release out again whose rollout was inconclusive, or several of them beside one champion.

    A release rolls out by itself once it is approved, unless `rollout.challengers` says that it waits for others. Its
    approval must still hold: same champion, same dossier. With --beside, all of them meet users at once, each the same
    share; guardrails and plan judge each against the champion at its part of the declared errors. One that does harm is
    taken out alone; of those that pass, the one with the best estimate is promoted, and the others end inconclusive.

    Example: lockgate rollout start flight-delays-0002 --beside flight-delays-0003
    """
    from lockgate.bootstrap import Services
    from lockgate.line.rollout import start_again
    from lockgate.line.starting_several import start_several

    services = Services(load_settings())
    model = model_of(services.ledger, release)
    together = (ReleaseId(release), *(ReleaseId(each) for each in beside or ()))
    names = " and ".join(together)
    who = require_role(services, "operator", what=f"roll {names} out again", model=model, claimed=approver)
    if len(together) > 1:
        run = start_several(services, model, together, by=who)
    else:
        run = start_again(services, model, together[0], by=who)
    url = f"{services.settings.url('prefect')}/runs/flow-run/{run}"
    rolls = "roll out beside one champion" if len(together) > 1 else "rolls out again"
    surface.text(f"{names} {rolls}; watch it: {url}, or: lockgate rollout status --model {model}")
    surface.result({"release": release, "beside": list(together[1:]), "model": model, "run": run})
    return 0


def pause(surface: Surface, release: Release, reason: Reason = "", approver: Person = None) -> int:
    """Hold a rollout where it is; guardrails go on deciding, and harm still rolls it back.

    Example: lockgate rollout pause flight-delays-0002 --reason "waiting for the on-call"
    """
    return _ask(surface, release, _PAUSE, reason, approver)


def resume(surface: Surface, release: Release, reason: Reason = "", approver: Person = None) -> int:
    """Let a rollout that was paused, or that waits at a `pause` step, go on.

    Example: lockgate rollout resume flight-delays-0002
    """
    return _ask(surface, release, _RESUME, reason, approver)


def abort(surface: Surface, release: Release, reason: Reason, approver: Person = None) -> int:
    """End a rollout: the champion alone answers, verified from live answers.

    Example: lockgate rollout abort flight-delays-0002 --reason "complaints from EWR"
    """
    if not reason.strip():
        raise BadInput("an abort needs a reason; give one with --reason, it is what the model's owner works from")
    return _ask(surface, release, _ABORT, reason, approver)


def promote(surface: Surface, release: Release, reason: Reason, approver: Person = None) -> int:
    """Promote now, without the steps that are left; only where every guardrail is clear at the last look.

    Example: lockgate rollout promote flight-delays-0002 --reason "seen enough, traffic is low tonight"
    """
    if not reason.strip():
        raise BadInput("a promotion before the plan says so needs a reason; give one with --reason")
    return _ask(surface, release, _PROMOTE, reason, approver)


def status(surface: Surface, name: Name = None, model: Model = None) -> int:
    """Show the rollout under way, or the last one: step, weights, guardrails, plan, and what happens next.

    Of one that went by `rollout.plan.proxy` and has ended, also what the labels that have come since say of it.

    Example: lockgate rollout status --model flight-delays
    """
    from lockgate.bootstrap import Services
    from lockgate.core.rollout.record import read_rollout
    from lockgate.line.rollout_words import rollout_content, rollout_text
    from lockgate.line.several_words import arms_content, arms_text

    services = Services(load_settings())
    chosen = choose_model(services, either(name, model))
    release = _last_rollout(services, chosen)
    if release is None:
        surface.text(f"{chosen} had no rollout yet; an approved release starts one: lockgate release --model {chosen}")
        surface.result({"model": chosen, "rollout": None})
        return 0
    record = read_rollout(services.ledger.rows(chosen, release=release), release)
    if record is None:
        raise BadInput(f"the ledger holds no rollout of {release}; see: lockgate history --model {chosen}")
    arms = _beside(services, chosen, record)
    if arms:
        surface.text(arms_text(arms) + "\n")
    truths: dict[str, Json] = {}
    for each in arms or [record]:
        surface.text(rollout_text(each))
        truths[each.rollout.release] = _truth(surface, services, chosen, each)
    content = {"model": chosen, "rollout": rollout_content(record), "arms": arms_content(arms)}
    surface.result({**content, "truth": truths[record.rollout.release]})
    return 0


def _truth(surface: Surface, services: Services, model: ModelName, record: RolloutRecord) -> Json:
    """Show what labels say of a rollout that went by a proxy and has ended, and return it; null of any other."""
    if record.course.truth is None or record.ended_at is None:
        return None
    from lockgate.line.model_line import Line
    from lockgate.line.proxy_truth import proxy_truth_told

    lines, content = proxy_truth_told(Line(services=services, spec=services.spec(model)), record)
    for words, style in lines:
        surface.text(words, style)
    return content


def _beside(services: Services, model: ModelName, record: RolloutRecord) -> list[RolloutRecord]:
    """Return the rollouts of several challengers in the order of their arms; none where it is alone."""
    from lockgate.core.rollout.record import read_rollout

    releases = (record.rollout.release, *record.course.beside) if record.course.beside else ()
    found = [read_rollout(services.ledger.rows(model, release=each), each) for each in releases]
    return sorted((each for each in found if each is not None), key=lambda each: each.course.arm)


def _last_rollout(services: Services, model: ModelName) -> ReleaseId | None:
    rows = services.ledger.rows(model, events=(Event.ROLLOUT_BEGUN,))
    return next((row.release for row in reversed(rows) if row.release is not None), None)


def _ask(surface: Surface, release: str, what: str, reason: str, approver: str | None) -> int:
    from lockgate.bootstrap import Services
    from lockgate.core.rollout.record import read_rollout

    services = Services(load_settings())
    model = model_of(services.ledger, release)
    who = require_role(services, "operator", what=f"{what} the rollout of {release}", model=model, claimed=approver)
    record = read_rollout(services.ledger.rows(model, release=ReleaseId(release)), ReleaseId(release))
    if record is None or record.ended:
        now = "has no rollout" if record is None else f"ended: {record.rollout.reason}"
        raise BadInput(f"{release} {now}; nothing to {what}. See: lockgate rollout status --model {model}")
    payload: dict[str, Json] = {"what": what, "by": who, "reason": reason}
    row = services.ledger.append(model, Event.ROLLOUT_ASKED, payload, release=ReleaseId(release), actor=who)
    surface.text(
        f"{release}: {what} asked by {who}, on record as row {row.seq}; lockgate rollout status shows the effect"
    )
    surface.result({"release": release, "asked": what, "by": who, "row": row.seq})
    return 0
