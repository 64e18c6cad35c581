"""What the `privacy` gate measures: strings that look personal in data, log, probe requests and bundle.

Measurements: by place (`data`, `log`, `probe_requests`, `bundle`) `values` (distinct strings, or parts, looked at) and
`findings` (by column or part: number by kind), then `declared_and_logged` and `named_like_personal` (columns). Numbers
of findings, never what was found.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from lockgate.core.contract import ProbeSet
from lockgate.core.ids import Json
from lockgate.core.personal_data import named_like_personal, personal_kinds, personal_words
from lockgate.core.replay import LoggedRequest
from lockgate.core.spec import ReleaseSpec

MOST_VALUES = 20_000
"""Ours: of each column so many distinct strings are looked at, in about a second; the report says how many."""
READABLE = (".json", ".md", "MLmodel")
"""Parts of a bundle that people read; the lock names no author, and a graph is numbers."""


def measure_privacy(
    spec: ReleaseSpec,
    columns: Mapping[str, Iterable[object]],
    logged: Sequence[LoggedRequest] | None,
    probes: ProbeSet,
    bundle: Path,
) -> dict[str, Json]:
    """Look for personal data.

    Args:
        spec: The release's spec.
        columns: The string columns of the rows trained on, by name; None and NaN are passed over.
        logged: Requests of production's log; None: it could not be read.
        probes: The bundle's probe requests.
        bundle: The bundle's folder.

    Returns:
        See the module's docstring.
    """
    personal = set(spec.data.personal)
    hidden = {*spec.serving.log.hashed, *spec.serving.log.omitted}
    owner = spec.model.owner
    readable = (path for path in sorted(bundle.iterdir()) if path.suffix in READABLE or path.name in READABLE)
    parts = {path.name: path.read_text() for path in readable}
    features = {*spec.data.features, *((spec.data.entity,) if spec.data.entity else ())}
    kept = features if spec.serving.log.inputs else set()
    return {
        "data": _columns({name: values for name, values in columns.items() if name not in personal}),
        "log": _log(logged, personal & hidden),
        "probe_requests": _columns(_by_column(probe.row for probe in probes.requests)),
        "bundle": _parts({name: _without(owner, text) for name, text in parts.items()}),
        "declared_and_logged": sorted((personal & kept) - hidden),
        "named_like_personal": sorted(set(named_like_personal({*features, *columns})) - personal),
    }


def _columns(columns: Mapping[str, Iterable[object]]) -> dict[str, Json]:
    looked, findings = 0, {}
    for name, values in columns.items():
        texts = _some(values)
        looked += len(texts)
        kinds = personal_kinds(texts)
        if kinds:
            findings[name] = kinds
    return {"values": looked, "findings": {name: dict(kinds) for name, kinds in findings.items()}}


def _some(values: Iterable[object]) -> set[str]:
    """Return distinct strings, so many at most."""
    texts: set[str] = set()
    for value in values:
        if isinstance(value, str):
            texts.add(value)
            if len(texts) >= MOST_VALUES:
                break
    return texts


def _log(logged: Sequence[LoggedRequest] | None, hidden: set[str]) -> dict[str, Json]:
    if logged is None:
        return {}
    columns = _by_column(row for request in logged for row in request.rows)
    columns["(entity)"] = [request.entity for request in logged]
    columns["(request id)"] = [request.request_id for request in logged]
    return _columns({name: values for name, values in columns.items() if name not in hidden})


def _by_column(rows: Iterable[Mapping[str, object]]) -> dict[str, list[object]]:
    columns: dict[str, list[object]] = {}
    for row in rows:
        for name, value in row.items():
            columns.setdefault(name, []).append(value)
    return columns


def _without(owner: str, text: str) -> str:
    """Return a text without the owner, where it stands alone: an owner "@" must not hide everybody's address."""
    return re.sub(rf"(?<![\w.@+-]){re.escape(owner)}(?![\w@+-])", "", text) if owner else text


def _parts(parts: Mapping[str, str]) -> dict[str, Json]:
    found = {name: personal_words(text) for name, text in parts.items()}
    return {"values": len(parts), "findings": {name: dict(kinds) for name, kinds in found.items() if kinds}}
