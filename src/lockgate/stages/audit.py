"""The auditor: re-derives from the record alone whether it is whole and whether it allowed what was done.

    rows ── chain whole? ── heads signed? copies elsewhere agree?
         ├─ every EVIDENCE still says what its digest says; every VERDICT follows from it by its gate and thresholds
         ├─ every BLESSING, approval, promotion and change of traffic had what it needed, before it (`audit_release.py`)
         ├─ every decision was taken by as many different people as it needed (`audit_approval.py`)
         └─ every look and move of a rollout follows from its statistics and the rows before it (`audit_rollout.py`)

It writes nothing, and what it finds is a value: an empty answer means that everything was recomputed and held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.heads import Head
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, digest_of, to_json
from lockgate.core.ledger import GENESIS, Event, LedgerRow, hash_row
from lockgate.core.records import read_record
from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import Check, GateReport, Verdict, could_not_measure, holds
from lockgate.core.verdict import report as make_report
from lockgate.errors import IntegrityError
from lockgate.stages.audit_approval import audit_approvals
from lockgate.stages.audit_release import audit_releases
from lockgate.stages.audit_rollout import audit_rollouts
from lockgate.stages.findings import PROGRAM, Finding, finding_at
from lockgate.stages.recording import read_evidence, read_report, spec_on_record

Verifies = Callable[[bytes, str], bool]
"""Tells whether the ledger's key signed these bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What an auditor brings along.

    Attributes:
        gates: The one list of gates.
        verifies: Checks a head's signature; None: signatures are not checked, which is itself a finding.
        specs: Specs by digest, for releases whose own spec is not on record: the thresholds of a verdict must be the
            spec's.
        copies: Heads that were copied elsewhere: the dossier, MLflow's tags.
        code: This program's digest. A verdict of another one may lack checks that this one makes, or have made others:
            then what both check must agree, and its own checks must fold to it. None: every verdict is taken as this
            program's own.
    """

    gates: Sequence[Gate]
    verifies: Verifies | None
    specs: Mapping[Digest, ReleaseSpec] = field(default_factory=dict)
    copies: Sequence[Head] = ()
    code: Digest | None = None


def verify(
    model: ModelName,
    rows: Sequence[LedgerRow],
    heads: Sequence[Head],
    means: Means,
    *,
    release: ReleaseId | None = None,
) -> tuple[Finding, ...]:
    """Recompute one model's record and return everything that does not hold, in the order of the rows.

    Args:
        model: Whose record.
        rows: All rows of its chain, in order.
        heads: All its signed heads, in order.
        means: What to verify with.
        release: Only what concerns this release, and the chain as a whole; None: every release.
    """
    found = [*_chain(model, rows), *_heads(model, rows, heads, means), *_verdicts(rows, means)]
    found += [*audit_releases(rows), *audit_approvals(rows), *audit_rollouts(rows)]
    if release is not None:
        found = [each for each in found if each.release in (None, release)]
        if not any(row.release == release for row in rows):
            found.append(Finding(model=model, release=release, what="missing", message=f"no row is of {release}"))
    return tuple(sorted(found, key=lambda each: each.seq or 0))


def _chain(model: ModelName, rows: Sequence[LedgerRow]) -> Iterator[Finding]:
    """Yield every place where the chain is broken, so that one doctored row does not hide another."""
    seq, hashed = 0, GENESIS
    for row in rows:
        what = None
        if row.seq != seq + 1:
            what = f"row {seq + 1} is missing" if row.seq > seq else f"row {row.seq} comes after row {seq}"
        elif row.prev_hash != hashed:
            what = "its previous hash is not the hash of the row before"
        elif row.row_hash != hash_row(row):
            what = "its content is not what was hashed"
        if what is not None:
            yield Finding(model=model, seq=row.seq, what="chain", message=f"row {row.seq}: {what}")
        seq, hashed = row.seq, row.row_hash


def _heads(model: ModelName, rows: Sequence[LedgerRow], heads: Sequence[Head], means: Means) -> Iterator[Finding]:
    by_seq, signed = {row.seq: row for row in rows}, {head.seq: head for head in heads}
    if means.verifies is None:
        yield Finding(model=model, what="head", message="no public key was given, so no signature was checked")
    for row in rows:
        head = signed.get(row.seq)
        if head is None:
            yield Finding(model=model, seq=row.seq, what="head", message=f"row {row.seq} was never signed")
        elif means.verifies is not None and not means.verifies(head.message, head.signature):
            yield Finding(model=model, seq=row.seq, what="head", message=f"the signature of row {row.seq} is not ours")
    for where, told in (("signed", heads), ("copied elsewhere", means.copies)):
        for head in told:
            signed_row = by_seq.get(head.seq)
            if signed_row is None:
                message = f"row {head.seq} was {where}, but the record ends before it or lost it"
                yield Finding(model=model, seq=head.seq, what="head", message=message)
            elif signed_row.row_hash != head.row_hash:
                message = f"row {head.seq} is not the one that was {where}"
                yield Finding(model=model, seq=head.seq, what="head", message=message)


def _verdicts(rows: Sequence[LedgerRow], means: Means) -> Iterator[Finding]:
    gates, evidence, thresholds = {gate.name: gate for gate in means.gates}, {}, dict[str, Mapping[str, Json]]()
    for row in rows:
        try:
            if row.event is Event.RELEASE_OPENED:
                thresholds[str(row.release)] = _thresholds(row, means)
            elif row.event is Event.EVIDENCE:
                evidence[digest_of(row.payload)] = read_evidence(row)
            elif row.event is Event.VERDICT:
                yield from _verdict(row, gates, evidence, thresholds.get(str(row.release), {}), means.code)
        except IntegrityError as unreadable:
            yield finding_at(row, "record", unreadable.message)


def _thresholds(opened: LedgerRow, means: Means) -> Mapping[str, Json]:
    """Return the thresholds a release must be judged by, by gate: those on record, or of a file with that digest.

    Raises:
        IntegrityError: The spec on record is not the one its digest names.
    """
    digest, content = spec_on_record(opened)
    if content is None:
        spec = means.specs.get(digest)
        named = {} if spec is None else dict(spec.gates)
        given = {gate.name: to_json(named.get(gate.name, gate.thresholds())) for gate in means.gates}
        return {} if spec is None else given
    gates = content.get("gates") if isinstance(content, Mapping) else None
    return gates if isinstance(gates, Mapping) else {}


def _verdict(
    row: LedgerRow,
    gates: Mapping[str, Gate],
    evidence: Mapping[Digest, Evidence],
    thresholds: Mapping[str, Json],
    code: Digest | None,
) -> Iterator[Finding]:
    report = read_report(row)
    gate = gates.get(report.gate)
    if gate is None:
        yield finding_at(row, "verdict", f"gate {report.gate} is not known to this program, so it was not recomputed")
        return
    recorded = row.payload.get("thresholds")
    if gate.name in thresholds and recorded != thresholds[gate.name]:
        yield finding_at(row, "thresholds", f"gate {gate.name} was not judged by the thresholds of the release's spec")
    if report.evidence is None:
        again = could_not_measure(report.gate, report.stage, report.reason)
    elif report.evidence not in evidence:
        yield finding_at(row, "evidence", f"gate {gate.name} judged evidence that is not on record before it")
        return
    else:
        judged = evidence[report.evidence]
        if (judged.gate, judged.stage, judged.release) != (report.gate, report.stage, row.release):
            yield finding_at(row, "evidence", f"gate {gate.name} judged evidence of {judged.gate} in {judged.release}")
        again = gate.judge(judged, read_record(gate.thresholds, recorded))
        by = judged.subjects.get("code")
        if code and by and by != code and _substance(again) != _substance(report) and _agree(report, again):
            yield finding_at(row, PROGRAM, f"gate {gate.name} was judged by program {by[:12]}; what both check agrees")
            return
    if _substance(again) != _substance(report):
        told = f"{again.verdict} by its evidence, {report.verdict} on record"
        yield finding_at(row, "verdict", f"gate {gate.name} is {told}; its numbers or its verdict were not derived so")


def _agree(recorded: GateReport, again: GateReport) -> bool:
    """Tell whether another program's report stands, as far as this one can say.

    Both observed the same wherever both observed something, what passed is on the right side of its threshold, and the
    recorded checks fold to the recorded verdict. Thresholds, units and what binds are the other program's own.
    """
    ours = {(check.name, check.slice): check.observed for check in again.checks}
    both = [(check.observed, ours[key]) for check in recorded.checks if (key := (check.name, check.slice)) in ours]
    alike = all(then == now for then, now in both if None not in {then, now})
    folded = make_report(recorded.gate, recorded.stage, recorded.checks, recorded.evidence or Digest(""))
    return bool(both) and alike and all(map(_stands, recorded.checks)) and folded.verdict is recorded.verdict


def _stands(check: Check) -> bool:
    """Tell whether a check that passed is on the right side of its threshold."""
    if check.verdict is not Verdict.PASS:
        return True
    if check.observed is None:
        return False
    return check.threshold is None or holds(check.observed, check.threshold, check.direction)


def _substance(report: GateReport) -> Digest:
    """Hash what a verdict says without its wording, which may be improved from one version to the next."""
    checks = tuple(replace(check, reason="") for check in report.checks)
    return digest_of(replace(report, checks=checks, reason=""))
