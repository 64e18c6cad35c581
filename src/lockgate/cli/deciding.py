"""What a decision at the terminal puts into the form: a name that was typed, or a code that a token was worth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.cli.options import model_of, person
from lockgate.cli.roles import acting
from lockgate.cli.surface import Surface
from lockgate.core.approval_people import Person, Role
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event
from lockgate.errors import ApprovalVoid, BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.approval_code import Claim


def decider(services: Services, model: ModelName, release: str, decision: str, claimed: str | None) -> Person | str:
    """Return the person who decides, by their token; where approvers are not authenticated, the name they give.

    Raises:
        BadInput: They may not; it is on record.
    """
    who = acting(services, Role.APPROVER, what=f"{decision} {release}", model=model, claimed=claimed)
    return person(claimed) if who is None else who


def show_code(surface: Surface, services: Services, release: str, decision: str, who: Person | str) -> None:
    """Print a one-time code for the form in the Prefect UI.

    Raises:
        BadInput: Nobody was added, so that a form asks for no code.
    """
    if isinstance(who, str):
        raise BadInput("nobody was added, so the form asks for a name and no code; see lockgate approver add --help")
    code, claim = _code(services, release, decision, who)
    surface.say(f"good once, to {decision} {release}, until {claim.expires_at:%H:%M:%S} UTC; into the field Code:")
    surface.text(code)
    told: dict[str, Json] = {"release": release, "decision": decision, "approver": who.name, "code": code}
    surface.result({**told, "expires_at": claim.expires_at.isoformat()})


def signed(services: Services, release: str, decision: str, who: Person | str) -> tuple[str, dict[str, Json]]:
    """Return who decides, and the field of the form that says so: `approver`, or `code`."""
    if isinstance(who, str):
        return who, {"approver": who}
    return who.name, {"code": _code(services, release, decision, who)[0]}


def _code(services: Services, release: str, decision: str, who: Person) -> tuple[str, Claim]:
    from lockgate.core.approval_code import Bound

    name = ReleaseId(release)
    asked = services.ledger.rows(model_of(services.ledger, release), release=name, events=(Event.APPROVAL_ASKED,))[-1]
    if asked.payload.get("authenticated") is not True:
        raise ApprovalVoid(f"{release} was asked about before anybody was added as approver; start a new release")
    dossier = Digest(str(asked.payload["dossier"]))
    return services.approvers.code(who, Bound(release=name, dossier=dossier, decision=decision))
