"""`lockgate release`, `approve`, `reject`, `rollback`: what people decide."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.deciding import decider, show_code, signed
from lockgate.cli.options import Model, Name, Person, Reason, Release, Yes, choose_model, either, model_of, person
from lockgate.cli.roles import acting, require_role
from lockgate.cli.surface import OUTCOME_EXIT, Surface
from lockgate.config import approver_token, load_settings
from lockgate.core.approval_people import Role
from lockgate.core.ids import Json, ModelName
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.spec_sections.units import LONGEST_S
from lockgate.errors import ApprovalVoid, BadInput, TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.cli.following import Followed

Wait = Annotated[bool, typer.Option("--wait", "-w", help="Follow the release until it ends; the exit code says how.")]
Within = Annotated[
    float | None,
    typer.Option(
        "--timeout", min=0, max=LONGEST_S, metavar="SECONDS", help="With --wait: give up following after this long."
    ),
]

PrintCode = Annotated[
    bool, typer.Option("--print-code", help="Only print a one-time code for the form in the Prefect UI.")
]

_RECORDED_WITHIN_S = 180.0  # ours: a suspended run comes back in 8 to 21 s on two busy cores
_SUSPENDED_WITHIN_S = 60.0
_LOOK_S = 0.5
_VOID = (Outcome.EXPIRED, Outcome.SUPERSEDED)


def release(  # noqa: PLR0913 - each is an option
    surface: Surface,
    name: Name = None,
    *,
    model: Model = None,
    reason: Reason = "by hand",
    wait: Wait = False,
    timeout: Within = None,
) -> int:
    """Start a release of a model from its newest landed data.

    Exit codes with --wait: 0 promoted, 3 blocked by a gate, 4 rejected, 5 expired or superseded, 6 inconclusive.

    Example: lockgate release --model flight-delays --reason "new feature" --wait
    """
    from lockgate.bootstrap import Services

    services = Services(load_settings())
    chosen = choose_model(services, either(name, model))
    services.check(services.spec(chosen))  # what is wrong with it is told before a run starts
    shown = acting(services, Role.VIEWER, what=f"release {chosen}", model=chosen) if approver_token() else None
    who = person(None) if shown is None else shown.name
    parameters: dict[str, Json] = {"model": chosen, "reason": reason, "started_by": who}
    run = services.runs.start_run(f"release-model/{chosen}", parameters)
    if shown is not None:  # what the run is told can be told by anybody; this row only by who showed a token
        services.ledger.append(chosen, Event.RELEASE_ASKED, {"run": run, "by": who}, actor=who)
    surface.say(f"started; watch it at {run_url(services, run)}")
    if not wait:
        surface.text(f"release of {chosen} started as run {run}; follow it: lockgate history --model {chosen}")
        surface.result({"model": chosen, "run": run, "release": None, "outcome": None})
        return 0
    return finish(surface, chosen, follow(services, surface, chosen, run, timeout))


def follow(services: Services, surface: Surface, model: ModelName, run: str, within_s: float | None) -> Followed:
    """Follow a run to its end; a question on the way is shown with the command that answers it."""
    from lockgate.cli.following import Follower

    def point(row: LedgerRow) -> None:
        surface.say(f"  waits for approval until {row.payload.get('expires_at')}", "bold yellow")
        surface.say(f"    look at it: {run_url(services, run)}")
        surface.say(f"    decide:     lockgate approve {row.release}, or lockgate reject {row.release} --reason '...'")

    return Follower(services, surface, model, run).until_end(point, within_s=within_s)


def finish(surface: Surface, model: ModelName, followed: Followed) -> int:
    """Show how a followed run ended, and return its exit code."""
    outcome = followed.outcome
    words = "no release was opened" if followed.release is None else f"{followed.release} {outcome or 'did not end'}"
    surface.text(f"{words}: {followed.reason}")
    surface.result({"model": model, **followed.content})
    if outcome is not None:
        return OUTCOME_EXIT[outcome]
    return 0 if followed.release is None and followed.completed else 1


def run_url(services: Services, run: str) -> str:
    """Return the page of a run in the Prefect UI."""
    return f"{services.settings.url('prefect')}/runs/flow-run/{run}"


def approve(  # noqa: PLR0913 - a decision has this many facts
    surface: Surface,
    release: Release,
    *,
    reason: Reason = "",
    approver: Person = None,
    yes: Yes = False,
    wait: Wait = False,
    print_code: PrintCode = False,
) -> int:
    """Approve a release that waits: the answer goes into the same form as in the Prefect UI.

    You confirm the spec's checklist item by item in a terminal; --yes (or YES=1) confirms all of it. Once people were
    added (lockgate approver add), you are who your token says, and --print-code gives you a code for the form.
    Exit codes: 5 when it expired, was superseded, or is no longer what you saw.

    Example: lockgate approve flight-delays-0001 --as maria --reason "AUC +0.02, slices fine" --wait
    """
    from lockgate.bootstrap import Services
    from lockgate.cli.following import Follower

    services = Services(load_settings())
    model = model_of(services.ledger, release)
    decides = decider(services, model, release, "approve", approver)
    run = waiting_run(services, model, release)
    if print_code:
        show_code(surface, services, release, "approve", decides)
        return 0
    items = services.spec(model).approval.checklist
    confirm(surface, release, items, yes=yes)
    who, field = signed(services, release, "approve", decides)
    given = give_answer(services, surface, model, release, answer_form("approve", field, reason, items))
    if wait:
        follower = Follower(services, surface, model, run)
        follower.skip_what_was()
        return finish(surface, model, follower.until_end(lambda _: None))
    complete = given.payload.get("complete") is not False
    follows = "the promotion follows: lockgate status" if complete else "one of two: somebody else must approve it too"
    surface.text(f"{release} approved by {who}; {follows}")
    told: dict[str, Json] = {"release": release, "decision": "approve", "approver": who, "run": run}
    surface.result({**told, "complete": complete})
    return 0


def reject(
    surface: Surface, release: Release, reason: Reason = "", approver: Person = None, print_code: PrintCode = False
) -> None:
    """Reject a release that waits. Production keeps what it serves.

    Example: lockgate reject flight-delays-0002 --reason "carrier OO got worse"
    """
    from lockgate.bootstrap import Services

    if not reason.strip() and not print_code:
        raise BadInput("a rejection needs a reason; give one with --reason, it is what the model's owner works from")
    services = Services(load_settings())
    model = model_of(services.ledger, release)
    decides = decider(services, model, release, "reject", approver)
    run = waiting_run(services, model, release)
    if print_code:
        show_code(surface, services, release, "reject", decides)
        return
    who, field = signed(services, release, "reject", decides)
    give_answer(services, surface, model, release, answer_form("reject", field, reason, ()))
    surface.text(f"{release} rejected by {who}")
    surface.result({"release": release, "decision": "reject", "approver": who, "run": run})


def waiting_run(services: Services, model: ModelName, release: str) -> str:
    """Return the run of a release that waits for its approval.

    Raises:
        ApprovalVoid: It expired, or a newer batch superseded it.
        BadInput: It does not wait: it is still at work, or it ended otherwise.
    """
    state = services.ledger.state(model)
    ended = next((outcome for known, outcome in state.outcomes.items() if known == release), None)
    if ended in _VOID:
        raise ApprovalVoid(f"{release} is {ended}; nothing is left to decide. See: lockgate explain {release}")
    if state.open is None or state.open.release != release:
        raise BadInput(f"{release} ended {ended}; nothing is left to decide. See: lockgate explain {release}")
    if not state.open.waiting:
        raise BadInput(f"{release} does not wait for a decision (yet); see lockgate status")
    expires = state.open.expires_at
    if expires is not None and expires < datetime.now(UTC):
        raise ApprovalVoid(f"the approval of {release} expired at {expires.isoformat()}; start a new release")
    return state.open.run


def confirm(surface: Surface, release: str, items: tuple[str, ...], *, yes: bool) -> None:
    """Have a person confirm the checklist.

    Raises:
        BadInput: They did not, or there is nobody to ask.
    """
    if yes:
        return
    if not surface.interactive:
        listed = "; ".join(items)
        raise BadInput(f"approving {release} confirms: {listed}. Without a terminal, confirm all with --yes or YES=1")
    for item in items:
        if not ask(surface, f"{item}?"):
            raise BadInput(f"{item!r} is not confirmed, so {release} still waits; confirm every item or reject it")


def ask(surface: Surface, question: str) -> bool:
    """Ask a person y or n."""
    return surface.err.input(f"{question} [y/n] ", markup=False).strip().lower() in ("y", "yes")


def answer_form(
    decision: str, approver: str | Mapping[str, Json], reason: str, confirmed: tuple[str, ...]
) -> dict[str, Json]:
    """Return the approval form as the flow asks it: one tick `check_N` an item of the checklist.

    Args:
        decision: approve or reject.
        approver: A name; or the field that says who, see `deciding.signed`.
        reason: Why.
        confirmed: The items that are confirmed.
    """
    who = {"approver": approver} if isinstance(approver, str) else dict(approver)
    ticks: dict[str, Json] = {f"check_{number}": True for number in range(1, len(confirmed) + 1)}
    return {"decision": decision, **who, "reason": reason, **ticks}


def give_answer(
    services: Services, surface: Surface, model: ModelName, release: str, form: dict[str, Json]
) -> LedgerRow:
    """Put an answer into the run's form, wait until the ledger holds it, and return its row.

    Raises:
        ApprovalVoid: It came too late, or what was seen is no longer what would ship.
        BadInput: It does not count (who may decide, the checklist); it may be given again.
        TransientError: It was taken, but is not on record yet.
    """
    run = waiting_run(services, model, release)
    # The question is on record a moment before the run has suspended itself.
    services.runs.wait(run, lambda state: state.type == "PAUSED" or state.ended, within_s=_SUSPENDED_WITHIN_S)
    seen, asked_at = services.ledger.last_seq(model), datetime.now(UTC)
    services.runs.resume(run, form)
    surface.say("answered; the run takes it up")
    deadline = time.monotonic() + _RECORDED_WITHIN_S
    while time.monotonic() < deadline:
        recorded = _recorded(services, model, release, seen)
        if recorded is not None:
            return recorded
        state = services.runs.state(run)
        if state is not None and state.type == "PAUSED" and state.since > asked_at:
            raise BadInput(f"the answer does not count; the form says why: {run_url(services, run)}", run=run)
        time.sleep(_LOOK_S)
    raise TransientError(f"the answer was taken, but is not on record after {_RECORDED_WITHIN_S:.0f} s; see {run}")


def _recorded(services: Services, model: ModelName, release: str, seen: int) -> LedgerRow | None:
    for row in services.ledger.rows(model):
        if row.seq <= seen or row.release != release:
            continue
        if row.event in (Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED):
            return row
        if row.event is Event.RELEASE_ENDED:
            raise ApprovalVoid(f"{release} ended {row.payload.get('outcome')}: {row.payload.get('reason')}")
    return None


def rollback(surface: Surface, reason: Reason, name: Name = None, model: Model = None, approver: Person = None) -> None:
    """Put the previous champion back into production, verified by what the server really answers.

    It needs the production server alone: Prefect and MLflow may be down.

    Example: lockgate rollback --model flight-delays --reason "complaints from EWR"
    """
    from lockgate.bootstrap import Services
    from lockgate.line import ask_for_sweep, line_of, roll_back

    began = time.monotonic()
    services = Services(load_settings())
    chosen = choose_model(services, either(name, model))
    who = require_role(services, Role.OPERATOR, what=f"roll {chosen} back", model=chosen, claimed=approver)
    line = line_of(chosen)
    done = roll_back(line, reason, who)
    seconds = round(time.monotonic() - began, 2)
    surface.text(f"{done['sentence']} ({seconds} s)")
    if not ask_for_sweep(line):
        surface.say("the registry's aliases follow when Prefect is back")
    surface.result({"model": chosen, "actor": who, "seconds": seconds, **done})
