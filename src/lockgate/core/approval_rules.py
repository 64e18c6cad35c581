"""Four eyes: how many people must approve a release, and who has.

                                  one approval is enough       two different people must approve
    four_eyes: false              always
    four_eyes: true               a person started it          nobody is known to have started it:
                                  (and may not approve it)     the schedule, landed data, a button

Where approvers have tokens, only who showed one is known to have started a release; elsewhere the name that was given.
Everything is read from the ledger's rows, so that the flow, the promotion and the auditor count alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lockgate.core.approval_people import AUTOMATION
from lockgate.core.ids import Json, ReleaseId
from lockgate.core.ledger import Event, LedgerRow

POLICY = "policy: when_all_pass"
"""The approver on record when the spec lets passing gates decide."""
BOUND = ("blessing", "dossier", "champion")
"""What question and answer must agree in."""


def starter_of(rows: Iterable[LedgerRow], release: ReleaseId, *, authenticated: bool) -> str | None:
    """Return the person who started a release; None when none is known to have.

    Args:
        rows: The model's rows, or those of them that open and ask for releases.
        release: Which.
        authenticated: Whether approvers have tokens: then a name that was merely given proves nothing, because
            whoever reaches the orchestrator can give any.
    """
    kept = tuple(rows)
    opened = next((row for row in kept if row.release == release and row.event is Event.RELEASE_OPENED), None)
    if opened is None:
        return None
    if not authenticated:
        given = str(opened.payload.get("started_by"))
        return None if given in AUTOMATION else given
    run = opened.payload.get("run")
    proved = [row for row in kept if row.event is Event.RELEASE_ASKED and row.payload.get("run") == run]
    return str(proved[0].payload["by"]) if proved else None


def approvals_needed(*, four_eyes: bool, starter: str | None) -> int:
    """Return how many different people must approve.

    >>> [approvals_needed(four_eyes=True, starter=who) for who in ("ada", None)]
    [1, 2]
    """
    return 2 if four_eyes and starter is None else 1


def needed_on_record(rows: Sequence[LedgerRow], release: ReleaseId) -> int:
    """Return how many people must approve a release, by the spec on record with its opening.

    A release without a spec on record needs what its question said, and at least one.
    """
    asked = [row for row in rows if row.release == release and row.event is Event.APPROVAL_ASKED]
    told = asked[-1].payload.get("needed") if asked else None
    least = told if isinstance(told, int) else 1
    opened = next((row for row in rows if row.release == release and row.event is Event.RELEASE_OPENED), None)
    rules = _approval_of(opened)
    if rules.get("mode") == "when_all_pass":
        return 1
    authenticated = bool(asked and asked[-1].payload.get("authenticated") is True)
    starter = starter_of(rows, release, authenticated=authenticated)
    return max(least, approvals_needed(four_eyes=rules.get("four_eyes") is True, starter=starter))


def _approval_of(opened: LedgerRow | None) -> Mapping[str, Json]:
    spec = None if opened is None else opened.payload.get("resolved_spec")
    rules = spec.get("approval") if isinstance(spec, Mapping) else None
    return rules if isinstance(rules, Mapping) else {}


def approvals(rows: Iterable[LedgerRow], bound: Mapping[str, Json]) -> tuple[LedgerRow, ...]:
    """Return the approvals of one question, one a person: rows whose bound values are all the question's."""
    found: dict[str, LedgerRow] = {}
    for row in rows:
        if row.event is Event.APPROVAL_GIVEN and all(row.payload.get(what) == now for what, now in bound.items()):
            found.setdefault(str(row.payload.get("approver")), row)
    return tuple(found.values())


def used_codes(rows: Iterable[LedgerRow]) -> frozenset[str]:
    """Return the ids of every code that was ever given in, whether it counted or not."""
    kinds = (Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED, Event.REFUSED)
    return frozenset(str(row.payload["code"]) for row in rows if row.event in kinds and row.payload.get("code"))
