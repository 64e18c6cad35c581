"""What changed against the champion's contract, which change blocks, and how one is accepted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lockgate.core.columns import coded
from lockgate.core.contract import ColumnType
from lockgate.core.contract_diff import ChangeKind, form_changes, value_changes
from lockgate.core.gates import schema
from lockgate.core.gates.schema import AcceptedChange
from lockgate.core.ids import Json
from lockgate.core.verdict import Verdict
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec
from lockgate.stages.ingest import measure_ingest
from tests.unit.data.test_data_gates import SCHEMA
from tests.unit.data.toy import PROJECT, failing, judged, store, toy_rows, toy_spec, written

CONTRACT: dict[str, Any] = {
    "task": "binary",
    "classes": ["no", "yes"],
    "unit": "1",
    "inputs": [
        {"name": "a", "type": "number", "nullable": False, "minimum": -5.0, "maximum": 5.0, "categories": None},
        {"name": "b", "type": "number", "nullable": True, "minimum": -5.0, "maximum": 5.0, "categories": None},
        {"name": "c", "type": "string", "nullable": False, "categories": ["x", "y", "z"]},
    ],
}
TARGET: dict[str, Json] = {"task": "binary", "classes": ["no", "yes"], "unit": "1"}
TYPES = {"a": ColumnType.NUMBER, "b": ColumnType.NUMBER, "c": ColumnType.STRING}
SAME = {"a": np.linspace(-4, 4, 100), "b": np.full(100, np.nan), "c": coded(np.array(["x", "y"] * 50, dtype=object))}


def with_changes(*changes: dict[str, Json]) -> dict[str, Json]:
    return {**SCHEMA, "contract": {"champion": "c" * 64, "changes": list(changes)}}


def test_the_same_form_and_values_are_no_change() -> None:
    assert form_changes(CONTRACT, TYPES, "y", TARGET) == []
    assert value_changes(CONTRACT, SAME) == []


@pytest.mark.parametrize(
    ("types", "target", "column", "kind"),
    [
        ({**TYPES, "d": ColumnType.NUMBER}, TARGET, "d", "added"),
        ({"a": ColumnType.NUMBER, "c": ColumnType.STRING}, TARGET, "b", "removed"),
        ({**TYPES, "b": ColumnType.STRING}, TARGET, "b", "retyped"),
        (TYPES, {**TARGET, "classes": ["no", "maybe", "yes"]}, "y", "label"),
        (TYPES, {**TARGET, "unit": "min"}, "y", "label"),
    ],
)
def test_a_change_of_form_is_found_and_blocks(
    types: dict[str, ColumnType], target: dict[str, Json], column: str, kind: str
) -> None:
    found = form_changes(CONTRACT, types, "y", target)
    assert [(each["column"], each["kind"]) for each in found] == [(column, kind)]
    report = judged(schema.GATE, with_changes(*found))
    assert failing(report) == {"unaccepted_changes"}
    assert f"gates.schema.accept: {{column: {column}, kind: {kind}}}" in report.reason


VALUES = [
    ({**SAME, "a": np.where(np.arange(100) < 10, np.nan, SAME["a"])}, "a", "nullable"),
    ({**SAME, "c": coded(np.array(["x"] * 90 + ["new"] * 10, dtype=object))}, "c", "categories"),
    ({**SAME, "a": np.where(np.arange(100) < 10, 300.0, SAME["a"])}, "a", "range"),
]


@pytest.mark.parametrize(("columns", "column", "kind"), VALUES)
def test_values_the_champion_never_saw_block_until_they_are_accepted(
    columns: dict[str, Any], column: str, kind: str
) -> None:
    found = value_changes(CONTRACT, columns)
    assert [(each["column"], each["kind"], each["share"]) for each in found] == [(column, kind, 0.1)]
    assert failing(judged(schema.GATE, with_changes(*found))) == {"unaccepted_changes"}
    accept = (AcceptedChange(column=column, kind=ChangeKind(kind)),)
    assert judged(schema.GATE, with_changes(*found), accept=accept).verdict is Verdict.PASS
    other = (AcceptedChange(column=column, kind=ChangeKind.ADDED), AcceptedChange(column="z", kind=ChangeKind(kind)))
    assert judged(schema.GATE, with_changes(*found), accept=other).verdict is Verdict.FAIL


def test_a_few_new_values_are_shown_and_do_not_block() -> None:
    few = {**SAME, "a": np.where(np.arange(100) < 3, 300.0, SAME["a"])}
    report = judged(schema.GATE, with_changes(*value_changes(CONTRACT, few)))
    assert report.verdict is Verdict.PASS
    assert [c.name for c in report.checks if c.verdict is Verdict.FAIL] == ["contract_changes"]


def test_a_season_beyond_the_range_but_within_its_width_does_not_block() -> None:
    found = value_changes(CONTRACT, {"a": SAME["a"] + 8})
    assert found[0]["far_share"] == 0.0
    assert judged(schema.GATE, with_changes(*found)).verdict is Verdict.PASS


def test_a_bound_that_a_model_saw_as_float32_is_no_change() -> None:
    inputs = [{**CONTRACT["inputs"][0], "maximum": float(np.float32(0.1))}]
    assert value_changes({"inputs": inputs}, {"a": np.array([0.1, -1.0])}) == []


@pytest.mark.parametrize("contract", [{}, {"inputs": None}, {"inputs": [{}]}, {"inputs": ["a"]}])
def test_a_contract_that_is_none_is_refused(contract: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="contract"):
        form_changes(contract, TYPES, "y", TARGET)


@pytest.mark.parametrize(
    "contract",
    [
        None,
        {},
        [],
        {"champion": "c" * 64},
        {"champion": "c" * 64, "changes": [1]},
        {"champion": "c", "unknown": "gone"},
    ],
)
def test_a_contract_that_was_not_compared_is_an_error(contract: Json) -> None:
    report = judged(schema.GATE, {**SCHEMA, "contract": contract})
    assert report.verdict is Verdict.ERROR


def test_a_change_without_a_share_blocks() -> None:
    change = {"column": "a", "kind": "range", "was": "1", "is": "2"}
    assert judged(schema.GATE, with_changes(change)).verdict is Verdict.FAIL


def test_a_first_release_has_nothing_to_compare_with() -> None:
    assert judged(schema.GATE, {**SCHEMA, "contract": {"champion": None}}).verdict is Verdict.PASS


def test_ingest_compares_the_newest_batch_with_the_champions_contract(tmp_path: Any) -> None:
    spec, kept = toy_spec(), store(tmp_path)
    for number, start in enumerate(("2024-01-01", "2024-02-01")):
        frame = toy_rows(30, start=start, seed=number)
        frame["c"] = frame["c"] if number == 0 else "novel"
        kept.land(spec.name, written(tmp_path, frame, f"{number}.parquet"))
    landed = [kept.ingest(spec, each) for each in kept.landed(spec.name)]
    champion = "c" * 64
    found, _ = measure_ingest(kept, spec, landed, champion=champion, contract=CONTRACT)  # type: ignore[arg-type]
    report = judged(schema.GATE, found["schema"])
    assert failing(report) == {"unaccepted_changes"}
    assert "c categories: was 3 values, is also novel (100 % of the newest rows)" in report.reason
    found, _ = measure_ingest(kept, spec, landed, champion=champion, contract=None)  # type: ignore[arg-type]
    assert judged(schema.GATE, found["schema"]).verdict is Verdict.ERROR
    found, _ = measure_ingest(kept, spec, landed)
    assert judged(schema.GATE, found["schema"]).verdict is Verdict.PASS


def test_a_spec_accepts_a_change_by_column_and_kind_and_nothing_else() -> None:
    import yaml

    body = yaml.safe_load((PROJECT / "deployments" / "flight-delays.yaml").read_text())
    body["gates"]["schema"] = {"accept": [{"column": "dest", "kind": "categories"}]}
    accepted = parse_spec(body).gates["schema"].accept
    assert accepted == (AcceptedChange(column="dest", kind=ChangeKind.CATEGORIES),)
    body["gates"]["schema"] = {"accept": [{"column": "dest", "kind": "anything"}]}
    with pytest.raises(ConfigError, match="kind"):
        parse_spec(body)
    body["gates"]["schema"] = {"accept": [{"column": "dest", "kin": "categories"}]}
    with pytest.raises(ConfigError, match="kin"):
        parse_spec(body)
