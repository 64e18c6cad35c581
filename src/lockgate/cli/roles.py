"""Who acts at this terminal, and whether they may: the token is asked for once people were added, and never before.

Nobody was added: everybody on this machine is admin, and a name is what is typed. Somebody was: each command that
changes something takes the person from their token, and every refusal is a row of the ledger.
"""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lockgate.cli.options import person
from lockgate.config import approver_token
from lockgate.core.approval_people import Person, Role
from lockgate.core.ids import ModelName
from lockgate.core.ledger import Event
from lockgate.errors import BadInput

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

_HOW = "put it into a file of mode 600 and name that in LOCKGATE_APPROVER_TOKEN_FILE"


def require_role(
    services: Services, role: Role | str, *, what: str, model: ModelName, claimed: str | None = None
) -> str:
    """Return the name of whoever acts, if they may; it goes on record as who did it.

    Args:
        services: This installation's parts.
        role: What it takes: viewer, operator, approver or admin.
        what: What they want to do, for the record: "abort the rollout of flight-delays-0002".
        model: In whose chain a refusal is recorded.
        claimed: The name they gave (`--as`); without approvers it is believed, with them it must be the token's.

    Raises:
        BadInput: They may not; it is on record.
    """
    who = acting(services, role, what=what, model=model, claimed=claimed)
    return person(claimed) if who is None else who.name


def acting(
    services: Services, role: Role | str, *, what: str, model: ModelName, claimed: str | None = None
) -> Person | None:
    """Return the person whose token this process was given, if they may; None where nobody was ever added.

    Raises:
        BadInput: They may not; it is on record.
    """
    people = services.approvers
    if not people.exist:
        return None
    with refusals_recorded(services, what=what, model=model) as by:
        token = approver_token()
        if token is None:
            raise BadInput(f"to {what} needs the token of a person with the role {Role(role)}; {_HOW}")
        who = people.who(token)
        by.name = who.name
        if claimed is not None and claimed != who.name:
            raise BadInput(f"the token is that of {who.name}, not of {claimed!r}; leave --as out, or give their token")
        if not who.role.allows(Role(role)):
            raise BadInput(f"{who.name} is {who.role}; to {what} needs the role {Role(role)}")
    return who


class By:
    """Whom a refusal is recorded of.

    Attributes:
        name: A person's name, once known; else the login name, said to be no more than that.
    """

    def __init__(self, name: str | None = None) -> None:
        self.name = name or f"login {getpass.getuser()}"


@contextmanager
def refusals_recorded(services: Services, *, what: str, model: ModelName, by: str | None = None) -> Iterator[By]:
    """Record a refusal that the block raises, then let it pass on."""
    acts = By(by)
    try:
        yield acts
    except BadInput as refused:
        payload = {"what": f"to {what}", "by": acts.name, "reason": refused.message}
        services.ledger.append(model, Event.REFUSED, payload, actor=acts.name)
        raise
