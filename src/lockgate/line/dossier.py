"""Collects what the dossier says, from the record and the release's folder, and writes it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path

from lockgate.core.gates.registry import GATES, names
from lockgate.core.ids import Digest
from lockgate.core.progress import Progress
from lockgate.line.model_line import Line, champion_of
from lockgate.stages.recording import reports_of


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
