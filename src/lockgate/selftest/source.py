"""Where a selftest's rows come from: the toy's own, a spec's sample batches, or what the installation has frozen."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from lockgate.bootstrap import Services
from lockgate.config import Settings
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, ConfigError
from lockgate.selftest import toy
from lockgate.selftest.world import Plan

if TYPE_CHECKING:
    import pandas as pd

_BATCHES = 3
"""Sample batches taken: two make the champion, the third is what the candidate brings."""
_BATCH_SHARE = 0.15
"""Of frozen rows, the newest so many are what the candidate brings; ours."""


def toy_plan(settings: Settings, folder: Path) -> Plan:
    """Return the plan of the toy, written into a folder.

    Raises:
        ConfigError: The project lacks what every project has.
    """
    _check_project(settings)
    history, batch = toy.rows()
    return _written(toy.make_project(settings, folder / "project"), toy.spec(), history, batch, folder)


def plan_of(services: Services, spec: ReleaseSpec, folder: Path) -> Plan:
    """Return the plan of a user's spec, its rows written into a folder.

    Raises:
        BadInput: There are no rows: the spec can write none, and the installation has none.
        ConfigError: The project lacks what every project has.
    """
    _check_project(services.settings)
    history, batch = _sampled(services.settings, spec, folder) if spec.data.sample else _frozen(services, spec)
    landed = replace(spec, data=replace(spec.data, prepare=None, sample=None, sample_batches=()))
    return _written(services.settings, landed, history, batch, folder)


def _check_project(settings: Settings) -> None:
    """Refuse a project without what each selftest takes over from it."""
    for needed in (settings.suites / "great_expectations.yml", settings.project / "requirements.lock"):
        if not needed.is_file():
            raise ConfigError(
                f"there is no {needed.relative_to(settings.project)} in {settings.project}, which every project of "
                "Lockgate has: run this in the project's folder, or name that in LOCKGATE_PROJECT",
                path=str(needed),
            )


def _written(settings: Settings, spec: ReleaseSpec, history: pd.DataFrame, batch: pd.DataFrame, folder: Path) -> Plan:
    paths = {"history": history, "batch": batch}
    for name, rows in paths.items():
        rows.to_parquet(folder / f"{name}.parquet", index=False)
    return Plan(settings=settings, spec=spec, history=folder / "history.parquet", batch=folder / "batch.parquet")


def _sampled(settings: Settings, spec: ReleaseSpec, folder: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Let the spec's own functions write and prepare its first batches."""
    import pandas as pd

    from lockgate.adapters.isolated import load_function

    names = spec.data.sample_batches[:_BATCHES]
    if len(names) < _BATCHES:
        raise BadInput(f"{spec.name} lists {len(names)} sample_batches; a selftest takes {_BATCHES}")
    if str(settings.project) not in sys.path:
        sys.path.insert(0, str(settings.project))  # so that the functions a spec names can be imported
    batches = []
    for name in names:
        path = folder / f"sample-{name}.parquet"
        load_function(str(spec.data.sample))(name, path)
        rows = pd.read_parquet(path)
        batches.append(rows if spec.data.prepare is None else load_function(spec.data.prepare)(rows))
    return pd.concat(batches[:-1], ignore_index=True), batches[-1]


def _frozen(services: Services, spec: ReleaseSpec) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Take the labelled rows of the installation's table, as a release would freeze them."""
    import pandas as pd

    snapshot = services.store.freeze(spec)
    parts = [services.store.part(snapshot, name) for name in ("train", "validation", "holdout")]
    rows = pd.concat(parts, ignore_index=True).sort_values(spec.data.time, ignore_index=True)
    days = rows[spec.data.time].dt.floor("D")
    cut = days[int(len(rows) * (1 - _BATCH_SHARE))]
    return rows[days < cut].reset_index(drop=True), rows[days >= cut].reset_index(drop=True)
