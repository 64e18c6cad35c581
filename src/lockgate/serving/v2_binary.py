"""The binary tensor data extension: tensors whose values follow the JSON as raw bytes.

https://github.com/kserve/open-inference-protocol (extension_binary_data): little endian, row by row, no padding; a
BYTES element is its length, four bytes, and then its bytes. The header `Inference-Header-Content-Length` says where the
JSON ends, `binary_data_size` of each tensor how many bytes are its own.

Sizes are held against the body before anything is made of them, and what is made is bounded by the body's size.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from lockgate.serving.columns import CodedStrings, Values
from lockgate.serving.refusals import Reason, refuse

HEADER: Final = b"inference-header-content-length"
BinaryTensors: TypeAlias = Callable[[str, str, int, object], Values]
"""Gives the values of a tensor by its name, datatype, number of elements and `binary_data_size`."""

_DTYPES: Final = {
    **{f"{kind}{8 * size}": np.dtype(f"<{kind[0].lower()}{size}") for kind in ("INT", "UINT") for size in (1, 2, 4, 8)},
    **{f"FP{8 * size}": np.dtype(f"<f{size}") for size in (2, 4, 8)},
    "BOOL": np.dtype("u1"),
}
_LENGTH_BYTES: Final = 4
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
        self._data, self._at = data, 0

    def __call__(self, name: str, datatype: str, elements: int, size: object) -> Values:
        """Return the next tensor's values: an array, or coded strings.

        Raises:
            RequestRefused: Its sizes do not agree with each other or with the body, or its bytes are no such values.
        """
        left = len(self._data) - self._at
        if type(size) is not int or not 0 <= size <= left:
            raise refuse(
                Reason.MALFORMED,
                f"input {name!r}: binary_data_size {str(size)[:40]}, but {left} bytes are left of the body",
            )
        data = self._data[self._at : self._at + size]
        self._at += size
        if datatype == "BYTES":
            return _strings(name, data, elements)
        dtype = _DTYPES[datatype]
        needed = elements * dtype.itemsize
        if needed != size:
            raise refuse(
                Reason.UNEQUAL_LENGTHS,
                f"input {name!r}: its shape needs {str(needed)[:40]} bytes of {datatype}, binary_data_size is {size}",
            )
        numbers: npt.NDArray[Any] = np.frombuffer(data, dtype)
        if datatype == "BOOL" and numbers.size and numbers.max() > 1:
            raise refuse(Reason.WRONG_TYPE, f"input {name!r}: a BOOL is one byte, 0 or 1")
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


def _strings(name: str, data: memoryview, elements: int) -> CodedStrings:
    raw = bytes(data)
    starts = _starts(raw, elements)
    if starts is None:
        raise refuse(
            Reason.UNEQUAL_LENGTHS, f"input {name!r}: its {len(raw)} bytes are not {elements} lengths and strings"
        )
    ends = [start - _LENGTH_BYTES for start in starts[1:]] + [len(raw)]
    pieces = [raw[start:end] for start, end in zip(starts, ends, strict=True)] if starts else []
    index = {piece: code for code, piece in enumerate(dict.fromkeys(pieces))}
    codes = np.fromiter(map(index.__getitem__, pieces), np.int32, elements)
    try:
        values = tuple(piece.decode() for piece in index)
    except UnicodeDecodeError as broken:
        raise refuse(Reason.WRONG_TYPE, f"input {name!r}: its strings are not UTF-8: {broken.reason}") from broken
    return CodedStrings(codes, values)


def _starts(raw: bytes, elements: int) -> list[int] | None:
    """Return where each string begins, None where the bytes are not so many lengths and strings.

    A length is four bytes; of a string shorter than 256 the last three are zero, and where strings hold no zeros and
    none is empty, nothing else looks so: all of them are found at once. What was found is proved, string by string;
    where that fails they are walked through.
    """
    if elements * _LENGTH_BYTES > len(raw) or (elements == 0) != (len(raw) == 0):
        return None
    if elements == 0:
        return []
    octets = np.frombuffer(raw, np.uint8)
    zero = octets == 0
    prefixes = np.flatnonzero(zero[1:-2] & zero[2:-1] & zero[3:])
    if prefixes.size == elements and prefixes[0] == 0:
        starts = prefixes + _LENGTH_BYTES
        ends = starts + octets[prefixes]
        if ends[-1] == len(raw) and np.array_equal(ends[:-1], prefixes[1:]):
            found: list[int] = starts.tolist()
            return found
    return _walk(raw, elements)


def _walk(raw: bytes, elements: int) -> list[int] | None:
    starts, at = [], 0
    for _ in range(elements):
        at += _LENGTH_BYTES
        if at > len(raw):
            return None
        starts.append(at)
        at += int.from_bytes(raw[at - _LENGTH_BYTES : at], "little")
    return starts if at == len(raw) else None


def raw_bytes(data: npt.NDArray[np.float32] | Sequence[str]) -> bytes:
    """Return an output as the extension sends it: FP32, or BYTES for strings."""
    if isinstance(data, np.ndarray):
        return data.astype("<f4", copy=False).tobytes()
    sent = {text: _sent(text) for text in dict.fromkeys(data)}
    return b"".join(map(sent.__getitem__, data))


def _sent(text: str) -> bytes:
    encoded = text.encode()
    return len(encoded).to_bytes(_LENGTH_BYTES, "little") + encoded
