"""The auditor of people: every decision that needed two had two, every code was used once, every override was allowed.

APPROVAL_GIVEN     a code of its own where codes were asked for; a person who had not approved it and did not start it
                   under four eyes; `complete` only when as many approved as the spec and the starter ask for
promotion, rollout as many different people's approval as needed, of the blessing that ships
OVERRIDDEN         two people, a gate that may be, an end at most 30 days away, and the request of the first before it

With the chain of people beside it (`audit_people`): everybody who decided was there, had the role, and was not revoked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from lockgate.core.approval_overrides import LONGEST, NEVER
from lockgate.core.approval_people import Role, person_at
from lockgate.core.approval_rules import BOUND, POLICY, approvals, needed_on_record, starter_of, used_codes
from lockgate.core.ids import Json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.traffic import Kind
from lockgate.stages.findings import Finding, finding_at

_WHAT = "approval"
_ANSWERS = (Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED)


def audit_approvals(rows: Sequence[LedgerRow]) -> Iterator[Finding]:
    """Walk one model's rows in order and yield every decision that its people were not to take so."""
    for place, row in enumerate(rows):
        try:
            if row.event in _ANSWERS:
                yield from _answer(rows[:place], row)
            elif row.event is Event.OVERRIDDEN and not row.payload.get("withdrawn"):
                yield from _override(rows[:place], row)
            elif _ships(row):
                yield from _enough(rows[:place], row)
        except (KeyError, ValueError, TypeError) as incomplete:
            yield finding_at(row, "record", f"its payload is not what a {row.event.value} row holds ({incomplete!r})")


def audit_people(rows: Sequence[LedgerRow], people: Sequence[LedgerRow]) -> Iterator[Finding]:
    """Yield every decision of one model by somebody who could not take it then, by the chain of people.

    Args:
        rows: The model's rows.
        people: The rows of `PEOPLE`.
    """
    for row in rows:
        added = any(each.event is Event.PERSON_ADDED and each.at <= row.at for each in people)
        if row.event is Event.APPROVAL_ASKED and added and row.payload.get("authenticated") is not True:
            yield finding_at(row, _WHAT, "people had been added, and the question asked for no code")
        if row.event in _ANSWERS and row.payload.get("authenticated") is True:
            yield from _entitled(row, people, str(row.payload.get("approver")))
        if row.event is Event.OVERRIDDEN:
            for who in _list(row.payload.get("by")):
                yield from _entitled(row, people, str(who))


def _entitled(row: LedgerRow, people: Sequence[LedgerRow], name: str) -> Iterator[Finding]:
    found = person_at(people, name, row.at)
    if found is None:
        yield finding_at(row, _WHAT, f"{name} decided, who had not been added by then or had been revoked")
    elif not found.role.allows(Role.APPROVER):
        yield finding_at(row, _WHAT, f"{name} decided, who was {found.role} and no {Role.APPROVER}")


def _answer(before: Sequence[LedgerRow], row: LedgerRow) -> Iterator[Finding]:
    release, who = row.release, str(row.payload.get("approver"))
    asked = [each for each in before if each.release == release and each.event is Event.APPROVAL_ASKED]
    coded = bool(asked) and asked[-1].payload.get("authenticated") is True
    code = row.payload.get("code")
    if coded and who != POLICY and not code:
        yield finding_at(row, _WHAT, f"{who} decided without a code, and the question asked for one")
    if code and code in used_codes(before):
        yield finding_at(row, _WHAT, f"its code {code} had been used before")
    if row.event is not Event.APPROVAL_GIVEN or release is None:
        return
    approved = approvals([each for each in before if each.release == release], _bound(row))
    if any(each.payload.get("approver") == who for each in approved):
        yield finding_at(row, _WHAT, f"{who} had approved it already")
    needed = needed_on_record(before, release)
    if row.payload.get("complete") is True and len(approved) + 1 < needed:
        yield finding_at(row, _WHAT, f"it says it is complete, and {needed} different people were needed")
    rules = _rules(before, row)
    if rules.get("four_eyes") is True and who == starter_of(before, release, authenticated=coded) and coded:
        yield finding_at(row, _WHAT, f"{who} approved and had started it by token, and the spec asks for four eyes")


def _rules(before: Sequence[LedgerRow], row: LedgerRow) -> Mapping[str, Json]:
    opened = next((each for each in before if each.release == row.release and each.event is Event.RELEASE_OPENED), None)
    spec = None if opened is None else opened.payload.get("resolved_spec")
    rules = spec.get("approval") if isinstance(spec, Mapping) else None
    return rules if isinstance(rules, Mapping) else {}


def _ships(row: LedgerRow) -> bool:
    """Tell whether from this row on live requests are answered by the challenger."""
    if row.event is Event.ROLLOUT_BEGUN:
        return True
    promotion = str(row.payload.get("kind", Kind.PROMOTION.value)) == Kind.PROMOTION.value
    return row.event is Event.TRAFFIC_INTENDED and row.payload.get("environment") == "production" and promotion


def _enough(before: Sequence[LedgerRow], row: LedgerRow) -> Iterator[Finding]:
    mine = [each for each in before if each.release == row.release]
    last = [each for each in mine if each.event is Event.APPROVAL_GIVEN]
    if row.release is None or not last:
        return  # `audit_release.py` says that nobody approved
    needed, given = needed_on_record(before, row.release), approvals(mine, _bound(last[-1]))
    if len(given) < needed:
        yield finding_at(row, _WHAT, f"production was switched on {len(given)} of {needed} people's approval")


def _bound(row: LedgerRow) -> dict[str, Json]:
    return {what: row.payload.get(what) for what in BOUND}


def _override(before: Sequence[LedgerRow], row: LedgerRow) -> Iterator[Finding]:
    gate, by, until = (
        str(row.payload["gate"]),
        _list(row.payload["by"]),
        datetime.fromisoformat(str(row.payload["until"])),
    )
    if len({str(each).casefold() for each in by}) != 2:
        yield finding_at(row, "override", f"gate {gate} was overridden by {', '.join(map(str, by))}, not by two people")
    if gate in NEVER:
        yield finding_at(row, "override", f"gate {gate} may never be overridden: {NEVER[gate]}")
    if not row.at < until <= row.at + LONGEST:
        yield finding_at(row, "override", f"its end {until.isoformat()} is over, or more than {LONGEST.days} days away")
    asked = [each for each in before if each.event is Event.OVERRIDE_ASKED and each.seq == row.payload.get("asked")]
    wanted = {"gate": gate, "by": by[0] if by else None, "until": row.payload["until"], "reason": row.payload["reason"]}
    if not asked or any(asked[0].payload.get(what) != told for what, told in wanted.items()):
        yield finding_at(row, "override", f"nobody had asked for this override of gate {gate} before it was confirmed")


def _list(given: Json) -> Sequence[Json]:
    return given if isinstance(given, list | tuple) else ()
