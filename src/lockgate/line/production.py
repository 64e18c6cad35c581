"""What production's log says to a release: is it asked what training saw, and does it hold personal data."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any

from lockgate.core.contract import ProbeSet
from lockgate.core.ids import Digest, Json
from lockgate.core.progress import Progress
from lockgate.core.records import read_record
from lockgate.line.model_line import Line, champion_of

if TYPE_CHECKING:
    import pandas as pd

    from lockgate.core.replay import LoggedRequest

logger = logging.getLogger(__name__)

_COMPARED = 5_000  # ours: shows one wrong value in a thousand, and takes a second to read


def logged_requests(line: Line, at_most: int) -> tuple[LoggedRequest, ...] | None:
    """Return the newest requests that production answered; None where its log could not be read."""
    from lockgate.adapters.logged_requests import recent_requests

    try:
        return recent_requests(line.services.settings.serving("production"), line.model, at_most=at_most)
    except OSError as broken:
        logger.warning("the prediction log of %s could not be read: %s", line.model, broken)
        return None


def production_skew(line: Line, so_far: Progress) -> dict[str, Json]:
    """Measure for the gate `skew`: logged requests against the newest landed rows and the champion's own graph."""
    from lockgate.stages.skew import measure_skew

    champion = champion_of(so_far)
    if champion is None:
        return {"champion": None}
    snapshot = line.services.store.snapshot(Digest(so_far.refs["data"]))
    landed = line.services.store.part(snapshot, "batch", [*line.spec.data.key, *line.spec.data.features])

    def ask(frame: pd.DataFrame) -> Any:  # noqa: ANN401 - numbers of the task's shape
        from lockgate.adapters.native_scorer import score_bundle

        return score_bundle(line.services.bundles.folder(champion), frame)

    takes = [spec.name for spec in line.services.bundles.get(champion).contract.inputs]
    return measure_skew(line.spec, champion, logged_requests(line, _COMPARED), landed, ask, takes=takes)


def personal_data(line: Line, so_far: Progress, bundle: Digest) -> dict[str, Json]:
    """Measure for the gate `privacy`: rows trained on, production's log, probe requests and the bundle's parts."""
    from lockgate.stages.privacy import measure_privacy

    data = line.spec.data
    names = dict.fromkeys([*data.key, *data.categorical, *((data.entity,) if data.entity else ())])
    snapshot = line.services.store.snapshot(Digest(so_far.refs["data"]))
    rows = line.services.store.part(snapshot, "train", list(names))
    folder = line.services.bundles.folder(bundle)
    probes = read_record(ProbeSet, json.loads((folder / "probe_requests.json").read_bytes()))
    columns = {name: rows[name].dropna().unique().tolist() for name in names}
    return measure_privacy(line.spec, columns, logged_requests(line, _COMPARED), probes, folder)
