"""Known-bad data through the real measurements: each is stopped by its gate for its reason; equal data passes all."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from lockgate.adapters.split import split
from lockgate.core.contract import TaskKind
from lockgate.core.drift import reference_profile
from lockgate.core.gates import batch, drift, leakage
from lockgate.core.ids import Digest, Json, to_json
from lockgate.core.spec import ReleaseSpec, SplitMethod, SplitSection
from lockgate.core.verdict import GateReport, Verdict
from lockgate.errors import IntegrityError
from lockgate.ports import Snapshot
from lockgate.stages.feature_columns import feature_columns
from lockgate.stages.validate_data import measure_validation
from tests.unit.data.toy import evidence, failing, toy_rows, toy_spec

CHAMPION = Digest("c" * 64)
NOW, THEN = Digest("d" * 64), Digest("e" * 64)
GATES = (batch.GATE, leakage.GATE, drift.GATE)
SPEC = toy_spec()
Frames = dict[str, pd.DataFrame]


class Frozen:
    """Parts in memory; what was lost is not what was frozen."""

    def __init__(self, **snapshots: Frames) -> None:
        self._snapshots = snapshots
        self.reads: list[tuple[str, str]] = []

    def part(self, snapshot: Snapshot, name: str, columns: Any = None) -> pd.DataFrame:
        if snapshot.digest not in self._snapshots:
            raise IntegrityError(f"snapshot {snapshot.digest[:6]} is gone")
        self.reads.append((snapshot.digest, name))
        frame = self._snapshots[snapshot.digest][name]
        return frame if columns is None else frame[list(columns)]


class NoSuite:
    """Asks for every frame, as the suite does."""

    def validate(self, _spec: ReleaseSpec, frames: Mapping[str, pd.DataFrame], _docs: Path) -> Mapping[str, Json]:
        return {"rows": sum(len(frames[name]) for name in frames)}


def parts_of(rows: pd.DataFrame, spec: ReleaseSpec) -> Frames:
    rows = rows.sort_values(["t", "id"]).reset_index(drop=True)
    divided = {name: rows[mask].reset_index(drop=True) for name, mask in split(rows, spec).rows.items()}
    return {**divided, "batch": rows.tail(len(rows) // 2).reset_index(drop=True)}


def snapshot(digest: Digest, parts: Frames) -> Snapshot:
    as_of = max(parts["holdout"]["t"].max(), parts["train"]["t"].max()).to_pydatetime()
    rows = {name: len(part) for name, part in parts.items()}
    return Snapshot(digest=digest, folder=Path(), table_version=1, as_of=as_of, rows=rows, unlabelled={})


def many(seed: int = 1, start: str = "2024-01-01") -> pd.DataFrame:
    return toy_rows(60, 60, start=start, seed=seed)


def measured(
    now: Frames, then: Frames | None = None, *, spec: ReleaseSpec = SPEC, lost: bool = True, history: Any = (1800,) * 4
) -> dict[str, Any]:
    """Measure `now` against a champion fitted on `then`, by default on other rows of the same law."""
    before = parts_of(many(seed=2), SPEC) if then is None else then
    seen = pd.concat([before["train"], before["validation"]])
    seen = seen.assign(**{name: 0.0 for name in spec.data.numeric if name not in seen})
    before = {
        name: part.assign(**{n: 0.0 for n in spec.data.numeric if n not in part}) for name, part in before.items()
    }
    profile = reference_profile(feature_columns(seen, spec), spec.data.numeric, spec.data.categorical)
    store = Frozen(**{NOW: now} if lost else {NOW: now, THEN: before})
    found = measure_validation(
        store,  # type: ignore[arg-type]  # one method is enough
        NoSuite(),
        spec,
        snapshot(NOW, now),
        champion=CHAMPION,
        reference_profile=profile,
        docs=Path(),
        champion_rows=snapshot(THEN, before),
        history=history,
    )
    assert len(store.reads) == len(set(store.reads)), "a part was read twice"
    document = to_json(found)
    assert isinstance(document, dict)
    return document


def judged(found: Mapping[str, Any], **thresholds: object) -> dict[str, GateReport]:
    return {
        gate.name: gate.judge(
            evidence(gate, found[gate.name]), gate.thresholds(**(thresholds if gate.name == "leakage" else {}))
        )
        for gate in GATES
    }


def stopped(found: Mapping[str, Any]) -> set[str]:
    return {f"{name}.{check}" for name, each in judged(found).items() for check in failing(each)}


@pytest.mark.parametrize("seed", range(11, 13))
def test_other_rows_of_the_same_law_pass_every_gate(seed: int) -> None:
    found = measured(parts_of(many(seed), SPEC), lost=False)
    for report in judged(found).values():
        assert report.verdict is Verdict.PASS, report.reason
        assert not [c for c in report.checks if c.verdict is Verdict.FAIL], report.checks


def test_without_a_champion_everything_passes_and_nothing_is_compared() -> None:
    now = parts_of(many(3), SPEC)
    found = measure_validation(
        Frozen(**{NOW: now}),  # type: ignore[arg-type]  # one method is enough
        NoSuite(),
        SPEC,
        snapshot(NOW, now),
        champion=None,
        reference_profile=None,
        docs=Path(),
    )
    assert {report.verdict for report in judged(found).values()} == {Verdict.PASS}


def with_train(change: Callable[[pd.DataFrame], pd.DataFrame]) -> Frames:
    parts = parts_of(many(5), SPEC)
    return {**parts, "train": change(parts["train"])}


def test_holdout_rows_copied_into_train_under_other_keys_are_caught() -> None:
    parts = parts_of(many(5), SPEC)
    copies = parts["holdout"].head(200).assign(t=parts["train"]["t"].max(), id=[f"copy-{i}" for i in range(200)])
    parts["train"] = pd.concat([parts["train"], copies], ignore_index=True)
    assert stopped(measured(parts)) == {"leakage.twin_excess"}


def test_rows_written_twice_under_other_keys_are_caught() -> None:
    again = with_train(lambda t: pd.concat([t, t.assign(id=t["id"] + "-2")]).sort_values("t", ignore_index=True))
    assert "batch.copied_share" in stopped(measured(again))


def test_one_key_in_two_parts_is_caught_by_both_gates() -> None:
    parts = parts_of(many(5), SPEC)
    parts["train"].loc[0, "id"] = parts["holdout"].loc[0, "id"]
    assert stopped(measured(parts)) == {"batch.duplicate_share", "leakage.shared_keys"}


def test_a_column_that_is_filled_only_once_the_event_has_happened_is_caught() -> None:
    noted = many(5)
    late = (noted["y"] == "yes") & (np.arange(len(noted)) % 3 == 0)
    noted["b"] = np.where(late, 1.0, np.nan)
    champion = parts_of(noted, SPEC)
    assert "leakage.filled_purity" in stopped(measured(champion, champion))


def test_a_column_that_arrives_with_the_label_is_caught() -> None:
    rows = many(5)
    rows["b"] = rows["b"].mask(rows["y"].isna()).fillna(rows["y"].notna().map({True: 0.5, False: np.nan}))
    late = parts_of(rows, SPEC)
    assert stopped(measured(late, late)) == {"leakage.missing_without_label"}


def test_a_number_to_predict_that_is_large_where_a_value_is_missing_is_caught() -> None:
    spec = replace(SPEC, task=replace(SPEC.task, kind=TaskKind.REGRESSION, classes=()))
    rows = many(5)
    rows["y"] = np.where(rows["y"].isna(), np.nan, np.random.default_rng(1).normal(size=len(rows)))
    honest = parts_of(rows, spec)
    assert stopped(measured(honest, honest, spec=spec)) == set()
    rows["b"] = rows["b"].fillna(0.0).mask(rows["y"] > 0.5)
    lost = parts_of(rows, spec)
    assert stopped(measured(lost, lost, spec=spec)) == {"leakage.missing_label_gap"}


def test_features_observed_after_the_row_are_shown_and_bind_where_the_spec_says_so() -> None:
    rows = many(5)
    rows["seen_at"] = rows["t"] + pd.Timedelta(minutes=5)
    found = measured(parts_of(rows, SPEC))
    shown = judged(found)["leakage"]
    assert shown.verdict is Verdict.PASS
    assert [c.slice for c in shown.checks if c.verdict is Verdict.FAIL] == ["column=seen_at"]
    assert failing(judged(found, observed_at=("seen_at",))["leakage"]) == {"observed_later"}
    before = measured(parts_of(rows.assign(seen_at=rows["t"] - pd.Timedelta(minutes=5)), SPEC))
    assert judged(before, observed_at=("seen_at",))["leakage"].verdict is Verdict.PASS
    assert judged(before, observed_at=("gone_at",))["leakage"].verdict is Verdict.ERROR


def test_a_group_in_two_parts_is_caught_and_entities_of_a_random_split_are_shown() -> None:
    grouped = replace(SPEC, split=SplitSection(method=SplitMethod.GROUP, group="who"))
    rows = many(5).assign(who=[f"w{i % 300}" for i in range(3600)])
    parts = parts_of(rows, grouped)
    assert stopped(measured(parts, spec=grouped, then=parts)) == set()
    parts["holdout"].loc[0, "who"] = parts["train"].loc[0, "who"]
    assert stopped(measured(parts, spec=grouped, then=parts)) == {"leakage.shared_groups"}
    drawn = replace(toy_spec(entity="who"), split=SplitSection(method=SplitMethod.RANDOM))
    report = judged(measured(parts_of(rows, drawn), spec=drawn))["leakage"]
    assert report.verdict is Verdict.PASS
    assert {c.name for c in report.checks if c.verdict is Verdict.FAIL} == {"shared_entities"}


def test_half_a_file_is_caught_by_its_size_beside_the_batches_before_it() -> None:
    parts = parts_of(many(5), SPEC)
    small = {**parts, "batch": parts["batch"].tail(800).reset_index(drop=True)}
    assert stopped(measured(small)) == {"batch.batch_rows_low"}
    assert stopped(measured(small, history=(1800, 1800))) == set()  # two batches have no usual size
    assert stopped(measured(parts, history=(500,) * 3)) == {"batch.batch_rows_high"}


def test_a_table_that_lost_most_of_its_rows_is_caught_by_what_the_champion_had() -> None:
    assert stopped(measured(with_train(lambda t: t.tail(600).reset_index(drop=True)))) == {"batch.champion_rows_ratio"}


def test_a_label_that_is_defined_otherwise_is_caught() -> None:
    half = np.random.default_rng(7).random(10_000) < 0.7
    flipped = with_train(lambda t: t.assign(y=t["y"].mask(pd.Series(half[: len(t)]), "yes")))
    assert stopped(measured(flipped, lost=False)) == {"batch.label_shift"}


def test_a_joint_shift_that_no_single_feature_shows_is_seen_and_named() -> None:
    rows = many(5)
    rows["b"] = np.random.default_rng(3).normal(size=len(rows))
    then = parts_of(rows, SPEC)
    coupled = {**then, "batch": then["batch"].assign(b=then["batch"]["a"].to_numpy())}
    report = judged(measured(coupled, then, lost=False))["drift"]
    assert report.verdict is Verdict.PASS  # drift is no harm in itself
    found = {(c.name, c.slice): c for c in report.checks}
    assert found["joint_shift", "all"].verdict is Verdict.FAIL
    assert "a" in found["joint_shift", "all"].reason
    assert "b" in found["joint_shift", "all"].reason
    assert found["drifted_features", "all"].verdict is Verdict.PASS
    assert found["joint_shift", "part=train"].verdict is Verdict.PASS


def test_where_the_champions_rows_are_gone_the_profile_still_binds() -> None:
    parts = parts_of(many(5), SPEC)
    report = judged(measured(parts))
    assert {each.verdict for each in report.values()} == {Verdict.PASS}
    unseen = [c for c in report["drift"].checks if c.verdict is Verdict.ERROR]
    assert {c.name for c in unseen} == {"joint_shift"}
    assert all("is gone" in c.reason for c in unseen)
    foreign = {**parts, "batch": parts["batch"].assign(a=parts["batch"]["a"] * 1e6, b=1e6)}
    assert stopped(measured(foreign)) == {"drift.unrelated_features"}


def test_training_rows_in_other_units_are_caught_too() -> None:
    foreign = with_train(lambda t: t.assign(a=t["a"] * 1e6, b=1e6))
    assert stopped(measured(foreign)) == {"drift.unrelated_features"}


def test_the_measurements_hold_no_row_and_are_small() -> None:
    found = measured(parts_of(many(5), SPEC), lost=False)
    text = str({name: facts for name, facts in found.items() if name != "expectations"})
    assert "2024-01-01-" not in text  # how keys begin
    assert len(text) < 20_000
