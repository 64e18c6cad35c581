"""`lockgate parity`: the rows that parity was worst on, answered again side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from lockgate.cli.options import Release, model_of
from lockgate.cli.surface import Surface
from lockgate.config import load_settings
from lockgate.core.ids import ReleaseId, to_json

if TYPE_CHECKING:
    from collections.abc import Sequence


Family = Annotated[
    str | None,
    typer.Option("--family", "-f", metavar="NAME", help="Only this family's row, e.g. boundaries. Left out: all."),
]
NoServe = Annotated[
    bool, typer.Option("--no-serve", help="Do not start a server; answer by estimator and graph alone.")
]

_DIFFERS = 3


def parity(surface: Surface, release: Release, family: Family = None, no_serve: NoServe = False) -> int:
    """Answer the rows that a release's parity was worst on: by the estimator, the graph and the production server.

    The rows may be data and stay in the release's folder. The server runs in a sandbox for as long as it takes. Exit
    code 3 when an answer differs beyond the gate's bound.

    Example: lockgate parity flight-delays-0001 --family boundaries
    """
    from lockgate.bootstrap import Services
    from lockgate.line.parity_replay import replay

    services = Services(load_settings())
    model_of(services.ledger, release)
    folder = services.settings.release(ReleaseId(release))
    sandboxes = None if no_serve else services.sandboxes(folder / "sandbox", None)
    found = replay(folder, services.bundles, sandboxes, family)
    surface.table(
        f"The worst rows of {release}, the worst first",
        ("family", "changed", "estimator", "graph", "server", "difference", "origin"),
        [
            (
                each.family,
                each.changed or "",
                _numbers(each.native),
                _numbers(each.graph),
                _numbers(each.served) if each.served is not None else each.unserved,
                f"{each.difference:.3g}",
                each.origin,
            )
            for each in found
        ],
    )
    if len(found) == 1:
        surface.table("The row", ("column", "value"), [(name, value) for name, value in found[0].row.items()])
    differing = [each.family for each in found if not each.equal]
    words = f"{len(found)} rows: " + (
        f"{len(differing)} differ beyond the bound" if differing else "all within the bound"
    )
    surface.text(words, "bold red" if differing else "green")
    surface.result({"release": release, "equal": not differing, "rows": to_json(found)})
    return _DIFFERS if differing else 0


def _numbers(answer: Sequence[float] | None) -> str:
    return "" if answer is None else " ".join(f"{each:.9g}" for each in answer)
