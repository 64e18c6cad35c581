"""Input columns of very large requests: bytes in a file beside the segment, and in the line only where they lie.

    {"dtype": "<f4", "from": 0, "step": 96}                          a column of a matrix that was kept as it came
    {"dtype": "|i1", "from": 4000, "values": ["red", "blue"]}        strings: indices of `values`, -1 is null
    "binary": {"bytes": 96000, "at": 1234}                           the request's part of the file, in the line itself

`from` is the first byte of the first value within the request's part, `step` the bytes from one value to the next,
where that is more than the value's own. Base64 would cost as much again as all else that is done for such a line.

The file is written before the line that speaks of it and never read without one: what a killed writer leaves at its end
belongs to nobody.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final, TypeGuard

import msgspec
import numpy as np
import orjson

from lockgate.serving.log.packed_columns import (
    DTYPES,
    LoggedValues,
    Packable,
    PackedColumn,
    is_packable,
    smallest,
    used_codes,
)
from lockgate.serving.model.column_values import CodedStrings, Columns, MatrixColumns

BINARY_ROWS: Final = (
    256  # ours: a request with more has its arrays in the file; whoever repeats requests takes few rows
)
_REMEMBERED: Final = 64
_WIDE: Final = 8
_SHORT: Final = frozenset(dtype for dtype in DTYPES if dtype.itemsize < _WIDE)


class Line(msgspec.Struct, gc=False):
    """One line of the log on its way to the disk.

    Attributes:
        pieces: Its text; that at `place` is where its bytes begin in the file beside, which only its writer knows.
        blobs: What goes into that file.
        place: The index of that piece; None: there are no such bytes.
        size: Bytes of both.
        blob_bytes: Bytes of the blobs.
    """

    pieces: list[bytes]
    blobs: Sequence[memoryview] = ()
    place: int | None = None
    size: int = 0
    blob_bytes: int = 0

    def __post_init__(self) -> None:
        """Add up the sizes."""
        self.size = sum(map(len, self.pieces))
        if self.blobs:
            self.blob_bytes = sum(blob.nbytes for blob in self.blobs)
            self.size += self.blob_bytes

    def text(self, at: int = 0) -> bytes:
        """Return the line, its bytes beginning there."""
        pieces = [*self.pieces]
        if self.place is not None:
            pieces[self.place] = b"%d" % at
        return b"".join(pieces)


class BinaryColumns:
    """Writes the columns of large requests; used by one thread."""

    def __init__(self) -> None:
        """Begin without a request."""
        self.blobs: list[memoryview] = []
        self._size = 0
        self._matrices: dict[tuple[tuple[str, ...], str], bytes] = {}

    def take(self) -> list[memoryview]:
        """Return the bytes of a request; the next one begins without any."""
        blobs, self.blobs, self._size = self.blobs, [], 0
        return blobs

    def matrix(self, columns: Columns) -> bytes | None:
        """Return the JSON of columns that came as one matrix; None where they did not, or not as the file has it."""
        if not isinstance(columns, MatrixColumns):
            return None
        matrix = columns.matrix
        if matrix.dtype not in DTYPES or not matrix.flags.c_contiguous:
            return None
        key = columns.names, matrix.dtype.str
        said = self._matrices.get(key)
        if said is None:
            if len(self._matrices) >= _REMEMBERED:  # bundles come and go
                self._matrices.clear()
            size = matrix.dtype.itemsize
            said = self._matrices[key] = orjson.dumps({
                name: {"dtype": key[1], "from": at * size, "step": len(columns) * size}
                for at, name in enumerate(columns.names)
            })  # fmt: skip
        self._add(matrix)
        return said

    def arrays(self, columns: Columns) -> bytes | None:
        """Return the JSON of columns that are all short arrays and coded strings, as `column` makes it; else None."""
        pieces, arrays, at = [], [], self._size
        for name, column in columns.items():
            if isinstance(column, np.ndarray) and column.ndim == 1 and column.dtype in _SHORT:
                array, values = np.ascontiguousarray(column), None
            elif isinstance(column, CodedStrings):
                array, values = used_codes(column)
            else:
                return None
            pieces.append(b"%b%d" % (_start(name, array.dtype), at))
            if values is not None:
                pieces[-1] += b',"values":%b' % orjson.dumps(values)
            arrays.append(array)
            at += array.nbytes
        for array in arrays:
            self._add(array)
        return b"{%b}}" % b"},".join(pieces)

    def column(self, column: Packable) -> tuple[bytes, int]:
        """Return the JSON of a column, and how many bytes were looked at for it."""
        end = b"}"
        if isinstance(column, CodedStrings):
            array, values = used_codes(column)
            end = b',"values":%b}' % orjson.dumps(values)
        elif column.dtype in DTYPES and column.dtype.itemsize < _WIDE:
            array = np.ascontiguousarray(column)
        else:  # whole numbers that Arrow or JSON made double
            array = smallest(column)
        start = b'{"dtype":"%b","from":%d' % (array.dtype.str.encode(), self._size)
        self._add(array)
        return start + end, column.codes.nbytes if isinstance(column, CodedStrings) else column.nbytes

    def _add(self, array: np.ndarray[Any, Any]) -> None:
        if array.size:  # a view of nothing cannot be cast, and says nothing
            self.blobs.append(array.data.cast("B"))
            self._size += array.nbytes


@functools.lru_cache(maxsize=1024)
def _start(name: str, dtype: np.dtype[Any]) -> bytes:
    return b'%b:{"dtype":"%b","from":' % (orjson.dumps(name), dtype.str.encode())


def is_binary(column: object) -> TypeGuard[Packable]:
    """Tell whether a column of a very large request goes into the file."""
    return is_packable(column) and (isinstance(column, CodedStrings) or column.ndim == 1)


class Binary(msgspec.Struct, frozen=True, gc=False):
    """Which part of the file beside the segment is a request's.

    Attributes:
        size: How many bytes.
        at: From which on.
    """

    size: int = msgspec.field(name="bytes")
    at: int

    def read(self, path: Path) -> bytes | None:
        """Return the part; None where the file does not hold it."""
        try:
            with path.open("rb") as file:
                if not 0 <= self.at <= self.at + self.size <= os.fstat(file.fileno()).st_size:
                    return None
                return os.pread(file.fileno(), self.size, self.at)
        except FileNotFoundError:
            return None


def unpacked(columns: dict[str, LoggedValues], rows: int, data: bytes) -> dict[str, LoggedValues] | None:
    """Return the columns of a request with their bytes in them; None where one of them goes beyond its part."""
    found: dict[str, LoggedValues] = {}
    for name, column in columns.items():
        if isinstance(column, PackedColumn) and column.begin is not None:
            size = np.dtype(column.dtype).itemsize
            step = size if column.step is None else column.step
            last = column.begin + (rows - 1) * step
            if column.begin < 0 or step < size or rows < 1 or last + size > len(data) or column.width is not None:
                return None
            array: np.ndarray[Any, Any] = np.ndarray((rows,), column.dtype, data, column.begin, (step,))
            found[name] = PackedColumn(column.dtype, array.tobytes(), column.values)
        else:
            found[name] = column
    return found


class Appended:
    """A file that blobs are appended to.

    Attributes:
        size: Its bytes.
    """

    def __init__(self, handle: int) -> None:
        """Take a new file, open for appending."""
        self._handle, self.size, self._torn = handle, 0, False

    @property
    def is_gone(self) -> bool:
        """Whether somebody has removed it."""
        return not os.fstat(self._handle).st_nlink

    def write(self, blobs: Sequence[memoryview]) -> None:
        """Append all of them or nothing, see `Segment.write`.

        Raises:
            OSError: The disk does not take it.
        """
        if self._torn:
            os.ftruncate(self._handle, self.size)
        self._torn = True
        size = self.size
        for some in _groups(blobs):
            size += _write_all(self._handle, some)
        self.size, self._torn = size, False

    def take_back(self, size: int) -> None:
        """Let what was written beyond a size be cut off by the next write; until then nobody speaks of it."""
        self._torn = self._torn or size != self.size
        self.size = size

    def close(self) -> None:
        """End it."""
        os.close(self._handle)


_AT_ONCE: Final = 512  # half of what Linux takes in one call
_WRITE_BYTES: Final = 128 << 10  # larger writes were no cheaper a byte


def _groups(blobs: Sequence[memoryview]) -> Iterator[Sequence[memoryview]]:
    """Return the blobs in groups for one write each."""
    start = size = 0
    for index, blob in enumerate(blobs):
        if index > start and (size + blob.nbytes > _WRITE_BYTES or index - start >= _AT_ONCE):
            yield blobs[start:index]
            start, size = index, 0
        size += blob.nbytes
    if start < len(blobs):
        yield blobs[start:]


def _write_all(handle: int, blobs: Iterable[memoryview]) -> int:
    left, written = list(blobs), 0
    while left:
        done = os.writev(handle, left)
        written += done
        while left and done >= left[0].nbytes:
            done -= left.pop(0).nbytes
        if done:
            left[0] = left[0][done:]
    return written
