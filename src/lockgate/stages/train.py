"""Stage train_model: fit what the spec says on the snapshot, and say how the fit went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import Fit, Snapshot


class Trainer(Protocol):
    """Fits a spec on a snapshot."""

    def fit(self, spec: ReleaseSpec, snapshot: Snapshot, out: Path) -> Fit:
        """Fit into a folder; a fit that is there already is returned as it is."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What the stage came to.

    Attributes:
        fit: Where the fitted estimator lies.
        measurements: By gate name.
    """

    fit: Fit
    measurements: Mapping[str, Mapping[str, Json]]


def train(trainer: Trainer, spec: ReleaseSpec, snapshot: Snapshot, release_folder: Path) -> Trained:
    """Fit into `<release_folder>/fit`.

    Raises:
        BadInput: The user's function, the parameters or the rows are refused; says where.
        MeasurementError: A limit of `training` was hit, or the fit's process died.
    """
    fit = trainer.fit(spec, snapshot, release_folder / "fit")
    return Trained(fit=fit, measurements={"training": fit.facts})
