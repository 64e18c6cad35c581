"""Collects what the dossier says, from the record and the release's folder, and writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import Path

from lockgate.core.approval_overrides import standing
from lockgate.core.delivery import delivery
from lockgate.core.estimates import within
from lockgate.core.gates.overrides import overrides
from lockgate.core.gates.registry import GATES, names
from lockgate.core.ids import Digest, Json
from lockgate.core.maturity import trend
from lockgate.core.monitoring.feedback import FeedbackSummary
from lockgate.core.progress import Progress
from lockgate.core.rollout.proxy import unknown_by_proxy
from lockgate.core.verdict import Verdict
from lockgate.errors import LockgateError
from lockgate.line.assessing import record_of, record_until, records
from lockgate.line.model_line import Line, champion_of
from lockgate.stages.recording import reports_of

FEEDBACK_WINDOW = timedelta(days=90)
"""Ours: as long as a server keeps what people say, unless it is told otherwise."""


def write_dossier(line: Line, so_far: Progress) -> Path:
    """Write the dossier of a release into its folder and return its path; equal facts give equal bytes."""
    from lockgate.adapters.dossier import DossierFacts, render_dossier

    folder, bundle = line.folder(so_far), Digest(so_far.refs["bundle"])
    parts = line.services.bundles.folder(bundle)
    # cut at this release's newest verdict: what the ledger gains while the page is read changes no byte of it
    rows = record_until(line.ledger.rows(line.model), so_far.release)
    of_release = record_of(line.services, line.model, rows, so_far.release)
    before = [each for each in records(line.services, line.model, rows) if each.release != so_far.release]
    moved, standing_now = overrides(GATES, line.spec.gates), standing(line.ledger.rows(line.model), so_far.release)
    reports = reports_of(line.ledger, line.model, so_far.release)
    facts = DossierFacts(
        release=so_far.release,
        spec=line.spec,
        as_of=datetime.fromisoformat(so_far.refs["as_of"]),
        bundle=bundle,
        champion=champion_of(so_far),
        reports=reports,
        required=names(GATES),
        titles={gate.name: gate.title for gate in GATES},
        evaluation=json.loads((parts / "evaluation.json").read_bytes()),
        lineage=_lineage(line, so_far, of_release.measured.get("training")),
        card=(parts / "card.md").read_text(),
        measured=of_release.measured,
        recorded={gate: (row.seq, row.row_hash) for gate, row in of_release.verdicts.items()},
        assessed=trend((*before, of_release)),
        delivered=delivery(of_release.rows),
        feedback=feedback_before(line, champion_of(so_far), max((row.at for row in rows), default=None)),
        overridden={
            each.gate: standing_now[each.gate].shout(each.reason)
            for each in reports
            if each.verdict is Verdict.FAIL and each.gate in standing_now
        },
        unknown=(
            *unknown_by_proxy(line.spec.rollout),
            *(f"Whether a gate would pass by its own bound: {each}." for each in moved),
        ),
    )
    path = folder / "dossier.html"
    render_dossier(facts, path)
    return path


def feedback_before(line: Line, champion: Digest | None, until: datetime | None) -> FeedbackSummary | str | None:
    """Return what people said of the champion before a time, or why that cannot be read: it holds no release up."""
    from lockgate.adapters.feedback_log import read_feedback

    if champion is None or until is None:
        return None
    state = line.services.settings.serving("production")
    try:
        return read_feedback(state, line.model, until - FEEDBACK_WINDOW, until=until, bundle=champion)
    except LockgateError as broken:
        return broken.message


def _lineage(line: Line, so_far: Progress, training: Json) -> dict[str, str]:
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
        "Estimator": f"{line.spec.training.family}, seed {line.spec.training.seed}",
        "Parameters": _parameters(within(training, "parameters")),
        "Registry version": so_far.refs.get("version", "none"),
    }


def _parameters(given: Json) -> str:
    """Return what was really fitted with, a search's choice included."""
    named = given.items() if isinstance(given, Mapping) else ()
    return ", ".join(f"{name} {value}" for name, value in named) or "the family's defaults"
