"""The facts of a version in MLflow's own form: what it allows in names, and what it keeps of a data set."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.core.ids import Json, canonical_json

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

_FORBIDDEN = re.compile(r"[^A-Za-z0-9_./: -]")  # in names of parameters and metrics
_DIGEST_CHARACTERS = 32  # of 64: MLflow keeps at most 36; the whole digest stands in the run's tags


def dataset_input(given: Json) -> DatasetInput | None:
    """Return the data set with our digest; None when none is given."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    if not isinstance(given, Mapping):
        return None
    dataset = Dataset(
        name=str(given.get("name") or "snapshot"),
        digest=str(given.get("digest") or "")[:_DIGEST_CHARACTERS],
        source_type="local",
        source=canonical_json({"uri": given.get("source")}).decode(),
        profile=canonical_json(given.get("rows") or {}).decode(),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "training")])


def texts(given: Json) -> dict[str, str]:
    """Return each value as text; what is no text as JSON."""
    pairs = given.items() if isinstance(given, Mapping) else ()
    return {key: value if isinstance(value, str) else canonical_json(value).decode() for key, value in pairs}


def numbers(given: Json) -> dict[str, float]:
    """Return the finite numbers, by a name that MLflow takes."""
    pairs = given.items() if isinstance(given, Mapping) else ()
    return {
        allowed_name(key): float(value)
        for key, value in pairs
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


def allowed_name(given: str) -> str:
    """Return a name with what MLflow forbids replaced by an underscore."""
    return _FORBIDDEN.sub("_", given)


def paths(given: Json) -> list[Path]:
    """Return the files named, in order."""
    return [Path(str(each)) for each in given] if isinstance(given, list | tuple) else []
