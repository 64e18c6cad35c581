"""The fitted estimator on disk and in use: kept as skops, because loading a pickle runs whatever it says."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.errors import BadInput, IntegrityError


def save_native(native: Any, path: Path) -> None:  # noqa: ANN401 - any estimator
    """Write a fitted estimator: whole or not at all."""
    import skops.io  # type: ignore[import-untyped]  # no stubs published

    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".partial")
    skops.io.dump(native, partial)
    partial.replace(path)


def load_native(path: Path, trusted: Sequence[str]) -> Any:  # noqa: ANN401 - any estimator
    """Read a fitted estimator that holds only trusted types.

    Raises:
        BadInput: There is no such file.
        IntegrityError: It holds a type that is not trusted, or is no skops file.
    """
    import skops.io

    if not path.is_file():
        raise BadInput(f"there is no fitted model {path}; run train_model again")
    try:
        strange = sorted(set(skops.io.get_untrusted_types(file=path)) - set(trusted))
        if strange:
            raise IntegrityError(f"{path} holds {', '.join(strange)}, which this family does not; it is not loaded")
        return skops.io.load(path, trusted=list(trusted))
    except (OSError, ValueError, KeyError, TypeError) as broken:
        raise IntegrityError(f"{path} cannot be read as a fitted model: {broken}") from broken


def answers_of(native: Any, features: pd.DataFrame, kind: TaskKind) -> NDArray[Any]:  # noqa: ANN401 - any estimator
    """Return the estimator's answers as the bundle gives them.

    Args:
        native: Fitted.
        features: From `frames.native_frame`.
        kind: What is predicted.

    Returns:
        [n] probability of the second class, [n] value, or [n, classes] probabilities; float32 or float64, as native.
    """
    if kind is TaskKind.REGRESSION:
        return np.asarray(native.predict(features)).reshape(len(features))
    probabilities = np.asarray(native.predict_proba(features))
    return probabilities[:, 1] if kind is TaskKind.BINARY else probabilities
