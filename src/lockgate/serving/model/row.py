"""One row of JSON values on its way into the graph, and the quickest way to it for columns in a known order."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from lockgate.serving.model.column_faults import NUMBERS
from lockgate.serving.model.column_values import Flags

_NO_COLUMNS: Final[frozenset[str]] = frozenset()


class EncodedRow(msgspec.Struct, frozen=True, gc=False):
    """One row of JSON values on its way into a matrix; its numbers are not checked yet.

    Attributes:
        numbers: The graph's numbers, None for null.
        texts: The graph's strings.
        flags: What was seen so far.
        lacking: Columns that were taken as null because the request lacks them.
    """

    numbers: Sequence[Any]
    texts: Sequence[str]
    flags: Flags = ()
    lacking: frozenset[str] = _NO_COLUMNS


class Picked:
    """Columns of one kind: which they are, and what each value of theirs is to the graph.

    Attributes:
        names: The columns, in the graph's order.
        known: By column what a value needs no second look for, and what the graph takes of it.
    """

    __slots__ = ("known", "names")

    def __init__(self, names: Sequence[str], known: Sequence[Mapping[Any, Any]]) -> None:
        """Take the columns and their tables."""
        self.names: Final = tuple(names)
        self.known: Final = tuple(known)


class RowOrder:
    """Encodes rows whose values come in one order of columns; that these are the right columns was looked at once."""

    __slots__ = ("_coded", "_codes", "_numbers", "_strings", "_texts")

    def __init__(self, names: Sequence[str], numbers: Sequence[str], coded: Picked, strings: Picked) -> None:
        """Take the order.

        Args:
            names: The columns of a row in the order of its values; holds all of the following.
            numbers: The graph's numeric columns, in its order.
            coded: Those that follow them as codes.
            strings: Those that it takes as strings.
        """
        place = {name: at for at, name in enumerate(names)}
        self._numbers = taker([place[name] for name in numbers])
        self._coded = taker([place[name] for name in coded.names])
        self._strings = taker([place[name] for name in strings.names])
        self._codes, self._texts = coded.known, strings.known

    def encode(self, values: Sequence[Any]) -> EncodedRow | None:
        """Encode the JSON values of one row, or return None where `InputEncoder.encode` must look closer."""
        numbers = self._numbers(values)
        if not NUMBERS.issuperset(map(type, numbers)):
            return None
        try:
            if self._codes:
                numbers = (*numbers, *map(operator.getitem, self._codes, self._coded(values)))
            texts = list(map(operator.getitem, self._texts, self._strings(values))) if self._texts else ()
        except (KeyError, TypeError):  # a value out of the tables, or none that could be in them
            return None
        return EncodedRow(numbers, texts)


def taker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """Return a function that takes the values at these places out of a row; the fastest there is."""
    first = places[0] if places else 0
    if list(places) == list(range(first, first + len(places))):
        return operator.itemgetter(slice(first, first + len(places)))
    return operator.itemgetter(*places)
