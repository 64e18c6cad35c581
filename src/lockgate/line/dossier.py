"""Collects what the dossier says, from the record and the release's folder, and writes it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from lockgate.core.gates.registry import GATES, names
from lockgate.core.ids import Digest, as_float
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.line.model_line import Line, champion_of
from lockgate.stages.recording import reports_of

_PERCENTILES = ("p50_ms", "p95_ms", "p99_ms")


def write_dossier(line: Line, so_far: Progress) -> Path:
    """Write the dossier of a release into its folder and return its path; equal facts give equal bytes."""
    from lockgate.adapters.dossier import DossierFacts, render_dossier

    folder, bundle = line.folder(so_far), Digest(so_far.refs["bundle"])
    parts = line.services.bundles.folder(bundle)
    facts = DossierFacts(
        release=so_far.release,
        spec=line.spec,
        as_of=datetime.fromisoformat(so_far.refs["as_of"]),
        bundle=bundle,
        champion=champion_of(so_far),
        reports=reports_of(line.ledger, line.model, so_far.release),
        required=names(GATES),
        titles={gate.name: gate.title for gate in GATES},
        evaluation=json.loads((parts / "evaluation.json").read_bytes()),
        lineage=_lineage(line, so_far),
        card=(parts / "card.md").read_text(),
        stress=_stress(line, so_far),
    )
    path = folder / "dossier.html"
    render_dossier(facts, path)
    return path


def _lineage(line: Line, so_far: Progress) -> dict[str, str]:
    snapshot = line.services.store.snapshot(Digest(so_far.refs["data"]))
    code = line.services.code
    return {
        "Bundle": so_far.refs["bundle"],
        "Data snapshot": snapshot.digest,
        "Table version": str(snapshot.table_version),
        "Rows": ", ".join(f"{part} {rows}" for part, rows in snapshot.rows.items()),
        "Spec": so_far.spec,
        "Code": so_far.code,
        "Commit": f"{code.commit or 'none'}{' with uncommitted changes' if code.dirty else ''}",
        "Lock": code.lock,
        "Registry version": so_far.refs.get("version", "none"),
    }


def _stress(line: Line, so_far: Progress) -> dict[str, str]:
    """Return the load test in a few words, from its evidence."""
    rows = line.ledger.rows(line.model, release=so_far.release, events=(Event.EVIDENCE,))
    found = [row.payload["measurements"] for row in rows if row.payload["gate"] == "stress"]
    if not found:
        return {}
    measured: Any = found[-1]
    plan, arms = measured["plan"], [name for name in ("challenger", "champion") if measured.get(name)]
    told = {
        f"{arm}, p50 / p95 / p99": " / ".join(f"{as_float(measured[arm]['steady'][key]):.1f}" for key in _PERCENTILES)
        + " ms from the intended start"
        for arm in arms
    }
    return {
        "Asked": f"{plan['target_rps']:g} requests a second within {plan['duration_s']:g} s, spike included",
        **told,
        "Failed": f"{as_float(measured['challenger']['error_fraction']):.2%} of {measured['challenger']['asked']}",
        "The generator's own floor, p95": f"{as_float(measured['generator']['p95_ms']):.1f} ms",
    }
