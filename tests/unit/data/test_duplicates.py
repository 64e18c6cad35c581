"""Rows that stand twice: counted exactly, found across parts, and not where rows are alike by nature."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from lockgate.core.duplicates import TwinShares, repeated_rows, rows_found_in, shared_values, twin_shares
from lockgate.core.spec import SplitMethod, SplitSection
from lockgate.stages.part_facts import facts_of, key_hashes
from tests.unit.data.toy import toy_rows, toy_spec

DRAW = np.random.default_rng(4)
SPEC = toy_spec()


def hashes(*values: int) -> np.ndarray:
    return np.array(values, dtype=np.uint64)


def labelled(frame: pd.DataFrame) -> pd.DataFrame:
    return frame[frame["y"].notna()].reset_index(drop=True)


def test_nothing_in_nothing() -> None:
    assert repeated_rows([]) == 0
    assert rows_found_in(hashes(), hashes(1)) == 0
    assert shared_values(hashes(), hashes(1)) == 0
    nothing = TwinShares(share=None, natural=None, held=0)
    assert twin_shares(hashes(), hashes(1), in_time=True) == nothing
    assert twin_shares(hashes(1, 2), hashes(), in_time=False) == nothing


def test_hashes_count_what_pandas_counts() -> None:
    frame = pd.DataFrame({"a": DRAW.integers(0, 40, 3000), "b": DRAW.choice(["x", "y", None], 3000)})
    assert repeated_rows([key_hashes(frame)]) == int(frame.duplicated().sum())


def test_a_row_has_one_hash_whatever_part_it_stands_in() -> None:
    rows = labelled(toy_rows())
    whole, tail = facts_of(SPEC, rows), facts_of(SPEC, rows.iloc[300:])
    for name in ("keys", "copies", "twins"):
        assert getattr(whole, name)[300:].tolist() == getattr(tail, name).tolist()


def test_distinct_rows_have_distinct_hashes_and_a_zero_has_no_sign() -> None:
    rows = labelled(toy_rows(60))
    facts = facts_of(SPEC, rows)
    assert [repeated_rows([each]) for each in (facts.keys, facts.copies, facts.twins)] == [0, 0, 0]
    signs = pd.concat([rows.iloc[[0]].assign(a=0.0), rows.iloc[[0]].assign(a=-0.0)])
    assert repeated_rows([facts_of(SPEC, signs).copies]) == 1


def test_a_copy_under_another_key_is_a_copy_and_a_near_one_is_a_twin() -> None:
    rows = labelled(toy_rows())
    copied = rows.assign(id=rows["id"] + "-again")
    nudged = copied.assign(a=copied["a"] * (1 + 1e-6), t=copied["t"] + pd.Timedelta(days=40))
    facts, again, near = facts_of(SPEC, rows), facts_of(SPEC, copied), facts_of(SPEC, nudged)
    assert shared_values(facts.keys, again.keys) == 0
    assert repeated_rows([facts.copies, again.copies]) == len(rows)
    assert rows_found_in(near.copies, facts.copies) == 0
    assert rows_found_in(near.twins, facts.twins) > 0.99 * len(rows)  # but for those that a rounding edge divides


def test_another_label_makes_no_twin() -> None:
    rows = labelled(toy_rows())
    other = rows.assign(y=rows["y"].map({"yes": "no", "no": "yes"}))
    assert rows_found_in(facts_of(SPEC, other).twins, facts_of(SPEC, rows).twins) == 0


@pytest.mark.parametrize("in_time", [True, False])
def test_rows_that_are_alike_by_nature_are_natural_and_copies_are_beyond_it(in_time: bool) -> None:
    few = DRAW.integers(0, 40_000, 70_000).astype(np.uint64)
    found = twin_shares(few[:60_000], few[60_000:], in_time=in_time)
    assert found.share is not None
    assert found.natural is not None
    assert found.share - found.natural == pytest.approx(0.018, abs=0.03)  # 3,000 rows: a standard error is 0.008
    rare = np.arange(6000, dtype=np.uint64)
    found = twin_shares(rare, np.arange(5500, 6500, dtype=np.uint64), in_time=in_time)
    assert found == TwinShares(share=0.5, natural=0.0, held=300)


def test_groups_are_hashed_where_the_split_keeps_them_together() -> None:
    rows = labelled(toy_rows()).assign(who="w")
    spec = replace(SPEC, split=SplitSection(method=SplitMethod.GROUP, group="who"))
    groups = facts_of(spec, rows).groups
    assert groups is not None
    assert len(np.unique(groups)) == 1
    assert facts_of(SPEC, rows).groups is None
