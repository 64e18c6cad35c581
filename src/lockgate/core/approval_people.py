"""Who may do what: named people with a role, as a chain of the ledger of their own adds them up.

The chain says who was added and revoked, by whom and when; what proves a person (the hash of a token) lies outside of
it, and the chain holds its fingerprint. Neither alone lets anybody in.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum

from lockgate.core.ids import Digest, ModelName
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput

PEOPLE = ModelName("_people")
"""The chain that records them. No model can have this name: a model's begins with a letter."""
AUTOMATION = ("schedule", "landing", "Prefect UI", "monitor", "message", "code change")
"""What `started_by` says of a release that no person is known to have started; see prefect.yaml and the flow."""
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9._-]{0,47}")
_RESERVED = frozenset(name.casefold() for name in (*AUTOMATION, "lockgate", "policy", "reaper", "selftest", "nobody"))


class Role(StrEnum):
    """What a person may do; each may also do what those before it may."""

    VIEWER = "viewer"
    OPERATOR = "operator"  # control rollouts, roll back
    APPROVER = "approver"  # decide on releases, ask for and confirm overrides
    ADMIN = "admin"  # add and revoke people

    def allows(self, needed: Role) -> bool:
        """Tell whether this role may do what `needed` may.

        >>> Role.APPROVER.allows(Role.OPERATOR), Role.VIEWER.allows(Role.OPERATOR)
        (True, False)
        """
        order = tuple(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One person.

    Attributes:
        name: As it goes on record.
        role: What they may do.
        fingerprint: Digest of the stored hash of their token.
        added_at: When.
        added_by: Who added them.
        revoked_at: When they were revoked; None while they were not.
    """

    name: str
    role: Role
    fingerprint: Digest
    added_at: datetime
    added_by: str
    revoked_at: datetime | None = None


def read_people(rows: Iterable[LedgerRow]) -> tuple[Person, ...]:
    """Return everybody whom the rows of `PEOPLE` ever added, in the order they were added; the newest entry a name.

    Raises:
        KeyError: A row's payload lacks a field.
    """
    people: dict[str, Person] = {}
    for row in rows:
        name = str(row.payload.get("name"))
        if row.event is Event.PERSON_ADDED:
            people[name] = Person(
                name=name,
                role=Role(str(row.payload["role"])),
                fingerprint=Digest(str(row.payload["fingerprint"])),
                added_at=row.at,
                added_by=row.actor,
            )
        elif row.event is Event.PERSON_REVOKED and name in people:
            people[name] = replace(people[name], revoked_at=row.at)
    return tuple(people.values())


def person_at(rows: Iterable[LedgerRow], name: str, when: datetime) -> Person | None:
    """Return who bore a name at a time and was not revoked by then; None when nobody did."""
    found = next((each for each in read_people(row for row in rows if row.at <= when) if each.name == name), None)
    return None if found is None or found.revoked_at is not None else found


def refuse_new(people: Iterable[Person], name: str, role: Role) -> None:
    """Check that a person may be added.

    Raises:
        BadInput: The name is malformed, reserved or taken, or the first person would be no admin.
    """
    known = tuple(people)
    if not _NAME.fullmatch(name):
        raise BadInput(f"{name!r} is no name for a person: 1 to 48 letters, digits, '.', '_' and '-', a letter first")
    if name.casefold() in _RESERVED:
        raise BadInput(f"{name!r} stands for a part of Lockgate on record; choose another name")
    taken = [each.name for each in known if each.revoked_at is None and each.name.casefold() == name.casefold()]
    if taken:
        raise BadInput(f"{taken[0]!r} is there already; for a new token first: lockgate approver revoke {taken[0]}")
    if not known and role is not Role.ADMIN:
        raise BadInput(f"the first person must be an admin, or nobody could add the next: add {name} with --role admin")


def refuse_revoking(people: Iterable[Person], name: str) -> None:
    """Check that a person may be revoked.

    Raises:
        BadInput: There is no such person, or nobody would be left to add the next.
    """
    current = [each for each in people if each.revoked_at is None]
    found = next((each for each in current if each.name == name), None)
    if found is None:
        raise BadInput(f"there is nobody called {name!r}; there are {', '.join(p.name for p in current) or 'none'}")
    if found.role is Role.ADMIN and sum(each.role is Role.ADMIN for each in current) == 1:
        raise BadInput(f"{name} is the only admin; add another first: lockgate approver add NAME --role admin")
