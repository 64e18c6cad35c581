"""Summaries are sums: added in any order, read back as they were written, and what they tell is what rows tell."""

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core import metrics
from lockgate.core.contract import TaskKind
from lockgate.core.drift import reference_profile
from lockgate.core.ids import Digest, Json, ModelName, canonical_json, to_json
from lockgate.core.monitoring.summary import (
    LABEL_DELAY_EDGES_S,
    LATENCY_EDGES_US,
    RANK_LOGITS,
    SPANS,
    ColumnCounts,
    DaySummary,
    LabelSums,
    Span,
    merge,
)
from lockgate.core.monitoring.summary_bins import frozen_bins, label_index
from lockgate.core.monitoring.summary_reading import auc, calibration_gap, coverage, latency_quantile_us, merged
from lockgate.core.online.means import Sums
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError
from tests.bundles import contract

counts = st.integers(0, 10**6)
whole = counts.map(float)  # sums of whole numbers are exact, so that order cannot show


def bins(size: int, of: Any = counts) -> Any:
    return st.just(()) | st.tuples(*[of] * size)


columns = st.builds(ColumnCounts, bins=bins(3), missing=counts, unseen=counts)
sums = st.builds(Sums, n=counts, total=whole, squares=whole)
labels = st.builds(
    LabelSums,
    n=counts,
    loss=whole,
    loss_squares=whole,
    predicted=whole,
    observed=whole,
    calibration=bins(2, st.tuples(counts, whole, whole)),
    ranks=bins(2, st.tuples(counts, counts)),
)
names = st.sampled_from(["amount", "it's", 'a "b" c', "größe", ""])
days = st.builds(
    DaySummary,
    model=st.just(ModelName("toy")),
    digest=st.just(Digest("d" * 64)),
    day=st.dates().map(str),
    requests=counts,
    rows=counts,
    failed=counts,
    fallbacks=counts,
    flagged=counts,
    features=st.dictionaries(names, columns, max_size=3),
    score=columns,
    class_scores=st.dictionaries(names, columns, max_size=2),
    classes=st.dictionaries(names, counts, max_size=3),
    latency_us=bins(2),
    score_moments=sums,
    expected_loss=sums,
    labels=labels,
    unusable_labels=counts,
    label_delay_s=bins(2),
    hours=bins(2, st.tuples(counts, counts)),
    spans=bins(2, st.builds(Span, requests=counts, failed=counts, slow=counts)),
    by_slice=st.dictionaries(names, labels, max_size=3),
    files=st.integers(0, 2**256 - 1).map(lambda number: f"{number:064x}"),
)


@settings(max_examples=20, deadline=None)
@given(days, days, days)
def test_summaries_are_added_in_any_order_and_grouping(a: DaySummary, b: DaySummary, c: DaySummary) -> None:
    assert merge(a, b) == merge(b, a)
    assert merge(merge(a, b), c) == merge(a, merge(b, c))
    assert merge(a, b).rows == a.rows + b.rows
    assert merge(a, b).day == "/".join(sorted({a.day, b.day}))


@settings(max_examples=15, deadline=None)
@given(days)
def test_nothing_changes_a_summary_and_it_is_read_back_as_it_was_written(day: DaySummary) -> None:
    nothing = DaySummary(model=day.model, digest=day.digest, day=day.day)
    assert merge(day, nothing) == replace(day, features=dict(sorted(day.features.items())))
    assert read_record(DaySummary, json.loads(canonical_json(day))) == day
    assert read_record(DaySummary, to_json(merge(day, day))) == merge(day, day)


def test_summaries_of_two_bundles_or_of_two_forms_are_not_added() -> None:
    one = DaySummary(model=ModelName("toy"), digest=Digest("d" * 64), day="2026-01-02", latency_us=(1, 2))
    with pytest.raises(ValueError, match="no summaries of one bundle"):
        merge(one, replace(one, digest=Digest("e" * 64)))
    with pytest.raises(ValueError, match="2 bins and 3"):
        merge(one, replace(one, latency_us=(1, 2, 3)))
    assert merged([]) is None
    assert merged([one, one, one]) == reduce(merge, [one] * 3)


def test_edges_ascend_and_are_as_many_as_their_bins_say() -> None:
    for edges in (LATENCY_EDGES_US, LABEL_DELAY_EDGES_S, RANK_LOGITS):
        assert list(edges) == sorted(set(edges))
    assert SPANS == 288


@pytest.mark.parametrize(("shift", "spread", "positive"), [(0.0, 1.0, 0.5), (-3.0, 1.5, 0.05), (1.0, 0.4, 0.3)])
def test_auc_from_bins_is_the_auc_of_the_rows(shift: float, spread: float, positive: float) -> None:
    draw = np.random.default_rng(3)
    y = (draw.random(4000) < positive).astype(np.int64)
    logits = draw.normal(shift + 0.8 * spread * y, spread)
    found = np.zeros((len(RANK_LOGITS) + 1, 2), dtype=int)
    np.add.at(found, (np.searchsorted(RANK_LOGITS, logits, side="right"), y), 1)
    told = auc(LabelSums(ranks=tuple((int(a), int(b)) for a, b in found)))
    assert told == pytest.approx(metrics.auc(y, logits), abs=0.003)
    assert math.isnan(auc(LabelSums(ranks=((4, 0), (1, 0)))))


def test_calibration_from_bins_is_the_calibration_error_of_the_rows() -> None:
    draw = np.random.default_rng(4)
    p = draw.random(500)
    y = (draw.random(500) < p**2).astype(np.int64)
    place = metrics.calibration_bins(p)
    rows = tuple((int((place == k).sum()), float(p[place == k].sum()), float(y[place == k].sum())) for k in range(10))
    assert calibration_gap(LabelSums(n=500, calibration=rows)) == pytest.approx(metrics.calibration_error(y, p))


@pytest.mark.parametrize("share", [0.01, 0.5, 0.99])
def test_a_quantile_of_latency_is_told_within_six_percent(share: float) -> None:
    latency = np.random.default_rng(5).lognormal(9, 1, 5000).astype(int)
    found = np.bincount(np.searchsorted(LATENCY_EDGES_US, latency), minlength=len(LATENCY_EDGES_US) + 1)
    assert latency_quantile_us(found.tolist(), share) == pytest.approx(np.quantile(latency, share), rel=0.065)


def test_coverage_counts_whole_hours_that_are_older_than_the_delay() -> None:
    hours = tuple((10, hour) for hour in range(24))
    day = DaySummary(model=ModelName("toy"), digest=Digest("d" * 64), day="2026-01-02", hours=hours)
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert coverage([day], noon, 7200.0).due == 100
    assert coverage([day], noon + timedelta(days=9), 7200.0).labelled == sum(range(24))
    assert math.isnan(coverage([day], noon, 10**7).share)
    with pytest.raises(ValueError, match="unconverted data"):
        coverage([replace(day, day="2026-01-02/2026-01-03")], noon, 0.0)


def test_a_profile_gives_its_bins_and_one_that_is_damaged_is_refused() -> None:
    columns = {"amount": np.array([1.0, np.inf, np.inf], np.float32), "colour": np.array(["b", "a", "b"], object)}
    profile = json.loads(canonical_json(reference_profile(columns, ("amount",), ("colour",))))
    found = frozen_bins(contract("toy"), {**profile, "score": {"prediction": {"edges": [0.5]}}})
    assert found.edges["amount"][-1] == math.inf
    assert found.values == {"colour": ("b", "a")}
    assert found.score == (0.5,)
    assert frozen_bins(contract("toy"), {}).edges == {}
    several = {"score": {name: {"edges": [0.1]} for name in ("low", "mid", "high")}}
    assert list(frozen_bins(contract("toy", TaskKind.MULTICLASS), several).class_scores) == ["low", "mid", "high"]
    damaged: tuple[Json, ...] = ([], {"numeric": []}, {"numeric": {"a": {}}}, {"numeric": {"a": {"edges": [2, 1]}}})
    for broken in damaged:
        with pytest.raises(IntegrityError, match="reference profile"):
            frozen_bins(contract("toy"), broken)


def test_a_labels_text_means_the_class_that_its_value_means() -> None:
    assert label_index(("no", "yes")) == {"no": 0, "yes": 1}
    assert label_index(("0", "1"))["true"] == 1
    assert label_index(("1.0", "2.5")) == {"1.0": 0, "2.5": 1, "1": 0}
    assert label_index(("1", "true"))["true"] == 1
