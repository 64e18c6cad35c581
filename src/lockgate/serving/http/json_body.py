"""JSON of callers -> plain values, with the NaN that several clients write although JSON has none.

orjson is quicker than the parser that knows NaN, by far where there are many integers. In a large body each NaN becomes
null before orjson reads it; what is left to the other is Infinity, which no word of JSON stands for.
"""

from __future__ import annotations

import contextlib
import gc
import json
from typing import Any, Final

import numpy as np
import orjson

from lockgate.serving.refusals import Reason, RequestRefused, refuse

LARGE_BYTES: Final = 256 << 10  # ours: below it a look for garbage among what is made takes about a millisecond
_NAN: Final = b"NaN"
_INFINITY: Final = b"Infinity"
_QUOTE, _N, _A = b'"Na'
_CONSTANTS: Final = {"NaN": None, "Infinity": float("inf"), "-Infinity": float("-inf")}


def parse_json(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    """Return JSON as plain values; NaN is null.

    Raises:
        RequestRefused: It is not JSON; says where.
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
    """Do the same without the slower parser's time, and without looks for garbage, for the event loop waits.

    None of what is made meanwhile is garbage, and each look walks all of it: 16 MiB of small arrays took five times as
    long.
    """
    nans = nans_of(body) if _NAN in body else np.empty(0, np.int64)
    collects = gc.isenabled()
    gc.disable()
    try:
        return orjson.loads(with_nulls(body, nans))
    except orjson.JSONDecodeError as broken:
        if _INFINITY in body:
            with contextlib.suppress(ValueError, RecursionError):
                return _with_constants(body)
        raise _refusal(body, nans, broken) from broken
    finally:
        if collects:
            gc.enable()


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


def _refusal(body: bytes, nans: np.ndarray, broken: orjson.JSONDecodeError) -> RequestRefused:
    """Return what is said of a body that is no JSON; the place is the caller's, in whose body NaN is shorter."""
    before = len(broken.doc[: broken.pos].encode(errors="replace"))
    shift = int(np.searchsorted(nans + np.arange(len(nans)), before))
    said = json.JSONDecodeError(broken.msg, body.decode(errors="replace"), broken.pos - shift)
    return refuse(Reason.MALFORMED, f"the body is not JSON: {said}")


def _with_constants(body: bytes) -> Any:  # noqa: ANN401 - any JSON value
    found = json.loads(body.decode(), parse_constant=_CONSTANTS.__getitem__, parse_int=_whole)
    if b"\\u" in body:  # only an escape can be half of a surrogate pair, which is no text: ValueError
        json.dumps(found, ensure_ascii=False).encode()
    return found


def _whole(text: str) -> int | float:
    """Return an integer as orjson does: a float beyond 64 bits."""
    number = int(text)
    return number if -(2**63) <= number < 2**64 else float(text)
