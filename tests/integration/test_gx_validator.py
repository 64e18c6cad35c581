"""The suite behind its strict gate: nothing that the library drops, swallows or misses passes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.adapters.gx_validator import GxValidator
from lockgate.core.gates import expectations
from lockgate.core.ids import Json
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import BadInput
from tests.unit.data.toy import PROJECT, failing, judged, settings, toy_rows, toy_spec

pytestmark = pytest.mark.integration

ROW_COUNT = {"type": "expect_table_row_count_to_be_between", "kwargs": {"min_value": 1}, "severity": "critical"}
NOT_NULL = {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}, "severity": "critical"}


def project(folder: Path, *expected: dict[str, Any]) -> Path:
    """A checkout with one suite, `toy`."""
    suites = folder / "great_expectations"
    (suites / "expectations").mkdir(parents=True)
    shutil.copy(PROJECT / "great_expectations" / "great_expectations.yml", suites)
    suite = {"name": "toy", "id": None, "notes": None, "meta": {"great_expectations_version": "1.24.1"}}
    (suites / "expectations" / "toy.json").write_text(json.dumps({**suite, "expectations": expected}))
    return folder


def validated(
    folder: Path, *expected: dict[str, Any], batch: pd.DataFrame | None = None
) -> tuple[GateReport, dict[str, Any]]:
    validator = GxValidator(settings(folder / "home", project(folder, *expected)))
    train = toy_rows(5)
    frames = {"batch": train if batch is None else batch, "train": train}
    measured: dict[str, Json] = dict(validator.validate(toy_spec(), frames, folder / "docs"))
    json.dumps(measured, allow_nan=False)
    return judged(expectations.GATE, measured), measured


def test_rows_that_meet_their_suite_pass_and_the_pages_can_be_opened(tmp_path: Path) -> None:
    report, measured = validated(tmp_path, ROW_COUNT, NOT_NULL)
    assert report.verdict is Verdict.PASS, report.reason
    assert (tmp_path / "docs" / str(measured["docs"])).is_file()
    assert measured["frames"]["train"]["rows"] == 100


def test_nothing_is_written_in_the_checkout(tmp_path: Path) -> None:
    validated(tmp_path, ROW_COUNT)
    there = sorted(str(p.relative_to(tmp_path)) for p in (tmp_path / "great_expectations").rglob("*") if p.is_file())
    assert there == ["great_expectations/expectations/toy.json", "great_expectations/great_expectations.yml"]


def test_a_critical_expectation_that_is_not_met_fails_with_its_column(tmp_path: Path) -> None:
    between = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "a", "min_value": 0}}
    report, _ = validated(tmp_path, ROW_COUNT, {**between, "severity": "critical"})
    assert failing(report) == {"failed_critical"}
    assert "expect_column_values_to_be_between(a)" in report.reason


def test_a_warning_that_is_not_met_does_not_block(tmp_path: Path) -> None:
    between = {"type": "expect_column_values_to_be_between", "kwargs": {"column": "a", "min_value": 0}}
    report, _ = validated(tmp_path, ROW_COUNT, {**between, "severity": "warning"})
    assert report.verdict is Verdict.PASS


def test_a_misspelt_expectation_is_refused_by_name(tmp_path: Path) -> None:
    misspelt = {**NOT_NULL, "type": "expect_column_values_to_not_be_nul"}
    with pytest.raises(BadInput, match=r"2 expectations and 1 were loaded.*expect_column_values_to_not_be_nul\."):
        validated(tmp_path, ROW_COUNT, misspelt)


def test_a_suite_that_is_not_there_is_bad_input_that_names_those_that_are(tmp_path: Path) -> None:
    validator = GxValidator(settings(tmp_path / "home", project(tmp_path, ROW_COUNT)))
    with pytest.raises(BadInput, match=r"no suite 'other'.*toy"):
        validator.validate(toy_spec(suite="other"), {"train": toy_rows(1)}, tmp_path / "docs")


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"expectations": []}', '{"expectations": [{"kwargs": {}}]}', '{"expectations": [1]}']
)
def test_a_file_that_is_no_suite_is_bad_input(tmp_path: Path, text: str) -> None:
    folder = project(tmp_path, ROW_COUNT)
    (folder / "great_expectations" / "expectations" / "toy.json").write_text(text)
    with pytest.raises(BadInput):
        GxValidator(settings(tmp_path / "home", folder)).validate(toy_spec(), {}, tmp_path / "docs")


def test_an_empty_frame_fails(tmp_path: Path) -> None:
    report, _ = validated(tmp_path, ROW_COUNT, NOT_NULL, batch=toy_rows(1).head(0))
    assert failing(report) == {"failed_critical"}


def test_a_suite_that_an_empty_frame_would_pass_fails(tmp_path: Path) -> None:
    report, _ = validated(tmp_path, NOT_NULL, batch=toy_rows(1).head(0))
    assert failing(report) == {"row_count_expectations"}


def test_a_row_count_of_none_or_more_is_no_row_count(tmp_path: Path) -> None:
    report, _ = validated(tmp_path, {**ROW_COUNT, "kwargs": {"min_value": 0}}, NOT_NULL)
    assert failing(report) == {"row_count_expectations"}


def test_a_warning_on_a_column_that_is_not_there_blocks_because_it_raised(tmp_path: Path) -> None:
    report, _ = validated(tmp_path, ROW_COUNT, {**NOT_NULL, "kwargs": {"column": "gone"}, "severity": "warning"})
    assert failing(report) == {"raised"}


def test_quantiles_can_be_stored(tmp_path: Path) -> None:
    ranges = {"quantiles": [0.5], "value_ranges": [[-1, 1]]}
    kwargs = {"column": "a", "quantile_ranges": ranges}
    quantiles = {"type": "expect_column_quantile_values_to_be_between", "kwargs": kwargs, "severity": "critical"}
    report, _ = validated(tmp_path, ROW_COUNT, quantiles)
    assert report.verdict is Verdict.PASS, report.reason


def test_measurements_hold_no_rows(tmp_path: Path) -> None:
    kwargs = {"column": "id", "value_set": ["somebody"]}
    secret = {"type": "expect_column_values_to_be_in_set", "kwargs": kwargs, "severity": "critical"}
    _, measured = validated(tmp_path, ROW_COUNT, secret, batch=toy_rows(1).assign(id="secret-person"))
    assert "secret-person" not in json.dumps(measured)


@pytest.mark.parametrize("name", ["flight-delays", "flight-airtime", "flight-outcome"])
def test_every_suite_of_the_project_has_a_row_count_and_an_id_of_its_own_for_each_expectation(name: str) -> None:
    path = PROJECT / "great_expectations" / "expectations" / f"{name}.json"
    expected = json.loads(path.read_text())["expectations"]
    assert any(each["type"] == ROW_COUNT["type"] and each["severity"] == "critical" for each in expected)
    assert len({each["id"] for each in expected}) == len(expected) > 40
    assert {each["severity"] for each in expected} == {"critical", "warning"}


def test_infinite_and_missing_values_are_measured_and_not_a_crash(tmp_path: Path) -> None:
    mean = {"type": "expect_column_mean_to_be_between", "kwargs": {"column": "a", "min_value": -9, "max_value": 9}}
    report, _ = validated(
        tmp_path, ROW_COUNT, {**mean, "severity": "critical"}, batch=toy_rows(1).assign(a=[np.inf, *[np.nan] * 19])
    )
    assert report.verdict is Verdict.FAIL
