"""The auditor passes a true record and finds every way of doctoring one that these tests know."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.heads import Head, head_message
from lockgate.core.ids import Digest, Json, ReleaseId, Stage, digest_of
from lockgate.core.ledger import Event, LedgerRow, next_row
from lockgate.core.spec import ApprovalSection
from lockgate.core.verdict import GateReport, Verdict, report
from lockgate.stages.audit import Means, verify
from lockgate.stages.findings import Finding
from tests.fakes import FakeClock, FakeDeployTarget, FakeLedger
from tests.record import MODEL, TOY_GATES, ToyThresholds, Writer, judge_toy

FIRST, SECOND = ReleaseId("flights-0001"), ReleaseId("flights-0002")
BUNDLE, NEXT = Digest("b" * 64), Digest("c" * 64)


def _sign(message: bytes) -> str:
    return f"signed {message!r}"


MEANS = Means(gates=TOY_GATES, verifies=lambda message, signature: signature == _sign(message))


def _writer() -> Writer:
    clock = FakeClock()
    return Writer(FakeLedger(clock), clock, FIRST, BUNDLE)


def _heads(rows: tuple[LedgerRow, ...]) -> tuple[Head, ...]:
    return tuple(
        Head(
            model=row.model,
            seq=row.seq,
            row_hash=row.row_hash,
            signature=_sign(head_message(row.model, row.seq, row.row_hash)),
        )
        for row in rows
    )


def _forged(rows: tuple[LedgerRow, ...], change: Callable[[LedgerRow], LedgerRow | None]) -> tuple[LedgerRow, ...]:
    """Doctor rows and rehash the whole chain, as someone with the database and the source could."""
    chain: list[LedgerRow] = []
    for row in filter(None, map(change, rows)):
        chain.append(
            next_row(
                model=row.model,
                at=row.at,
                event=row.event,
                release=row.release,
                actor=row.actor,
                payload=row.payload,
                last=chain[-1] if chain else None,
            )
        )
    return tuple(chain)


def _audit(rows: tuple[LedgerRow, ...], means: Means = MEANS) -> tuple[Finding, ...]:
    return verify(MODEL, rows, _heads(rows), means)


def _whats(findings: tuple[Finding, ...]) -> set[str]:
    return {finding.what for finding in findings}


def _with(row: LedgerRow, **facts: Json) -> LedgerRow:
    return replace(row, payload={**row.payload, **facts})


def test_a_true_record_of_two_releases_and_a_rollback_has_no_findings() -> None:
    from lockgate.stages.rollback import roll_back
    from lockgate.stages.traffic import Switch

    first = _writer().whole()
    second = Writer(first.ledger, first.clock, SECOND, NEXT, champion=BUNDLE, target=first.target).whole()
    roll_back(Switch(ledger=first.ledger, target=second.target, model=MODEL, timeout_s=0), "slower than hoped")
    assert _audit(first.ledger.rows(MODEL)) == ()


def test_a_promotion_that_was_undone_has_no_findings() -> None:
    first = _writer().whole()
    stuck = FakeDeployTarget(routing=first.target.routing, stuck_on=BUNDLE)
    second = Writer(first.ledger, first.clock, SECOND, NEXT, champion=BUNDLE, target=stuck)
    second.open()
    blessing = second.bless()
    second.judge(Stage.STAGING)
    second.approve(blessing)
    with pytest.raises(Exception, match="not verified"):
        second.promote()
    assert _audit(first.ledger.rows(MODEL)) == ()


def test_a_changed_number_breaks_the_chain_at_its_row() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    index = next(i for i, row in enumerate(rows) if row.event is Event.EVIDENCE)
    doctored = (*rows[:index], _with(rows[index], measurements={"score": 0.99}), *rows[index + 1 :])
    findings = verify(MODEL, doctored, _heads(rows), MEANS)
    assert ("chain", index + 1) in {(finding.what, finding.seq) for finding in findings}
    assert "evidence" in _whats(findings)


def test_a_removed_row_breaks_the_chain() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    findings = verify(MODEL, (*rows[:3], *rows[4:]), _heads(rows), MEANS)
    assert any(finding.what == "chain" and "row 4 is missing" in finding.message for finding in findings)


def test_a_cut_tail_shows_by_the_heads_that_were_signed() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    findings = verify(MODEL, rows[:-2], _heads(rows), MEANS)
    assert [finding.seq for finding in findings if finding.what == "head"] == [len(rows) - 1, len(rows)]


def test_a_tail_cut_together_with_its_heads_shows_by_a_copy_kept_elsewhere() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    cut = rows[:-2]
    assert verify(MODEL, cut, _heads(cut), MEANS) == ()
    (finding,) = verify(MODEL, cut, _heads(cut), replace(MEANS, copies=_heads(rows)[-1:]))
    assert (finding.what, finding.seq) == ("head", len(rows))


def test_a_rewritten_chain_shows_by_the_heads_that_were_signed() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    forged = _forged(rows, lambda row: _with(row, reason="honest") if row.event is Event.RELEASE_OPENED else row)
    findings = verify(MODEL, forged, _heads(rows), MEANS)
    assert _whats(findings) == {"head"}
    assert len(findings) == len(rows)


def test_a_row_that_nobody_signed_and_a_signature_of_another_key_are_found() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    heads = _heads(rows)
    assert _whats(verify(MODEL, rows, heads[:-1], MEANS)) == {"head"}
    other = replace(heads[0], signature="of another key")
    assert [finding.seq for finding in verify(MODEL, rows, (other, *heads[1:]), MEANS)] == [1]


def test_without_a_public_key_the_answer_is_not_that_all_is_well() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    assert _whats(verify(MODEL, rows, _heads(rows), replace(MEANS, verifies=None))) == {"head"}


def _blank(row: LedgerRow) -> LedgerRow:
    """Replace a row by one that says nothing, so that the sequences after it stay what they were."""
    return replace(row, event=Event.BATCH_LANDED, payload={"sha256": "", "name": ""})


def _drop(event: Event) -> Callable[[LedgerRow], LedgerRow | None]:
    return lambda row: _blank(row) if row.event is event else row


def _change(event: Event, **facts: Json) -> Callable[[LedgerRow], LedgerRow | None]:
    return lambda row: _with(row, **facts) if row.event is event else row


def _late(row: LedgerRow) -> LedgerRow:
    return replace(row, at=row.at + timedelta(days=1)) if row.event is Event.APPROVAL_GIVEN else row


def _no_staging(row: LedgerRow) -> LedgerRow:
    return _blank(row) if row.payload.get("gate") == "staging" else row


def _staged_another(row: LedgerRow) -> LedgerRow:
    staged = row.event is Event.EVIDENCE and row.payload["gate"] == "staging"
    return _with(row, subjects={"bundle": "e" * 64}) if staged else row


def _refused(row: LedgerRow) -> LedgerRow:
    return replace(row, event=Event.APPROVAL_REFUSED) if row.event is Event.APPROVAL_GIVEN else row


@pytest.mark.parametrize(
    ("forgery", "told"),
    [
        (_change(Event.EVIDENCE, measurements={"score": 0.1}), "evidence that is not on record"),
        (_change(Event.VERDICT, thresholds={"least": 0.99}), "FAIL by its evidence, PASS on record"),
        (_change(Event.VERDICT, gate="unheard-of"), "not known to this program"),
        (_change(Event.VERDICT, checks="none"), "is str, not a list"),
        (_change(Event.VERDICT, evidence="0" * 64), "evidence that is not on record"),
        (_drop(Event.EVIDENCE), "evidence that is not on record"),
        (_drop(Event.VERDICT), "gate infra did not report"),
        (_change(Event.BLESSING, reports={"infra": "0" * 64}), "names other reports"),
        (_drop(Event.BLESSING), "without a blessing of that bundle"),
        (_drop(Event.APPROVAL_GIVEN), "without an approval"),
        (_refused, "without an approval"),
        (_drop(Event.APPROVAL_ASKED), "nobody was asked"),
        (_change(Event.APPROVAL_GIVEN, dossier="e" * 64), "another dossier"),
        (_change(Event.APPROVAL_GIVEN, champion="e" * 64), "another champion"),
        (_change(Event.APPROVAL_GIVEN, blessing="e" * 64), "on the approval of another blessing"),
        (_late, "after its time ran out"),
        (_no_staging, "without a PASS of the staging gate"),
        (_staged_another, "without a PASS of the staging gate"),
        (_drop(Event.TRAFFIC_VERIFIED), "without verified production traffic"),
        (_drop(Event.TRAFFIC_INTENDED), "no intent on record"),
        (_change(Event.TRAFFIC_VERIFIED, to="e" * 64), "another change than its intent"),
        (_change(Event.TRAFFIC_VERIFIED, sequence=1), "no intent on record"),
        (_change(Event.TRAFFIC_INTENDED, to="e" * 64), "without a blessing of that bundle"),
        (_change(Event.TRAFFIC_INTENDED, kind="rollback"), "never verified in production"),
        (_change(Event.RELEASE_ENDED, outcome="splendid"), "is not what a release_ended row holds"),
    ],
)
def test_a_forged_record_that_is_whole_and_signed_still_does_not_add_up(
    forgery: Callable[[LedgerRow], LedgerRow | None], told: str
) -> None:
    rows = _forged(_writer().whole().ledger.rows(MODEL), forgery)
    findings = _audit(rows)
    assert any(told in finding.message for finding in findings), findings
    assert "chain" not in _whats(findings)


def test_a_sequence_that_goes_back_is_found() -> None:
    writer = _writer().whole()
    (verified,) = writer.ledger.rows(MODEL, events=(Event.TRAFFIC_VERIFIED,))
    writer.add(Event.TRAFFIC_VERIFIED, **verified.payload)
    (finding,) = _audit(writer.ledger.rows(MODEL))
    assert "it went back" in finding.message


def test_a_verdict_by_other_thresholds_than_the_specs_is_found() -> None:
    writer = _writer()
    judged_by = writer.spec
    writer.whole()
    stricter = replace(judged_by, gates={"infra": ToyThresholds(least=0.95)})
    rows = writer.ledger.rows(MODEL)
    assert _audit(rows, replace(MEANS, specs={judged_by.digest: judged_by})) == ()
    (finding,) = _audit(rows, replace(MEANS, specs={judged_by.digest: stricter}))
    assert finding.what == "thresholds"


def test_a_gate_that_reported_and_was_left_out_of_the_blessing_is_found() -> None:
    writer = _writer()
    writer.open()
    writer.judge(Stage.EVALUATE, 0.1)
    writer.judge(Stage.INFRA)
    from lockgate.stages.recording import bless_release

    bless_release(writer.ledger, MODEL, writer.subjects, ["infra"])
    (finding,) = _audit(writer.ledger.rows(MODEL))
    assert (finding.what, "quality" in finding.message) == ("blessing", True)


def _opened_with(spec: Json) -> Callable[[LedgerRow], LedgerRow | None]:
    """Return the change that puts a whole spec on record; what names the spec's digest names this one's."""
    digest = digest_of(spec)

    def change(row: LedgerRow) -> LedgerRow | None:
        return _with(row, spec=digest, resolved_spec=spec) if row.event is Event.RELEASE_OPENED else row

    return change


APPROVAL: dict[str, Json] = {"mode": "human", "approvers": ["Ada"], "four_eyes": True, "checklist": []}


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ({"gates": {"infra": {"least": 0.95}}}, "was not judged by the thresholds"),
        ({"gates": {"fairness": {}}}, "gate fairness never reported and was left out"),
        ({"approval": {**APPROVAL, "approvers": ["Grace"]}}, "Ada approved, and the spec names Grace"),
        ({"approval": {**APPROVAL, "checklist": ["read it"]}}, "checklist of the spec was not confirmed"),
        ({}, "it was blessed by another spec than it was opened with"),
    ],
)
def test_a_step_that_the_spec_on_record_did_not_allow_is_found_without_the_specs_file(spec: Json, told: str) -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    findings = _audit(_forged(rows, _opened_with(spec)))
    assert [told in finding.message for finding in findings].count(True) == 1, findings


def test_what_the_spec_on_record_allows_has_no_findings() -> None:
    gates = {gate.name: ToyThresholds() for gate in TOY_GATES}
    approval = ApprovalSection(approvers=("Ada",), four_eyes=True, checklist=())
    writer = replace(_writer(), spec_on_record=True)
    writer.spec = replace(writer.spec, gates=gates, approval=approval)
    rows = writer.whole().ledger.rows(MODEL)
    assert "resolved_spec" in rows[0].payload
    assert _audit(rows) == ()


def test_a_spec_on_record_that_is_not_the_one_it_was_opened_with_is_found() -> None:
    forged = _forged(_writer().whole().ledger.rows(MODEL), _change(Event.RELEASE_OPENED, resolved_spec={"gates": {}}))
    assert _whats(_audit(forged)) == {"record"}


@pytest.mark.parametrize(
    ("approver", "rules", "told"),
    [
        ("policy: when_all_pass", APPROVAL, "the policy approved, and the spec asks for a person"),
        ("worker", {**APPROVAL, "approvers": []}, "had started it, and the spec asks for four eyes"),
    ],
)
def test_an_approval_by_whom_the_spec_does_not_let_is_found(approver: str, rules: dict[str, Json], told: str) -> None:
    rows = _forged(_writer().whole().ledger.rows(MODEL), _change(Event.APPROVAL_GIVEN, approver=approver))
    findings = _audit(_forged(rows, _opened_with({"approval": rules})))
    assert any(told in finding.message for finding in findings), findings


def test_a_blessing_of_what_failed_before_it_passed_is_found() -> None:
    writer = _writer()
    writer.open()
    blessing = writer.bless()
    kept = [row for row in writer.ledger.rows(MODEL) if row.event is not Event.BLESSING]
    other = _writer()
    other.open()
    other.judge(Stage.INFRA, 0.1)
    failed = [row for row in other.ledger.rows(MODEL) if row.event is not Event.RELEASE_OPENED]
    blessed = [row for row in writer.ledger.rows(MODEL) if row.event is Event.BLESSING]
    findings = _audit(_forged((kept[0], *failed, *kept[1:], *blessed), lambda row: row))
    assert blessing.subjects.release == FIRST
    assert any("gate infra said FAIL before it said PASS" in finding.message for finding in findings), findings


def test_two_open_releases_are_found() -> None:
    writer = _writer()
    writer.open()
    Writer(writer.ledger, writer.clock, SECOND, NEXT).open()
    assert _whats(_audit(writer.ledger.rows(MODEL))) == {"outcome"}


def test_one_release_can_be_asked_about() -> None:
    writer = _writer().whole()
    rows = _forged(writer.ledger.rows(MODEL), _drop(Event.APPROVAL_GIVEN))
    assert verify(MODEL, rows, _heads(rows), MEANS, release=FIRST)
    assert _whats(verify(MODEL, rows, _heads(rows), MEANS, release=SECOND)) == {"missing"}


def _stricter_program() -> tuple[Gate, ...]:
    """Return the gates of a program that makes one check more than the one that judged."""

    def judge(evidence: Evidence, thresholds: ToyThresholds) -> GateReport:
        told = judge_toy(evidence, thresholds)
        more = replace(told.checks[0], name="a_new_check", verdict=Verdict.FAIL)
        return report(told.gate, told.stage, [*told.checks, more], evidence.digest)

    return tuple(replace(gate, judge=judge) for gate in TOY_GATES)


def test_verdicts_of_an_older_program_are_noted_where_what_both_check_agrees() -> None:
    rows = _writer().whole().ledger.rows(MODEL)
    newer = replace(MEANS, gates=_stricter_program(), code=Digest("f" * 64))
    findings = _audit(rows, newer)
    assert {finding.is_note for finding in findings} == {True}
    assert len(findings) == len([row for row in rows if row.event is Event.VERDICT])
    assert "verdict" in _whats(_audit(rows, replace(newer, code=None)))


@pytest.mark.parametrize("doctored", [{"observed": 0.99}, {"threshold": 0.95}])
def test_a_doctored_verdict_of_an_older_program_is_found_all_the_same(doctored: dict[str, Json]) -> None:
    def better(row: LedgerRow) -> LedgerRow:
        if row.event is not Event.VERDICT:
            return row
        checks: Any = row.payload["checks"]
        return _with(row, checks=[{**checks[0], **doctored}, *checks[1:]])

    rows = _forged(_writer().whole().ledger.rows(MODEL), better)
    newer = replace(MEANS, gates=_stricter_program(), code=Digest("f" * 64))
    assert "verdict" in _whats(_audit(rows, newer))


def test_a_verdict_that_its_own_checks_do_not_fold_to_is_no_other_programs_matter() -> None:
    writer = _writer()
    writer.open()
    writer.judge(Stage.EVALUATE, 0.1)
    rows = _forged(writer.ledger.rows(MODEL), _change(Event.VERDICT, verdict="PASS"))
    newer = replace(MEANS, gates=_stricter_program(), code=Digest("f" * 64))
    assert "verdict" in _whats(_audit(rows, newer))
