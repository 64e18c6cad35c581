"""`lockgate override`: a gate that failed is let pass for a while, by two people, with a reason."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Model, Name, choose_model, either
from lockgate.cli.roles import acting, refusals_recorded
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.approval_people import Role
from lockgate.core.ids import Json
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.stages.overriding import Overriding

GateName = Annotated[str | None, typer.Option("--gate", metavar="GATE", help="Which gate. Left out: show what stands.")]
Until = Annotated[
    str | None,
    typer.Option(
        "--until", metavar="DATE", help="It holds for releases opened before this date (UTC), 30 days at most."
    ),
]
Why = Annotated[str, typer.Option("--reason", "-r", metavar="TEXT", help="Why, in your words. Everybody reads it.")]
Confirm = Annotated[bool, typer.Option("--confirm", help="Confirm what somebody else asked for: then it stands.")]
Withdraw = Annotated[bool, typer.Option("--withdraw", help="End it, or the request for it, now.")]


def override(  # noqa: PLR0913 - each is an option
    surface: Surface,
    name: Name = None,
    *,
    gate: GateName = None,
    until: Until = None,
    reason: Why = "",
    confirm: Confirm = False,
    withdraw: Withdraw = False,
    model: Model = None,
) -> None:
    """Let a FAIL of one gate pass for a while: one person asks, another confirms, each with their own token.

    It covers releases opened while it stands, and no ERROR or INCONCLUSIVE. It is said aloud in the dossier, the
    question, status and history. Some gates are never overridden: schema, leakage, parity, privacy, infra, staging.

    Example: lockgate override flight-delays --gate drift --until 2026-03-01 --reason "new airport, expected"
    """
    from lockgate.bootstrap import Services
    from lockgate.core.gates.registry import GATES, names
    from lockgate.stages.overriding import Overriding

    services = Services(load_settings())
    chosen = choose_model(services, either(name, model))
    book = Overriding(ledger=services.ledger, clock=services.clock, model=chosen, gates=names(GATES))
    if gate is None:
        _show(surface, book)
        return
    what = f"{'confirm' if confirm else 'withdraw' if withdraw else 'ask for'} an override of gate {gate} of {chosen}"
    who = acting(services, Role.APPROVER, what=what, model=chosen)
    with refusals_recorded(services, what=what, model=chosen, by=None if who is None else who.name):
        if who is None:
            raise BadInput("an override needs two people who can be told apart; add them: lockgate approver add NAME")
        _act(surface, book, gate, by=who.name, until=until, reason=reason, confirm=confirm, withdraw=withdraw)


def _act(  # noqa: PLR0913 - the command's options
    surface: Surface,
    book: Overriding,
    gate: str,
    *,
    by: str,
    until: str | None,
    reason: str,
    confirm: bool,
    withdraw: bool,
) -> None:
    from lockgate.core.approval_overrides import Wanted

    if confirm and withdraw:
        raise BadInput("--confirm and --withdraw say two things; give one")
    told: dict[str, Json] = {"model": book.model, "gate": gate, "by": by}
    if confirm:
        stands = book.confirm(gate, by=by)
        surface.text(stands.shout(), "bold red")
        surface.result({**told, "state": "stands", "until": stands.until.isoformat(), "people": list(stands.by)})
    elif withdraw:
        book.withdraw(gate, by=by, reason=reason)
        surface.text(f"gate {gate} of {book.model} is not overridden any more; releases that rest on it are blocked")
        surface.result({**told, "state": "withdrawn"})
    else:
        ends = _date(until)
        book.ask(Wanted(gate=gate, until=ends, reason=reason), by=by)
        command = f"lockgate override {book.model} --gate {gate} --confirm"
        surface.text(f"asked for; it stands once somebody else confirms it: {command}")
        surface.result({**told, "state": "asked", "until": ends.isoformat()})


def _date(text: str | None) -> datetime:
    if text is None:
        raise BadInput("an override needs an end; give one with --until, e.g. --until 2026-03-01")
    try:
        when = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise BadInput(f"{text!r} is no date; write it like 2026-03-01") from wrong
    return when if when.tzinfo else when.replace(tzinfo=UTC)


def _show(surface: Surface, book: Overriding) -> None:
    stands = book.stand()
    for each in stands:
        surface.text(each.shout(), "bold red")
    if not stands:
        surface.text(f"no gate of {book.model} is overridden")
    told: list[Json] = [
        {"gate": each.gate, "by": list(each.by), "until": each.until.isoformat(), "reason": each.reason}
        for each in stands
    ]
    surface.result({"model": book.model, "overrides": told})
