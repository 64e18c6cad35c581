"""What became true of the rows that a bundle answered: joined in DuckDB, added up by bin, hour, delay and slice."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from lockgate.adapters import log_windows_sql as sql
from lockgate.adapters.log_windows_day import Day
from lockgate.core.contract import TaskKind
from lockgate.core.monitoring import summary as form
from lockgate.core.monitoring.summary import LabelSums
from lockgate.core.monitoring.summary_bins import FrozenBins, label_index

_SUMS: Final = "count(*), sum(loss), sum(loss * loss), sum(predicted), sum(observed)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """What labels tell.

    Attributes:
        labels: The sums.
        unusable: Rows whose label, or answer, cannot be judged.
        delays: Labelled rows by delay.
        by_hour: Rows with a usable label, by hour of the day.
    """

    labels: LabelSums = field(default_factory=LabelSums)
    unusable: int = 0
    delays: tuple[int, ...] = ()
    by_hour: Mapping[int, int] = field(default_factory=dict)


def label_sums(day: Day, answers: str, bins: FrozenBins, slices: Sequence[str]) -> Judged:
    """Join labels to answers, keep the pairs in the table `judged`, and add them up.

    Args:
        day: Has labels.
        answers: Query for the bundle's traffic with the number that is judged.
        bins: The bundle's.
        slices: Expressions that name a row's slice.

    Raises:
        duckdb.Error: The files cannot be read.
    """
    day.run(f"CREATE OR REPLACE TEMP TABLE judged AS {_judged(answers, bins, slices)}")
    counted = dict(day.run("SELECT usable, count(*) FROM judged GROUP BY usable"))
    if not counted.get(True):
        return Judged(unusable=counted.get(False, 0))
    ranks: tuple[tuple[int, int], ...] = ()
    if bins.task is TaskKind.BINARY:
        ranks = _ranks(day.run("SELECT rank, observed > 0, count(*) FROM judged WHERE usable GROUP BY ALL"))
    delays = dict(day.run("SELECT delay, count(*) FROM judged WHERE usable GROUP BY delay"))
    return Judged(
        labels=_added(day.run(f"SELECT bin, {_SUMS} FROM judged WHERE usable GROUP BY bin"), _bins(bins), ranks),
        unusable=counted.get(False, 0),
        delays=tuple(delays.get(at, 0) for at in range(len(form.LABEL_DELAY_EDGES_S) + 1)),
        by_hour=dict(day.run("SELECT hour, count(*) FROM judged WHERE usable GROUP BY hour")),
    )


def slice_sums(day: Day, bins: FrozenBins, sections: int) -> dict[str, LabelSums]:
    """Return the sums of the largest slices of the table `judged`; at most `SLICES_AT_MOST` of all sections."""
    found: dict[str, LabelSums] = {}
    for at in range(sections):
        largest = (
            f"SELECT k{at} FROM judged WHERE usable AND k{at} IS NOT NULL GROUP BY k{at} "
            f"ORDER BY count(*) DESC, k{at} LIMIT {form.SLICES_AT_MOST}"
        )
        by_slice: dict[str, list[tuple[Any, ...]]] = {}
        for name, *sums in day.run(
            f"SELECT k{at}, bin, {_SUMS} FROM judged WHERE usable AND k{at} IN ({largest}) GROUP BY k{at}, bin"
        ):
            by_slice.setdefault(str(name), []).append(tuple(sums))
        found |= {name: _added(rows, _bins(bins), ()) for name, rows in by_slice.items()}
    kept = sorted(found, key=lambda name: (-found[name].n, name))[: form.SLICES_AT_MOST]
    return {name: found[name] for name in sorted(kept)}


def _judged(answers: str, bins: FrozenBins, slices: Sequence[str]) -> str:
    keys = "".join(f", {expression} AS k{at}" for at, expression in enumerate(slices))
    delay = "(epoch_us(l.known) - epoch_us(logged)) / 1000000.0"
    joined = (
        f"SELECT a.*, (epoch_us(logged) // 3600000000) % 24 AS hour, {_truth(bins)} AS truth, "
        f"{sql.bin_of(delay, form.LABEL_DELAY_EDGES_S)} AS delay{keys} "
        f"FROM ({answers}) AS a JOIN truth AS l ON a.pid = l.pid AND a.part = l.part WHERE {sql.OWN}"
    )
    loss, observed = _loss(bins)
    kept = "".join(f", k{at}" for at in range(len(slices)))
    rank = _rank("one") if bins.task is TaskKind.BINARY else "0"
    return (
        f"SELECT hour, delay, one AS predicted, {observed} AS observed, {loss} AS loss, {_bin(bins)} AS bin, "
        f"{rank} AS rank, coalesce(isfinite(one) AND isfinite(truth) AND isfinite({loss}), false) AS usable{kept} "
        f"FROM ({joined})"
    )


def _truth(bins: FrozenBins) -> str:
    """Return the expression for the class's index, or the number, that a label means; NULL where it means none."""
    if bins.task is TaskKind.REGRESSION:
        return "coalesce(l.number, TRY_CAST(l.label AS DOUBLE))"
    cases = " ".join(f"WHEN {sql.text(text)} THEN {index}" for text, index in label_index(bins.classes).items())
    return f"CAST(CASE l.label {cases} END AS DOUBLE)"


def _loss(bins: FrozenBins) -> tuple[str, str]:
    """Return the expressions for the loss, and for what was observed."""
    if bins.task is TaskKind.BINARY:
        return "(one - truth) * (one - truth)", "truth"
    if bins.task is TaskKind.REGRESSION:
        return "abs(one - truth)", "truth"
    classes = sql.listed(map(sql.text, bins.classes))
    place = "CAST(truth AS INTEGER) + 1"
    return (
        f"(1 - 2 * expected - 2 * probs[{place}] + 1) / 2",
        f"CAST(list_position({classes}, said) = {place} AS DOUBLE)",
    )


def _bins(bins: FrozenBins) -> int:
    return 2 * len(bins.score) + 1 if bins.task is TaskKind.REGRESSION else form.CALIBRATION_BINS


def _bin(bins: FrozenBins) -> str:
    if bins.task is TaskKind.REGRESSION:
        return sql.edge_bin_of("one", bins.score)
    last = form.CALIBRATION_BINS - 1
    return f"CAST(least({last}, greatest(0, trunc(one * {form.CALIBRATION_BINS}))) AS INTEGER)"


def _rank(column: str) -> str:
    """Return the expression for a probability's bin among `RANK_LOGITS`."""
    low, step, last = form.RANK_LOGITS[0], 10, len(form.RANK_LOGITS)
    place = f"floor((ln({column} / (1 - {column})) - {sql.number(low)}) * {step}) + 1"
    return (
        f"CASE WHEN {column} <= 0 THEN 0 WHEN {column} >= 1 THEN {last} "
        f"ELSE CAST(least({last}, greatest(0, {place})) AS INTEGER) END"
    )


def _ranks(rows: Iterable[tuple[Any, ...]]) -> tuple[tuple[int, int], ...]:
    counts = [[0, 0] for _ in range(len(form.RANK_LOGITS) + 1)]
    for rank, positive, n in rows:
        counts[rank][bool(positive)] = n
    return tuple((negatives, positives) for negatives, positives in counts)


def _added(rows: Sequence[tuple[Any, ...]], bins: int, ranks: tuple[tuple[int, int], ...]) -> LabelSums:
    """Return the sums of rows of (bin, n, loss, loss squared, predicted, observed)."""
    by_bin = {row[0]: row[1:] for row in rows}
    n, loss, squares, predicted, observed = ([row[at] for row in rows] for at in range(1, 6))
    return LabelSums(
        n=sum(n),
        loss=math.fsum(loss),
        loss_squares=math.fsum(squares),
        predicted=math.fsum(predicted),
        observed=math.fsum(observed),
        calibration=tuple(
            (by_bin[at][0], by_bin[at][3], by_bin[at][4]) if at in by_bin else (0, 0.0, 0.0) for at in range(bins)
        ),
        ranks=ranks,
    )
