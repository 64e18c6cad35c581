"""What a server answered when it was probed, for the gates that probe one: some were asked, and none was wrong."""

from __future__ import annotations

from collections.abc import Mapping

from lockgate.core.gates.measured import count, names, number
from lockgate.core.ids import Json
from lockgate.core.verdict import Check, Direction, compare


def none_wrong(seen: Mapping[str, Json], part: str, wrong: str, name: str, reason: str) -> Check:
    """Check that requests of one kind were sent, and that none was answered wrongly.

    Args:
        seen: Measurements with, under `part`, how many were `asked`, how many `wrong`, and `{wrong}_names`.
        part: The kind of requests.
        wrong: What counts as wrong.
        name: See `Check`.
        reason: Said when some were, with their names after it.
    """
    which = names(seen, f"{part}.{wrong}_names")
    return compare(
        name,
        number(seen, f"{part}.{wrong}"),
        0,
        Direction.EQUAL,
        unit="requests",
        n=count(seen, f"{part}.asked") or 0,
        n_min=1,
        reason=f"{reason}{': ' + which if which else ''}",
    )
