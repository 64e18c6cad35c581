"""`lockgate simulate`: what it refuses and how, which rows it asks about, what it says of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from lockgate.adapters.traffic_generator import Asked
from lockgate.cli.app import app
from lockgate.cli.sample_rows import next_batch, sample_rows
from lockgate.cli.simulate_command import _refuse_unknown_columns, words
from lockgate.config import load_settings
from lockgate.core.contract import TaskKind
from lockgate.core.simulation_counts import Counts
from lockgate.core.simulation_faults import parse_faults
from lockgate.core.spec import DataSection, ReleaseSpec, TaskSection
from lockgate.errors import BadInput
from tests.bundles import contract
from tests.release_fakes import toy_spec

ROOT = Path(__file__).resolve().parents[3]
DATA = DataSection(
    suite="toy",
    label="late",
    time="when",
    key=("id", "leg"),
    numeric=("length", "weight", "twice"),
    categorical=("colour",),
    sample="tests.sample_source:write_batch",
    sample_batches=("first", "second", "empty"),
    prepare="tests.sample_source:prepare",
)
SPEC: ReleaseSpec = replace(toy_spec(), data=DATA)


def simulate(home: Path, *arguments: str) -> tuple[int, str]:
    env: Mapping[str, str] = {
        "LOCKGATE_PROJECT": str(ROOT),
        "LOCKGATE_HOME": str(home),
        "LOCKGATE_PRODUCTION_PORT": "9",
        "COLUMNS": "200",
    }
    result = CliRunner().invoke(app, ["simulate", *arguments], env=env)
    return result.exit_code, " ".join(result.stderr.split())


def services(taken: int = 0) -> Any:
    ledger = SimpleNamespace(rows=lambda _name, events: [None] * taken if events else [])
    return SimpleNamespace(settings=load_settings({"LOCKGATE_PROJECT": str(ROOT)}), ledger=ledger)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("nobodys-model",), "there is no spec of a model 'nobodys-model'; models: flight-airtime"),
        (("flight-delays", "--rate", "10", "--speed", "3600"), "--rate and --speed both say how fast; give one"),
        (("flight-delays", "--rate", "0"), "a rate of 0.0 requests a second; it must be above 0"),
        (("flight-delays", "--speed", "-1"), "'--speed': Input should be greater than or equal to 0"),
        (("flight-delays", "--duration", "0"), "a duration of 0.0 s"),
        (("flight-delays", "--entities", "0"), "'--entities': Input should be greater than or equal to 1"),
        (("flight-delays", "--labels-after", "-2"), "'--labels-after': Input should be greater than or equal to 0"),
        (("flight-delays", "--faults", "errors=0.05"), "there is no fault 'errors'. There are skew=COLUMN*FACTOR"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_refused_before_anything_is_asked(
    tmp_path: Path, arguments: tuple[str, ...], why: str
) -> None:
    code, said = simulate(tmp_path, *arguments)
    assert code == 2
    assert why in said


def test_where_nothing_listens_it_says_what_to_start(tmp_path: Path) -> None:
    code, said = simulate(tmp_path, "flight-delays")
    assert code == 7
    assert "nothing answers at http://127.0.0.1:9; start the stack with: lockgate up" in said


def test_a_skewed_column_must_be_a_number_column_of_the_model() -> None:
    asked = Asked(host="127.0.0.1", port=9, token="t", contract=contract())
    _refuse_unknown_columns(parse_faults("skew=amount*2,stop"), asked)
    for column in ("colour", "nothing"):
        with pytest.raises(BadInput, match=f"{column}' is no number column of the model; there are amount, age"):
            _refuse_unknown_columns(parse_faults(f"skew={column}*2"), asked)


def test_rows_are_asked_in_the_order_of_their_time_as_the_specs_own_function_prepares_them() -> None:
    found = sample_rows(services(), SPEC, "first")
    assert found.rows == [
        {"length": 10, "weight": 1.5, "twice": 20, "colour": None},
        {"length": 20, "weight": None, "twice": 40, "colour": "blue"},
        {"length": 30, "weight": None, "twice": 60, "colour": "red"},
    ]
    assert found.labels == ["no", None, "yes"]
    assert found.keys == ["a|1", "b|2", "c|3"]
    assert found.times_s == [0.0, 3600.0, 7200.0]


def test_labels_of_a_regression_are_numbers() -> None:
    spec = replace(
        SPEC, data=replace(DATA, label="length"), task=TaskSection(kind=TaskKind.REGRESSION, unit="km", classes=())
    )
    assert sample_rows(services(), spec, "first").labels == [10, 20, 30]


def test_a_batch_without_rows_and_an_unknown_one_are_refused() -> None:
    with pytest.raises(BadInput, match="holds no row"):
        sample_rows(services(), SPEC, "empty")
    with pytest.raises(BadInput, match="toy has no batch 'third'; batches: first, second, empty"):
        sample_rows(services(), SPEC, "third")
    with pytest.raises(BadInput, match=r"names no data\.sample"):
        sample_rows(services(), toy_spec(), "first")


def test_the_next_batch_is_the_first_that_was_not_taken_in_and_the_last_once_all_were() -> None:
    assert [next_batch(services(taken), SPEC) for taken in (0, 1, 3, 9)] == ["first", "second", "empty", "empty"]
    with pytest.raises(BadInput, match=r"lists no data\.sample_batches"):
        next_batch(services(), toy_spec())


def test_what_became_of_requests_is_said_in_one_line_with_what_went_wrong() -> None:
    counts = Counts(due=1003, unsent=3, fallbacks=2)
    counts.statuses.update({200: 990, 503: 6})
    counts.lost.update({"EOFError": 4})
    counts.arms.update(champion=900, challenger=90)
    counts.took(2.0)
    assert words(counts, 10.0) == (
        "asked 1,000 (100/s), answered 990, challenger 90, champion 900, errors 10 (6 of status 503, 4 EOFError), "
        "not sent in time 3, fell back 2, p50 2.0 ms, p95 2.0 ms"
    )
    assert words(Counts(), 5.0) == "asked 0 (0/s), answered 0, errors 0"
