"""The binary tensor data extension: tensors whose values follow the JSON as raw bytes.

https://github.com/kserve/open-inference-protocol (extension_binary_data): little endian, row by row, no padding; a
BYTES element is its length, four bytes, and then its bytes. The header `Inference-Header-Content-Length` says where the
JSON ends, `binary_data_size` of each tensor how many bytes are its own.

Sizes are held against the body before anything is made of them, and what is made is bounded by the body's size.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from lockgate.serving.http.json_marks import check_values
from lockgate.serving.model.column_values import Labels, joined
from lockgate.serving.model.columns import CodedStrings, Values
from lockgate.serving.refusals import Reason, refuse

HEADER: Final = b"inference-header-content-length"
BinaryTensors: TypeAlias = Callable[[str, str, int, object], Values]
"""Gives the values of a tensor by its name, datatype, number of elements and `binary_data_size`."""

FEW: Final = 64  # ours: so many values are Python's own before an array of them has paid for itself
_FORMATS: Final = {
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP16": "e",
    "FP32": "f",
    "FP64": "d",
    "BOOL": "B",
}
"""The format characters of `struct`, which numpy knows as well."""
_DTYPES: Final = {datatype: np.dtype(f"<{character}") for datatype, character in _FORMATS.items()}
_LENGTH_BYTES: Final = 4
_NEVER: Final = 0xFF  # in no UTF-8
_RUN: Final = 16 << 10  # ours: so many strings are read in 10 ms, and then others may run
_LONGEST_HEADER: Final = 20  # digits; Python refuses to read endless numbers, and so do we


def no_binary(name: str, datatype: str, elements: int, size: object) -> NoReturn:
    """Refuse a tensor that says its data follows the JSON, in a request that is JSON as a whole."""
    del datatype, elements, size
    raise refuse(
        Reason.MALFORMED,
        f"input {name!r} has a binary_data_size, but no header Inference-Header-Content-Length tells where JSON ends",
    )


class BinaryData:
    """What follows the JSON; its tensors lie in the order of `inputs`."""

    def __init__(self, data: memoryview) -> None:
        self._data, self._at, self._strings = data, 0, 0

    def __call__(self, name: str, datatype: str, elements: int, size: object) -> Values:
        """Return the next tensor's values: an array or coded strings; of a few, a list.

        Raises:
            RequestRefused: Its sizes do not agree with each other or with the body, or its bytes are no such values.
        """
        left = len(self._data) - self._at
        if type(size) is not int or not 0 <= size <= left:
            raise refuse(
                Reason.MALFORMED,
                f"input {name!r}: binary_data_size {repr(size)[:40]}, but {left} bytes are left of the body",
            )
        data = self._data[self._at : self._at + size]
        self._at += size
        if datatype == "BYTES":
            self._strings += elements
            check_values(self._strings, what="strings")
            return _strings(name, data, elements)
        dtype = _DTYPES[datatype]
        needed = elements * dtype.itemsize
        if needed != size:
            raise refuse(
                Reason.UNEQUAL_LENGTHS,
                f"input {name!r}: its shape needs {str(needed)[:40]} bytes of {datatype}, binary_data_size is {size}",
            )
        if datatype == "BOOL" and np.frombuffer(data, np.uint8).max(initial=0) > 1:
            raise refuse(Reason.WRONG_TYPE, f"input {name!r}: a BOOL is one byte, 0 or 1")
        if elements <= FEW:
            return list(struct.unpack(f"<{elements}{_FORMATS[datatype]}", data))
        numbers: npt.NDArray[Any] = np.frombuffer(data, dtype)
        return numbers

    def end(self) -> None:
        """Refuse a body that goes on after its last tensor."""
        left = len(self._data) - self._at
        if left:
            raise refuse(Reason.MALFORMED, f"{left} bytes follow the last tensor; no binary_data_size counts them")


def split(body: bytes, header: bytes) -> tuple[bytes, BinaryData]:
    """Return the JSON part of a body and what follows it.

    Raises:
        RequestRefused: The header is no number of bytes within the body.
    """
    if not header.isdigit() or len(header) > _LONGEST_HEADER or int(header) > len(body):
        said = header[:40].decode("latin-1")
        raise refuse(Reason.MALFORMED, f"Inference-Header-Content-Length {said!r}, but the body is {len(body)} bytes")
    length = int(header)
    return body[:length], BinaryData(memoryview(body)[length:])


def _strings(name: str, data: memoryview, elements: int) -> Values:
    try:
        if elements <= FEW:
            return [piece.decode() for run in _walk(bytes(data), elements) for piece in run]
        return _coded(_pieces(data, elements), elements)
    except _NoStrings as wrong:
        raise refuse(
            Reason.UNEQUAL_LENGTHS, f"input {name!r}: its {len(data)} bytes are not {elements} lengths and strings"
        ) from wrong
    except UnicodeDecodeError as broken:
        raise refuse(Reason.WRONG_TYPE, f"input {name!r}: its strings are not UTF-8: {broken.reason}") from broken


class _NoStrings(Exception):
    """The bytes are not so many lengths and strings."""


def _coded(runs: Iterable[list[bytes]], elements: int) -> CodedStrings:
    index: defaultdict[bytes, int] = defaultdict()
    index.default_factory = index.__len__  # a new string gets the next code
    codes, at = np.empty(elements, np.int32), 0
    for run in runs:
        codes[at : at + len(run)] = np.fromiter(map(index.__getitem__, run), np.int32, len(run))
        at += len(run)
    return CodedStrings(codes, tuple(piece.decode() for piece in index))


def _pieces(data: memoryview, elements: int) -> Iterator[list[bytes]]:
    """Yield the strings, some at a time; `_NoStrings` where the bytes are not so many lengths and strings.

    A length is four bytes; of a string shorter than 256 the last three are zero, and where strings hold no zeros and
    none is empty, nothing else looks so: all of them are found at once, and proved. Where that does not hold, they are
    walked through.
    """
    if elements * _LENGTH_BYTES > len(data) or (elements == 0) != (len(data) == 0):
        raise _NoStrings
    octets = np.frombuffer(data, np.uint8)
    zero = octets == 0
    lengths = np.flatnonzero(zero[1:-2] & zero[2:-1] & zero[3:])
    if elements and lengths.size == elements and lengths[0] == 0:
        ends = lengths + octets[lengths] + _LENGTH_BYTES
        if ends[-1] == len(data) and np.array_equal(ends[:-1], lengths[1:]):
            for at in range(0, elements, _RUN):
                run = lengths[at : at + _RUN]
                yield _split(octets[run[0] : ends[at : at + _RUN][-1]], run - run[0])
            return
    yield from _walk(bytes(data), elements)


def _split(octets: npt.NDArray[np.uint8], lengths: npt.NDArray[np.intp]) -> list[bytes]:
    """Return the strings whose lengths stand at these places.

    Every length becomes one byte that no UTF-8 holds, and the rest is split there.
    """
    kept = np.ones(len(octets), np.bool_)
    kept[lengths[:, None] + (1, 2, 3)] = False
    marked = octets.copy()
    marked[lengths] = _NEVER
    pieces = marked[kept].tobytes().split(b"%c" % _NEVER)[1:]
    if len(pieces) == len(lengths):
        return pieces
    return [piece for run in _walk(octets.tobytes(), len(lengths)) for piece in run]


def _walk(raw: bytes, elements: int) -> Iterator[list[bytes]]:
    """Yield the strings, some at a time, by going from one to the next; raises as `_pieces`."""
    pieces, at = [], 0
    for _ in range(elements):
        start = at + _LENGTH_BYTES
        if start > len(raw):
            raise _NoStrings
        at = start + int.from_bytes(raw[start - _LENGTH_BYTES : start], "little")
        pieces.append(raw[start:at])
        if len(pieces) == _RUN:
            yield pieces
            pieces = []
    if at != len(raw):
        raise _NoStrings
    yield pieces


def raw_bytes(data: npt.NDArray[np.float32] | Sequence[str]) -> bytes:
    """Return an output as the extension sends it: FP32, or BYTES for strings."""
    if isinstance(data, np.ndarray):
        return data.astype("<f4", copy=False).tobytes()
    if isinstance(data, Labels):
        return joined([_Sent()[each] for each in data.classes.tolist()], data.codes)
    return b"".join(map(_Sent().__getitem__, data))


class _Sent(dict[str, bytes]):
    """How strings are sent, made once for each that there is."""

    def __missing__(self, text: str) -> bytes:
        encoded = text.encode()
        sent = self[text] = len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded
        return sent
