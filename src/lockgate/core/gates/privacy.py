"""Gate `privacy`: does anything personal lie where it does not belong?

Looked at are the rows trained on, production's prediction log, the probe requests and every readable part of the
bundle. A column that is meant to hold personal data is declared (`data.personal`); then it may be in the data, but
neither in the bundle nor, unless hashed or left out by `serving.log`, in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from lockgate.core.estimates import count, within
from lockgate.core.evidence import Evidence
from lockgate.core.gates import Gate
from lockgate.core.ids import Json, Stage
from lockgate.core.personal_data import in_words
from lockgate.core.verdict import Check, Direction, GateReport, compare, report

SOURCES: Mapping[str, str] = {
    "data": "declare the column under data.personal if it belongs there, else leave it out of what is landed",
    "log": "hash or omit the column by serving.log.hashed or serving.log.omitted, and end what is logged already",
    "probe_requests": "leave the column out of the features, or replace its values by what names nobody",
    "bundle": "leave the column out of the features, or replace its values by what names nobody",
}
"""What is looked at, and what to do about a finding."""
_LISTED = {
    "declared_and_logged": (
        "declared personal, and logged as it comes; name it in serving.log.hashed or serving.log.omitted",
        True,
    ),
    "named_like_personal": ("named as if personal; declare it under data.personal, or rename it", False),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """What the privacy gate asks for.

    Attributes:
        findings: Most columns or parts, in each place, that may look personal and are not declared.
    """

    findings: Annotated[int, Ge(0)] = 0


def judge(evidence: Evidence, thresholds: Thresholds) -> GateReport:
    """Judge what was found; a place that was not looked at is an ERROR."""
    found = evidence.measurements
    checks = [_place(found, source, advice, thresholds) for source, advice in SOURCES.items()]
    checks += [_columns(found, name, told, required=binds) for name, (told, binds) in _LISTED.items()]
    return report(GATE.name, GATE.stage, checks, evidence.digest)


def _place(found: Mapping[str, Json], source: str, advice: str, thresholds: Thresholds) -> Check:
    seen = found.get(source)
    kinds, values = _kinds(within(seen, "findings")), count(within(seen, "values"))
    return compare(
        f"personal_{source}",
        None if kinds is None or values is None else float(len(kinds)),
        float(thresholds.findings),
        Direction.AT_MOST,
        unit="columns",
        n=values,
        n_min=1 if source == "bundle" else 0,  # every bundle has parts to read; data and log may hold no string
        reason=f"{in_words(kinds) if kinds else 'it was not looked at'}; {advice}",
    )


def _kinds(given: Json) -> Mapping[str, Mapping[str, int]] | None:
    if not isinstance(given, Mapping):
        return None
    read: dict[str, Mapping[str, int]] = {}
    for where, kinds in given.items():
        if not isinstance(kinds, Mapping):
            return None
        read[where] = {kind: count(number) or 0 for kind, number in kinds.items()}
    return read


def _columns(found: Mapping[str, Json], name: str, told: str, *, required: bool) -> Check:
    """Check that a list of columns is empty; one that is not there is an ERROR."""
    listed = found.get(name)
    names = [str(each) for each in listed] if isinstance(listed, list | tuple) else None
    return compare(
        name,
        None if names is None else float(len(names)),
        0.0,
        Direction.AT_MOST,
        unit="columns",
        required=required,
        reason=f"{', '.join(names or ()) or 'columns'}: {told}",
    )


GATE = Gate(
    name="privacy",
    stage=Stage.PACKAGE,
    thresholds=Thresholds,
    judge=judge,
    title="Nothing personal where it does not belong",
)
