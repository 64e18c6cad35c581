from __future__ import annotations

from dataclasses import asdict, replace

import pytest

from lockgate.core.blessing import Subjects
from lockgate.core.ids import Digest, ReleaseId, Stage, digest_of
from lockgate.core.ledger import Event
from lockgate.core.records import read_record
from lockgate.core.verdict import Verdict
from lockgate.errors import MeasurementError, NotBlessed
from lockgate.stages.recording import (
    bless_release,
    blessing_of,
    judge_and_record,
    read_evidence,
    read_report,
    reports_of,
)
from tests.fakes import FakeClock, FakeLedger
from tests.record import MODEL, REQUIRED, TOY_GATES, ToyThresholds, Writer

FIRST = ReleaseId("flights-0001")
BUNDLE, OTHER = Digest("b" * 64), Digest("c" * 64)


@pytest.fixture
def writer() -> Writer:
    clock = FakeClock()
    return Writer(FakeLedger(clock), clock, FIRST, BUNDLE)


def test_evidence_is_on_record_before_its_verdict(writer: Writer) -> None:
    (report,) = writer.judge(Stage.INFRA)
    evidence, verdict = writer.ledger.rows(MODEL)
    assert (evidence.event, verdict.event) == (Event.EVIDENCE, Event.VERDICT)
    assert read_evidence(evidence).digest == digest_of(evidence.payload) == report.evidence
    assert read_report(verdict) == report
    assert report.verdict is Verdict.PASS


def test_the_thresholds_that_judged_are_on_record_and_read_back_equal(writer: Writer) -> None:
    mine = ToyThresholds(least=0.95)
    writer.spec = replace(writer.spec, gates={"infra": mine})
    (report,) = writer.judge(Stage.INFRA)
    assert report.verdict is Verdict.FAIL
    assert read_record(ToyThresholds, writer.ledger.rows(MODEL)[1].payload["thresholds"]) == mine


def test_a_gate_without_measurements_reports_error_without_evidence(writer: Writer) -> None:
    (report,) = judge_and_record(
        writer.ledger,
        writer.clock,
        model=MODEL,
        release=FIRST,
        stage=Stage.INFRA,
        gates=TOY_GATES,
        thresholds={},
        measurements={},
        subjects={},
    )
    assert (report.verdict, report.evidence) == (Verdict.ERROR, None)
    assert [row.event for row in writer.ledger.rows(MODEL)] == [Event.VERDICT]
    assert reports_of(writer.ledger, MODEL, FIRST) == (report,)


def test_measurements_for_a_gate_of_another_stage_are_refused(writer: Writer) -> None:
    with pytest.raises(MeasurementError, match="its gates: infra"):
        judge_and_record(
            writer.ledger,
            writer.clock,
            model=MODEL,
            release=FIRST,
            stage=Stage.INFRA,
            gates=TOY_GATES,
            thresholds={},
            measurements={"quality": {}},
            subjects={},
        )
    assert writer.ledger.rows(MODEL) == ()


@pytest.mark.parametrize("score", [float("nan"), None])
def test_a_score_that_was_not_measured_never_passes(writer: Writer, score: float | None) -> None:
    (report,) = writer.judge(Stage.INFRA, score)
    assert report.verdict is Verdict.ERROR


def test_a_judge_that_breaks_leaves_the_evidence_and_no_verdict(writer: Writer) -> None:
    with pytest.raises(TypeError):
        writer.judge(Stage.INFRA, "many")
    assert [row.event for row in writer.ledger.rows(MODEL)] == [Event.EVIDENCE]


def test_the_newest_verdict_of_a_gate_counts(writer: Writer) -> None:
    writer.judge(Stage.INFRA, 0.1)
    writer.judge(Stage.EVALUATE)
    (newest,) = writer.judge(Stage.INFRA, 0.9)
    assert [report.gate for report in reports_of(writer.ledger, MODEL, FIRST)] == ["infra", "quality"]
    assert reports_of(writer.ledger, MODEL, FIRST)[0] == newest


def test_a_blessing_is_recorded_once_and_read_back_with_the_same_digest(writer: Writer) -> None:
    blessing = writer.bless()
    assert bless_release(writer.ledger, MODEL, writer.subjects, REQUIRED) == blessing
    (row,) = writer.ledger.rows(MODEL, events=(Event.BLESSING,))
    assert digest_of(row.payload) == blessing.digest
    assert blessing_of(writer.ledger, MODEL, FIRST) == blessing


def test_a_failed_gate_is_not_blessed_even_after_it_once_passed(writer: Writer) -> None:
    writer.judge(Stage.EVALUATE)
    writer.judge(Stage.INFRA, 0.9)
    writer.judge(Stage.INFRA, 0.1)
    with pytest.raises(NotBlessed, match="train longer"):
        bless_release(writer.ledger, MODEL, writer.subjects, REQUIRED)
    assert writer.ledger.rows(MODEL, events=(Event.BLESSING,)) == ()
    with pytest.raises(NotBlessed, match="lockgate explain"):
        blessing_of(writer.ledger, MODEL, FIRST)


@pytest.mark.parametrize("role", ["bundle", "data", "spec", "champion", "code"])
def test_evidence_of_something_else_than_what_would_ship_is_not_blessed(writer: Writer, role: str) -> None:
    writer.champion = Digest("a" * 64)
    writer.judge(Stage.EVALUATE)
    writer.judge(Stage.INFRA)
    with pytest.raises(NotBlessed, match=f"measured {role}"):
        bless_release(writer.ledger, MODEL, _with(writer.subjects, role), REQUIRED)


def _with(subjects: Subjects, role: str) -> Subjects:
    return read_record(Subjects, {**asdict(subjects), role: OTHER})


def test_a_sandbox_test_that_does_not_name_its_bundle_is_not_blessed(writer: Writer) -> None:
    judge_and_record(
        writer.ledger,
        writer.clock,
        model=MODEL,
        release=FIRST,
        stage=Stage.INFRA,
        gates=TOY_GATES,
        thresholds={},
        measurements={"infra": {"score": 1.0}},
        subjects={},
    )
    with pytest.raises(NotBlessed, match="which bundle"):
        bless_release(writer.ledger, MODEL, writer.subjects, ["infra"])


def test_a_verdict_that_comes_between_reading_and_blessing_is_seen(writer: Writer) -> None:
    ledger = FakeLedger(writer.clock)
    raced: list[Event] = []
    writer.ledger = ledger

    def race(event: Event) -> None:
        if event is Event.BLESSING and not raced:
            raced.append(event)
            writer.judge(Stage.INFRA, 0.1)

    ledger.before_append = race
    with pytest.raises(NotBlessed, match="infra said FAIL"):
        writer.bless()
    assert raced


def test_a_gate_that_failed_is_not_measured_again_until_it_passes(writer: Writer) -> None:
    writer.judge(Stage.EVALUATE)
    writer.judge(Stage.INFRA, 0.1)
    writer.judge(Stage.INFRA, 0.9)
    with pytest.raises(NotBlessed, match="gate infra said FAIL before it said PASS"):
        bless_release(writer.ledger, MODEL, writer.subjects, REQUIRED)


def test_a_gate_that_could_not_measure_may_be_measured_again(writer: Writer) -> None:
    writer.judge(Stage.EVALUATE)
    writer.judge(Stage.INFRA, None)
    writer.judge(Stage.INFRA, 0.9)
    assert bless_release(writer.ledger, MODEL, writer.subjects, REQUIRED)
