"""Where the brackets and commas of a large text stand that are outside of its strings; cheap beside reading it.

    bytes --> looked at by the MiB with numpy, which lets other threads run meanwhile --> marks, as many as are allowed

What is no JSON may have marks that mean nothing: whoever reads the text between them finds that out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from lockgate.serving.refusals import Reason, refuse

MOST_VALUES: Final = 1 << 20
"""Ours: the most rows that are taken by default, of a hundred columns each; to let go of so many, of the worst kind,
keeps the event loop for 50 ms."""
MOST_DEPTH: Final = 64  # ours: what means something is five deep
COMMA, QUOTE, OPEN_LIST, CLOSE_LIST, OPEN_OBJECT, CLOSE_OBJECT = b',"[]{}'
SLICE_BYTES: Final = 1 << 20
_CASE: Final = 0x20  # with this bit, [ is { and ] is }

Octets = npt.NDArray[np.uint8]


class Marks(NamedTuple):
    """The brackets and commas of a text.

    Attributes:
        places: Where each stands, int64 [marks], ascending.
        letters: Which it is, uint8 [marks].
        depths: How deep the text is behind it, int64 [marks].
    """

    places: npt.NDArray[np.int64]
    letters: Octets
    depths: npt.NDArray[np.int64]


def marks_of(body: bytes, slice_bytes: int) -> Marks:
    """Return the marks of JSON, looked for in so many bytes at once.

    Raises:
        RequestRefused: It holds more values than are read, or is deeper.
    """
    places, letters, values = [np.empty(0, np.int64)], [np.empty(0, np.uint8)], 0
    for at, text, inside in _slices(body, slice_bytes):
        folded = text | _CASE
        opening, closing = folded == OPEN_OBJECT, folded == CLOSE_OBJECT
        new = opening | (text == COMMA)
        new &= ~inside
        values += int(np.count_nonzero(new))
        check_values(values)
        closing &= ~inside
        found = np.flatnonzero(new | closing)
        places.append(found + at)
        letters.append(text[found])
    letter = np.concatenate(letters)
    step = np.where(letter == COMMA, 0, np.where((letter | _CASE) == OPEN_OBJECT, 1, -1))
    depths = np.cumsum(step)
    if depths.max(initial=0) > MOST_DEPTH:
        raise refuse(Reason.MALFORMED, f"the body is JSON within JSON, deeper than the {MOST_DEPTH} that are read")
    return Marks(np.concatenate(places), letter, depths)


def check_separators(body: bytes, separators: bytes, most: int, what: str) -> None:
    """Refuse a text with too many of these bytes outside of its strings.

    Args:
        body: JSON or CSV, whose doubled quotes change nothing.
        separators: One or several bytes.
        most: How many there may be.
        what: What there would be too many of, for the words.

    Raises:
        RequestRefused: There are more.
    """
    found = 0
    for _, text, inside in _slices(body, SLICE_BYTES):
        outside = ~inside
        found += int(sum(np.count_nonzero((text == each) & outside) for each in separators))
        check_values(found, most, what)


def check_values(count: int, most: int = MOST_VALUES, what: str = "values") -> None:
    """Refuse a body that holds too many values to be read without keeping others waiting.

    Raises:
        RequestRefused: It does.
    """
    if count > most:
        raise refuse(
            Reason.BODY_TOO_LARGE,
            f"the body holds more than the {most} {what} that are taken in one request; send them in parts",
        )


def _slices(body: bytes, slice_bytes: int) -> Iterator[tuple[int, Octets, npt.NDArray[np.bool_]]]:
    """Yield each part of a text, where it begins, and which bytes of it are within a string, its first quote too."""
    at, within = 0, False
    while at < len(body):
        end = min(at + slice_bytes, len(body))
        if body[end - 1 : end] == b"\\":  # what it escapes belongs to it
            end = min(len(body), len(body) - len(body[end:].lstrip(b"\\")) + 1)
        part = body[at:end]
        if b"\\" in part:  # neither what is escaped in a string nor what escapes it is a quote
            part = part.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        text = np.frombuffer(part, np.uint8)
        inside = (np.cumsum(text == QUOTE, dtype=np.uint8) & 1).astype(np.bool_)
        if within:
            inside = ~inside
        yield at, text, inside
        at, within = end, bool(inside[-1])
