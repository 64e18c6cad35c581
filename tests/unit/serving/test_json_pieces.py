"""Large JSON is read in pieces, and is what it would be in one; what would keep others waiting is refused."""

import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.serving.http.json_body import LARGE_BYTES, parse_json, parse_piece
from lockgate.serving.http.json_marks import MOST_DEPTH, MOST_VALUES, check_separators
from lockgate.serving.http.json_pieces import MOST_MEMBERS, PIECE_BYTES, NotJson, read_pieces
from lockgate.serving.refusals import Reason, RequestRefused

TEXTS = st.text('a,[]{}"\\:é😀\n', max_size=4) | st.sampled_from(["NaN", "Infinity", "\\", ""])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**25), 10**25) | st.floats() | TEXTS,
    lambda each: st.lists(each, max_size=5) | st.dictionaries(TEXTS, each, max_size=5),
    max_leaves=20,
)
ODD = st.sampled_from([*(c.encode() for c in ',[]{}"\\: 1n\f\v\0é'), b'""', b'"a":1,', b"null", b"\xff", b"\\u", b""])
PIECES = st.integers(1, 24)


def whole(body: bytes) -> str:
    try:
        return repr(parse_json(body))
    except RequestRefused:
        return "no JSON"


def pieced(body: bytes, piece_bytes: int) -> str:
    try:
        return repr(read_pieces(body, parse_piece, piece_bytes))
    except NotJson:
        return "no JSON"


@settings(max_examples=150, deadline=None)
@given(VALUES, PIECES, st.booleans(), st.sampled_from([None, 1]))
def test_pieces_of_any_size_are_read_as_the_whole(value: Any, size: int, ascii_: bool, indent: int | None) -> None:
    body = json.dumps(value, ensure_ascii=ascii_, indent=indent).encode()
    assert pieced(body, size) == whole(body) != "no JSON"


@settings(max_examples=300, deadline=None)
@given(VALUES, PIECES, st.lists(st.tuples(st.integers(0, 200), st.integers(0, 3), ODD), min_size=1, max_size=3))
def test_what_is_no_json_is_none_in_pieces_either(value: Any, size: int, changes: list[tuple[int, int, bytes]]) -> None:
    body = bytearray(json.dumps(value, ensure_ascii=False).encode())
    for at, lost, odd in changes:
        at %= len(body) + 1  # noqa: PLW2901 - a place within it
        body[at : at + lost] = odd
    assert pieced(bytes(body), size) == whole(bytes(body))


@pytest.mark.parametrize(
    "body",
    [
        *(b"[1,,2]", b"[,1]", b"[1,]", b"[1 2]", b"[1}", b"[1] 2", b"[[1,2]", b"[1],", b"{1:2}", b'["a\\",1]'),
        *(b'{"a":1]', b'{"a":[1,2}', b'{"a":1,,"b":2}', b'{,"a":1}', b'{"a":1,}', b'{"a" [1,2,3]}', b'{"a":1 [2,3]}'),
        b'{[1,2]:"a"}',
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 5])
def test_no_bracket_or_comma_is_taken_on_trust(body: bytes, size: int) -> None:
    with pytest.raises(NotJson):
        read_pieces(body, parse_piece, size)


@pytest.mark.parametrize(
    "unit", [b"1", b"[1]", b'{"a":[1]}', b"Infinity", b"NaN", b'"\\"[,"', b"[" * 9 + b"]" * 9, b'"' + b"x" * 999 + b'"']
)
@pytest.mark.parametrize("form", [b"[%s]", b'{"a":{"b":[%s]}}', b" [[[%s]]] "])
def test_nothing_large_is_read_at_once(unit: bytes, form: bytes) -> None:
    body = form % b",".join([unit] * (LARGE_BYTES // len(unit)))
    read = []

    def parse(piece: bytes) -> Any:
        read.append(len(piece))
        return parse_piece(piece)

    small = read_pieces(form % unit, parse_piece)
    found = read_pieces(body, parse)
    while isinstance(small, dict) or found != small * (LARGE_BYTES // len(unit)):
        (small, found) = (small.popitem()[1], found.popitem()[1]) if isinstance(small, dict) else (small[0], found[0])
    assert max(read) < PIECE_BYTES + 16


@pytest.mark.parametrize("unit", [b"1", b'{"a":1}', b"[[1]]", b"-Infinity"])
def test_more_values_than_are_read_are_refused_before_they_are(unit: bytes) -> None:
    each = 1 + unit.count(b"[") + unit.count(b"{")
    within = b"[" + b",".join([unit] * (MOST_VALUES // each)) + b"]"
    assert len(parse_json(within)) == MOST_VALUES // each
    with pytest.raises(RequestRefused, match=f"more than the {MOST_VALUES} values") as refused:
        parse_json(b"[" + b",".join([unit] * (MOST_VALUES // each + 1)) + b"]")
    assert refused.value.reason is Reason.BODY_TOO_LARGE


def test_commas_and_brackets_in_texts_are_no_values() -> None:
    text = ",[{" * MOST_VALUES + '"\\'
    assert parse_json(orjson.dumps([text, {"a": text}])) == [text, {"a": text}]


def test_an_object_of_more_members_than_a_request_may_name_is_refused_before_they_are_read() -> None:
    within = {f"{at:x}": 0 for at in range(MOST_MEMBERS)}
    assert parse_json(orjson.dumps(within)) == within
    with pytest.raises(RequestRefused, match=f"{MOST_MEMBERS + 1} things in one object; at most {MOST_MEMBERS}"):
        parse_json(orjson.dumps(within | {"more": 0}))


def test_what_is_deeper_than_is_read_is_refused_by_its_limit() -> None:
    blank = b" " * LARGE_BYTES
    assert parse_json(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH + blank)
    with pytest.raises(RequestRefused, match=f"deeper than the {MOST_DEPTH}"):
        parse_json(b"[" * (MOST_DEPTH + 1) + b"]" * (MOST_DEPTH + 1) + blank)


def test_infinity_in_a_large_body_is_read_where_it_stands_and_the_rest_as_ever() -> None:
    numbers = [0.5] * LARGE_BYTES
    body = json.dumps([*numbers, math.inf, 2**63, 10**30, "Infinity"]).encode()
    assert parse_json(body) == [*numbers, math.inf, 2**63, 1e30, "Infinity"]


@pytest.mark.parametrize(
    "body", [b'{"a":"' + b"\\" * LARGE_BYTES, b'["' + b"\\\\" * LARGE_BYTES + b'"]', b"\\" * LARGE_BYTES]
)
def test_backslashes_across_slices_escape_what_they_should(body: bytes) -> None:
    assert pieced(body, 100) == (whole(body) if body.endswith(b"]") else "no JSON")


def test_separators_within_texts_are_not_counted() -> None:
    check_separators(b'a,"b,c""d,",e\n', b",\n", 3, "cells")
    with pytest.raises(RequestRefused, match="more than the 2 cells"):
        check_separators(b'a,"b,c""d,",e\n', b",\n", 2, "cells")
