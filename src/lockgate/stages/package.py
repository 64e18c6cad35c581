"""Stage package_model: convert the evaluated fit, measure that nothing changed, and seal the bundle.

What is sealed is what was measured: the parity measurements name the graph by its sha256, which is a part's digest.
A bundle that fails parity is sealed too, as evidence; without a blessing it goes nowhere. Sealed, it is served once by
the production server, and its answers over HTTP are compared with the estimator's as well.

The parity measurements: task, threshold, bound, size, columns, and under `groups` each family's rows, max_difference,
not_finite, flips, ties, flip_margin (`core.parity.compare_answers`) and worst_column; `served` has in `ways` its rows
and max_difference by way of asking. The worst row of each family is in `<release>/parity_rows.json`, outside the
record because it may be data; `lockgate parity RELEASE` answers it anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from lockgate.core.contract import ModelBundle
from lockgate.core.ids import Json, to_json
from lockgate.core.spec import ReleaseSpec
from lockgate.ports import Fit, Snapshot
from lockgate.stages.infra import SandboxFactory
from lockgate.stages.served_parity import Served, measure_served

ROWS_FILE = "parity_rows.json"
_KEPT_APART = ("worst", "asked")
C = TypeVar("C")


class Packager(Protocol[C]):
    """Makes bundles; `C` is whatever it keeps between converting and packing."""

    def convert(self, spec: ReleaseSpec, fit: Fit, snapshot: Snapshot) -> C:
        """Convert a fit to its graph."""
        ...

    def measure(self, spec: ReleaseSpec, candidate: C) -> dict[str, Json]:
        """Return the `parity` gate's measurements, with `worst` and `asked` rows: see `adapters.parity_meter`."""
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


def package(  # noqa: PLR0913 - what a bundle is made of; all but the first three are keywords
    packager: Packager[C],
    sandboxes: SandboxFactory,
    spec: ReleaseSpec,
    *,
    fit: Fit,
    snapshot: Snapshot,
    evaluation: Mapping[str, Json],
    code: Mapping[str, Json],
    release_folder: Path,
) -> Packaged:
    """Convert, measure parity, seal, measure parity as served; keep the worst rows in `<release_folder>`.

    Args:
        packager: Does it.
        sandboxes: Start the production server.
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
    bundle = packager.pack(spec, candidate, evaluation, code)
    asked: Any = parity["asked"]
    size, bound = float(str(parity["size"])), float(str(parity["bound"]))
    served = measure_served(sandboxes, bundle, asked["rows"], asked["native"], size=size, bound=bound)
    whole = _with_served(parity, served)
    release_folder.mkdir(parents=True, exist_ok=True)
    kept = {name: value for name, value in whole.items() if name not in _KEPT_APART}
    (release_folder / "parity.json").write_text(json.dumps(kept, indent=1))
    rows = {"bundle": bundle.digest, "size": size, "bound": bound, "rows": whole["worst"]}
    (release_folder / ROWS_FILE).write_text(json.dumps(rows, indent=1))
    return Packaged(bundle=bundle, measurements={"parity": _without_rows(kept)})


def _with_served(parity: Mapping[str, Json], served: Served) -> dict[str, Json]:
    """Add the group `served`, and its worst row."""
    groups, worst, asked = _mapping(parity["groups"]), parity["worst"], _mapping(parity["asked"])
    rows: list[Json] = list(worst) if isinstance(worst, list) else []
    if served.worst >= 0:
        found: Any = asked
        row, native = found["rows"][served.worst], found["native"][served.worst]
        told = {"family": "served", "origin": "any of the other families", "changed": None, "row": row}
        rows.append({**told, "native": native, "served": to_json(served.answer)})
    return {**parity, "groups": {**groups, "served": served.facts}, "worst": rows}


def _mapping(value: Json) -> Mapping[str, Json]:
    return value if isinstance(value, Mapping) else {}


def _without_rows(parity: Mapping[str, Json]) -> dict[str, Json]:
    """Leave out which rows were worst: the ledger keeps numbers, not rows."""
    groups: Any = parity["groups"]
    kept = {name: {key: value for key, value in group.items() if key != "worst_row"} for name, group in groups.items()}
    return {**parity, "groups": kept}
