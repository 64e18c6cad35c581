"""Rows in the one form that fitting, scoring and the graph share."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from lockgate.core.contract import TaskKind
from lockgate.core.labels import class_indices
from lockgate.errors import BadInput
from lockgate.models.frames import labelled_rows, native_frame, numeric_matrix, string_matrix
from lockgate.models.trainer import MISSING
from tests.unit.models.rows import rows, spec_of


def test_numbers_become_float32_and_nulls_nan() -> None:
    frame = pd.DataFrame({"a": [1, 2, 3], "b": pd.array([1, None, 3], dtype="Int64"), "c": [True, False, True]})
    matrix = numeric_matrix(frame, ["c", "b", "a"])
    assert matrix.dtype == np.float32
    assert np.array_equal(matrix, np.array([[1, 1, 1], [0, np.nan, 2], [1, 3, 3]]), equal_nan=True)


@pytest.mark.parametrize("dtype", [object, "str", "category"])
def test_strings_become_text_and_nulls_the_marker(dtype: str) -> None:
    frame = pd.DataFrame({"a": pd.Series(["x", None, ""], dtype=dtype)})
    assert string_matrix(frame, ["a"]).tolist() == [["x"], [MISSING], [""]]


def test_what_is_no_string_becomes_its_text() -> None:
    frame = pd.DataFrame({"a": pd.Series([1, None, "x", 2.5], dtype=object)})
    assert string_matrix(frame, ["a"]).ravel().tolist() == ["1", MISSING, "x", "2.5"]


def test_the_rows_handed_in_stay_as_they_were() -> None:
    frame = rows(50)
    before = frame.copy()
    native_frame(frame, ("x0", "x1"), ("c0", "c1"))
    pd.testing.assert_frame_equal(frame, before)


def test_a_column_of_words_is_no_number() -> None:
    with pytest.raises(BadInput, match="column 'a' must hold numbers"):
        numeric_matrix(pd.DataFrame({"a": ["x", "y"]}), ["a"])


def test_an_absent_column_names_those_that_are_there() -> None:
    with pytest.raises(BadInput, match="column 'z' is missing; the rows have a, b"):
        string_matrix(pd.DataFrame({"a": ["x"], "b": ["y"]}), ["z"])


def test_rows_without_a_label_are_left_out() -> None:
    frame = rows(10)
    frame["y"] = frame["y"].astype(float)
    frame.loc[[2, 5], "y"] = np.nan
    kept = labelled_rows(frame, spec_of())
    assert len(kept) == len(kept.features) == 8
    assert kept.label.dtype == np.int64


def test_labels_of_a_regression_stay_numbers() -> None:
    frame = rows(10, TaskKind.REGRESSION)
    assert labelled_rows(frame, spec_of(TaskKind.REGRESSION)).label.tolist() == frame["y"].tolist()


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 1], ("0", "1")),
        ([0.0, 1.0], ("0", "1")),
        ([False, True], ("0", "1")),
        ([np.False_, np.True_], ("false", "true")),
        (["no", "yes"], ("no", "yes")),
        ([np.float32(2), 3], ("2", "3")),
    ],
)
def test_a_label_meets_its_class_however_it_was_stored(labels: list[object], classes: tuple[str, ...]) -> None:
    assert class_indices(labels, classes).tolist() == [0, 1]


def test_true_and_one_are_told_apart() -> None:
    assert class_indices([True, 1], ("1", "true")[:1]).tolist() == [0, 0]
    with pytest.raises(BadInput, match="label True is more than one of the classes 1, true"):
        class_indices([1, True], ("1", "true"))


def test_a_label_of_no_class_is_named() -> None:
    with pytest.raises(BadInput, match="label 'maybe' is none of the classes no, yes"):
        class_indices(["no", "maybe"], ("no", "yes"))
