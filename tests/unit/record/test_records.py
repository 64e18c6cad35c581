"""What is written can be read back as the same value, with the same digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.blessing import Blessing, Subjects
from lockgate.core.evidence import Evidence
from lockgate.core.ids import Stage, canonical_json, digest_of
from lockgate.core.records import read_record
from lockgate.core.verdict import Check, Direction, GateReport, Verdict
from lockgate.errors import IntegrityError

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
_NUMBER = st.one_of(st.floats(), st.integers(-(10**12), 10**12))
_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), _NUMBER, _TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXT, inner, max_size=3)),
    max_leaves=8,
)
_DIGEST = st.text("0123456789abcdef", min_size=64, max_size=64)
_EVIDENCE = st.builds(
    Evidence,
    gate=_TEXT,
    stage=st.sampled_from(Stage),
    release=_TEXT,
    measured_at=st.datetimes(timezones=st.just(UTC)),
    measured_on=_TEXT,
    subjects=st.dictionaries(_TEXT, _DIGEST, max_size=3),
    measurements=st.dictionaries(_TEXT, _JSON, max_size=4),
)
_CHECK = st.builds(
    Check,
    name=_TEXT,
    observed=st.none() | _NUMBER,
    threshold=st.none() | _NUMBER,
    direction=st.sampled_from(Direction),
    verdict=st.sampled_from(Verdict),
    reason=_TEXT,
    required=st.booleans(),
    n=st.none() | st.integers(0, 10**9),
    estimate=st.none() | _NUMBER,
    interval=st.none() | st.tuples(_NUMBER, _NUMBER),
)
_REPORT = st.builds(
    GateReport,
    gate=_TEXT,
    stage=st.sampled_from(Stage),
    verdict=st.sampled_from(Verdict),
    checks=st.lists(_CHECK, max_size=3).map(tuple),
    evidence=st.none() | _DIGEST,
    reason=_TEXT,
)
_BLESSING = st.builds(
    Blessing,
    subjects=st.builds(
        Subjects, release=_TEXT, bundle=_DIGEST, spec=_DIGEST, data=_DIGEST, champion=st.none() | _DIGEST, code=_DIGEST
    ),
    reports=st.dictionaries(_TEXT, _DIGEST, max_size=3),
)


@settings(max_examples=60, deadline=None)
@given(st.one_of(_EVIDENCE, _REPORT, _BLESSING))
def test_a_value_read_back_has_the_digest_of_the_value_written(value: Any) -> None:
    stored = canonical_json(value)
    read = read_record(type(value), json.loads(stored))
    assert digest_of(read) == digest_of(value)
    assert canonical_json(read) == stored


def test_an_integer_stays_one_where_a_float_is_declared() -> None:
    check = Check(name="x", observed=3, threshold=3.0, direction=Direction.EQUAL, verdict=Verdict.PASS, reason="")
    read = read_record(Check, json.loads(canonical_json(check)))
    assert (type(read.observed), type(read.threshold)) == (int, float)


@dataclass(frozen=True, kw_only=True)
class Nested:
    bounds: Mapping[str, tuple[float, ...]]
    allowed: frozenset[str] = frozenset()
    pair: tuple[int, str] = (1, "a")


def test_nested_thresholds_are_read_with_their_types() -> None:
    nested = Nested(bounds={"a": (1.0, float("inf"))}, allowed=frozenset({"x", "y"}), pair=(2, "b"))
    assert read_record(Nested, json.loads(canonical_json(nested))) == nested


@pytest.mark.parametrize(
    ("stored", "where"),
    [
        ({}, "bounds"),
        ({"bounds": []}, r"Nested\.bounds is list"),
        ({"bounds": {"a": 1}}, r"Nested\.bounds\.a is int"),
        ({"bounds": {"a": ["many"]}}, r"Nested\.bounds\.a\[0\] is 'many'"),
        ({"bounds": {}, "pair": [1]}, "1 values, not 2"),
        ({"bounds": {}, "pair": [True, "a"]}, r"pair\[0\] is True"),
    ],
)
def test_json_of_another_form_is_an_integrity_error_that_says_where(stored: Any, where: str) -> None:
    with pytest.raises(IntegrityError, match=where):
        read_record(Nested, stored)
