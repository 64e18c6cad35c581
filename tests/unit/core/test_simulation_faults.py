"""Faults of the simulated world: how they are written, what is refused, and what they do to a row."""

from __future__ import annotations

import math

import pytest

from lockgate.core.simulation_faults import Fault, FaultKind, of_kind, parse_faults, skewed
from lockgate.errors import BadInput


def test_every_kind_is_read_with_and_without_its_window() -> None:
    text = "skew=distance*1.609@20, dead_labels@30, late_labels=30, wrong_labels=0.2@0+5, stop@20+10, burst=50@15+5"
    assert parse_faults(text) == (
        Fault(kind=FaultKind.SKEW, value=1.609, column="distance", start_s=20.0),
        Fault(kind=FaultKind.DEAD_LABELS, start_s=30.0),
        Fault(kind=FaultKind.LATE_LABELS, value=30.0),
        Fault(kind=FaultKind.WRONG_LABELS, value=0.2, end_s=5.0),
        Fault(kind=FaultKind.STOP, start_s=20.0, end_s=30.0),
        Fault(kind=FaultKind.BURST, value=50.0, start_s=15.0, end_s=20.0),
    )
    assert parse_faults("") == parse_faults(" , ") == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("errors=0.05", "there is no fault 'errors'"),
        ("stop=3", "stop takes no value"),
        ("burst", "'' is no number"),
        ("burst=many", "'many' is no number"),
        ("burst=0", "above 0, at most 1000"),
        ("burst=1e9", "above 0, at most 1000"),
        ("wrong_labels=1.5", "1.5 is not a share above 0, at most 1"),
        ("late_labels=-3", "-3 is not seconds above 0"),
        ("late_labels=nan", "nan is not finite"),
        ("skew=2", r"write skew=COLUMN\*FACTOR"),
        ("skew=*2", r"write skew=COLUMN\*FACTOR"),
        ("skew=distance*1", "a factor other than 1"),
        ("wrong_labels=a*0.5", "write wrong_labels=SHARE"),
        ("stop@soon", "'soon' is no number"),
        ("stop@-1", "begin at 0 s or later"),
        ("stop@5+0", "last longer than 0 s"),
        ("stop@", "'' is no number"),
    ],
)
def test_what_is_no_fault_is_refused_with_why_and_with_what_there_is(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why) as refused:
        parse_faults(f"dead_labels,{text}")
    assert repr(text) in refused.value.message
    assert "skew=COLUMN*FACTOR, dead_labels, late_labels=SECONDS" in refused.value.message
    assert refused.value.exit_code == 2


def test_a_fault_holds_from_its_start_until_before_its_end() -> None:
    (stop,) = parse_faults("stop@20+10")
    assert [stop.holds(at_s) for at_s in (19.9, 20.0, 29.9, 30.0)] == [False, True, True, False]
    assert of_kind((stop,), FaultKind.STOP, 25.0) == (stop,)
    assert of_kind((stop,), FaultKind.BURST, 25.0) == ()


def test_a_skew_changes_numbers_of_its_column_while_it_holds_and_nothing_else() -> None:
    faults = parse_faults("skew=distance*1.5@10+5,skew=distance*2@12,skew=carrier*2")
    row = {"distance": 100.0, "carrier": "UA", "seats": None}
    assert skewed(row, faults, 5.0) == row
    assert skewed(row, faults, 11.0) == {**row, "distance": 150.0}
    assert skewed(row, faults, 12.0) == {**row, "distance": 300.0}
    assert skewed({"distance": None, "flag": True}, parse_faults("skew=distance*2,skew=flag*2"), 0.0) == {
        "distance": None,
        "flag": True,
    }
    assert math.isinf(faults[2].end_s)
