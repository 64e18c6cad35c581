"""Stage package_model: convert the evaluated fit, measure that nothing changed, and seal the bundle.

What is sealed is what was measured: the parity measurements name the graph by its sha256, which is a part's digest.
A bundle that fails parity is sealed too, as evidence; without a blessing it goes nowhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Json
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import Fit, Snapshot

C = TypeVar("C")


class Packager(Protocol[C]):
    """Makes bundles; `C` is whatever it keeps between converting and packing."""

    def convert(self, spec: ReleaseSpec, fit: Fit, snapshot: Snapshot) -> C:
        """Convert a fit to its graph."""
        ...

    def measure(self, spec: ReleaseSpec, candidate: C) -> dict[str, Json]:
        """Return the `parity` gate's measurements, worst rows included."""
        ...

    def pack(
        self, spec: ReleaseSpec, candidate: C, evaluation: Mapping[str, Json], code: Mapping[str, Json]
    ) -> ModelBundle:
        """Write, sign and keep the bundle."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Packaged:
    """What the stage came to.

    Attributes:
        bundle: The sealed bundle.
        measurements: By gate name.
    """

    bundle: ModelBundle
    measurements: Mapping[str, Mapping[str, Json]]


def package(  # noqa: PLR0913 - what a bundle is made of; all but the first two are keywords
    packager: Packager[C],
    spec: ReleaseSpec,
    *,
    fit: Fit,
    snapshot: Snapshot,
    evaluation: Mapping[str, Json],
    code: Mapping[str, Json],
    release_folder: Path,
) -> Packaged:
    """Convert, measure parity, seal; keep the worst rows in `<release_folder>/parity.json`.

    Args:
        packager: Does it.
        spec: What was asked for.
        fit: The evaluated fit.
        snapshot: The rows it was fitted and evaluated on.
        evaluation: The evaluation's measurements, by gate; without times.
        code: Facts of the program: `tree`, `commit`, `dirty`.
        release_folder: The release's own folder.

    Raises:
        ConfigError: The estimator holds something that was not proved to convert faithfully.
        BadInput: The converter refuses it.
        TransientError: The disk is full.
    """
    candidate = packager.convert(spec, fit, snapshot)
    parity = packager.measure(spec, candidate)
    release_folder.mkdir(parents=True, exist_ok=True)
    (release_folder / "parity.json").write_text(json.dumps(parity, indent=1))
    bundle = packager.pack(spec, candidate, evaluation, code)
    return Packaged(bundle=bundle, measurements={"parity": _without_rows(parity)})


def _without_rows(parity: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out which rows were worst: the ledger keeps numbers, not rows."""
    groups: Any = parity["groups"]
    kept = {name: {key: value for key, value in group.items() if key != "worst_row"} for name, group in groups.items()}
    return {**parity, "groups": kept}
