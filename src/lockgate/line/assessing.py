"""The records of a model's releases, for the ML Test Score: from the ledger, the bundles and the project's results."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lockgate.core.estimates import within
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.maturity import Record, read_record_of
from lockgate.errors import LockgateError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services

SHOWN = 12
"""Ours: a trend of a dozen releases is read at a glance, and each costs the reading of one bundle's evaluation."""
_RESULTS = "docs/results"


def records(
    services: Services, model: ModelName, rows: Sequence[LedgerRow], *, newest: int = SHOWN
) -> tuple[Record, ...]:
    """Return the records of the newest releases that were judged, oldest first.

    Args:
        services: Where bundles, folders and the project are.
        model: Whose releases.
        rows: The model's chain.
        newest: At most so many.
    """
    judged = dict.fromkeys(row.release for row in rows if row.event is Event.VERDICT and row.release)
    return tuple(record_of(services, model, rows, release) for release in list(judged)[-newest:])


def record_until(rows: Sequence[LedgerRow], release: ReleaseId) -> tuple[LedgerRow, ...]:
    """Return a chain up to and with a release's newest verdict: all that was known when it was judged."""
    last = max((row.seq for row in rows if row.release == release and row.event is Event.VERDICT), default=0)
    return tuple(row for row in rows if row.seq <= last)


def record_of(services: Services, model: ModelName, rows: Sequence[LedgerRow], release: ReleaseId) -> Record:
    """Return the record of one release, with what its bundle and the project's results add to the ledger."""
    from lockgate.adapters.bundle_facts import program, read_part

    mine = [row for row in rows if row.release == release]
    made = next((row for row in reversed(mine) if row.event is Event.BUNDLE), None)
    opened = next((row for row in mine if row.event is Event.RELEASE_OPENED), None)
    folder = services.settings.release(release)
    if made is not None:
        folder = services.bundles.folder(Digest(str(made.payload.get("bundle"))))
    until = max((row.at for row in mine), default=None)
    return read_record_of(
        rows,
        release,
        evaluation=read_part(folder, "evaluation.json"),
        provenance=program(folder),
        spec=_spec(services, model, None if opened is None else opened.payload.get("spec")),
        # a result that was written later says nothing of what was known when this release was judged
        files=[name for name in _results(services) if until is not None and _date(name) <= f"{until:%Y-%m-%d}"],
    )


def _spec(services: Services, model: ModelName, digest: Json) -> Json:
    """Return the JSON of the spec a release was opened with, if it still is the model's spec."""
    try:
        spec = services.spec(model)
    except LockgateError:
        return None  # a spec that is broken or gone today cannot say what an earlier one declared
    return within({str(spec.digest): to_json(spec)}, str(digest))


def _results(services: Services) -> tuple[str, ...]:
    folder = services.settings.project / _RESULTS
    return tuple(f"{_RESULTS}/{path.name}" for path in sorted(folder.glob("20*"))) if folder.is_dir() else ()


def _date(name: str) -> str:
    return name.removeprefix(f"{_RESULTS}/")[:10]
