"""`lockgate rollout start | pause | resume | abort | promote | status`: what people say to a rollout under way."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.cli.options import Model, Name, Person, Reason, Release, choose_model, either, model_of
from lockgate.cli.roles import require_role
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import Json, ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

_PROMOTE, _PAUSE, _RESUME, _ABORT = "promote", "pause", "resume", "abort"


def start(surface: Surface, release: Release, approver: Person = None) -> int:
    """Roll an approved release out again whose rollout was inconclusive, e.g. because there was no traffic then.

    A release rolls out by itself once it is approved. Its approval must still hold: same champion, same dossier.

    Example: lockgate rollout start flight-delays-0002
    """
    from lockgate.bootstrap import Services
    from lockgate.line.rollout import start_again

    services = Services(load_settings())
    model = model_of(services.ledger, release)
    who = require_role(services, "operator", what=f"roll {release} out again", model=model, claimed=approver)
    run = start_again(services, model, ReleaseId(release), by=who)
    url = f"{services.settings.url('prefect')}/runs/flow-run/{run}"
    surface.text(f"{release} rolls out again; watch it: {url}, or: lockgate rollout status --model {model}")
    surface.result({"release": release, "model": model, "run": run})
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

    Example: lockgate rollout status --model flight-delays
    """
    from lockgate.bootstrap import Services
    from lockgate.core.rollout.record import read_rollout
    from lockgate.line.rollout_words import rollout_content, rollout_text

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
    surface.text(rollout_text(record))
    surface.result({"model": chosen, "rollout": rollout_content(record)})
    return 0


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
