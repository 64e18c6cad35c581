"""What one day of one bundle's traffic holds: counts and sums that can be added, no row and no key.

    requests            live and failed ones; what a caller forced and what a shadow answered is no traffic
    an answer by        a request (and a fallback) of the bundle that was *chosen*; its score, class and label are
    fallback            nobody's: another bundle than the chosen one gave them
    features            of every row whose inputs were logged, answered or not
    score, labels       of rows that the bundle itself answered

Two days of one bundle, or two parts of one day, are added by `merge`, in any order. Written by `core.ids.to_json`, read
by `core.records.read_record`. Nothing here depends on when it was computed: how many labels are *due* by now is asked
of `summary_reading.coverage`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Final, TypeVar

from lockgate.core.ids import Digest, ModelName
from lockgate.core.online.means import Sums

T = TypeVar("T")

SCHEMA_VERSION: Final = 1
CALIBRATION_BINS: Final = 10
"""Of equal width over 0..1, as `core.metrics.calibration_bins`: a day compares with the evaluation at release."""
RANK_LOGITS: Final = tuple(round(-10.0 + 0.1 * step, 1) for step in range(201))
"""Edges of the score's log odds between which positives and negatives are counted; a score at an edge belongs above.
Ours: 202 bins tell AUC to some 0.001 where scores spread over a unit of log odds or more, rare classes included."""
LATENCY_EDGES_US: Final = tuple(round(100 * 10 ** (step / 20)) for step in range(121))
"""Upper ends of latency's bins, microseconds, included: 20 a decade (12 % wide) from 0.1 ms to 100 s; the last bin is
above. Ours: a quantile is told within 6 %."""
LABEL_DELAY_EDGES_S: Final = (
    0.0, 60.0, 600.0, 3_600.0, 21_600.0, 43_200.0, 86_400.0, 172_800.0, 345_600.0, 604_800.0,
    1_209_600.0, 2_592_000.0, 5_184_000.0, 7_776_000.0,
)  # fmt: skip
"""Lower ends of the bins of label delay, seconds, included; the first bin lies below 0: a label known before its
prediction, which is a clock that is wrong, or a leak. Ours: from a minute to 90 days, what people speak in."""
SPAN_S: Final = 300
"""Length of a `Span`, seconds: the shortest window of the burn rate (Google SRE workbook, chapter 5)."""
SPANS: Final = 86_400 // SPAN_S
HOURS: Final = 24
SLICES_AT_MOST: Final = 50
"""Slices of a day, those of most labels; ours: 50 a day stay readable and under 60 kB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnCounts:
    """Rows of one column by the frozen bins of the bundle's reference profile.

    Attributes:
        bins: Of a number: `core.drift.edge_bins` of the profile's edges, 2 k + 1 of them. Of strings: the profile's
            values in their order, then all others. With `missing` behind them they are the profile's `shares` in their
            order, as counts. Empty: the bundle's profile does not know the column.
        missing: Rows without a value.
        unseen: Rows with a value that training never saw: another category, a number out of range. They are in `bins`,
            too.
    """

    bins: tuple[int, ...] = ()
    missing: int = 0
    unseen: int = 0

    @property
    def rows(self) -> int:
        """All rows."""
        return sum(self.bins) + self.missing


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelSums:
    """What became true of answered rows that have a label.

    Attributes:
        n: Rows with a label that fits.
        loss: Sum of losses: binary (p - y)^2, several classes half the squared distance, a regression |value - truth|.
        loss_squares: Sum of their squares.
        predicted: Sum of what was said: probability of the positive class, of the class that was answered, the value.
        observed: Sum of what was true: positives, right answers, the truth.
        calibration: (rows, predicted, observed) by bin: `CALIBRATION_BINS` of the probability; of a regression the
            bins of `DaySummary.score`. Empty where there is no label.
        ranks: Binary only: (negatives, positives) by bin of `RANK_LOGITS`, 0 the lowest scores. Empty in slices, and
            where there is no label.
    """

    n: int = 0
    loss: float = 0.0
    loss_squares: float = 0.0
    predicted: float = 0.0
    observed: float = 0.0
    calibration: tuple[tuple[int, float, float], ...] = ()
    ranks: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """Requests of five minutes of the day, for burn rates.

    Attributes:
        requests: All.
        failed: Without an answer.
        slow: Answered, and later than the spec's `monitoring.slo.latency_ms`.
    """

    requests: int = 0
    failed: int = 0
    slow: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class DaySummary:
    """One day of one bundle; of added days, all of them.

    Attributes:
        schema_version: Version of this form.
        model: Whose.
        digest: The bundle.
        day: `YYYY-MM-DD` (UTC) of the request; of several days the first and the last, `YYYY-MM-DD/YYYY-MM-DD`.
        requests: Requests, failed ones included.
        rows: Their rows.
        failed: Requests without an answer.
        fallbacks: Requests that another arm answered because this bundle's had failed.
        flagged: Rows that did not keep to the contract.
        features: By feature; a feature whose values the log may not hold is not there.
        score: Of rows the bundle answered: the probability of the positive class, or the value. Multiclass: empty,
            see `class_scores`.
        class_scores: Multiclass only: of each class's probability.
        classes: Rows by the class that was answered.
        latency_us: Requests by bin of `LATENCY_EDGES_US`, answered ones alone.
        score_moments: Of the score; multiclass: of the probability of the class that was answered.
        expected_loss: Before truth: what each row loses on average if its probabilities are true, p (1 - p) or half of
            1 - sum of p^2. Of a regression there is none.
        labels: What became true.
        unusable_labels: Rows whose label is no class, or no number.
        label_delay_s: Labelled rows by bin of `LABEL_DELAY_EDGES_S`, from the prediction until the label was known.
        hours: (rows the bundle answered, of these with a usable label) by hour of the day (UTC).
        spans: 288 of `SPAN_S`, or none where there is nothing.
        by_slice: By `column=value` or `a=x & b=y`, of the spec's slices; `SLICES_AT_MOST` a day.
        files: Fingerprint of what it was made of, 64 hexadecimal digits.
    """

    schema_version: int = SCHEMA_VERSION
    model: ModelName
    digest: Digest
    day: str
    requests: int = 0
    rows: int = 0
    failed: int = 0
    fallbacks: int = 0
    flagged: int = 0
    features: Mapping[str, ColumnCounts] = field(default_factory=dict)
    score: ColumnCounts = field(default_factory=ColumnCounts)
    class_scores: Mapping[str, ColumnCounts] = field(default_factory=dict)
    classes: Mapping[str, int] = field(default_factory=dict)
    latency_us: tuple[int, ...] = ()
    score_moments: Sums = field(default_factory=Sums)
    expected_loss: Sums = field(default_factory=Sums)
    labels: LabelSums = field(default_factory=LabelSums)
    unusable_labels: int = 0
    label_delay_s: tuple[int, ...] = ()
    hours: tuple[tuple[int, int], ...] = ()
    spans: tuple[Span, ...] = ()
    by_slice: Mapping[str, LabelSums] = field(default_factory=dict)
    files: str = "0" * 64


def merge(a: DaySummary, b: DaySummary) -> DaySummary:
    """Return the sum of two summaries of one bundle; in any order, up to rounding of the sums of numbers.

    What is empty (no label, a column that was not logged) adds nothing. `hours` and `spans` of different days are
    added hour by hour: the profile of a day, not a course of time.

    Raises:
        ValueError: They are of different bundles, or counted in different bins.
    """
    if (a.model, a.digest, a.schema_version) != (b.model, b.digest, b.schema_version):
        raise ValueError(f"{a.model} {a.digest[:12]} and {b.model} {b.digest[:12]} are no summaries of one bundle")
    ends = sorted((*a.day.split("/"), *b.day.split("/")))
    return DaySummary(
        model=a.model,
        digest=a.digest,
        day=ends[0] if ends[0] == ends[-1] else f"{ends[0]}/{ends[-1]}",
        requests=a.requests + b.requests,
        rows=a.rows + b.rows,
        failed=a.failed + b.failed,
        fallbacks=a.fallbacks + b.fallbacks,
        flagged=a.flagged + b.flagged,
        features=_by_name(a.features, b.features, _columns),
        score=_columns(a.score, b.score),
        class_scores=_by_name(a.class_scores, b.class_scores, _columns),
        classes=_by_name(a.classes, b.classes, _numbers),
        latency_us=_each(a.latency_us, b.latency_us, _numbers),
        score_moments=_sums(a.score_moments, b.score_moments),
        expected_loss=_sums(a.expected_loss, b.expected_loss),
        labels=add_labels(a.labels, b.labels),
        unusable_labels=a.unusable_labels + b.unusable_labels,
        label_delay_s=_each(a.label_delay_s, b.label_delay_s, _numbers),
        hours=_each(a.hours, b.hours, lambda one, other: (one[0] + other[0], one[1] + other[1])),
        spans=_each(a.spans, b.spans, _spans),
        by_slice=_by_name(a.by_slice, b.by_slice, add_labels),
        files=f"{int(a.files, 16) ^ int(b.files, 16):064x}",
    )


def add_labels(a: LabelSums, b: LabelSums) -> LabelSums:
    """Return the sum of two, as `merge` does.

    Raises:
        ValueError: They are counted in different bins.
    """
    return LabelSums(
        n=a.n + b.n,
        loss=a.loss + b.loss,
        loss_squares=a.loss_squares + b.loss_squares,
        predicted=a.predicted + b.predicted,
        observed=a.observed + b.observed,
        calibration=_each(
            a.calibration, b.calibration, lambda one, other: (one[0] + other[0], one[1] + other[1], one[2] + other[2])
        ),
        ranks=_each(a.ranks, b.ranks, lambda one, other: (one[0] + other[0], one[1] + other[1])),
    )


def _columns(a: ColumnCounts, b: ColumnCounts) -> ColumnCounts:
    return ColumnCounts(bins=_each(a.bins, b.bins, _numbers), missing=a.missing + b.missing, unseen=a.unseen + b.unseen)


def _sums(a: Sums, b: Sums) -> Sums:
    return Sums(n=a.n + b.n, total=a.total + b.total, squares=a.squares + b.squares)


def _spans(a: Span, b: Span) -> Span:
    return Span(**{each.name: getattr(a, each.name) + getattr(b, each.name) for each in fields(Span)})


def _numbers(a: int, b: int) -> int:
    return a + b


def _each(a: tuple[T, ...], b: tuple[T, ...], add: Callable[[T, T], T]) -> tuple[T, ...]:
    """Return bin by bin sums; no bins at all are so many zeros."""
    if not a or not b:
        return a or b
    if len(a) != len(b):
        raise ValueError(f"{len(a)} bins and {len(b)} are not the same; the summaries are of different forms")
    return tuple(map(add, a, b))


def _by_name(a: Mapping[str, T], b: Mapping[str, T], add: Callable[[T, T], T]) -> dict[str, T]:
    return {
        name: add(a[name], b[name]) if name in a and name in b else (a[name] if name in a else b[name])
        for name in sorted({*a, *b})
    }
