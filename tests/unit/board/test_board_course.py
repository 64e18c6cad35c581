"""What the days add up to: sums over a week, quantiles, ranks and drift, checked against plain arithmetic."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from lockgate.core.board_course import SHOWN_DAYS, Course, course_of
from lockgate.core.board_drift import profile_of
from lockgate.core.board_windows import WINDOW_DAYS, DayPart, part_of
from lockgate.core.drift import psi
from lockgate.core.ids import Digest
from lockgate.core.monitoring.summary import LATENCY_EDGES_US, RANK_LOGITS, ColumnCounts, DaySummary, LabelSums
from tests.unit.board.scene import FIRST_DAY, PROFILE, A, B, summary


def course(*days: DaySummary, least_rows: int = 200) -> Course:
    found = course_of([part_of(day) for day in days], lambda _: profile_of(PROFILE), least_rows=least_rows)
    assert found is not None
    return found


def day_of(
    number: int, digest: Digest = A, rows: int = 900, decay: float = 0.0, *, labelled: bool = True
) -> DaySummary:
    return summary("flights", digest, FIRST_DAY + timedelta(days=number), rows, decay, labelled=labelled)


def test_no_day_is_no_course() -> None:
    assert course_of([], lambda _: None, least_rows=1) is None


def test_a_missing_day_is_a_day_without_requests_and_without_latency() -> None:
    found = course(day_of(0), day_of(2))
    assert found.days == ("2013-01-02", "2013-01-03", "2013-01-04")
    assert found.requests[1] == 0
    assert (found.p50_ms[1], found.p99_ms[1]) == (None, None)


def test_what_two_bundles_answered_on_one_day_is_added() -> None:
    one, other = day_of(0, A), day_of(0, B, rows=300)
    assert course(one, other).requests == (one.requests + other.requests,)


def test_the_loss_is_the_mean_over_the_week_and_not_the_mean_of_days() -> None:
    first, second = (
        replace(day_of(at), labels=LabelSums(n=n, loss=loss)) for at, n, loss in ((0, 100, 30.0), (1, 900, 90.0))
    )
    assert course(first, second).loss == (0.3, 0.12)


def test_a_day_leaves_the_window_after_a_week() -> None:
    found = course(*(day_of(at, labelled=at == 0) for at in range(WINDOW_DAYS + 1)))
    assert [value is None for value in found.loss] == [False] * WINDOW_DAYS + [True]


def test_without_labels_the_expected_loss_is_there_alone() -> None:
    found = course(day_of(0, labelled=False))
    assert (found.loss, found.auc, found.labelled_fraction) == ((None,), (None,), 0.0)
    assert found.expected_loss[0] == pytest.approx(0.147)


def test_the_auc_is_the_share_of_pairs_in_the_right_order() -> None:
    ranks = [[0, 0] for _ in range(len(RANK_LOGITS) + 1)]
    ranks[50], ranks[100], ranks[150] = [3, 0], [1, 2], [0, 1]
    pairs = [
        (n, p) for n, (a, _) in enumerate(ranks) for _ in range(a) for p, (_, b) in enumerate(ranks) for _ in range(b)
    ]
    right = sum(1.0 if p > n else 0.5 if p == n else 0.0 for n, p in pairs) / len(pairs)
    labels = LabelSums(n=7, loss=1.0, ranks=tuple((a, b) for a, b in ranks))
    assert course(replace(day_of(0), labels=labels)).auc[0] == pytest.approx(right, abs=1e-5)


def test_a_quantile_of_latency_is_the_upper_end_of_its_bin() -> None:
    latency = [0] * (len(LATENCY_EDGES_US) + 1)
    latency[20], latency[40] = 98, 2
    found = course(replace(day_of(0), latency_us=tuple(latency)))
    assert (found.p50_ms, found.p99_ms) == ((LATENCY_EDGES_US[20] / 1000,), (LATENCY_EDGES_US[40] / 1000,))


def test_latency_above_the_last_edge_is_told_as_the_last_edge() -> None:
    latency = [0] * len(LATENCY_EDGES_US) + [5]
    assert course(replace(day_of(0), latency_us=tuple(latency))).p99_ms == (LATENCY_EDGES_US[-1] / 1000,)


def test_no_drift_is_nought_and_a_drift_is_its_psi_less_what_chance_gives() -> None:
    still, moved = course(day_of(0)), course(day_of(0, decay=1.0))
    assert still.drift == (0.0,)
    shares = np.array([0.5, 0.4, 0.1, 0.0])
    counts = np.array([*day_of(0, decay=1.0).features["carrier"].bins, 0])
    carrier = dict(moved.worst)["carrier"]
    raw = psi(shares, counts / counts.sum())
    assert 0.9 * raw < carrier < raw
    assert moved.worst[0][1] == pytest.approx(moved.drift[-1], abs=1e-3)


def test_too_few_rows_tell_no_drift() -> None:
    assert course(day_of(0, rows=50, decay=1.0), least_rows=200).drift == (None,)


def test_drift_is_that_of_the_bundle_with_the_most_rows_and_a_new_bundle_begins_anew() -> None:
    days = [day_of(at, A, decay=1.0) for at in range(3)] + [day_of(at, B) for at in range(3, 6)]
    found = course(*days, day_of(4, A, rows=100, decay=1.0))
    assert [value is not None and value > 0.1 for value in found.drift] == [True] * 3 + [False] * 3
    assert found.worst == ()


def test_a_bundle_whose_profile_is_gone_has_no_drift_and_all_else() -> None:
    found = course_of([part_of(day_of(0))], lambda _: None, least_rows=1)
    assert found is not None
    assert (found.drift, found.score_drift) == ((None,), (None,))
    assert found.requests[0] > 0


def test_counts_in_other_bins_than_the_profiles_are_left_out() -> None:
    other = replace(day_of(0), features={"distance": ColumnCounts(bins=(900,))})
    assert course(other).drift == (None,)


def test_a_year_is_shown_and_what_is_older_is_not() -> None:
    parts = [replace(EMPTY, day=FIRST_DAY.toordinal() + at) for at in range(SHOWN_DAYS + 30)]
    found = course_of(parts, lambda _: None, least_rows=1)
    assert found is not None
    assert len(found.days) == len(found.loss) == len(found.drift) == SHOWN_DAYS


EMPTY = DayPart(
    day=0, digest=A, requests=1, failed=0, rows=1, labels=0, loss=0.0, expected_n=0, expected=0.0,
    latency=np.zeros(0, dtype=np.int64), ranks=np.zeros((0, 2), dtype=np.int64), columns={},
)  # fmt: skip


@pytest.mark.parametrize("broken", [None, {}, {"numeric": {"x": {}}}, {"rows": "many", "score": 3}])
def test_a_profile_that_is_none_has_no_shares(broken: object) -> None:
    assert profile_of(broken).shares == {}  # type: ignore[arg-type]  # what a file may hold
