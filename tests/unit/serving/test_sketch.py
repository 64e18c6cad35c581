"""Distributions in fixed bins: what is counted where, that two of them add up, and how close a quantile is."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.serving.watch.sketch import LATENCY_S, MAX_CLASSES, PROBABILITY, VALUE, Bins, ScoreSketch, decades

ALL = {"latency": LATENCY_S, "probability": PROBABILITY, "value": VALUE}


@pytest.mark.parametrize("bins", ALL.values(), ids=ALL)
def test_edges_ascend_and_every_shown_edge_is_one_of_them(bins: Bins) -> None:
    assert list(bins.edges) == sorted(set(bins.edges))
    assert list(bins.shown) == sorted(set(bins.shown))
    assert set(bins.shown) <= set(bins.edges)


def test_a_value_on_an_edge_belongs_below_it_and_one_above_it_does_not() -> None:
    bins = Bins((0.5, 1.0))
    on, above = np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))
    assert bins.count(np.array([on, above, 1.5], np.float32)) == [1, 1, 1]


def test_what_is_no_number_is_counted_above_all_edges() -> None:
    assert Bins((0.5, 1.0)).count(np.array([np.nan, np.inf, -np.inf], np.float32)) == [1, 0, 2]


def test_the_shown_counts_are_cumulative_and_hold_what_lies_between_shown_edges() -> None:
    bins = Bins((1.0, 2.0, 5.0), shown=(1.0, 5.0))
    assert bins.cumulative([3, 4, 5, 6]) == [("1.0", 3.0), ("5.0", 12.0), ("+Inf", 18.0)]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.0078125, 1e6, width=32), min_size=1, max_size=200), st.sampled_from([0.01, 0.5, 0.9, 0.99]))
def test_a_quantile_is_never_below_the_true_one_and_at_most_28_percent_above(values: list[float], of: float) -> None:
    data = np.array(values, np.float32)
    found = VALUE.quantile(VALUE.count(data), of)
    true = float(np.quantile(data, of, method="inverted_cdf"))
    assert found is not None
    assert true <= found <= true * 1.2801


def test_a_quantile_of_nothing_is_none_and_one_above_the_last_edge_is_infinite() -> None:
    bins = Bins((1.0, 2.0))
    assert bins.quantile(bins.empty(), 0.5) is None
    assert bins.quantile([0, 0, 3], 0.5) == float("inf")


def test_decades_hold_both_ends_and_no_rounding_errors() -> None:
    assert decades(-2, 1, (1.0, 2.5, 5.0)) == (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


def test_scores_of_several_classes_are_counted_class_by_class() -> None:
    sketch = ScoreSketch("probabilities")
    sketch.add([np.array([[0.1, 0.2, 0.7], [0.3, 0.3, 0.4]], np.float32), np.array([[1.0, 0.0, 0.0]], np.float32)])
    assert [sum(counts) for counts in sketch.counts] == [3, 3, 3]
    np.testing.assert_allclose(sketch.totals, [1.4, 0.5, 1.1], rtol=1e-6)
    assert sketch.counts[0][-2] == 1  # the 1.0 belongs to the last bin there is an edge for
    assert sketch.counts[0][-1] == 0


def test_of_very_many_classes_only_the_highest_probability_is_counted() -> None:
    sketch = ScoreSketch("probabilities")
    scores = np.full((2, MAX_CLASSES + 1), 0.01, np.float32)
    scores[:, 3] = (0.84, 0.55)
    sketch.add([scores])
    assert len(sketch.counts) == 1
    np.testing.assert_allclose(sketch.totals, [1.39], rtol=1e-6)


def test_values_of_a_regression_are_told_apart_on_both_sides_of_nought() -> None:
    counts = VALUE.count(np.array([-250, -0.5, 0, 0.5, 250, 1e30, -1e30], np.float32))
    assert sum(counts) == 7
    assert counts[0] == counts[-1] == 1  # beyond the last edge only the sign is told
    assert counts[VALUE.edges.index(0.0)] == 1
    assert max(counts) == 1
