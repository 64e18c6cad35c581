"""Only a whole set of passed gates, each on evidence, is blessed."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.blessing import Subjects, bless
from lockgate.core.ids import Digest, ReleaseId, Stage
from lockgate.core.verdict import Check, Direction, GateReport, Verdict
from lockgate.errors import NotBlessed

NAMES = ("schema", "quality", "champion")
SUBJECTS = Subjects(
    release=ReleaseId("toy-0001"),
    bundle=Digest("b" * 64),
    spec=Digest("5" * 64),
    data=Digest("d" * 64),
    champion=None,
    code=Digest("c" * 64),
)


def passed(gate: str, verdict: Verdict = Verdict.PASS) -> GateReport:
    return GateReport(
        gate=gate, stage=Stage.EVALUATE, verdict=verdict, checks=(), evidence=Digest("e" * 64), reason="because"
    )


def test_every_required_gate_passed_is_blessed() -> None:
    blessing = bless(SUBJECTS, [passed(name) for name in NAMES], NAMES)
    assert set(blessing.reports) == set(NAMES)


@given(st.lists(st.sampled_from(list(Verdict)), min_size=3, max_size=3))
def test_anything_but_all_passes_is_not_blessed(verdicts: list[Verdict]) -> None:
    reports = [passed(name, verdict) for name, verdict in zip(NAMES, verdicts, strict=True)]
    if verdicts == [Verdict.PASS] * 3:
        assert bless(SUBJECTS, reports, NAMES)
        return
    with pytest.raises(NotBlessed):
        bless(SUBJECTS, reports, NAMES)


@pytest.mark.parametrize("missing", NAMES)
def test_a_gate_that_did_not_run_is_not_a_pass(missing: str) -> None:
    with pytest.raises(NotBlessed, match=f"{missing} did not report"):
        bless(SUBJECTS, [passed(name) for name in NAMES if name != missing], NAMES)


def test_a_pass_without_evidence_is_not_blessed() -> None:
    with pytest.raises(NotBlessed, match="quality"):
        bless(SUBJECTS, [replace(passed("quality"), evidence=None)], ["quality"])


def test_two_reports_of_one_gate_are_not_blessed() -> None:
    with pytest.raises(NotBlessed, match="twice"):
        bless(SUBJECTS, [passed("quality"), passed("quality")], ["quality"])


def test_no_required_gate_blesses_nothing() -> None:
    with pytest.raises(NotBlessed, match="no gate is required"):
        bless(SUBJECTS, [passed("quality")], [])


def test_the_refusal_says_the_gates_own_reason() -> None:
    with pytest.raises(NotBlessed, match="FAIL: because") as caught:
        bless(SUBJECTS, [passed("quality", Verdict.FAIL)], ["quality"])
    assert caught.value.data == {"gate": "quality", "verdict": "FAIL"}


@pytest.mark.parametrize("field", ["release", "bundle", "spec", "data", "champion", "code"])
def test_a_blessing_of_anything_else_is_another_blessing(field: str) -> None:
    reports = [passed(name) for name in NAMES]
    other = replace(SUBJECTS, **{field: "f" * 64})
    assert bless(SUBJECTS, reports, NAMES).digest != bless(other, reports, NAMES).digest


def test_the_order_of_reports_does_not_change_the_blessing() -> None:
    reports = [passed(name) for name in NAMES]
    assert bless(SUBJECTS, reports, NAMES).digest == bless(SUBJECTS, reversed(reports), reversed(NAMES)).digest


def test_a_gate_that_saw_no_champion_where_there_is_one_is_not_blessed() -> None:
    absent = Check(
        name="champion",
        observed=None,
        threshold=None,
        direction=Direction.AT_LEAST,
        verdict=Verdict.NOT_APPLICABLE,
        reason="there never was a champion",
    )
    reports = [replace(passed(name), checks=(absent,) if name == "champion" else ()) for name in NAMES]
    assert bless(SUBJECTS, reports, NAMES)
    with pytest.raises(NotBlessed, match="gate champion left champion out for want of a champion"):
        bless(replace(SUBJECTS, champion=Digest("9" * 64)), reports, NAMES)
