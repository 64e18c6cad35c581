"""Which stage's page shows which picture, drawn from what the stage left on record."""

from __future__ import annotations

import json
from pathlib import Path

from lockgate.core.ids import Json, Stage
from lockgate.core.ledger import Event
from lockgate.core.progress import Progress
from lockgate.line.model_line import Line
from lockgate.stages.recording import read_evidence

_FIRST_GATE = "\n## Gate"


def illustrated(line: Line, stage: Stage, so_far: Progress, page: str) -> str:
    """Return a stage's page with its picture above the gates; as it was where there is none."""
    address = _address(line, stage, so_far)
    if address is None:
        return page
    return page.replace(_FIRST_GATE, f"\n![{stage.value}]({address})\n{_FIRST_GATE}", 1)


def _address(line: Line, stage: Stage, so_far: Progress) -> str | None:
    from lockgate.adapters import stage_plots

    if stage is Stage.EVALUATE and "evaluation" in so_far.refs:
        return stage_plots.evaluation_picture(json.loads(Path(so_far.refs["evaluation"]).read_bytes()))
    if stage is Stage.STRESS:
        return stage_plots.stress_picture(_measured(line, so_far, "stress"))
    return None


def _measured(line: Line, so_far: Progress, gate: str) -> Json:
    """Return the newest measurements of a gate on record; None when there are none."""
    rows = line.ledger.rows(line.model, release=so_far.release, events=(Event.EVIDENCE,))
    of_gate = [found for found in map(read_evidence, rows) if found.gate == gate]
    return of_gate[-1].measurements if of_gate else None
