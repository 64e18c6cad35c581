"""Whether two makings of one model are the same: their answers row by row, and the parts that are the model.

Same means the same bits. A tolerance would ask how much of a difference is harmless, and a fit that cannot be repeated
has no answer to that.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.ids import Digest, Json, digest_bytes, digest_of, to_json

MODEL_PARTS = ("model.onnx", "contract.json", "reference_profile.json")
"""The parts of a bundle that are the model itself: the others name times, evaluations and how it was made."""


def answer_digest(answers: NDArray[Any]) -> Digest:
    """Return the sha256 of some answers: their type, their shape and their bytes in order of the rows.

    Args:
        answers: [n] or [n, classes], any numeric type; NaN counts by its bits.
    """
    whole = np.ascontiguousarray(answers)
    return digest_bytes(f"{whole.dtype.str}{whole.shape}".encode() + whole.tobytes())


def answer_difference(first: NDArray[Any], second: NDArray[Any]) -> dict[str, Json]:
    """Compare two models' answers to the same rows, bit by bit.

    Args:
        first: [n] or [n, classes], float.
        second: The other's, of the same rows in the same order.

    Returns:
        `rows` of the first; `differing`: rows with any differing bit (all of them when type or shape differ);
        `largest`: the largest absolute difference, in the answers' own unit, over what is finite in both (0 when
        nothing differs, null when nothing can be subtracted); `digests` of both.

    >>> found = answer_difference(np.array([0.5, 0.25, 0.0]), np.array([0.5, 0.75, 0.0]))
    >>> found["rows"], found["differing"], found["largest"]
    (3, 1, 0.5)
    """
    told: dict[str, Json] = {"rows": len(first), "digests": [answer_digest(first), answer_digest(second)]}
    if first.shape != second.shape or first.dtype != second.dtype:
        return {**told, "differing": max(len(first), len(second)), "largest": None}
    unequal = _bits(first) != _bits(second)
    differing = int(unequal.any(axis=1).sum())
    with np.errstate(all="ignore"):
        apart = np.abs(first.astype(np.float64) - second.astype(np.float64))
    finite = apart[np.isfinite(apart)]
    largest = float(finite.max()) if len(finite) else (None if differing else 0.0)
    return {**told, "differing": differing, "largest": largest}


def _bits(answers: NDArray[Any]) -> NDArray[np.uint8]:
    whole = np.ascontiguousarray(answers)
    if not whole.size:
        return np.zeros((len(whole), 1), np.uint8)
    return whole.reshape(len(whole), -1).view(np.uint8)


def model_digest(parts: Mapping[str, str]) -> Digest:
    """Return the digest of the model in a bundle: graph, contract and reference profile.

    Args:
        parts: sha256 by part name, as in a bundle's manifest; what is no part of the model is passed over.

    Raises:
        KeyError: A part of the model is absent.
    """
    return digest_of({name: parts[name] for name in MODEL_PARTS})


def differing_paths(first: object, second: object, *, most: int = 8) -> list[str]:
    """Return where two JSON values differ, as dotted paths: the first few, in order.

    >>> differing_paths({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}, "d": 4})
    ['a.c', 'd']
    """
    found: list[str] = []
    _walk(to_json(first), to_json(second), "", found)
    return found[:most]


def _walk(first: Json, second: Json, path: str, found: list[str]) -> None:
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        for name in sorted({*first, *second}):
            inner = f"{path}.{name}" if path else str(name)
            if name not in first or name not in second:
                found.append(inner)
            else:
                _walk(first[name], second[name], inner, found)
    elif first != second:
        found.append(path or "(whole)")
