"""Which rows go where."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from lockgate.adapters.split import PARTS, split
from lockgate.core.spec import SplitMethod, SplitSection
from lockgate.errors import BadInput
from tests.unit.data.toy import toy_rows, toy_spec

SPEC = toy_spec()


def test_a_time_split_cuts_at_midnights_and_leaves_no_labelled_row_out() -> None:
    frame = toy_rows(30)
    found = split(frame, SPEC)
    days = {part: frame["t"][mask].dt.floor("D") for part, mask in found.rows.items()}
    assert days["train"].max() < days["validation"].min()
    assert days["validation"].max() < days["holdout"].min()
    assert {part: each.nunique() for part, each in days.items()} == {"train": 15, "validation": 5, "holdout": 10}
    assert sum(mask.sum() for mask in found.rows.values()) == frame["y"].notna().sum()


def test_as_of_is_the_newest_labelled_time_whatever_traffic_came_after() -> None:
    frame = toy_rows(30)
    late = frame["t"] > pd.Timestamp("2024-01-28", tz="UTC")
    frame["y"] = frame["y"].mask(late)
    assert split(frame, SPEC).as_of == datetime(2024, 1, 27, 22, 48, tzinfo=UTC)


def test_labels_that_nobody_had_yet_are_in_no_part() -> None:
    frame = toy_rows(30)
    found = split(frame, toy_spec(label_delay_s=86_400.0 * 2))
    newest = frame["t"][found.rows["holdout"]].max()
    assert newest + pd.Timedelta(days=2) <= found.as_of
    assert frame["t"][found.rows["holdout"]].dt.floor("D").nunique() == 10


def test_a_training_window_forgets_older_rows() -> None:
    frame = toy_rows(30)
    spec = replace(SPEC, split=SplitSection(validation_days=5, holdout_days=10, train_window_days=3))
    assert frame["t"][split(frame, spec).rows["train"]].dt.floor("D").nunique() == 3


def test_groups_are_not_divided() -> None:
    frame = toy_rows(30).assign(who=[f"w{i % 40}" for i in range(600)])
    spec = replace(SPEC, split=SplitSection(method=SplitMethod.GROUP, group="who"))
    found = split(frame, spec)
    people = [set(frame["who"][found.rows[part]]) for part in PARTS]
    assert sum(len(each) for each in people) == len(set.union(*people))


def test_a_random_split_has_about_the_shares_asked_for() -> None:
    frame = toy_rows(200)
    found = split(frame, replace(SPEC, split=SplitSection(method=SplitMethod.RANDOM)))
    shares = {part: mask.mean() / frame["y"].notna().mean() for part, mask in found.rows.items()}
    assert shares == pytest.approx({"train": 0.65, "validation": 0.15, "holdout": 0.2}, abs=0.03)


def test_rows_without_a_label_are_counted_where_they_fall() -> None:
    found = split(toy_rows(30), SPEC)
    assert found.unlabelled == {"train": 30, "validation": 10, "holdout": 20}


def test_no_label_at_all_is_bad_input() -> None:
    with pytest.raises(BadInput, match="no row of toy has a label"):
        split(toy_rows(30).assign(y=np.nan), SPEC)


def test_too_few_groups_is_bad_input_that_says_so() -> None:
    frame = toy_rows(30).assign(who="one")
    with pytest.raises(BadInput, match="more rows or groups"):
        split(frame, replace(SPEC, split=SplitSection(method=SplitMethod.GROUP, group="who")))
