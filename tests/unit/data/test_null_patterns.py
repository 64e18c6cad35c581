"""When values are missing, and what that tells of the event."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import rankdata

from lockgate.core.null_patterns import MIN_ROWS, filled_purity, label_gap, null_gap, ranks

DRAW = np.random.default_rng(8)
N = 4000
NEVER = np.zeros(N, dtype=bool)


def test_ranks_are_scipys() -> None:
    values = np.round(DRAW.normal(size=500), 1)
    assert ranks(values).tolist() == rankdata(values).tolist()


def test_a_note_that_is_written_for_late_ones_only_is_found_and_a_random_one_is_not() -> None:
    late = (DRAW.random(N) < 0.3).astype(np.int64)
    note = (late == 1) & (DRAW.random(N) < 0.5)
    found = filled_purity(~note, late, 2)
    assert float(str(found["purity"])) > 0.98
    assert found["class"] == 1
    assert float(str(filled_purity(DRAW.random(N) < 0.5, late, 2)["purity"])) < 0.1


def test_a_value_that_is_missing_for_the_large_ones_has_a_gap_and_a_random_one_has_none() -> None:
    label = DRAW.exponential(size=N)
    order = ranks(label)
    assert label_gap(label > 2, order) > 0.9
    assert label_gap(label < 0.1, order) > 0.9
    gaps = [label_gap(DRAW.random(N) < 0.2, order) for _ in range(100)]
    assert np.mean(np.array(gaps) > 0) < 0.12  # 5 % are above the bound by chance
    assert label_gap(NEVER, order) == 0.0


def test_what_is_filled_with_the_label_is_missing_without_it() -> None:
    unlabelled = DRAW.random(N) < 0.2
    assert float(str(null_gap(unlabelled, unlabelled)["gap"])) > 0.97
    assert float(str(null_gap(DRAW.random(N) < 0.5, unlabelled)["gap"])) < 0.05
    assert float(str(null_gap(~unlabelled, unlabelled)["gap"])) == 0.0


@pytest.mark.parametrize("few", [0, MIN_ROWS - 1])
def test_a_few_rows_show_no_pattern(few: int) -> None:
    later = np.arange(N) < few
    assert null_gap(later, later)["gap"] == 0.0
    assert null_gap(~later, ~later)["gap"] == 0.0
