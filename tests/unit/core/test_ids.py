"""One value has one byte form, and so one digest."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.core.ids import (
    as_float,
    canonical_json,
    digest_bytes,
    digest_of,
    is_digest,
    is_model_name,
    to_json,
)

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12)


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Point:
    x: float
    colour: Colour
    at: datetime


@given(VALUES)
def test_json_survives_the_canonical_form(value: object) -> None:
    assert json.loads(canonical_json(value)) == value


@given(st.dictionaries(st.text(), LEAVES))
def test_the_order_of_keys_does_not_change_the_digest(value: dict[str, object]) -> None:
    assert digest_of(value) == digest_of(dict(reversed(value.items())))


@given(VALUES)
def test_a_tuple_and_a_list_are_one_value(value: object) -> None:
    assert canonical_json((value,)) == canonical_json([value])


def test_dataclasses_enums_times_and_numpy_numbers_have_a_form() -> None:
    point = Point(x=float(np.float64(1.5)), colour=Colour.RED, at=datetime(2013, 1, 1, tzinfo=UTC))
    assert to_json(point) == {"x": 1.5, "colour": "red", "at": "2013-01-01T00:00:00+00:00"}
    assert to_json([np.int64(3), np.float32(0.5), np.bool_(True)]) == [3, 0.5, True]


def test_a_set_has_one_order() -> None:
    assert to_json({"b", "a", "c"}) == ["a", "b", "c"]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_a_word_and_comes_back(value: float) -> None:
    written = to_json(value)
    assert isinstance(written, str)
    back = as_float(written)
    assert back == value or (math.isnan(back) and math.isnan(value))


@pytest.mark.parametrize("value", [None, True, "0.5", "nan", [1.0], {}])
def test_what_is_no_number_does_not_read_as_one(value: object) -> None:
    with pytest.raises(TypeError):
        as_float(value)  # type: ignore[arg-type]  # that is the test


def test_a_value_without_a_json_form_is_refused() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json({"a": object()})


def test_a_digest_is_sha256() -> None:
    assert digest_bytes(b"abc") == hashlib.sha256(b"abc").hexdigest()
    assert is_digest(digest_bytes(b"abc"))


@pytest.mark.parametrize("text", ["", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "sha256:" + "a" * 64])
def test_what_only_looks_like_a_digest_is_none(text: str) -> None:
    assert not is_digest(text)


@pytest.mark.parametrize(("name", "allowed"), [
    ("flight-delays", True), ("ab", True), ("a" * 48, True), ("a", False), ("a" * 49, False),
    ("1ab", False), ("-ab", False), ("Ab", False), ("a b", False), ("../x", False), ("ab\n", False),
])  # fmt: skip
def test_model_names_are_plain(name: str, allowed: bool) -> None:
    assert is_model_name(name) is allowed
