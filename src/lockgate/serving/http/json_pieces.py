"""Large JSON -> plain values, piece by piece: nobody who waits for Python's lock waits for all of it.

    body --> its marks --> large lists and objects, each by runs of its children of some 64 KiB --> orjson --> values

Every byte is read by the parser, but for the brackets of what is large, the commas between runs and the blanks around
them, which are looked at here. So that what is no JSON is none here either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from lockgate.serving.http.json_marks import CLOSE_LIST, CLOSE_OBJECT, COMMA, OPEN_LIST, marks_of
from lockgate.serving.refusals import Reason, refuse

PIECE_BYTES: Final = 64 << 10  # ours: of the worst kind read in 6 ms
MOST_MEMBERS: Final = 1 << 16  # ours: as many as a request may name columns
_PIECES_MARKED: Final = 16  # ours: at once, a MiB, which is in the processor's cache
_BLANK: Final = b" \t\n\r"

Parse = Callable[[bytes], Any]


class NotJson(ValueError):
    """What is no JSON.

    Attributes:
        why: What is wrong.
        place: Where, in bytes from the beginning.
    """

    def __init__(self, why: str, place: int) -> None:
        super().__init__(why, place)
        self.why, self.place = why, place


def read_pieces(body: bytes, parse: Parse, piece_bytes: int = PIECE_BYTES) -> Any:  # noqa: ANN401 - any JSON value
    """Return JSON as plain values.

    Args:
        body: A text of any size.
        parse: Reads a small one; `NotJson` where it is none.
        piece_bytes: How much is read at once, but for one text or number that is longer.

    Raises:
        RequestRefused: It holds more values than are read, an object of too many members, or is too deep.
        NotJson: It is none.
    """
    return _Pieces(body, parse, piece_bytes).value(0, len(body))


class _Pieces:
    """One body that is being read."""

    def __init__(self, body: bytes, parse: Parse, piece_bytes: int) -> None:
        self._body, self._parse, self._piece_bytes = body, parse, piece_bytes
        self._places, self._letters, self._depths = marks_of(body, _PIECES_MARKED * piece_bytes)

    def value(self, start: int, end: int) -> Any:  # noqa: ANN401 - any JSON value
        """Return the value that stands between two places."""
        first, behind = np.searchsorted(self._places, (start, end)).tolist()
        if end - start <= self._piece_bytes or first == behind:  # one text or number, however long, is read at once
            return self._read(b"", start, end)
        opening, depth = int(self._letters[first]), int(self._depths[first])
        begin = int(self._places[first])
        if not self._is_blank(start, begin) or opening in (COMMA, CLOSE_LIST, CLOSE_OBJECT):
            return self._read(b"", start, end)  # which is none, and is told by its first bytes
        lower = self._depths[first:behind] < depth
        close = first + int(np.argmax(lower))
        if close == first:
            raise NotJson("unexpected end of data", end)
        stop = int(self._places[close])
        if self._letters[close] != (CLOSE_LIST if opening == OPEN_LIST else CLOSE_OBJECT):
            raise NotJson("unexpected character, expected the other closing bracket", stop)
        if not self._is_blank(stop + 1, end):
            raise NotJson("unexpected content after document", stop + 1)
        inner = slice(first + 1, close)
        commas = self._places[inner][(self._letters[inner] == COMMA) & (self._depths[inner] == depth)]
        cuts = np.concatenate(((begin,), commas, (stop,)))
        return self._list(cuts) if opening == OPEN_LIST else self._object(cuts)

    def _list(self, cuts: npt.NDArray[np.int64]) -> list[Any]:
        """Return a list whose children stand between these places."""
        found: list[Any] = []
        for begin, stop, alone in _runs(cuts, self._piece_bytes):
            if alone and len(cuts) == 2 and self._is_blank(begin, stop):
                break
            piece = [self.value(begin, stop)] if alone else self._read(b"[", begin, stop, b"]")
            if not piece and len(cuts) > 2:
                raise NotJson("unexpected character, expected a JSON value", stop)
            found += piece
        return found

    def _object(self, cuts: npt.NDArray[np.int64]) -> dict[str, Any]:
        """Return an object whose members stand between these places."""
        members = len(cuts) - 1
        if members > MOST_MEMBERS:
            raise refuse(
                Reason.UNKNOWN_COLUMN, f"the body names {members} things in one object; at most {MOST_MEMBERS} are read"
            )
        found: dict[str, Any] = {}
        for begin, stop, alone in _runs(cuts, self._piece_bytes):
            if alone and members == 1 and self._is_blank(begin, stop):
                break
            piece = self._member(begin, stop) if alone else self._read(b"{", begin, stop, b"}")
            if not piece and members > 1:
                raise NotJson("unexpected character, expected a string key", stop)
            found |= piece
        return found

    def _member(self, start: int, end: int) -> dict[str, Any]:
        """Return one large member of an object, by its name."""
        first, behind = np.searchsorted(self._places, (start, end)).tolist()
        if first == behind:
            named: dict[str, Any] = self._read(b"{", start, end, b"}")
            return named
        begin = int(self._places[first])
        (name,) = self._read(b"{", start, begin, b"null}")
        return {name: self.value(begin, end)}

    def _read(self, before: bytes, start: int, end: int, after: bytes = b"") -> Any:  # noqa: ANN401 - any JSON value
        try:
            return self._parse(b"".join((before, self._body[start:end], after)))
        except NotJson as broken:
            place = min(max(start + broken.place - len(before), start), end)
            raise NotJson(broken.why, place) from broken

    def _is_blank(self, start: int, end: int) -> bool:
        return not self._body[start:end].strip(_BLANK)


def _runs(cuts: npt.NDArray[np.int64], most: int) -> Iterator[tuple[int, int, bool]]:
    """Yield where each run of children begins and ends, and whether it is one child that is large itself."""
    at, last = 0, len(cuts) - 1
    while at < last:
        to = max(at + 1, int(np.searchsorted(cuts, cuts[at] + most, "right")) - 1)
        begin, stop = int(cuts[at]) + 1, int(cuts[to])
        yield begin, stop, stop - begin > most
        at = to
