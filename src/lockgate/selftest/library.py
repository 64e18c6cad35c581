"""The one list of faults, in the order a release would meet them; and the gates that none of them is for, with why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from lockgate.errors import BadInput
from lockgate.selftest import fit_faults, graph_faults, label_faults, landed_faults, row_faults, serving_faults
from lockgate.selftest.fault import Fault

FAULTS: tuple[Fault, ...] = (
    *landed_faults.FAULTS,
    *row_faults.FAULTS,
    *label_faults.FAULTS,
    *fit_faults.FAULTS,
    *graph_faults.FAULTS,
    *serving_faults.FAULTS,
)

WITHOUT_FAULT: Mapping[str, str] = {}
"""Gates that no fault is for, with the reason. None: every gate was seen to stop something."""


def faults_named(names: Iterable[str]) -> tuple[Fault, ...]:
    """Return the faults of these names, in the library's order; all for no names.

    Raises:
        BadInput: There is none of that name; says which there are.
    """
    wanted = set(names)
    unknown = sorted(wanted - {each.name for each in FAULTS})
    if unknown:
        raise BadInput(f"there is no fault {unknown[0]!r}; faults: {', '.join(each.name for each in FAULTS)}")
    return tuple(each for each in FAULTS if not wanted or each.name in wanted)
