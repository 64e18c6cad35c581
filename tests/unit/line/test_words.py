"""What a person reads on a stage's page and in the approval form."""

from __future__ import annotations

from lockgate.core.ids import Digest, Stage
from lockgate.core.verdict import Check, Direction, GateReport, Verdict, compare, report
from lockgate.line.words import check_rows, concerns, gate_line, quantity

LEAST, MOST = Direction.AT_LEAST, Direction.AT_MOST


def report_of(*checks: Check) -> GateReport:
    return report("quality", Stage.EVALUATE, checks, Digest("e" * 64))


def auc(observed: float) -> Check:
    return compare("auc", observed, 0.57, LEAST, reason="too low", estimate=0.64, interval=(observed, 0.68))


def test_a_passed_gate_names_the_statistic_that_came_closest_to_its_threshold() -> None:
    rows = compare("rows", 501.0, 500, LEAST, reason="too few", unit="rows")
    assert gate_line(report_of(rows, auc(0.6))) == "✓ **quality**: 2 checks; closest auc 0.6 (≥ 0.57)"


def test_a_passed_gate_names_no_check_that_was_not_close() -> None:
    none_wrong = compare("wrong", 0.0, 0, MOST, reason="wrong")
    far = compare("load_time", 0.03, 30, MOST, reason="slow", unit="s")
    assert gate_line(report_of(none_wrong, far)) == "✓ **quality**: 2 checks"


def test_a_gate_that_did_not_pass_says_why() -> None:
    assert gate_line(report_of(auc(0.5))) == "✗ **quality**: too low"


def test_advisory_checks_that_did_not_pass_are_told_and_those_alike_share_a_line() -> None:
    small = [
        compare("too_small", 9.0, 200, LEAST, reason="few", required=False, slice=f"carrier={name}")
        for name in ("HA", "YV")
    ]
    warned = compare("bias", 0.2, 0.1, MOST, reason="it leans", required=False)
    assert concerns([report_of(auc(0.6), *small, warned)]) == (
        "**quality**: too_small in 2: carrier=HA, carrier=YV",
        "**quality**: bias: it leans",
    )


def test_no_cell_of_the_table_is_a_dash_because_the_page_draws_it_as_a_bullet() -> None:
    absent = Check(
        name="champion", observed=None, threshold=None, direction=LEAST, verdict=Verdict.NOT_APPLICABLE, reason="none"
    )
    assert "-" not in {str(cell) for row in check_rows([report_of(absent)]) for cell in row.values()}


def test_a_number_keeps_its_unit() -> None:
    assert [quantity(1e9, "B"), quantity(90.0, "s"), quantity(0.5, "s"), quantity(3.0, "rows")] == [
        "1 GB",
        "1.5 min",
        "0.5 s",
        "3 rows",
    ]
