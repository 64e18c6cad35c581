"""Windows of a model's past compared: months fitted and scored within a time, the outcome on record and drawn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.core.estimates import within
from lockgate.core.ids import Json, digest_of, to_json
from lockgate.core.learning.backtest import LEAST_TRAIN_DAYS, Candidate, candidates, periods, words
from lockgate.core.learning.periods import Period
from lockgate.core.ledger import Event
from lockgate.errors import BadInput, MeasurementError
from lockgate.line.model_line import Line
from lockgate.stages.train import Trainer
from lockgate.stages.window_choice import Answered, PeriodAnswers, window_report

if TYPE_CHECKING:
    from lockgate.adapters.window_backtest import WindowBacktest

Tell = Callable[[int, int, str], None]
"""Told before each fit: how many are done, of how many, and which comes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is compared.

    Attributes:
        rolling: Lengths of rolling windows, days; none: the usual.
        half_lives: Half-lives of weighted windows, days; none: the usual.
        period: How often a release would have been made.
        time_s: No fit is begun after so long; what is left is said, and the next call goes on there.
    """

    rolling: tuple[int, ...] = ()
    half_lives: tuple[int, ...] = ()
    period: Period = Period.MONTH
    time_s: float = 1800.0


def compare_windows(
    line: Line,
    asked: Asked,
    tell: Tell,
    *,
    trainer: Trainer | None = None,
    elapsed_s: Callable[[], float] | None = None,
) -> dict[str, Json]:
    """Compare windows over a model's past, and put the outcome on record once every period was answered.

    Args:
        line: The model's line.
        asked: What is compared.
        tell: Told how far it is.
        trainer: Fits; None: in a process of its own.
        elapsed_s: Tells how long this call took so far; None: by the machine's monotonic clock.

    Returns:
        `stages.window_choice.window_report`, with `model`, `table_version`, `not_tried`, `left`, `failures` and
        `row`: the ledger's row, None where it is not on record because something is left.

    Raises:
        BadInput: Nothing was ingested, the split is not by time, or the past is too short to compare anything.
        TransientError: The table or the ledger did not answer, or another comparison of this model is under way.
    """
    from lockgate.adapters.window_backtest import WindowBacktest
    from lockgate.models import trainer_of

    began = time.monotonic()
    spent = elapsed_s or (lambda: time.monotonic() - began)
    tried = candidates(line.spec, asked.rolling, asked.half_lives, weighs=trainer_of(line.spec).weighs)
    backtest = WindowBacktest(line.services.settings, line.spec, line.services.code.digest, trainer)
    spans = _spans(line, backtest, asked.period)
    course = _Course(backtest, tried, lambda: spent() > asked.time_s, tell)
    with backtest.held():
        past = course.run(spans)
    if not past:
        raise BadInput(f"no {asked.period.value} was answered by every window: {course.why}")
    report: dict[str, Json] = {
        "model": line.model,
        "table_version": backtest.table_version,
        "period": asked.period.value,
        "tried": [each.name for each in tried],
        "not_tried": _not_tried(line),
        "left": course.left,
        "failures": course.failures,
        **window_report(line.spec, tried, [_without_features(line, each) for each in past]),
    }
    return {**report, "row": None if course.left else _put_on_record(line, report)}


def _not_tried(line: Line) -> str:
    from lockgate.models import trainer_of

    family = line.spec.training.family
    if trainer_of(line.spec).weighs:
        return ""
    return f"weighted: the fit of training.family {family} takes no weights"


def _spans(line: Line, backtest: WindowBacktest, period: Period) -> tuple[tuple[date, date], ...]:
    split, (first, last) = line.spec.split, backtest.days()
    least = LEAST_TRAIN_DAYS + split.validation_days + split.holdout_days
    spans = periods(first, last, period, least)
    if not spans:
        raise BadInput(
            f"the rows of {line.model} from {first} to {last} are too few to compare windows: a {period.value} to "
            f"score needs {least} days before it ({LEAST_TRAIN_DAYS} to train, {split.validation_days} for validation, "
            f"{split.holdout_days} for the holdout); land more, or try --period week"
        )
    return spans


class _Course:
    """Periods fitted by every window, the newest first: where time runs out, what is known is about now."""

    def __init__(
        self, backtest: WindowBacktest, tried: Sequence[Candidate], is_over: Callable[[], bool], tell: Tell
    ) -> None:
        self._backtest, self._tried, self._is_over, self._tell = backtest, tried, is_over, tell
        self.left: list[Json] = []
        self.failures: list[Json] = []

    @property
    def why(self) -> str:
        """Why a period is not there: the newest failure, or the time."""
        if not self.failures:
            return f"no time was left for {', '.join(map(str, self.left))}; give more with --time"
        newest = self.failures[0]
        return f"{within(newest, 'since')}, {within(newest, 'window')}: {within(newest, 'reason')}"

    def run(self, spans: Sequence[tuple[date, date]]) -> list[PeriodAnswers]:
        """Return the periods that every window answered, oldest first."""
        found: list[PeriodAnswers] = []
        for at, (since, until) in enumerate(reversed(spans)):
            answered = self._period(at * len(self._tried), len(spans) * len(self._tried), since, until)
            if answered is not None:
                frame = self._backtest.frame(since, until)
                days = (since.isoformat(), until.isoformat())
                found.append(PeriodAnswers(since=days[0], until=days[1], frame=frame, windows=answered))
        return found[::-1]

    def _period(self, done: int, of: int, since: date, until: date) -> Mapping[Candidate, Answered] | None:
        same: dict[str, Answered] = {}
        windows: dict[Candidate, Answered] = {}
        for at, candidate in enumerate(self._tried):
            if self._is_over() and self._backtest.kept(candidate, since, until) is None:
                self.left.append(since.isoformat())
                return None
            self._tell(done + at, of, f"{since:%Y-%m-%d} {candidate.name}")
            try:
                windows[candidate] = self._backtest.answer(candidate, since, until, same)
            except (BadInput, MeasurementError) as why:
                self.failures.append({"since": since.isoformat(), "window": candidate.name, "reason": why.message})
                return None
        return windows


def _without_features(line: Line, period: PeriodAnswers) -> PeriodAnswers:
    data, block = line.spec.data, line.spec.split.block
    names = list(dict.fromkeys([data.label, data.time, *([] if block == "day" else [block])]))
    return PeriodAnswers(since=period.since, until=period.until, frame=period.frame[names], windows=period.windows)


def _put_on_record(line: Line, report: Mapping[str, Json]) -> int:
    """Return the row that holds this comparison; it is written unless the newest says the same."""
    key = digest_of([report, line.services.code.digest])
    rows = line.ledger.rows(line.model, events=(Event.WINDOWS_COMPARED,))
    if rows and rows[-1].payload.get("key") == key:
        return rows[-1].seq
    told = to_json(report)
    facts: dict[str, Json] = dict(told) if isinstance(told, Mapping) else {}
    said = report.get("recommendation")
    summary = words(said) if isinstance(said, Mapping) else "?"
    bound: dict[str, Json] = {
        "key": key, "spec": line.spec.digest, "code": line.services.code.digest, "summary": summary,
    }  # fmt: skip
    return line.ledger.append(line.model, Event.WINDOWS_COMPARED, {**facts, **bound}).seq


def drawn_to(line: Line, report: Mapping[str, Json]) -> Path | None:
    """Draw a comparison into `<home>/windows/<model>/windows.png`; None where there is nothing to draw."""
    import base64

    from lockgate.adapters.window_plots import windows_picture

    drawn = windows_picture(report)
    if drawn is None:
        return None
    path = line.services.settings.home / "windows" / line.model / "windows.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(drawn.partition(",")[2]))
    return path
