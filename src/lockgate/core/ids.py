"""Names and digests: the identifiers that travel between rooms, and the one way to hash a value.

Everything that is signed, compared or chained is hashed over `canonical_json`, so that two programs that hold the
same value hold the same digest.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum, StrEnum
from typing import NewType, TypeAlias

ModelName = NewType("ModelName", str)
ReleaseId = NewType("ReleaseId", str)
Digest = NewType("Digest", str)
"""A lower-case hexadecimal sha256, 64 characters, without a prefix."""

Json: TypeAlias = "bool | int | float | str | Sequence[Json] | Mapping[str, Json] | None"
"""What JSON can hold, read-only: covariant, so that a `dict[str, float]` is one."""

_DIGEST = re.compile(r"[0-9a-f]{64}")
_MODEL_NAME = re.compile(r"[a-z][a-z0-9-]{1,47}")


class Stage(StrEnum):
    """The stages of a release, in their order."""

    INGEST = "ingest_data"
    VALIDATE_DATA = "validate_data"
    TRAIN = "train_model"
    EVALUATE = "evaluate_model"
    PACKAGE = "package_model"
    INFRA = "validate_infra"
    STRESS = "stress_test"
    REGISTER = "register_model"
    STAGING = "deploy_staging"
    APPROVAL = "approval"
    PROMOTE = "promote"


def is_digest(text: str) -> bool:
    """Tell whether `text` has the form of a `Digest`."""
    return _DIGEST.fullmatch(text) is not None


def is_model_name(text: str) -> bool:
    """Tell whether `text` may name a model: 2 to 48 of a-z, 0-9 and '-', a letter first."""
    return _MODEL_NAME.fullmatch(text) is not None


def to_json(value: object) -> Json:  # noqa: PLR0911 - one line a kind of value reads best
    """Return the JSON form of a value built from dataclasses, mappings, sequences, enums, times and numbers.

    NaN and infinities become the strings "NaN", "Infinity" and "-Infinity": JSON has no word for them, and `null`
    would hide that something was measured and came out undefined.

    Raises:
        TypeError: The value holds something with no JSON form.
    """
    if value is None or (isinstance(value, bool | int | str) and not isinstance(value, Enum)):
        return value
    if isinstance(value, Enum):
        return to_json(value.value)
    if isinstance(value, float):
        return value if math.isfinite(value) else _NOT_FINITE[str(value)]
    if isinstance(value, datetime):
        return value.isoformat()
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_json(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(k): to_json(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [to_json(v) for v in value]
    if isinstance(value, set | frozenset):
        return sorted((to_json(v) for v in value), key=str)
    item = getattr(value, "item", None)  # numpy scalars
    if callable(item):
        return to_json(item())
    raise TypeError(f"{type(value).__name__} has no JSON form")


_NOT_FINITE = {"nan": "NaN", "inf": "Infinity", "-inf": "-Infinity"}


def as_float(value: Json) -> float:
    """Read a number that `to_json` wrote, not finite ones included.

    Raises:
        TypeError: The value is no number.
    """
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise TypeError(f"expected a number, got {value!r}")
    if isinstance(value, str) and value not in _NOT_FINITE.values():
        raise TypeError(f"expected a number, got {value!r}")
    return float(value)


def canonical_json(value: object) -> bytes:
    """Return the one byte form of a value: sorted keys, no spaces, UTF-8."""
    return json.dumps(to_json(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: object) -> Digest:
    """Return the sha256 of the canonical JSON of a value."""
    return digest_bytes(canonical_json(value))


def digest_bytes(data: bytes) -> Digest:
    """Return the sha256 of some bytes.

    >>> digest_bytes(b"")[:12]
    'e3b0c44298fc'
    """
    return Digest(hashlib.sha256(data).hexdigest())
