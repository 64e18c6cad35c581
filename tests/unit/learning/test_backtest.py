"""Windows of the past compared: which months, what differs, when the past speaks, and that nothing is fitted twice."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import skops.io  # type: ignore[import-untyped]  # no stubs published

from lockgate.adapters.window_backtest import WindowBacktest
from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, digest_of, to_json
from lockgate.core.intervals import Estimate
from lockgate.core.learning.backtest import (
    Candidate,
    Compared,
    Says,
    candidates,
    periods,
    recommendation,
    window_of,
    with_window,
)
from lockgate.core.learning.periods import Period
from lockgate.core.ledger import Event
from lockgate.core.spec import IncidentSection, ReleaseSpec, RetrainingSection, SplitMethod, TrainingSection, Window
from lockgate.errors import BadInput, TransientError
from lockgate.line.windows import Asked, compare_windows, drawn_to
from lockgate.models import TRAINERS
from lockgate.models.fit_process import fit
from lockgate.models.native import load_native
from lockgate.ports import Fit, Snapshot
from lockgate.stages.history import history
from lockgate.stages.window_choice import Answered, PeriodAnswers, window_report
from tests.fakes import FakeLedger
from tests.unit.data.toy import MODEL, settings, store, toy_rows, toy_spec, written
from tests.unit.judgement.scenes import days_of, spec_of

EXPANDING = Candidate(window=Window.EXPANDING)
ROLLING = Candidate(window=Window.ROLLING, days=20)
SPEC = replace(toy_spec(), training=TrainingSection(family="logistic", early_stopping_rounds=None))
ASKED = Asked(rolling=(20,), half_lives=(15,), period=Period.WEEK)


def estimate(low: float, high: float) -> Estimate:
    return Estimate(value=(low + high) / 2, low=low, high=high, se=(high - low) / 4)


def compared(block: tuple[float, float], period: tuple[float, float]) -> Compared:
    return Compared(candidate=ROLLING, by_block=estimate(*block), by_period=estimate(*period), periods=5)


@pytest.mark.parametrize(
    ("block", "period", "says"),
    [
        ((0.1, 0.2), (0.1, 0.3), Says.BETTER),
        ((0.1, 0.2), (-0.1, 0.3), Says.UNCLEAR),
        ((-0.1, 0.2), (0.1, 0.3), Says.UNCLEAR),
        ((-0.2, -0.1), (-0.3, -0.1), Says.WORSE),
        ((0.1, 0.2), (float("nan"), float("nan")), Says.UNCLEAR),
    ],
)
def test_both_intervals_must_leave_out_zero(
    block: tuple[float, float], period: tuple[float, float], says: Says
) -> None:
    assert compared(block, period).says is says


def test_only_a_window_that_is_shown_to_be_better_is_recommended() -> None:
    good, bad, open_ = (compared((low, low + 0.1), (low, low + 0.1)) for low in (0.1, -0.3, -0.05))
    assert recommendation(EXPANDING, [good, open_])["lines"] == ["window: rolling", "window_days: 20"]
    assert recommendation(EXPANDING, [bad, bad])["says"] == "keep"
    assert recommendation(EXPANDING, [bad, open_])["says"] == "inconclusive"
    assert recommendation(EXPANDING, [])["says"] == "inconclusive"


def test_the_spec_s_own_window_is_first_whichever_way_it_is_written() -> None:
    rolling = replace(SPEC, split=replace(SPEC.split, train_window_days=90))
    assert window_of(rolling) == Candidate(window=Window.ROLLING, days=90)
    assert [each.name for each in candidates(rolling)] == ["rolling-90", "expanding", "weighted-60"]
    assert [each.name for each in candidates(SPEC, weighs=False)] == ["expanding", "rolling-90"]
    for days in (0, 10**9):
        with pytest.raises(BadInput, match=f"{days} days"):
            candidates(SPEC, rolling=(days,))


@pytest.mark.parametrize("candidate", [EXPANDING, ROLLING, Candidate(window=Window.WEIGHTED, days=7)])
def test_a_spec_with_a_window_asks_for_that_window_and_nothing_else_changes(candidate: Candidate) -> None:
    before = replace(SPEC, retraining=RetrainingSection(window=Window.WEIGHTED, half_life_days=9, cooldown_s=5.0))
    made = with_window(before, candidate)
    assert window_of(made) == candidate
    assert made.retraining.cooldown_s == 5.0
    assert replace(made, retraining=before.retraining) == before


def test_a_month_needs_enough_days_before_it_and_a_stub_at_the_end_is_no_month() -> None:
    found = periods(date(2013, 1, 1), date(2013, 5, 3), Period.MONTH, 56)
    assert [since for since, _ in found] == [date(2013, 3, 1), date(2013, 4, 1)]
    weeks = periods(date(2024, 1, 1), date(2024, 1, 23), Period.WEEK, 7)
    assert weeks == ((date(2024, 1, 8), date(2024, 1, 15)), (date(2024, 1, 15), date(2024, 1, 22)),
                     (date(2024, 1, 22), date(2024, 1, 24)))  # fmt: skip


# -- the report ------------------------------------------------------------------------------------------------------


def past(kind: TaskKind, slopes: tuple[float, float], *, same_first: bool = False) -> list[PeriodAnswers]:
    """Four periods of rows, answered by one window that has one slope right and another that has another."""
    found = []
    for at in range(4):
        frame, signal, rng = days_of(20, 30, seed=at)
        label: Any = signal
        if kind is TaskKind.BINARY:
            label = np.where(rng.random(len(frame)) < 1 / (1 + np.exp(-signal)), "yes", "no")
        frame = frame.assign(label=label, time=frame["time"] + pd.Timedelta(days=30 * at))
        windows = {}
        for window, slope in zip((EXPANDING, ROLLING), slopes, strict=True):
            raw = slope * frame["x"].to_numpy()
            answers = 1 / (1 + np.exp(-raw)) if kind is TaskKind.BINARY else raw
            fitted_on = "one" if same_first and at == 0 else window.name
            windows[window] = Answered(
                answers=answers, fitted_on=fitted_on, trained_on=9, effective_rows=9.0, seconds=0.1
            )
        found.append(PeriodAnswers(since=f"m{at}", until=f"m{at + 1}", frame=frame, windows=windows))
    return found


def said_of(spec: ReleaseSpec, past: list[PeriodAnswers]) -> Any:
    return window_report(spec, [EXPANDING, ROLLING], past)


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.REGRESSION])
def test_a_window_that_knows_the_world_better_is_recommended_and_one_that_does_not_is_kept_away(kind: TaskKind) -> None:
    spec: ReleaseSpec = spec_of(kind)
    told = said_of(spec, past(kind, (0.3, 1.5)))
    assert told["recommendation"]["says"] == "change"
    told = said_of(spec, past(kind, (1.5, 0.3)))
    assert told["recommendation"]["says"] == "keep"
    told = said_of(spec, past(kind, (1.5, 1.5)))
    assert told["recommendation"]["says"] == "inconclusive"


def test_a_period_in_which_two_windows_were_one_says_nothing_of_either() -> None:
    spec = spec_of()
    whole, cut = past(TaskKind.BINARY, (0.3, 1.5), same_first=True), past(TaskKind.BINARY, (0.3, 1.5))[1:]
    first, second = (said_of(spec, each)["windows"][1] for each in (whole, cut))
    assert first["periods"] == 3
    assert first["gain"] == second["gain"]
    alone = past(TaskKind.BINARY, (0.3, 1.5), same_first=True)[:1]
    told = said_of(spec, alone)["windows"][1]
    assert told["says"] == "inconclusive"


def test_two_periods_are_too_few_whatever_their_rows_say() -> None:
    told = said_of(spec_of(), past(TaskKind.BINARY, (0.3, 1.5))[:2])
    assert told["recommendation"]["says"] == "inconclusive"


# -- the walk --------------------------------------------------------------------------------------------------------


@dataclass
class InThisProcess:
    """Fits as the process of its own does; keeps what it was asked."""

    fitted: list[ReleaseSpec] = field(default_factory=list)
    rows: list[pd.DataFrame] = field(default_factory=list)

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:
        self.fitted.append(spec)
        self.rows.append(pd.concat(pd.read_parquet(snapshot.folder / f"{p}.parquet") for p in ("train", "validation")))
        out.mkdir(parents=True)
        told: Any = to_json(spec)
        train, validation = (str(snapshot.folder / f"{part}.parquet") for part in ("train", "validation"))
        facts: Any = fit(told, train, validation, str(out))
        return Fit(folder=out, family="logistic", facts=facts)


class World:
    """A model whose world turns after a month, and whoever fits it."""

    def __init__(self, home: Path, days: int = 60, spec: ReleaseSpec = SPEC) -> None:
        rows, place = toy_rows(days, 40), store(home)
        late = (rows["t"] >= pd.Timestamp("2024-01-31", tz="UTC")).to_numpy()
        turned = rows["y"].map({"yes": "no", "no": "yes"})
        place.ingest(spec, place.land(MODEL, written(home / "made", rows.assign(y=rows["y"].where(~late, turned)))))
        self.ledger, self.trainer = FakeLedger(), InThisProcess()
        services = SimpleNamespace(settings=settings(home), code=SimpleNamespace(digest=Digest("c" * 64)))
        self.line: Any = SimpleNamespace(ledger=self.ledger, model=MODEL, spec=spec, services=services)
        self.told: list[str] = []

    def compare(self, asked: Asked = ASKED, **more: Any) -> dict[str, Any]:
        return compare_windows(
            self.line, asked, lambda _done, _of, what: self.told.append(what), trainer=self.trainer, **more
        )


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    return World(tmp_path_factory.mktemp("world"), days=73)


@pytest.fixture(scope="module")
def report(world: World) -> dict[str, Any]:
    return world.compare()


def test_in_a_world_that_turned_a_short_memory_is_recommended_and_put_on_record(
    world: World, report: dict[str, Any]
) -> None:
    assert report["left"] == report["failures"] == []
    assert [each["since"] for each in report["periods"]] == ["2024-02-19", "2024-02-26", "2024-03-04", "2024-03-11"]
    assert report["recommendation"]["says"] == "change", report["recommendation"]
    assert report["recommendation"]["window"] in {"rolling-20", "weighted-15"}
    row = world.ledger.rows(MODEL, events=(Event.WINDOWS_COMPARED,))[0]
    assert report["row"] == row.seq
    assert history([row])[0].text.startswith("windows compared: change ")
    drawn = drawn_to(world.line, report)
    assert drawn is not None
    assert drawn.read_bytes().startswith(b"\x89PNG")


def test_no_fit_sees_a_row_of_the_period_it_is_scored_on(world: World, report: dict[str, Any]) -> None:
    assert report["periods"]
    firsts = [pd.Timestamp(each.split()[0], tz="UTC") for each in world.told]
    assert len(world.trainer.rows) == len(firsts)
    for rows, first in zip(world.trainer.rows, firsts, strict=True):
        assert rows["t"].max() < first - pd.Timedelta(days=SPEC.split.holdout_days - 1)


def test_what_was_fitted_is_kept_and_the_same_outcome_is_on_record_once(world: World, report: dict[str, Any]) -> None:
    fits, told = len(world.trainer.fitted), len(world.told)
    assert world.compare()["row"] == report["row"]
    del world.told[told:]  # the world is left as it was found, for whichever test comes next
    assert len(world.trainer.fitted) == fits
    assert not (world.line.services.settings.home / "windows" / MODEL / "work").exists()


def test_without_time_what_is_known_is_told_nothing_goes_on_record_and_the_next_call_goes_on(tmp_path: Path) -> None:
    world = World(tmp_path)
    asked = replace(ASKED, rolling=(70,), half_lives=(30,))
    seconds = iter([0.0, 0.0, 0.0, *[99.0] * 50])
    told = world.compare(replace(asked, time_s=10.0), elapsed_s=lambda: next(seconds))
    assert [each["since"] for each in told["periods"]] == ["2024-02-26"]
    assert told["left"] == ["2024-02-19"]
    assert told["row"] is None
    fits = len(world.trainer.fitted)
    whole = world.compare(asked)
    assert whole["row"] is not None
    assert whole["left"] == []
    assert len(world.trainer.fitted) > fits
    own, rolling = ([each["windows"][name] for each in whole["periods"]] for name in ("expanding", "rolling-70"))
    assert own == rolling, "seventy days were never there, so the two are one and were fitted once"
    assert len(world.trainer.fitted) == 2 * len(whole["periods"]), "expanding and weighted"


def test_what_is_quarantined_is_learnt_from_by_no_window_and_still_scored(tmp_path: Path) -> None:
    days = ("2024-01-20", "2024-01-28"), ("2024-02-20", "2024-02-21")
    bad = [IncidentSection(since=since, until=until, reason="a sensor stood still") for since, until in days]
    world = World(tmp_path, spec=replace(SPEC, retraining=RetrainingSection(quarantine=tuple(bad))))
    told = world.compare(replace(ASKED, rolling=(70,), half_lives=(30,)))
    assert told["failures"] == []
    assert not any(_inside(each, "2024-01-20", "2024-01-29") for each in world.trainer.rows)
    assert told["periods"][0]["rows"] == 7 * 36, "the whole week, the bad days too"


def test_an_answer_that_cannot_be_read_is_asked_for_again(tmp_path: Path) -> None:
    world = World(tmp_path)
    asked = replace(ASKED, rolling=(70,), half_lives=(30,))
    whole, fits = world.compare(asked), len(world.trainer.fitted)
    (path, *_) = sorted((tmp_path / "windows" / MODEL).glob("*-expanding-*.npz"))
    kept = path.read_bytes()
    flipped = kept[:200] + bytes([kept[200] ^ 255]) + kept[201:]
    for number, damaged in enumerate((kept[: len(kept) // 2], b"", flipped), 1):
        path.write_bytes(damaged)
        assert digest_of(world.compare(asked)["windows"]) == digest_of(whole["windows"])
        assert len(world.trainer.fitted) == fits + number


class Refusing(InThisProcess):
    """It fits nothing."""

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:
        assert snapshot.folder.is_dir()
        raise BadInput(f"{spec.name}: no such parameter, so {out.name} stays empty")


class Spoilt(InThisProcess):
    """Its fits answer no number."""

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:
        made = super().fit(spec, snapshot, out)
        native: Any = load_native(out / "model.skops", TRAINERS["logistic"].trusted)
        native[-1].coef_[:] = np.nan
        skops.io.dump(native, out / "model.skops")
        return made


def test_a_fit_that_answers_no_number_is_told_and_its_period_compared_by_nobody(tmp_path: Path) -> None:
    world = World(tmp_path)
    world.trainer = Spoilt()
    with pytest.raises(BadInput, match=r"the fit answered 144 of 144 rows with no number"):
        world.compare()


def test_a_fit_that_was_refused_or_killed_leaves_no_rows_behind(tmp_path: Path) -> None:
    world = World(tmp_path)
    work = world.line.services.settings.home / "windows" / MODEL / "work"
    (work / "of one that was killed").mkdir(parents=True)
    world.trainer = Refusing()
    with pytest.raises(BadInput, match="no such parameter"):
        world.compare()
    assert not work.exists()


def test_rows_of_a_period_come_in_one_order_however_the_table_lists_its_files(tmp_path: Path) -> None:
    rows, place = toy_rows(20, 10), store(tmp_path)
    for at in (1, 0):
        place.ingest(SPEC, place.land(MODEL, written(tmp_path / f"made-{at}", rows.iloc[at::2])))
    backtest = WindowBacktest(settings(tmp_path), SPEC, Digest("c" * 64))
    first = rows["t"].min().date()
    frame = backtest.frame(first, first + timedelta(days=20))
    assert list(frame["id"]) == list(rows[rows["y"].notna()]["id"])


def test_a_past_of_which_nothing_could_be_fitted_says_why(tmp_path: Path) -> None:
    every = IncidentSection(since="2024-01-02", until="2024-02-28", reason="a sensor stood still")
    world = World(tmp_path, spec=replace(SPEC, retraining=RetrainingSection(quarantine=(every,))))
    with pytest.raises(BadInput, match=r"retraining\.quarantine"):
        world.compare()
    with pytest.raises(BadInput, match="--time"):
        world.compare(replace(ASKED, time_s=0.0), elapsed_s=lambda: 1.0)


def test_a_second_comparison_at_the_same_time_is_told_to_wait(tmp_path: Path) -> None:
    world = World(tmp_path)
    first = WindowBacktest(world.line.services.settings, SPEC, Digest("c" * 64), world.trainer)
    with first.held(), pytest.raises(TransientError, match="under way"):
        world.compare()
    assert world.trainer.fitted == []


def _inside(rows: pd.DataFrame, since: str, until: str) -> bool:
    return bool(rows["t"].between(pd.Timestamp(since, tz="UTC"), pd.Timestamp(until, tz="UTC"), "left").any())


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"split": replace(SPEC.split, method=SplitMethod.RANDOM)}, "split.method is time"),
        ({"split": replace(SPEC.split, holdout_days=60)}, "too few to compare windows"),
    ],
)
def test_what_cannot_be_compared_says_what_is_needed(world: World, change: dict[str, Any], says: str) -> None:
    line: Any = SimpleNamespace(**{**vars(world.line), "spec": replace(SPEC, **change)})
    with pytest.raises(BadInput, match=says):
        compare_windows(line, ASKED, lambda *_: None, trainer=world.trainer)
