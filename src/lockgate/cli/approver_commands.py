"""`lockgate approver add | list | revoke`: the people who may decide, each with a token of their own."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from lockgate.cli.roles import require_role
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.approval_people import PEOPLE, Role
from lockgate.core.ids import Json

PersonName = Annotated[str, typer.Argument(metavar="NAME", help="Their name, as it goes on record.")]
RoleOption = Annotated[
    Role, typer.Option("--role", help="What they may do; each role may also do what those before it may.")
]
Output = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write the token there (mode 600) instead of showing it."),
]


def add(surface: Surface, name: PersonName, role: RoleOption, output: Output = None) -> None:
    """Add a person and make their token, which is shown once and kept nowhere.

    The first one is an admin, and from then on nobody decides, rolls back or controls a rollout without a token:
    it is read from the file that LOCKGATE_APPROVER_TOKEN_FILE names, or from LOCKGATE_APPROVER_TOKEN.

    Example: lockgate approver add maria --role approver --output maria.token
    """
    from lockgate.adapters.approvers import token_file
    from lockgate.bootstrap import Services

    services = Services(load_settings())
    by = require_role(services, Role.ADMIN, what=f"add {name} as {role}", model=PEOPLE)
    shown: str | None = None
    if output is None:
        shown = services.approvers.add(name, role, by=by)
        surface.say(f"{name} is {role} now; this is their token, shown this once:", "bold")
        surface.text(shown)
    else:
        with token_file(output) as write:
            write(services.approvers.add(name, role, by=by))
        surface.text(f"{name} is {role} now; their token is in {output}")
    told: dict[str, Json] = {"name": name, "role": role.value, "by": by}
    surface.result({**told, "token": shown, "file": None if output is None else str(output)})


def show(surface: Surface) -> None:
    """Show who was added, with which role, and who was revoked.

    Example: lockgate approver list
    """
    from lockgate.bootstrap import Services

    people = Services(load_settings()).approvers.people()
    if not people:
        surface.text("nobody was added: approvers are not authenticated, and everybody on this machine is admin")
    surface.table(
        "People",
        ("name", "role", "since", "added by", "revoked"),
        [(p.name, p.role, _day(p.added_at), p.added_by, _day(p.revoked_at)) for p in people],
    )
    told: list[Json] = [
        {
            "name": each.name,
            "role": each.role.value,
            "added_at": each.added_at.isoformat(),
            "added_by": each.added_by,
            "revoked_at": None if each.revoked_at is None else each.revoked_at.isoformat(),
        }
        for each in people
    ]
    surface.result({"authenticated": bool(people), "people": told})


def _day(when: datetime | None) -> str:
    return "" if when is None else f"{when:%Y-%m-%d %H:%M}"


def revoke(surface: Surface, name: PersonName) -> None:
    """Revoke a person: from now on their token and every code made with it are refused.

    Example: lockgate approver revoke maria
    """
    from lockgate.bootstrap import Services

    services = Services(load_settings())
    by = require_role(services, Role.ADMIN, what=f"revoke {name}", model=PEOPLE)
    services.approvers.revoke(name, by=by)
    surface.text(f"{name} is revoked")
    surface.result({"name": name, "by": by})
