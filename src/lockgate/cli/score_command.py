"""`lockgate score`: answer a whole file by the bundle that serves, or by a named one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import MOST_ROWS, Model, choose_model
from lockgate.cli.surface import Surface
from lockgate.config import Settings, load_settings
from lockgate.core.ids import Digest, Json
from lockgate.errors import BadInput, NotRunning

if TYPE_CHECKING:
    from lockgate.serving.bulk.scoring import BulkResult, Progress
    from lockgate.serving.model.bundle import VerifiedBundle

In = Annotated[Path, typer.Argument(metavar="IN", help="Rows to score: .parquet, .arrow, .feather or .csv.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="Parquet file to write; replaced when it is there.")]
Bundle = Annotated[
    str | None,
    typer.Option("--bundle", metavar="DIGEST", help="Score by this bundle, not by production's champion."),
]
Keep = Annotated[
    list[str] | None,
    typer.Option("--keep", "-k", metavar="COLUMN", help="Carry this column over; give it several times for several."),
]
Flags = Annotated[bool, typer.Option("--flags", help="Write a column of what did not keep to the contract.")]
Limit = Annotated[
    int | None, typer.Option("--limit", "-n", min=1, max=MOST_ROWS, metavar="N", help="Only the first N rows.")
]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, max=256, metavar="N", help="Threads that score. Left out: all cores.")
]

_SHORTEST_DIGEST = 8


def score(  # noqa: PLR0913, PLR0917 - a command has as many parameters as options
    surface: Surface,
    source: In,
    target: Out,
    model: Model = None,
    bundle: Bundle = None,
    keep: Keep = None,
    flags: Flags = False,
    limit: Limit = None,
    workers: Workers = None,
) -> None:
    """Score a whole file by the bundle that production serves: same graph, same contract, all cores, bounded memory.

    The answers come as Parquet, one row a row of IN and in its order: `probability` and `label`; `value`; or one
    `probability_<class>` a class and `label`. OUT appears whole or not at all. The bundle's signature is verified
    first; no server needs to run.

    Example: lockgate score march.parquet answers.parquet --model flight-delays --keep flight_id
    """
    from lockgate.adapters.durable_files import room_for
    from lockgate.serving.bulk.scoring import BulkOptions, score_file

    opened = _open(load_settings(), model, bundle)
    options = BulkOptions(keep=tuple(keep or ()), flags=flags, limit=limit, workers=workers)
    with room_for(target.name, target.parent), _progress(surface) as progress:
        result = score_file(opened, source, target, options, progress)
    _tell(surface, opened, source, target, result)


def _open(settings: Settings, model: str | None, digest: str | None) -> VerifiedBundle:
    """Verify and read the bundle that is meant.

    Raises:
        BadInput: There is no such model or bundle, or the bundle is of another model.
        NotRunning: Nothing serves in production.
        IntegrityError: The bundle is not what was signed.
    """
    from lockgate.serving.model.bundle import open_bundle
    from lockgate.serving.model.signature import load_public_key

    found = _champion(settings, model) if digest is None else _named(settings.bundles, digest)
    opened = open_bundle(settings.bundles, found, load_public_key(settings.public_key))
    if digest is not None and model is not None and opened.contract.model != model:
        raise BadInput(f"bundle {found[:12]} is one of model {opened.contract.model!r}, not of {model!r}")
    return opened


def _champion(settings: Settings, model: str | None) -> Digest:
    """Return what production serves, by the ledger."""
    from lockgate.bootstrap import Services

    services = Services(settings)
    name = choose_model(services, model)
    champion = services.ledger.state(name).champion
    if champion is None:
        raise NotRunning(
            f"production serves nothing for {name} yet; release it (lockgate release --model {name}), or name a "
            "bundle with --bundle"
        )
    return champion


def _named(store: Path, digest: str) -> Digest:
    """Return the bundle whose digest begins so."""
    found = sorted(each.name for each in store.glob("*") if each.name.startswith(digest)) if store.is_dir() else []
    if len(digest) < _SHORTEST_DIGEST or not digest.isalnum() or len(found) != 1:
        several = f"; it begins {len(found)} digests" if len(found) > 1 else ""
        raise BadInput(
            f"there is no one bundle {digest!r} in {store}{several}; give its digest, or at least its first "
            f"{_SHORTEST_DIGEST} characters, as lockgate status shows them"
        )
    return Digest(found[0])


@contextmanager
def _progress(surface: Surface) -> Iterator[Progress]:
    """Show how far it is, on stderr; silent with --json."""
    if surface.as_json:
        yield lambda _rows, _total: None
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TextColumn("rows"), TimeRemainingColumn())
    with Progress(*columns, console=surface.err, transient=True) as bar:
        task = bar.add_task("scoring", total=None)
        yield lambda rows, total: bar.update(task, completed=rows, total=total)


def _tell(surface: Surface, bundle: VerifiedBundle, source: Path, target: Path, result: BulkResult) -> None:
    rate = result.rows / result.seconds
    surface.text(
        f"scored {result.rows:,} rows in {result.seconds:.1f} s ({rate:,.0f} a second) by bundle {bundle.digest[:12]} "
        f"of {bundle.contract.model}: {target}"
    )
    surface.table(
        "Outside the contract",
        ("flag", "column", "rows", "share"),
        [
            (flag, column, f"{rows:,}", f"{rows / result.rows:.2%}")
            for flag, columns in result.flagged.items()
            for column, rows in columns.items()
        ],
    )
    content: dict[str, Json] = {
        "model": bundle.contract.model,
        "bundle": bundle.digest,
        "in": str(source),
        "out": str(target),
        "rows": result.rows,
        "seconds": round(result.seconds, 3),
        "flagged": result.flagged,
    }
    surface.result(content)
