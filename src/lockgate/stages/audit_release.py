"""The auditor's second half: each step of a release had, before it, everything that allows it.

BLESSING          the newest report of every gate it names, all PASS (or FAIL and overridden by two people) on
                  evidence about what it blesses; it names every gate of stages 1 to 7 that its spec had thresholds for
APPROVAL_GIVEN    the question it answers: the same blessing, dossier and champion; an unbroken time limit; somebody
                  whom the release's spec lets approve
promotion intent  a blessing, the staging gate's PASS and an approval, all of the bundle that gets the traffic
way back          a bundle that was verified there before
traffic rows      sequences that only grow, each the row of an intent with the same ends
RELEASE_ENDED     `promoted` only after verified production traffic
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from lockgate.core.approval_overrides import lets_pass, standing
from lockgate.core.approval_rules import POLICY
from lockgate.core.blessing import Blessing, bless
from lockgate.core.gates.registry import required_for_blessing
from lockgate.core.ids import Digest, Json, ReleaseId, Stage, digest_of
from lockgate.core.ledger import Event, LedgerRow, Outcome
from lockgate.core.spec import ApprovalMode
from lockgate.core.traffic import Kind
from lockgate.core.verdict import Verdict
from lockgate.errors import IntegrityError, NotBlessed
from lockgate.stages.findings import Finding, finding_at
from lockgate.stages.recording import (
    newest_reports,
    read_blessing,
    read_evidence,
    read_report,
    refuse_failed_before,
    refuse_other_subjects,
)

_PRODUCTION = "production"


def audit_releases(rows: Sequence[LedgerRow]) -> Iterator[Finding]:
    """Walk one model's rows in order and yield every step that was not allowed by what came before it."""
    seen = _Seen()
    for row in rows:
        try:
            yield from _STEPS.get(row.event, _nothing)(seen, row)
        except IntegrityError as unreadable:
            yield finding_at(row, "record", unreadable.message)
        except (KeyError, ValueError, TypeError) as incomplete:
            yield finding_at(row, "record", f"its payload is not what a {row.event.value} row holds ({incomplete!r})")
        seen.rows[row.release].append(row)


@dataclass(slots=True)
class _Seen:
    """What the walk has passed."""

    rows: dict[ReleaseId | None, list[LedgerRow]] = field(default_factory=lambda: defaultdict(list))
    open: ReleaseId | None = None
    intents: dict[int, LedgerRow] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    verified: set[tuple[str, str]] = field(default_factory=set)
    promoted: set[tuple[ReleaseId | None, str]] = field(default_factory=set)

    def of(self, release: ReleaseId | None, *events: Event) -> list[LedgerRow]:
        return [row for row in self.rows[release] if row.event in events]


def _nothing(_seen: _Seen, _row: LedgerRow) -> Iterator[Finding]:
    yield from ()


def _opened(seen: _Seen, row: LedgerRow) -> Iterator[Finding]:
    if seen.open not in (None, row.release):
        yield finding_at(row, "outcome", f"{row.release} was opened while {seen.open} was open")
    seen.open = row.release


def _ended(seen: _Seen, row: LedgerRow) -> Iterator[Finding]:
    if seen.open == row.release:
        seen.open = None
    outcome = Outcome(str(row.payload["outcome"]))
    if outcome is Outcome.PROMOTED and not any(release == row.release for release, _ in seen.promoted):
        yield finding_at(row, "outcome", f"{row.release} ended as promoted without verified production traffic")


def _blessed(seen: _Seen, row: LedgerRow) -> Iterator[Finding]:
    blessing, before = read_blessing(row), seen.of(row.release, Event.EVIDENCE, Event.VERDICT)
    reports, excused = newest_reports(before), _excused(seen, row.release, blessing)
    try:
        again = bless(blessing.subjects, reports, blessing.reports, excused)
        refuse_other_subjects(before, blessing.subjects, blessing.reports)
        refuse_failed_before(before, set(blessing.reports) - set(excused))
    except NotBlessed as refused:
        yield finding_at(row, "blessing", f"the record does not allow it: {refused.message}")
    else:
        if again.digest != blessing.digest:
            yield finding_at(row, "blessing", "it names other reports than those on record before it")
    if blessing.subjects.release != row.release:
        yield finding_at(row, "blessing", f"it is of {blessing.subjects.release}, recorded for {row.release}")
    opened = seen.of(row.release, Event.RELEASE_OPENED)
    if opened and opened[0].payload.get("spec") != blessing.subjects.spec:
        yield finding_at(row, "blessing", "it was blessed by another spec than it was opened with")
    left_out = sorted({each.gate for each in reports if each.stage is not Stage.STAGING} - set(blessing.reports))
    if left_out:
        yield finding_at(row, "blessing", f"gate {left_out[0]} reported and was left out of it")
    asked = _part(_spec(seen, row.release), "gates")
    silent = sorted(set(asked) & set(required_for_blessing()) - set(blessing.reports) - set(left_out))
    if silent:
        yield finding_at(row, "blessing", f"gate {silent[0]} never reported and was left out of it")


def _excused(seen: _Seen, release: ReleaseId | None, blessing: Blessing) -> Mapping[str, Digest]:
    """Return what two people let pass, by the record alone: what a blessing says of itself allows nothing."""
    if release is None:
        return {}
    rows = [*seen.of(None, Event.OVERRIDDEN), *seen.of(release, Event.RELEASE_OPENED)]
    verdicts = map(read_report, seen.of(release, Event.VERDICT))
    return lets_pass(verdicts, blessing.reports, standing(rows, release))


def _spec(seen: _Seen, release: ReleaseId | None) -> Json:
    """Return the spec that a release was opened with; None where it is not on record."""
    opened = seen.of(release, Event.RELEASE_OPENED)
    return opened[0].payload.get("resolved_spec") if opened else None


def _part(content: Json, name: str) -> Mapping[str, Json]:
    found = content.get(name) if isinstance(content, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def _approved(seen: _Seen, row: LedgerRow) -> Iterator[Finding]:
    blessing = _blessing_before(seen, row.release)
    asked = seen.of(row.release, Event.APPROVAL_ASKED)
    if blessing is None or row.payload["blessing"] != blessing.digest:
        yield finding_at(row, "approval", "it is of another blessing than the one on record before it")
    if not asked:
        yield finding_at(row, "approval", "nobody was asked before it was given")
        return
    question = asked[-1].payload
    for what in ("blessing", "dossier", "champion"):
        if row.payload.get(what) != question.get(what):
            yield finding_at(row, "approval", f"what was approved is another {what} than what was asked")
    if row.at > datetime.fromisoformat(str(question["expires_at"])):
        yield finding_at(row, "approval", f"it came after its time ran out at {question['expires_at']}")
    yield from _allowed_to(seen, row)


def _allowed_to(seen: _Seen, row: LedgerRow) -> Iterator[Finding]:
    """Yield why whoever approved was not to, by the spec that the release was opened with."""
    rules, who = _part(_spec(seen, row.release), "approval"), str(row.payload.get("approver"))
    if not rules:
        return
    if rules.get("mode") != ApprovalMode.WHEN_ALL_PASS.value and who == POLICY:
        yield finding_at(row, "approval", "the policy approved, and the spec asks for a person")
    if who == POLICY:
        return
    named, confirmed = _list(rules.get("approvers")), _list(row.payload.get("checklist"))
    if named and who not in named:
        yield finding_at(row, "approval", f"{who} approved, and the spec names {', '.join(map(str, named))}")
    if rules.get("four_eyes") is True and who == seen.of(row.release, Event.RELEASE_OPENED)[0].payload["started_by"]:
        yield finding_at(row, "approval", f"{who} approved and had started it, and the spec asks for four eyes")
    if any(item not in confirmed for item in _list(rules.get("checklist"))):
        yield finding_at(row, "approval", "the checklist of the spec was not confirmed")


def _list(given: Json) -> Sequence[Json]:
    return given if isinstance(given, list | tuple) else ()


def _intended(seen: _Seen, row: LedgerRow) -> Iterator[Finding]:
    environment, to = str(row.payload["environment"]), str(row.payload["to"])
    seen.intents[row.seq] = row
    if Kind(str(row.payload.get("kind", Kind.PROMOTION.value))) is not Kind.PROMOTION:
        if (environment, to) not in seen.verified:
            yield finding_at(row, "traffic", f"it goes back to {to[:12]}, which was never verified in {environment}")
        return
    blessing = _blessing_before(seen, row.release)
    if blessing is None or blessing.subjects.bundle != to:
        yield finding_at(row, "traffic", f"{to[:12]} was to serve in {environment} without a blessing of that bundle")
    elif environment == _PRODUCTION:
        yield from _allowed_in_production(seen, row, blessing)


def _allowed_in_production(seen: _Seen, row: LedgerRow, blessing: Blessing) -> Iterator[Finding]:
    if not _staged(seen, row.release, blessing.subjects.bundle):
        yield finding_at(row, "traffic", "production was switched without a PASS of the staging gate for this bundle")
    answers = seen.of(row.release, Event.APPROVAL_GIVEN, Event.APPROVAL_REFUSED)
    if not answers or answers[-1].event is not Event.APPROVAL_GIVEN:
        yield finding_at(row, "traffic", "production was switched without an approval")
    elif answers[-1].payload["blessing"] != blessing.digest:
        yield finding_at(row, "traffic", "production was switched on the approval of another blessing")


def _staged(seen: _Seen, release: ReleaseId | None, bundle: Digest) -> bool:
    verdicts = [r for r in map(read_report, seen.of(release, Event.VERDICT)) if r.stage is Stage.STAGING]
    if not verdicts or verdicts[-1].verdict is not Verdict.PASS:
        return False
    about = {digest_of(row.payload): row for row in seen.of(release, Event.EVIDENCE)}
    evidence = about.get(verdicts[-1].evidence or Digest(""))
    return evidence is not None and read_evidence(evidence).subjects.get("bundle") == bundle


def _closed(seen: _Seen, row: LedgerRow) -> Iterator[Finding]:
    environment, sequence = str(row.payload["environment"]), int(str(row.payload["sequence"]))
    intent = seen.intents.get(sequence)
    if intent is None:
        yield finding_at(row, "traffic", f"sequence {sequence} is no intent on record before it")
    elif row.event is Event.TRAFFIC_VERIFIED and any(
        row.payload.get(end) != intent.payload.get(end) for end in ("environment", "from", "to")
    ):
        yield finding_at(row, "traffic", f"it is of another change than its intent, row {sequence}")
    if row.event is not Event.TRAFFIC_VERIFIED:
        return
    if sequence <= seen.closed.get(environment, 0):
        yield finding_at(row, "traffic", f"sequence {sequence} comes after {seen.closed[environment]}: it went back")
    seen.closed[environment] = max(sequence, seen.closed.get(environment, 0))
    seen.verified.add((environment, str(row.payload["to"])))
    if environment == _PRODUCTION:
        seen.promoted.add((row.release, str(row.payload["to"])))


def _blessing_before(seen: _Seen, release: ReleaseId | None) -> Blessing | None:
    rows = seen.of(release, Event.BLESSING)
    return read_blessing(rows[-1]) if rows else None


_STEPS = {
    Event.RELEASE_OPENED: _opened,
    Event.RELEASE_RESUMED: _opened,
    Event.RELEASE_ENDED: _ended,
    Event.BLESSING: _blessed,
    Event.APPROVAL_GIVEN: _approved,
    Event.TRAFFIC_INTENDED: _intended,
    Event.TRAFFIC_VERIFIED: _closed,
    Event.TRAFFIC_UNVERIFIED: _closed,
}
