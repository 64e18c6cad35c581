"""`lockgate history`, `explain`, `verify`, `at`: the record, read back."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import MOST_ROWS, Model, choose_model, either, model_of, release_of
from lockgate.cli.surface import Surface
from lockgate.config import ENVIRONMENTS, load_settings
from lockgate.core.approval_people import PEOPLE
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput, IntegrityError, LockgateError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.stages.findings import Finding

What = Annotated[str | None, typer.Argument(metavar="[MODEL|RELEASE]", help="Left out: every model.")]
Some = Annotated[str | None, typer.Argument(metavar="[RELEASE]", help="Left out: the whole ledger.")]
ReleaseOrRun = Annotated[
    str, typer.Argument(metavar="RELEASE|RUN", help="Which: its id, or the id of the Prefect run that carried it.")
]
Last = Annotated[int, typer.Option("--last", "-n", min=1, max=MOST_ROWS, metavar="N", help="Only the newest N rows.")]
Time = Annotated[str, typer.Argument(metavar="TIME", help="ISO, e.g. 2026-03-01T14:05; without a zone it is UTC.")]
Where = Annotated[str, typer.Option("--environment", "-e", metavar="NAME", help="production or staging.")]

BROKEN = 1


def _services() -> Services:
    from lockgate.bootstrap import Services

    return Services(load_settings())


def history(surface: Surface, what: What = None, model: Model = None, last: Last = 200) -> None:
    """Show what happened, row by row: batches, releases, verdicts, decisions, changes of traffic.

    Example: lockgate history flight-delays --last 30
    """
    from lockgate.stages.history import history as read

    services, given = _services(), either(what, model)
    entries = []
    for name, rows in _chosen(services, given):
        entries += [(name, entry) for entry in read(rows)]
    entries = sorted(entries, key=lambda each: (each[1].at, each[1].seq))[-last:]
    surface.table(
        "History, oldest first",
        ("time (UTC)", "row", "release", "by", "what"),
        [(f"{e.at:%Y-%m-%d %H:%M:%S}", e.seq, e.release or name, e.actor, e.text) for name, e in entries],
    )
    surface.result({"entries": [{"model": name, **_fields(entry)} for name, entry in entries]})


def _chosen(services: Services, given: str | None) -> Iterator[tuple[ModelName, list[LedgerRow]]]:
    known = services.ledger.models()
    if given is None or given in known:
        for name in known if given is None else (ModelName(given),):
            yield name, list(services.ledger.rows(name))
    elif given in services.specs():
        yield ModelName(given), []
    else:
        name = model_of(services.ledger, given)
        yield name, list(services.ledger.rows(name, release=ReleaseId(given)))


def _fields(value: object) -> dict[str, Json]:
    told = to_json(value)
    return dict(told) if isinstance(told, dict) else {}


def explain(surface: Surface, release: ReleaseOrRun) -> None:
    """Tell why a release ended as it did, or where it stands, and the one next command.

    Example: lockgate explain flight-delays-0002
    """
    from lockgate.stages.history import explain as read

    ledger = _services().ledger
    found = release_of(ledger, release)
    told = read(ledger.rows(model_of(ledger, found)), found)
    for each in told.overridden:
        surface.text(each, "bold red")
    surface.text(f"{told.release}: {told.status}", "bold")
    surface.text(f"  {told.reason}")
    if told.bundle:
        surface.text(f"  bundle {told.bundle}")
    if told.decided:
        surface.text(f"  started because: {told.decided}")
    if told.approval:
        surface.text(f"  {told.approval}")
    surface.table(
        "Gates",
        ("gate", "verdict", "checks", "why"),
        [(r.gate, r.verdict, len(r.checks), r.reason) for r in told.reports],
    )
    if told.failing:
        surface.table(
            "What did not pass",
            ("gate", "check", "slice", "observed", "threshold", "unit", "verdict", "why"),
            [
                (gate, c.name, c.slice, _short(c.observed), _short(c.threshold), c.unit, c.verdict, c.reason)
                for gate, c in told.failing
            ],
        )
    surface.text(f"next: {told.next}")
    if told.hint:
        surface.text(f"  {told.hint}")
    surface.result(_fields(told))


def _short(number: float | None) -> str:
    return "" if number is None else f"{number:.6g}"


def verify(surface: Surface, release: Some = None, model: Model = None) -> int:
    """Recompute the record: hash chain, signatures, every verdict from its evidence, and what each step needed.

    Without an argument the whole ledger. Exit code 1 when anything does not hold.

    Example: lockgate verify flight-delays-0001
    """
    services = _services()
    found: list[Finding] = []
    if release is not None:
        names = [model_of(services.ledger, release)]
    else:
        names = [choose_model(services, model)] if model else list(services.ledger.models())
    counted = 0
    for name in names:
        rows = services.ledger.rows(name)
        counted += len(rows)
        found += _audit(services, name, rows, ReleaseId(release) if release else None)
    broken, notes = [f for f in found if not f.is_note], [f for f in found if f.is_note]
    held = not broken
    if broken:
        columns = ("model", "row", "release", "what", "finding")
        surface.table("What does not hold", columns, [(f.model, f.seq, f.release, f.what, f.message) for f in broken])
    if notes:
        releases = ", ".join(sorted({str(f.release) for f in notes}))
        surface.text(f"{len(notes)} verdicts of {releases} are another program's: only what both check was recomputed")
    words = f"{counted} rows of {', '.join(names) or 'no model'}"
    surface.text(
        f"{words}: everything holds" if held else f"{words}: {len(broken)} findings", "green" if held else "bold red"
    )
    told = {"findings": [_fields(f) for f in broken], "notes": [_fields(f) for f in notes]}
    surface.result({"holds": held, "rows": counted, "models": list(names), **told})
    return 0 if held else BROKEN


def _audit(
    services: Services, name: ModelName, rows: tuple[LedgerRow, ...], release: ReleaseId | None
) -> list[Finding]:
    from lockgate.adapters.ledger_keys import LedgerVerifier, ledger_signer
    from lockgate.adapters.sql_ledger import SqlLedger
    from lockgate.core.gates.registry import GATES
    from lockgate.stages.audit import Means
    from lockgate.stages.audit import verify as audit
    from lockgate.stages.audit_approval import audit_people

    specs = {}
    for each in services.specs():
        try:
            spec = services.spec(each)
        except LockgateError:
            continue  # a spec that is broken today says nothing about what was done with an earlier one
        specs[spec.digest] = spec
    ledger = services.ledger
    if not isinstance(ledger, SqlLedger):
        raise IntegrityError("this ledger keeps no signed heads, so nothing proves that it was not rewritten")
    verifier = LedgerVerifier(ledger_signer(services.settings).public_path)
    means = Means(gates=GATES, verifies=verifier.verify, specs=specs, code=services.code.digest)
    found = list(audit(name, rows, ledger.heads(name), means, release=release))
    decided = audit_people(rows, ledger.rows(PEOPLE))
    found += [each for each in decided if release is None or each.release in (None, release)]
    return found + list(_bundles(services, rows, release))


def _bundles(services: Services, rows: tuple[LedgerRow, ...], release: ReleaseId | None) -> Iterator[Finding]:
    """Check the bytes of every blessed bundle against its signature, manifest and digest."""
    from lockgate.stages.findings import finding_at

    for row in rows:
        if row.event is not Event.BLESSING or (release is not None and row.release != release):
            continue
        subjects = row.payload.get("subjects")
        digest = subjects.get("bundle") if isinstance(subjects, dict) else None
        try:
            services.bundles.get(Digest(str(digest)))
        except LockgateError as broken:
            yield finding_at(row, "bundle", broken.message)


def at(surface: Surface, time: Time, model: Model = None, environment: Where = "production") -> None:
    """Tell what served at a time, and why: the bundle, the release, who approved it.

    Example: lockgate at 2026-03-01T14:05 --model flight-delays
    """
    from lockgate.stages.history import at as read

    if environment not in ENVIRONMENTS:
        raise BadInput(f"there is no environment {environment!r}; environments: {', '.join(ENVIRONMENTS)}")
    services, when = _services(), _time(time)
    names = [choose_model(services, model)] if model else list(services.ledger.models())
    served = {name: read(services.ledger.rows(name), when, environment) for name in names}
    surface.table(
        f"What {environment} served at {when.isoformat()}",
        ("model", "release", "bundle", "since", "why", "approval"),
        [
            (name, "nothing", "", "", "", "")
            if each is None
            else (name, each.release, each.bundle[:12], each.since.isoformat(), each.why, each.approval)
            for name, each in served.items()
        ],
    )
    told = [{"model": name, "served": None if each is None else _fields(each)} for name, each in served.items()]
    surface.result({"at": when.isoformat(), "environment": environment, "models": told})


def _time(text: str) -> datetime:
    try:
        when = datetime.fromisoformat(text)
    except ValueError as wrong:
        raise BadInput(f"{text!r} is no time; write it like 2026-03-01T14:05 or 2026-03-01T14:05+01:00") from wrong
    return when if when.tzinfo else when.replace(tzinfo=UTC)
