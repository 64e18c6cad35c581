"""The real flights of January and February through store, suite and gates: no false alarm, and the leak is caught."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from deployments.flights.source import BATCHES, prepare, write_batch
from lockgate.adapters.delta_store import DeltaDatasetStore
from lockgate.adapters.gx_validator import GxValidator
from lockgate.core.drift import reference_profile
from lockgate.core.gates import batch, drift, expectations, leakage, schema
from lockgate.core.ids import Digest, Json
from lockgate.core.spec import ReleaseSpec
from lockgate.core.verdict import GateReport, Verdict
from lockgate.ports import Snapshot
from lockgate.spec_file import read_spec
from lockgate.stages.ingest import measure_ingest
from lockgate.stages.validate_data import feature_columns, measure_drift, measure_leakage, measure_validation
from tests.unit.data.toy import PROJECT, WallClock, evidence, failing, settings

pytestmark = pytest.mark.integration

SPECS = ("flight-delays", "flight-airtime", "flight-outcome")
GATES = (schema.GATE, expectations.GATE, batch.GATE, leakage.GATE, drift.GATE)
CHAMPION = Digest("c" * 64)


@pytest.fixture(scope="module")
def months(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("months")
    for name in BATCHES[:3]:
        write_batch(name, folder / f"{name}.parquet")
    return {name: folder / f"{name}.parquet" for name in BATCHES[:3]}


def spec_of(name: str) -> ReleaseSpec:
    return read_spec(PROJECT / "deployments" / f"{name}.yaml")


def landed(home: Path, spec: ReleaseSpec, files: list[Path]) -> tuple[DeltaDatasetStore, Mapping[str, Json], Snapshot]:
    store = DeltaDatasetStore(settings(home), WallClock())
    for path in files:
        store.land(spec.name, path)
    taken = [store.ingest(spec, each) for each in store.landed(spec.name)]
    measured, snapshot = measure_ingest(store, spec, taken)
    assert snapshot is not None
    return store, measured["schema"], snapshot


def reports(spec: ReleaseSpec, measured: Mapping[str, Mapping[str, Json]]) -> dict[str, GateReport]:
    return {g.name: g.judge(evidence(g, measured[g.name]), spec.gates[g.name]) for g in GATES}


# The other two go through the same gates, and more, in test_flight_models.
@pytest.mark.parametrize(
    "name", [name if name == "flight-delays" else pytest.param(name, marks=pytest.mark.soak) for name in SPECS]
)
def test_january_and_february_raise_no_false_alarm_and_march_none_against_them(
    tmp_path: Path, months: dict[str, Path], name: str
) -> None:
    spec = spec_of(name)
    store, in_form, snapshot = landed(tmp_path, spec, list(months.values())[:2])
    validator = GxValidator(settings(tmp_path))
    first = measure_validation(
        store, validator, spec, snapshot, champion=None, reference_profile=None, docs=tmp_path / "docs"
    )
    for report in reports(spec, {"schema": in_form, **first}).values():
        assert report.verdict is Verdict.PASS, report
    features = feature_columns(store.part(snapshot, "train"), spec)
    profile = reference_profile(features, spec.data.numeric, spec.data.categorical)
    store, in_form, snapshot = landed(tmp_path, spec, [months["2013-03"]])
    assert snapshot.rows["batch"] == 28_834
    second = measure_validation(
        store, validator, spec, snapshot, champion=CHAMPION, reference_profile=profile, docs=tmp_path / "docs-2"
    )
    for report in reports(spec, {"schema": in_form, **second}).values():
        assert report.verdict is Verdict.PASS, report


@pytest.fixture(scope="module")
def january(months: dict[str, Path]) -> pd.DataFrame:
    return prepare(pd.read_parquet(months["2013-01"]))


def leaks(spec: ReleaseSpec, frame: pd.DataFrame) -> GateReport:
    rows = frame[frame[spec.data.label].notna()]
    ends = pd.to_datetime(["2013-01-26", "2013-01-29"], utc=True)
    at = rows["sched_time"]
    parts = {
        "train": rows[at < ends[0]],
        "validation": rows[(at >= ends[0]) & (at < ends[1])],
        "holdout": rows[at >= ends[1]],
    }
    measured = measure_leakage(spec, parts["train"], parts)
    return leakage.GATE.judge(evidence(leakage.GATE, measured), spec.gates["leakage"])


def with_features(name: str, *numeric: str, categorical: tuple[str, ...] = ()) -> ReleaseSpec:
    """The spec with more features and its list of forbidden columns emptied."""
    spec = spec_of(name)
    data = replace(
        spec.data,
        forbidden=(),
        numeric=spec.data.numeric + numeric,
        categorical=spec.data.categorical + categorical,
    )
    return replace(spec, data=data)


@pytest.mark.parametrize("name", SPECS)
def test_the_honest_features_are_no_leak(january: pd.DataFrame, name: str) -> None:
    report = leaks(spec_of(name), january)
    assert report.verdict is Verdict.PASS, report.reason


@pytest.mark.parametrize("name", ["flight-delays", "flight-outcome"])
def test_the_departure_delay_is_caught_though_nothing_forbids_it(january: pd.DataFrame, name: str) -> None:
    report = leaks(with_features(name, "dep_delay"), january)
    assert report.verdict is Verdict.FAIL
    assert "single_feature_score" in failing(report)
    assert "dep_delay (0." in report.reason


def test_a_tail_number_that_is_missing_because_of_the_cancellation_is_caught(january: pd.DataFrame) -> None:
    report = leaks(with_features("flight-outcome", categorical=("tailnum",)), january)
    assert failing(report) == {"missing_purity"}
    assert "tailnum" in report.reason


def test_the_label_in_disguise_is_caught_in_a_regression(january: pd.DataFrame) -> None:
    disguised = january.assign(hours=january["air_time"] / 60)
    assert failing(leaks(with_features("flight-airtime", "hours"), disguised)) == {"single_feature_score"}


def test_a_batch_in_other_units_is_unrelated(months: dict[str, Path], january: pd.DataFrame) -> None:
    spec = spec_of("flight-outcome")
    profile = reference_profile(feature_columns(january, spec), spec.data.numeric, spec.data.categorical)
    foreign = prepare(pd.read_parquet(months["2013-02"]))
    foreign[list(spec.data.numeric)] *= 1000
    measured = measure_drift(spec, foreign, CHAMPION, profile)
    report = drift.GATE.judge(evidence(drift.GATE, measured), spec.gates["drift"])
    assert failing(report) == {"unrelated_features"}


# -- the source itself -----------------------------------------------------------------------------------------------


def test_a_month_has_the_raw_columns_and_the_same_bytes_every_time(months: dict[str, Path], tmp_path: Path) -> None:
    write_batch("2013-01", tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == months["2013-01"].read_bytes()
    assert pd.read_parquet(months["2013-01"]).shape == (27_004, 19)


def test_a_month_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no batch '2014-01'; there are 2013-01"):
        write_batch("2014-01", tmp_path / "no.parquet")


def test_a_request_is_prepared_as_its_landed_row_was(months: dict[str, Path], january: pd.DataFrame) -> None:
    outcome = ["dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"]
    request = pd.read_parquet(months["2013-01"]).iloc[[4711]].drop(columns=outcome)
    answered = prepare(request)
    assert {"late", "outcome", *outcome}.isdisjoint(answered.columns)
    landed_row = january.loc[[4711], answered.columns]
    pd.testing.assert_frame_equal(answered, landed_row, check_dtype=False)


def test_labels_by_hand(january: pd.DataFrame) -> None:
    delay = january["arr_delay"]
    assert (january.loc[delay == 15, "late"] == "on_time").all()
    assert (january.loc[delay == 16, "late"] == "late").all()
    assert (january.loc[delay == 60, "outcome"] == "late").all()
    assert (january.loc[delay == 61, "outcome"] == "very_late").all()
    assert january.loc[delay.isna(), "late"].isna().all()
    assert (january.loc[delay.isna(), "outcome"] == "cancelled_or_diverted").all()
    assert (january["late"] == "late").sum() == 6_001


def test_weather_is_that_of_two_hours_before(january: pd.DataFrame) -> None:
    first = january[january["flight_id"] == "20130101-UA1545-EWR-IAH"].iloc[0]
    assert str(first["sched_time"]) == "2013-01-01 10:15:00+00:00"  # 05:15 in New York
    assert (first["temp"], first["wind_speed"]) == (39.02, 11.5078)  # EWR, 2013-01-01T08:00:00Z in weather.csv
