"""JSON of callers -> plain values, with the NaN and Infinity that several clients write although JSON has none.

orjson is quicker than the parser that knows them, by far where there are many integers. A large body is read piece by
piece, see `json_pieces.py`. In a piece each NaN becomes null before orjson reads it; what is left to the other parser
is a piece with Infinity, which no word of JSON stands for.
"""

from __future__ import annotations

import contextlib
import json
from typing import Any, Final

import numpy as np
import orjson

from lockgate.serving.http.json_pieces import NotJson, read_pieces
from lockgate.serving.refusals import Reason, RequestRefused, refuse

LARGE_BYTES: Final = 256 << 10  # ours: a thousand rows are below it; the worst that is takes some 50 ms to read
_NAN: Final = b"NaN"
_INFINITY: Final = b"Infinity"
_QUOTE, _N, _A, _LINE_BREAK = b'"Na\n'
_CONSTANTS: Final = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return JSON as plain values; NaN is null.

    Raises:
        RequestRefused: It is not JSON, says where; or it is large, and holds more than is read (`json_pieces`).
    """
    if len(body) >= LARGE_BYTES:
        return _parse_large(body)
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as broken:
        if _NAN in body or _INFINITY in body:
            with contextlib.suppress(ValueError, RecursionError):
                return _with_constants(body)
        raise refuse(Reason.MALFORMED, f"the body is not JSON: {broken}") from broken


def _parse_large(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    try:
        return read_pieces(body, parse_piece)
    except NotJson as broken:
        raise _refusal(body, broken) from broken


def parse_piece(piece: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Read a text of any kind; raises `NotJson` where it is none."""
    nans = nans_of(piece) if _NAN in piece else np.empty(0, np.int64)
    try:
        return orjson.loads(with_nulls(piece, nans))
    except orjson.JSONDecodeError as broken:
        if _INFINITY in piece:
            with contextlib.suppress(ValueError, RecursionError):
                return _with_constants(piece)
        place = len(broken.doc[: broken.pos].encode(errors="replace"))
        raise NotJson(broken.msg, place - int(np.searchsorted(nans + np.arange(len(nans)), place))) from broken


def nans_of(body: bytes) -> np.ndarray:
    """Return where NaN stands outside of strings, each by the index of its first byte; shape (n,), int64, ascending.

    What is no JSON in other ways is none either with null in their places.
    """
    if b"\\" in body:  # neither what is escaped in a string nor what escapes it is a quote
        body = body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    text = np.frombuffer(body, np.uint8)
    found = np.flatnonzero((text[:-2] == _N) & (text[1:-1] == _A) & (text[2:] == _N))
    outside: np.ndarray = found[np.searchsorted(np.flatnonzero(text == _QUOTE), found) % 2 == 0]
    return outside


def with_nulls(body: bytes, nans: np.ndarray) -> bytes:
    """Return JSON with null in the place of each NaN that `nans_of` found."""
    if not len(nans):
        return body
    places = nans + np.arange(len(nans))
    kept = np.ones(len(body) + len(nans), bool)
    kept[places + 3] = False
    text = np.empty(len(kept), np.uint8)
    text[kept] = np.frombuffer(body, np.uint8)
    for offset, letter in enumerate(b"null"):
        text[places + offset] = letter
    return text.tobytes()


def _refusal(body: bytes, broken: NotJson) -> RequestRefused:
    """Return what is said of a body that is no JSON, in the words that are said of a small one."""
    before = np.frombuffer(body, np.uint8)[: broken.place]
    breaks = np.flatnonzero(before == _LINE_BREAK)
    column = _characters(before[breaks[-1] + 1 :] if len(breaks) else before) + 1
    where = f"line {len(breaks) + 1} column {column} (char {_characters(before)})"
    return refuse(Reason.MALFORMED, f"the body is not JSON: {broken.why}: {where}")


def _characters(text: np.ndarray) -> int:
    """Return how many characters UTF-8 has: its bytes without those that go on with one."""
    return int(np.count_nonzero((text & 0xC0) != 0x80))


def _with_constants(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    found = json.loads(body.decode(), parse_constant=_CONSTANTS.__getitem__, parse_int=_whole)
    if b"\\u" in body:  # only an escape can be half of a surrogate pair, which is no text: ValueError
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _whole(text: str) -> int | float:
    """Return an integer as orjson does: a float beyond 64 bits."""
    number = int(text)
    return number if -(2**63) <= number < 2**64 else float(text)
