"""Lines that wait for one segment; only there is it known where the bytes lie that they speak of."""

from __future__ import annotations

import msgspec

from lockgate.serving.log.binary_columns import Line


class Placed(msgspec.Struct, gc=False):
    """Lines that wait for one segment.

    Attributes:
        pieces: Their text.
        blobs: What goes into the file beside.
    """

    pieces: list[bytes] = msgspec.field(default_factory=list)
    blobs: list[memoryview] = msgspec.field(default_factory=list)
    _places: list[tuple[int, int]] = msgspec.field(default_factory=list)

    def add(self, line: Line) -> None:
        """Take a line."""
        if line.place is not None:
            self._places.append((len(self.pieces) + line.place, line.blob_bytes))
        self.pieces += line.pieces
        self.blobs += line.blobs

    def place(self, at: int) -> None:
        """Say in every line where its bytes lie, when the first of them are written at this offset."""
        for index, size in self._places:
            self.pieces[index] = b"%d" % at
            at += size

    def mark(self) -> tuple[int, int, int]:
        """Return how far it reaches, for `cut`."""
        return len(self.pieces), len(self.blobs), len(self._places)

    def cut(self, mark: tuple[int, int, int]) -> None:
        """Forget the lines that came after a mark."""
        pieces, blobs, places = mark
        del self.pieces[pieces:], self.blobs[blobs:], self._places[places:]

    def clear(self) -> None:
        """Forget all of it."""
        self.pieces.clear()
        self.blobs.clear()
        self._places.clear()
