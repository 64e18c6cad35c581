"""The fault library: whole, declared well, and able to be made."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lockgate.config import Settings
from lockgate.core.gates.registry import GATES, names
from lockgate.core.ids import Stage
from lockgate.core.progress import Progress
from lockgate.core.spec import SliceSection
from lockgate.core.verdict import Verdict
from lockgate.errors import BadInput, ConfigError
from lockgate.selftest import toy
from lockgate.selftest.entries import Landed
from lockgate.selftest.fault import Fault, Size
from lockgate.selftest.intervals import clopper_pearson
from lockgate.selftest.library import FAULTS, WITHOUT_FAULT, faults_named
from lockgate.selftest.pushing import STAGES, How, Pushed, Stop, rightful, told
from lockgate.selftest.source import toy_plan

STAGE_OF = {gate.name: gate.stage for gate in GATES}
each_fault = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


def test_every_gate_has_a_fault_that_names_it_first_or_a_reason_why_not() -> None:
    named = {fault.by[0].gate for fault in FAULTS}
    assert named.isdisjoint(WITHOUT_FAULT)
    assert named | set(WITHOUT_FAULT) == set(names(GATES))
    assert all(len(reason) > 40 for reason in WITHOUT_FAULT.values())


def test_there_are_at_least_twenty_faults_each_with_a_name_of_its_own() -> None:
    assert len(FAULTS) >= 20
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)


@each_fault
def test_a_fault_names_gates_that_come_after_it_enters(fault: Fault) -> None:
    for by in fault.by:
        assert by.gate in STAGE_OF
        assert STAGES.index(STAGE_OF[by.gate]) >= STAGES.index(fault.entry.before)


@each_fault
def test_a_smaller_fault_is_smaller_and_none_is_nothing(fault: Fault) -> None:
    full, half, quarter = (fault.amount_at(size) for size in (Size.FULL, Size.HALF, Size.QUARTER))
    assert (full > half > quarter > 0) if fault.grows else (0 < full < half < quarter)


def test_every_fault_applies_to_the_toy() -> None:
    assert {fault.name: fault.needs(toy.spec()) for fault in FAULTS if fault.needs(toy.spec())} == {}


def test_a_fault_that_needs_what_a_spec_does_not_have_says_so() -> None:
    bare = replace(toy.spec(), slices=(), sensitive=())
    lacking = {fault.name for fault in FAULTS if fault.needs(bare)}
    assert lacking == {"poisoned_slice", "group_bias"}
    assert not [
        f for f in FAULTS if f.needs(replace(bare, slices=(SliceSection(column="depot"),), sensitive=("depot",)))
    ]


@pytest.mark.parametrize("fault", [f for f in FAULTS if isinstance(f.entry, Landed)], ids=lambda fault: fault.name)
def test_a_landed_fault_is_the_same_every_time_and_leaves_the_clean_rows_alone(fault: Fault) -> None:
    assert isinstance(fault.entry, Landed)
    _, batch = toy.rows()
    before = batch.copy()
    once, again = (fault.entry.change(batch, toy.spec(), fault.amount) for _ in range(2))
    pd.testing.assert_frame_equal(once, again)
    pd.testing.assert_frame_equal(batch, before)
    assert not once.equals(batch)


def test_a_name_that_is_no_fault_is_refused_with_those_there_are() -> None:
    with pytest.raises(BadInput, match=r"no fault 'leek'; faults: .*innocent_leak"):
        faults_named(["leek"])
    assert faults_named([]) == FAULTS


# -- who stopped it --------------------------------------------------------------------------------------------------


def stop(gate: str, check: str, verdict: Verdict = Verdict.FAIL) -> Stop:
    return Stop(
        stage=Stage.VALIDATE_DATA, gate=gate, check=check, verdict=verdict, reason="because", checks=((check, verdict),)
    )


def ended(*stops: Stop) -> How:
    fault = faults_named(["innocent_leak"])[0]
    so_far = Progress(model="m", release="m-0001", run="r", spec="s", code="c")  # type: ignore[arg-type]  # plain text does
    return told(fault, Size.FULL, Pushed(so_far=so_far, stops=stops, seconds=1.0)).how


def test_only_the_named_gate_and_check_with_fail_counts_as_caught() -> None:
    assert ended(stop("leakage", "single_feature_score")) is How.CAUGHT
    assert ended(stop("batch", "batch_rows"), stop("leakage", "single_feature_score")) is How.CAUGHT
    assert ended(stop("batch", "batch_rows")) is How.ELSEWHERE
    assert ended(stop("leakage", "shared_keys")) is How.ELSEWHERE
    assert ended(stop("leakage", "single_feature_score", Verdict.ERROR)) is How.ELSEWHERE
    assert ended(stop("leakage", "single_feature_score", Verdict.INCONCLUSIVE)) is How.ELSEWHERE
    assert ended() is How.ESCAPED


def test_too_little_to_say_counts_only_where_that_is_the_fault() -> None:
    small = faults_named(["half_a_file"])[0]
    assert rightful(small, stop("batch", "batch_rows", Verdict.INCONCLUSIVE))
    assert not rightful(small, stop("batch", "batch_rows", Verdict.ERROR))


# -- the false-alarm rate --------------------------------------------------------------------------------------------


def test_the_exact_interval_is_that_of_the_published_table() -> None:
    # scipy's own exact interval is the oracle
    from scipy.stats import binomtest

    for hits, tries in ((0, 60), (1, 60), (3, 10), (10, 10), (60, 120)):
        exact = binomtest(hits, tries).proportion_ci(0.95, "exact")
        assert np.allclose(clopper_pearson(hits, tries), (exact.low, exact.high), atol=1e-12)
    assert clopper_pearson(0, 0) == (0.0, 1.0)


@pytest.mark.parametrize("there", [[], ["requirements.lock"], ["great_expectations/great_expectations.yml"]])
def test_a_folder_that_is_no_project_is_told_what_it_lacks(tmp_path: Path, there: list[str]) -> None:
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    home = tmp_path / "home"
    settings = Settings(project=tmp_path, home=home, host="127.0.0.1", ports={}, notify=(), ledger_url="")
    with pytest.raises(
        ConfigError, match=r"there is no (requirements\.lock|great_.*\.yml) in .*, or name that in LOCKG"
    ):
        toy_plan(settings, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_the_toy_is_the_same_every_time() -> None:
    (history, batch), (again, batch_again) = toy.rows(), toy.rows()
    pd.testing.assert_frame_equal(history, again)
    pd.testing.assert_frame_equal(batch, batch_again)
    assert len(history) == toy.HISTORY_DAYS * toy.ROWS_A_DAY
