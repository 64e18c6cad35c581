"""Slices may be ranges of a number and pairs of columns, each with its own least number of rows."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.adapters.row_contract import required_columns
from lockgate.core.gates import slices as slices_gate
from lockgate.core.ids import to_json
from lockgate.core.metrics import Floats
from lockgate.core.slice_codes import coded_numbers, coded_ranges
from lockgate.core.spec import ReleaseSpec, SliceColumn, SliceSection
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import ConfigError, MeasurementError
from lockgate.spec_file import parse_spec
from lockgate.stages.slicing import measure_slices
from tests.unit.judgement.scenes import binary, check_of, evidence_of, examined, scores_of, spec_of


def spec_with(*sections: SliceSection) -> ReleaseSpec:
    return replace(spec_of(), slices=sections)


def measured(spec: ReleaseSpec, frame: pd.DataFrame, score: Floats, champion: Floats | None = None) -> dict[str, Any]:
    examination = examined(spec, frame, scores_of(spec, frame, score, champion))
    found: Any = to_json(measure_slices(spec, examination.sample, examination.comparison))
    return dict(found)


def judged(spec: ReleaseSpec, frame: pd.DataFrame, score: Floats, champion: Floats | None = None) -> GateReport:
    found = measured(spec, frame, score, champion)
    return slices_gate.judge(evidence_of("slices", found), slices_gate.Thresholds())


def names(found: dict[str, Any]) -> list[str]:
    return [each["slice"] for each in found["slices"]]


def test_ranges_are_cut_at_their_edges_and_an_empty_one_is_named() -> None:
    frame, good = binary()
    spec = spec_with(SliceSection(column="x", edges=(0.0, 1.0, 50.0)))
    assert names(measured(spec, frame, good)) == ["x=<0", "x=[0, 1)", "x=[1, 50)", "x=>=50"]
    assert check_of(judged(spec, frame, good), "too_small_to_judge", "x=>=50").n == 0


def test_a_range_that_is_served_worse_fails() -> None:
    frame, good = binary()
    bad = np.where(frame["x"] > 1, 1 - good, good)
    report = judged(spec_with(SliceSection(column="x", edges=(-1.0, 1.0))), frame, bad, good)
    assert check_of(report, "q_value_of_excess_loss", "x=>=1").verdict is Verdict.FAIL
    assert check_of(report, "q_value_of_excess_loss", "x=[-1, 1)").verdict is Verdict.PASS


def test_bins_hold_about_as_many_rows_each() -> None:
    frame, good = binary()
    found = measured(spec_with(SliceSection(column="x", bins=4)), frame, good)
    assert [each["n"] for each in found["slices"]] == [1250] * 4


def test_a_missing_number_is_a_slice_of_its_own() -> None:
    frame, good = binary()
    frame.loc[::5, "x"] = np.nan
    found = measured(spec_with(SliceSection(column="x", bins=2)), frame, good)
    assert found["slices"][-1]["slice"] == "x=(missing)"
    assert found["slices"][-1]["n"] == 1000


def pair(**more: Any) -> SliceSection:
    return SliceSection(column="city", across=SliceColumn(column="x", edges=(1.0,)), **more)


def test_a_pair_of_columns_is_judged_where_neither_column_alone_fails() -> None:
    frame, good = binary(rows=400)
    corner = (frame["city"] == "rome") & (frame["x"] >= 1)
    bad = good.copy()
    bad[corner] *= 0.65
    alone = judged(spec_with(SliceSection(column="city")), frame, bad, good)
    crossed = judged(spec_with(pair()), frame, bad, good)
    assert alone.verdict is Verdict.PASS
    assert check_of(crossed, "q_value_of_excess_loss", "city=rome & x=>=1").verdict is Verdict.FAIL
    assert check_of(crossed, "q_value_of_excess_loss", "city=rome & x=<1").verdict is Verdict.PASS


def test_pairs_that_never_occur_are_left_out_unless_both_columns_name_their_slices() -> None:
    frame, good = binary()
    frame["x"] = frame["x"].clip(upper=0.9)
    assert len(names(measured(spec_with(pair()), frame, good))) == 3
    named = measured(spec_with(pair(values=("rome", "oslo"))), frame, good)
    assert [(each["slice"], each["n"] > 0) for each in named["slices"]] == [
        ("city=rome & x=<1", True),
        ("city=rome & x=>=1", False),
        ("city=oslo & x=<1", True),
        ("city=oslo & x=>=1", False),
    ]


@pytest.mark.parametrize(("least", "name"), [(30, "q_value_of_excess_loss"), (None, "too_small_to_judge")])
def test_a_slice_may_have_a_least_number_of_rows_of_its_own(least: int | None, name: str) -> None:
    frame, good = binary()
    frame["city"] = np.where(np.arange(len(frame)) % 50 == 0, "nome", frame["city"])  # 100 rows over 25 days
    report = judged(spec_with(SliceSection(column="city", min_rows=least)), frame, good)
    assert check_of(report, name, "city=nome").n == 100


def test_a_least_number_above_the_gates_names_what_is_below_it() -> None:
    frame, good = binary()
    report = judged(spec_with(SliceSection(column="city", min_rows=1_000)), frame, good)
    named = check_of(report, "too_small_to_judge", "city=lima")
    assert (named.threshold, named.required) == (1_000, False)


def test_a_least_number_that_is_none_is_an_error() -> None:
    found = measured(spec_of(), *binary())
    found["slices"][0]["min_rows"] = "few"
    report = slices_gate.judge(evidence_of("slices", found), slices_gate.Thresholds())
    assert report.verdict is Verdict.ERROR


def test_ranges_of_text_cannot_be_measured() -> None:
    with pytest.raises(MeasurementError, match="holds no numbers"):
        measured(spec_with(SliceSection(column="city", bins=3)), *binary())


def test_several_wide_columns_share_what_may_be_listed() -> None:
    frame, good = binary()
    for name in ("one", "two"):
        frame[name] = [f"v{k % 400}" for k in range(len(frame))]
    found = measured(spec_with(SliceSection(column="one"), SliceSection(column="two")), frame, good)
    assert (len(found["slices"]), found["unlisted"]["slices"]) == (300, 500)


def test_a_number_with_few_values_keeps_them_and_ties_make_fewer_ranges() -> None:
    assert coded_numbers("k", np.array([2.0, 1.0, 2.0]), 5).labels == ("1", "2", "(missing)")
    mostly_zero = np.concatenate([np.zeros(90), np.arange(1.0, 11.0)])
    assert coded_numbers("rain", mostly_zero, 4).labels == ("<1", ">=1", "(missing)")
    assert coded_numbers("gone", np.full(3, np.nan), 4).codes.tolist() == [0, 0, 0]
    infinite = coded_ranges("x", np.array([-np.inf, np.inf]), [0.0])
    assert infinite.codes.tolist() == [0, 1]


SPEC: dict[str, Any] = {
    "model": {"name": "toy"},
    "task": {"kind": "binary", "classes": ["no", "yes"]},
    "data": {"suite": "toy", "label": "label", "time": "time", "key": ["id"], "numeric": ["x"]},
}


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ({"column": "x", "edges": [1.0], "bins": 4}, "edges and bins; give one"),
        ({"column": "x", "edges": [2.0, 1.0]}, "must ascend"),
        ({"column": "x", "edges": [1.0, 1.0]}, "must ascend"),
        ({"column": "x", "edges": []}, "edges"),
        ({"column": "x", "bins": 1}, "bins"),
        ({"column": "x", "min_rows": 3}, "min_rows"),
        ({"column": "x", "across": {"column": "x"}}, "across itself"),
        ({"column": "x", "across": {"colum": "y"}}, "did you mean 'column'"),
        ({"column": "x", "across": {"column": "y", "values": ["a"], "bins": 2}}, "values and bins"),
    ],
)
def test_a_section_that_makes_no_sense_is_refused_with_what_is_allowed(section: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_spec(SPEC | {"slices": [section]})


def test_a_section_with_ranges_and_a_pair_is_read() -> None:
    section = {"column": "x", "edges": [0.0, 1.5], "across": {"column": "city", "values": ["rome"]}, "min_rows": 60}
    spec = parse_spec(SPEC | {"slices": [section]})
    across = SliceColumn(column="city", values=("rome",))
    assert spec.slices == (SliceSection(column="x", edges=(0.0, 1.5), across=across, min_rows=60),)


def test_a_sensitive_column_named_twice_is_refused() -> None:
    with pytest.raises(ConfigError, match="named twice"):
        parse_spec(SPEC | {"sensitive": ["sex", "sex"]})


def test_whether_searched_slices_bind_is_read_from_the_spec() -> None:
    spec = parse_spec(SPEC | {"gates": {"slices": {"searched": "required"}}})
    assert spec.gates["slices"].searched is slices_gate.Binding.REQUIRED
    with pytest.raises(ConfigError, match="advisory"):
        parse_spec(SPEC | {"gates": {"slices": {"searched": "perhaps"}}})


def test_landed_rows_must_hold_both_columns_of_a_pair() -> None:
    assert {"city", "x"} <= set(required_columns(spec_with(pair())))
