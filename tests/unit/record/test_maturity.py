"""The ML Test Score: nothing is claimed without a record, and the least of the four areas is the score."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.ids import Digest, Json, ReleaseId
from lockgate.core.ledger import Event
from lockgate.core.maturity import Answer, Area, Finding, Record, assess, meaning, read_record_of, trend
from tests.fakes import FakeClock, FakeLedger
from tests.record import MODEL, Writer

RELEASE = ReleaseId("flights-0001")
BUNDLE = Digest("b" * 64)
ANY_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def writer() -> Writer:
    clock = FakeClock()
    found = Writer(FakeLedger(clock), clock, RELEASE, BUNDLE)
    found.open()
    return found


def verdict(into: Writer, gate: str, checks: Mapping[str, str], said: str = "PASS", required: bool = True) -> None:
    told: list[Json] = [{"name": name, "verdict": each, "required": required} for name, each in checks.items()]
    into.add(Event.VERDICT, gate=gate, verdict=said, checks=told)


def measured(into: Writer, gate: str, **measurements: Json) -> None:
    into.add(Event.EVIDENCE, gate=gate, measurements=measurements)


def record(of: Writer, **more: Any) -> Record:
    return read_record_of(of.ledger.rows(MODEL), RELEASE, **more)


def answer(found: Record, id_: str) -> Finding:
    return next(each for each in assess(found).findings if each.id == id_)


def test_there_are_28_tests_in_four_areas_of_seven() -> None:
    found = assess(record(writer()))
    assert len({each.id for each in found.findings}) == 28
    assert [sum(each.area is area for each in found.findings) for area in Area] == [7, 7, 7, 7]


def test_without_a_record_every_answer_is_no() -> None:
    found = assess(record(writer()))
    assert {each.answer for each in found.findings} == {Answer.NO}
    assert found.score == 0.0
    assert all(each.why for each in found.findings)


def test_the_score_is_the_least_of_the_four() -> None:
    ours = writer()
    verdict(ours, "expectations", {"x": "PASS"})
    verdict(ours, "schema", {"x": "PASS"})
    found = assess(record(ours))
    assert found.areas[Area.DATA] == 1.0
    assert found.areas[Area.MONITORING] == 1.0
    assert found.areas[Area.MODEL] == 0.0
    assert found.score == 0.0


@given(ANY_JSON, ANY_JSON, ANY_JSON)
@settings(max_examples=60, deadline=None)
def test_no_record_is_too_odd_to_be_read_and_none_earns_a_point_without_evidence(
    one: Any, two: Any, three: Any
) -> None:
    ours = writer()
    for gate in ("training", "staging", "champion", "skew", "privacy", "fairness"):
        ours.add(Event.VERDICT, gate=gate, verdict=one, checks=two)
        ours.add(Event.EVIDENCE, gate=gate, measurements=three)
    evaluation = {"sections": dict.fromkeys(("contributions", "staleness", "slice_search", "errors"), one)}
    found = assess(record(ours, evaluation=evaluation, provenance=two, spec=three))
    assert all(each.evidence for each in found.findings if each.answer is not Answer.NO)


def test_a_gate_that_passed_because_nothing_applied_has_shown_nothing() -> None:
    ours = writer()
    verdict(ours, "fairness", {"groups": "NOT_APPLICABLE"})
    assert answer(record(ours, spec={"sensitive": ["sex"]}), "M7").answer is not Answer.YES
    verdict(ours, "reproducibility", {"refit": "NOT_APPLICABLE"})
    assert answer(record(ours), "I1").answer is Answer.NO


def test_skew_is_not_claimed_where_too_few_requests_were_compared() -> None:
    ours = writer()
    verdict(ours, "skew", {"log_read": "PASS", "feature_match_fraction": "INCONCLUSIVE"})
    assert answer(record(ours), "O3").answer is Answer.NO
    verdict(ours, "skew", {"log_read": "PASS", "feature_match_fraction": "PASS"})
    assert answer(record(ours), "O3").answer is Answer.YES


def test_a_search_at_the_edge_of_its_ranges_counts_half() -> None:
    ours = writer()
    measured(ours, "training", search={"made": 20, "edges": [{"parameter": "depth", "end": "upper"}]})
    verdict(ours, "training", {"finite": "PASS"})
    assert answer(record(ours), "M3").answer is Answer.HALF
    measured(ours, "training", search={"made": 20, "edges": []})
    verdict(ours, "training", {"finite": "PASS"})
    assert answer(record(ours), "M3").answer is Answer.YES


def test_features_that_earn_nothing_cost_half_a_point() -> None:
    ours = writer()
    verdict(ours, "schema", {"x": "PASS"})
    for idle, wanted in (([], Answer.YES), (["x"], Answer.HALF)):
        evaluation: Json = {"sections": {"contributions": {"earn_nothing": {"features": idle}}}}
        assert answer(record(ours, evaluation=evaluation), "D2").answer is wanted


def test_a_reviewed_model_needs_a_clean_commit() -> None:
    ours = writer()
    four_eyes: Json = {"approval": {"four_eyes": True}}
    assert answer(record(ours, provenance={"commit": "a", "dirty": True}, spec=four_eyes), "M1").answer is Answer.NO
    assert answer(record(ours, provenance={"commit": "a", "dirty": False}, spec=four_eyes), "M1").answer is Answer.YES
    assert answer(record(ours, provenance={"commit": "a", "dirty": False}), "M1").answer is Answer.HALF


def test_traffic_for_a_bundle_that_was_never_blessed_is_seen() -> None:
    ours = writer()
    ours.add(Event.TRAFFIC_INTENDED, environment="production", to=BUNDLE, kind="promotion", why="x")
    verdict(ours, "schema", {"x": "PASS"})
    found = answer(record(ours), "I4")
    assert found.answer is Answer.NO
    assert "was not blessed" in found.why


def test_a_whole_release_is_validated_before_it_serves() -> None:
    clock = FakeClock()
    first = Writer(FakeLedger(clock), clock, RELEASE, BUNDLE).whole()
    second = Writer(first.ledger, clock, ReleaseId("flights-0002"), Digest("c" * 64), champion=BUNDLE)
    second.target = first.target
    second.whole()
    found = read_record_of(first.ledger.rows(MODEL), second.release)
    assert answer(found, "I4").answer is Answer.YES


def test_documented_runs_count_half_and_both_kinds_count_whole() -> None:
    crashes, selftest = "docs/results/2026-11-21-crashes.md", "docs/results/2026-11-22-selftest.md"
    assert answer(record(writer(), files=[crashes]), "I3").answer is Answer.HALF
    assert answer(record(writer(), files=[crashes, selftest]), "I3").answer is Answer.YES


def test_what_came_after_the_verdicts_changes_nothing() -> None:
    ours = writer()
    verdict(ours, "schema", {"x": "PASS"})
    before = assess(record(ours))
    ours.add(Event.APPROVAL_ASKED, expires_at="2030-01-01T00:00:00+00:00")
    assert assess(record(ours)) == before


def test_the_trend_is_one_assessment_a_release() -> None:
    found = trend((record(writer()), record(writer())))
    assert [each.release for each in found] == [RELEASE, RELEASE]


@pytest.mark.parametrize(
    ("score", "words"), [(0.0, "research project"), (0.5, "holes"), (2.5, "reasonably"), (5.5, "exceptional")]
)
def test_a_score_has_the_rubrics_meaning(score: float, words: str) -> None:
    assert words in meaning(score)
