"""Fits that a calendar would have had: a replay makes them aside where the policy made none of a month's data.

    <home>/monthly/<name>/fit    kept; the table and the rows it was made of are removed

They have a table of their own, are on nobody's record, go through no gate and serve nobody: they are compared with.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from lockgate.bootstrap import Services
from lockgate.config import Settings
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput

_FITTED = "model.skops"  # written last: a fit that was killed has none
Write = Callable[[Sequence[str], Path], None]


def fit_folder(settings: Settings, name: str) -> Path | None:
    """Return the folder of a fit that was made aside; None where that is no name of one."""
    folder = settings.home / "monthly" / name / "fit"
    return folder if (folder / _FITTED).is_file() else None


def fit_aside(services: Services, spec: ReleaseSpec, months: Sequence[str], write: Write) -> str:
    """Fit what the spec says on everything up to a month, unless that was done, and return the fit's name.

    Args:
        services: Of the replay's home.
        spec: As it is replayed; its split and its window hold here too.
        months: Everything so far, the month at hand last.
        write: Writes months as one file, as it would land.

    Raises:
        LockgateError: The rows or the fit were refused; says why.
    """
    from lockgate.adapters.trainer import IsolatedTrainer

    name = f"monthly-{months[-1]}"
    if fit_folder(services.settings, name) is not None:
        return name
    home = services.settings.home / "monthly" / name
    shutil.rmtree(home, ignore_errors=True)
    store = Services(replace(services.settings, home=home)).store
    with TemporaryDirectory(prefix="lockgate-replay-") as folder:
        path = Path(folder) / f"{spec.name}.parquet"
        write(months, path)
        taken = store.ingest(spec, store.land(spec.name, path))
    if taken.quarantined is not None:
        raise BadInput(f"the rows up to {months[-1]} were refused: {taken.quarantined}")
    IsolatedTrainer(services.settings.project).fit(spec, store.freeze(spec), home / "fit")
    for each in home.iterdir():
        if each.name != "fit":
            shutil.rmtree(each, ignore_errors=True)
    return name
