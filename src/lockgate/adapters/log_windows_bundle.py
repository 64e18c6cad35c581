"""The summary of one bundle's day, by queries over `log_windows_day.Day`; what counts is told in `core.monitoring`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from lockgate.adapters import log_windows_sql as sql
from lockgate.adapters.log_windows_day import Day
from lockgate.adapters.log_windows_labels import Judged, label_sums, slice_sums
from lockgate.adapters.log_windows_slices import Named, slice_names
from lockgate.core.columns import MISSING_STRING
from lockgate.core.contract import ColumnType, ModelContract, TaskKind
from lockgate.core.ids import Digest, ModelName
from lockgate.core.monitoring import summary as form
from lockgate.core.monitoring.summary import ColumnCounts, DaySummary, Span
from lockgate.core.monitoring.summary_bins import FrozenBins
from lockgate.core.online.means import Sums
from lockgate.core.spec import SliceSection
from lockgate.core.wire import OUTPUT

_UNSEEN: Final = ("unknown_category:", "out_of_range:", "clipped:")
_SECOND: Final = "(epoch_us(logged) // 1000000) % 86400"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """By what a bundle's rows are counted.

    Attributes:
        model: Whose.
        digest: The bundle.
        day: `YYYY-MM-DD`.
        files: Fingerprint of what the day is made of.
        contract: The bundle's; None where the bundle is gone: then requests alone are counted.
        bins: The bundle's; None likewise.
        slices: The spec's.
        slow_us: An answer that took longer is slow.
    """

    model: ModelName
    digest: Digest
    day: str
    files: str
    contract: ModelContract | None
    bins: FrozenBins | None
    slices: tuple[SliceSection, ...]
    slow_us: float


class BundleDay:
    """One bundle's rows of a day."""

    def __init__(self, day: Day, how: Counted) -> None:
        """Lay a view over the rows of the day that are the bundle's.

        Raises:
            duckdb.Error: The files cannot be read.
        """
        self._day, self._how = day, how
        self._bins = how.bins or FrozenBins(task=TaskKind.REGRESSION, classes=())
        self._names: dict[str, Named] = {}
        wanted = dict(self._columns()) | self._answer_columns()
        day.run(f"CREATE OR REPLACE TEMP VIEW traffic AS {day.rows_of(how.digest, wanted)}")

    def summary(self) -> DaySummary:
        """Return the day's summary."""
        how = self._how
        counted = self._one(self._aggregates())
        unseen = self._unseen()
        return DaySummary(
            model=how.model,
            digest=how.digest,
            day=how.day,
            requests=counted["requests"],
            rows=counted["rows"],
            failed=counted["failed"],
            fallbacks=counted["fallbacks"],
            flagged=counted["flagged"],
            features=self._features(counted, unseen),
            score=self._score(counted, "score", self._bins.score),
            class_scores={
                name: self._score(counted, f"p{at}", edges)
                for at, (name, edges) in enumerate(self._bins.class_scores.items())
            },
            latency_us=self._latency(counted["latency"]),
            score_moments=Sums(n=counted["n"], total=counted["total"] or 0.0, squares=counted["squares"] or 0.0),
            expected_loss=self._expected(counted),
            spans=self._spans(),
            files=how.files,
            **self._answered(),
        )

    # -- columns -----------------------------------------------------------------------------------------------------

    def _columns(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Give the inputs under our names: features of the profile, and what slices are made of."""
        contract, bins = self._how.contract, self._bins
        types = {each.name: each.type for each in contract.inputs} if contract else {}
        kinds = dict.fromkeys(bins.edges, ColumnType.NUMBER) | dict.fromkeys(bins.values, ColumnType.STRING)
        for section in self._how.slices:
            for part in (section, section.across):
                if part is not None:
                    kinds.setdefault(part.column, types.get(part.column, ColumnType.STRING))
        for at, (name, kind) in enumerate(kinds.items()):
            if f"input_{name}" in self._day.columns:
                is_number = kind is ColumnType.NUMBER
                self._names[name] = Named(ours=f"x{at}", is_number=is_number)
                yield f"x{at}", (f"input_{name}", "DOUBLE" if is_number else "VARCHAR")

    def _answer_columns(self) -> dict[str, tuple[str, str]]:
        if self._how.contract is None:
            return {"score": ("", "DOUBLE"), "said": ("", "VARCHAR"), "probs": ("", "DOUBLE[]")}
        task = self._how.contract.task
        name = f"output_{OUTPUT[task]}"
        several = task is TaskKind.MULTICLASS
        return {
            "score": ("" if several else name, "DOUBLE"),
            "probs": (name if several else "", "DOUBLE[]"),
            "said": ("" if task is TaskKind.REGRESSION else "output_label", "VARCHAR"),
        }

    # -- queries -----------------------------------------------------------------------------------------------------

    def _one(self, aggregates: Mapping[str, str]) -> dict[str, Any]:
        """Return one row of aggregates over the traffic, by name."""
        (row,) = self._day.run(f"SELECT {', '.join(aggregates.values())} FROM ({self._scored()})")
        return dict(zip(aggregates, row, strict=True))

    def _scored(self) -> str:
        """Return the query for the traffic with `one`, the number that is judged, and `expected`, its expected loss."""
        if self._bins.task is not TaskKind.MULTICLASS:
            expected = "score * (1 - score)" if self._bins.task is TaskKind.BINARY else "NULL::DOUBLE"
            return f"SELECT *, score AS one, {expected} AS expected FROM traffic"
        whole = f"len(probs) = {len(self._bins.classes)} AND list_count(probs) = len(probs)"
        classes = sql.listed(map(sql.text, self._bins.classes))
        return (
            f"SELECT *, CASE WHEN {whole} THEN probs[list_position({classes}, said)] END AS one, "
            f"CASE WHEN {whole} THEN (1 - list_inner_product(probs, probs)) / 2 END AS expected FROM traffic"
        )

    def _aggregates(self) -> dict[str, str]:
        first = "part = 0"
        known = f"{sql.OWN} AND isfinite(one)"
        ends = sql.listed([*(str(edge) for edge in form.LATENCY_EDGES_US), str(2**62)])
        found = {
            "rows": "count(*)",
            "requests": f"count(*) FILTER ({first})",
            "failed": f"count(*) FILTER ({first} AND kind = 'failed')",
            "fallbacks": f"count(*) FILTER ({first} AND fell)",
            "flagged": "count(*) FILTER (len(flags) > 0)",
            "latency": f"histogram(latency, {ends}) FILTER ({first} AND kind = 'live')",
            "n": f"count(*) FILTER ({known})",
            "total": f"sum(one) FILTER ({known})",
            "squares": f"sum(one * one) FILTER ({known})",
            "expected_n": f"count(*) FILTER ({known} AND isfinite(expected))",
            "expected_total": f"sum(expected) FILTER ({known} AND isfinite(expected))",
            "expected_squares": f"sum(expected * expected) FILTER ({known} AND isfinite(expected))",
        }
        for name, ours in self._names.items():
            if name in self._bins.edges:
                found |= _numbers(ours.ours, self._bins.edges[name], "has_inputs")
        if self._bins.score:
            found |= _numbers("score", self._bins.score, sql.OWN)
        for at, (name, frozen) in enumerate(self._bins.class_scores.items()):
            value = f"probs[{self._bins.classes.index(name) + 1}]"
            found |= _numbers(value, frozen, sql.OWN, name=f"p{at}")
        return found

    def _features(self, counted: Mapping[str, Any], unseen: Mapping[str, int]) -> dict[str, ColumnCounts]:
        found = {}
        for name, column in self._names.items():
            if name in self._bins.edges:
                bins = sql.edge_counts(counted[f"{column.ours}:bins"], self._bins.edges[name])
                missing = counted[f"{column.ours}:missing"]
            elif name in self._bins.values:
                bins, missing = self._strings(column.ours, self._bins.values[name])
            else:
                continue
            found[name] = ColumnCounts(bins=bins, missing=missing, unseen=unseen.get(name, 0))
        return found

    def _strings(self, ours: str, values: Sequence[str]) -> tuple[tuple[int, ...], int]:
        """Count a column of strings by the values that are kept apart; the others are brought together by DuckDB."""
        kept = ", ".join(map(sql.text, values))
        value = f"CASE WHEN {ours} IN ({kept}) THEN {ours} END" if kept else "NULL::VARCHAR"
        missing = f"({ours} IS NULL OR {ours} = {sql.text(MISSING_STRING)})"
        rows = self._day.run(
            f"SELECT value, missing, sum(n)::BIGINT FROM (SELECT {value} AS value, {missing} AS missing, n FROM "
            f"(SELECT {ours}, count(*) AS n FROM traffic WHERE has_inputs GROUP BY {ours})) GROUP BY ALL"
        )
        counts = {(value, bool(gone)): n for value, gone, n in rows}
        bins = tuple(counts.get((value, False), 0) for value in values)
        return (*bins, counts.get((None, False), 0)), sum(n for (_, gone), n in counts.items() if gone)

    def _unseen(self) -> dict[str, int]:
        """Count rows by column whose value training never saw; the server has flagged them."""
        strange = " OR ".join(f"starts_with(f, {sql.text(each)})" for each in _UNSEEN)
        column = "substr(f, position(':' IN f) + 1)"
        rows = self._day.run(
            f"SELECT name, count(*) FROM (SELECT unnest(list_distinct([{column} FOR f IN flags IF {strange}])) AS name "
            "FROM traffic WHERE has_inputs AND len(flags) > 0) GROUP BY name"
        )
        return {str(name): n for name, n in rows}

    def _score(self, counted: Mapping[str, Any], name: str, edges: Sequence[float]) -> ColumnCounts:
        if not edges:
            return ColumnCounts()
        return ColumnCounts(bins=sql.edge_counts(counted[f"{name}:bins"], edges), missing=counted[f"{name}:missing"])

    def _expected(self, counted: Mapping[str, Any]) -> Sums:
        total, squares = counted["expected_total"] or 0.0, counted["expected_squares"] or 0.0
        return Sums(n=counted["expected_n"], total=total, squares=squares)

    @staticmethod
    def _latency(found: Mapping[int, int] | None) -> tuple[int, ...]:
        return tuple((found or {}).get(edge, 0) for edge in (*form.LATENCY_EDGES_US, 2**62))

    def _spans(self) -> tuple[Span, ...]:
        rows = self._day.run(
            f"SELECT {_SECOND} // {form.SPAN_S} AS span, count(*), count(*) FILTER (kind = 'failed'), "
            f"count(*) FILTER (kind = 'live' AND latency > {sql.number(self._how.slow_us)}) "
            "FROM traffic WHERE part = 0 GROUP BY span"
        )
        spans = [Span()] * form.SPANS
        for at, requests, failed, slow in rows:
            spans[at] = Span(requests=requests, failed=failed, slow=slow)
        return tuple(spans)

    def _answered(self) -> dict[str, Any]:
        """Return what is told of rows that the bundle itself answered: classes, hours, and what became true."""
        by_hour = dict(self._day.run(f"SELECT {_SECOND} // 3600, count(*) FROM traffic WHERE {sql.OWN} GROUP BY ALL"))
        classes = self._day.run(
            f"SELECT said, count(*) FROM traffic WHERE {sql.OWN} AND said IS NOT NULL GROUP BY said"
        )
        judged = Judged()
        slices: dict[str, form.LabelSums] = {}
        if self._day.has_labels and self._how.bins is not None:
            names = slice_names(self._how.slices, self._bins, self._names.get)
            judged = label_sums(self._day, self._scored(), self._bins, names)
            slices = slice_sums(self._day, self._bins, len(names))
        return {
            "classes": {str(name): n for name, n in sorted(classes)},
            "hours": tuple((by_hour.get(hour, 0), judged.by_hour.get(hour, 0)) for hour in range(form.HOURS)),
            "labels": judged.labels,
            "unusable_labels": judged.unusable,
            "label_delay_s": judged.delays,
            "by_slice": slices,
        }


def _numbers(column: str, edges: Sequence[float], where: str, *, name: str | None = None) -> dict[str, str]:
    """Return the aggregates of a column of numbers: its bins, and the rows without a value."""
    return {
        f"{name or column}:bins": sql.edge_histogram(column, edges, where),
        f"{name or column}:missing": f"count(*) FILTER ({where} AND NOT {sql.is_number(column)})",
    }
