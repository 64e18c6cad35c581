"""What training leaves behind, and whatever answers rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from lockgate.core.ids import Json

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """A fitted estimator on disk.

    Attributes:
        folder: Holds `model.skops` (the fitted pipeline), `fit.json` (facts of the fit, history, parameters).
        family: The name in TRAINERS.
        facts: The `training` gate's measurements.
    """

    folder: Path
    family: str
    facts: Mapping[str, Json]


class Scorer(Protocol):
    """A native estimator that answers rows."""

    def score(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return [n] probabilities of the second class, [n] values, or [n, classes] probabilities."""
        ...
