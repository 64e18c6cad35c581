"""What the `skew` gate measures: production's logged requests, recomputed offline.

A request names the row it asks about by its header `x-request-id`, or by its entity key: the row's key as text, the
columns of a key of several joined by "|". Requests that name no row are compared by their answers and as a
distribution only.

Measurements: `champion` (digest or null), `requests`, `rows`, `features` (`core.skew.feature_skew`), `answers`
(`core.skew.answer_skew`), `drift` (`core.drift.drift` of the logged inputs against the training rows, by feature).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockgate.core.contract import TaskKind
from lockgate.core.drift import drift, reference_profile
from lockgate.core.ids import Digest, Json
from lockgate.core.replay import LoggedRequest
from lockgate.core.skew import answer_skew, feature_skew, number_matches, string_matches
from lockgate.core.spec import ReleaseSpec
from lockgate.core.wire import OUTPUT
from lockgate.stages.feature_columns import feature_columns

if TYPE_CHECKING:
    import pandas as pd

SEPARATOR = "|"
MIN_DRIFT_ROWS = 200
"""Ours: below it the population stability index of equal columns is above 0.1 by chance alone."""


def measure_skew(  # noqa: PLR0913 - what was asked, of whom, and what it is held against; the last is a keyword
    spec: ReleaseSpec,
    champion: Digest | None,
    logged: Sequence[LoggedRequest] | None,
    landed: pd.DataFrame,
    ask: Callable[[pd.DataFrame], Any],
    *,
    takes: Sequence[str] = (),
) -> dict[str, Json]:
    """Compare logged requests with landed rows, and their answers with the champion's.

    Args:
        spec: The release's spec.
        champion: The bundle that serves; None only when the ledger shows that there never was one.
        logged: Requests that production answered; None: its log could not be read.
        landed: Rows as training reads them, with key and features.
        ask: The champion's own graph.
        takes: The columns that the champion takes: one that its requests leave out is a value that is not the same.

    Returns:
        See the module's docstring; no row and no key is in it.
    """
    if champion is None or logged is None:
        return {"champion": champion, "requests": None if champion else 0}
    rows = [(request, at) for request in logged for at in range(len(request.rows))]
    frame = _frame(spec, [request.rows[at] for request, at in rows])
    return {
        "champion": champion,
        "requests": len(logged),
        "rows": len(rows),
        "features": _features(spec, champion, rows, frame, landed, takes),
        "answers": _answers(spec, champion, rows, frame, ask),
        "drift": _drift(spec, frame, landed),
    }


def _frame(spec: ReleaseSpec, rows: Sequence[Mapping[str, Json]]) -> pd.DataFrame:
    """Return logged inputs as the frame that training would have: float64 with NaN, objects with None."""
    import pandas as pd

    columns: dict[str, Any] = {}
    for name in spec.data.numeric:
        columns[name] = np.array([_as_number(row.get(name)) for row in rows], np.float64)
    for name in spec.data.categorical:
        columns[name] = np.array([row.get(name) for row in rows], object)
    return pd.DataFrame(columns)


def _as_number(value: Json) -> float:
    return float(value) if isinstance(value, int | float) else np.nan


def _features(  # noqa: PLR0913, PLR0917 - what was asked, of whom, and what it is held against
    spec: ReleaseSpec,
    champion: Digest,
    rows: Sequence[tuple[LoggedRequest, int]],
    frame: pd.DataFrame,
    landed: pd.DataFrame,
    takes: Sequence[str],
) -> dict[str, Json]:
    named = [_named(request) if len(request.rows) == 1 else () for request, _ in rows]
    wanted = {name for names in named for name in names}
    keys = landed[spec.data.key[0]].astype(str)
    for column in spec.data.key[1:]:
        keys = keys + SEPARATOR + landed[column].astype(str)
    place = {key: at for at, key in enumerate(keys.tolist()) if key in wanted}
    meant = (next((place[name] for name in names if name in place), None) for names in named)
    pairs = [(at, row) for at, row in enumerate(meant) if row is not None]
    ours = frame.iloc[[at for at, _ in pairs]]
    theirs = landed.iloc[[at for _, at in pairs]]
    # a feature that the champion does not have yet was asked of nobody: it cannot have been filled otherwise
    asked = {name for request, at in rows for name in request.rows[at]} | set(takes)
    matches = {
        name: number_matches(ours[name].to_numpy(), theirs[name].to_numpy(np.float64, na_value=np.nan))
        for name in spec.data.numeric
        if name in asked
    }
    for name in (each for each in spec.data.categorical if each in asked):
        matches[name] = string_matches(_texts(ours[name]), _texts(theirs[name]))
    joined = [rows[at] for at, _ in pairs]
    return feature_skew({name: same | _not_taken(name, champion, joined) for name, same in matches.items()})


def _not_taken(name: str, champion: Digest, rows: Sequence[tuple[LoggedRequest, int]]) -> NDArray[np.bool_]:
    """Tell which rows were asked of a predecessor that may not take a column, and lack it, shape [n]."""
    lack = (request.digest != champion and name not in request.rows[at] for request, at in rows)
    return np.fromiter(lack, np.bool_, len(rows))


def _named(request: LoggedRequest) -> tuple[str, ...]:
    """Return the keys that a request may mean, the likeliest first."""
    return tuple(name for name in (request.request_id, request.entity) if name)


def _texts(column: pd.Series) -> list[str | None]:
    missing = column.isna().to_numpy(dtype=bool)
    return [None if gone else str(value) for value, gone in zip(column.tolist(), missing, strict=True)]


def _answers(
    spec: ReleaseSpec,
    champion: Digest,
    rows: Sequence[tuple[LoggedRequest, int]],
    frame: pd.DataFrame,
    ask: Callable[[pd.DataFrame], Any],
) -> dict[str, Json]:
    """Compare the answers that the champion gave; those of its predecessors are another model's."""
    name = OUTPUT[spec.task.kind]
    kept, numbers = [], []
    for place, (request, at) in enumerate(rows):
        given = request.outputs.get(name, ())
        if request.digest == champion and len(given) == len(request.rows):
            kept.append(place)
            numbers.append(given[at])
    width = len(spec.task.classes) if spec.task.kind is TaskKind.MULTICLASS else 1
    if not kept:
        return answer_skew(np.empty(0), np.empty(0))
    logged = np.array(numbers, np.float64).reshape(len(kept), width)
    again = np.asarray(ask(frame.iloc[kept].reset_index(drop=True)), np.float64).reshape(len(kept), width)
    return answer_skew(logged, again)


def _drift(spec: ReleaseSpec, frame: pd.DataFrame, landed: pd.DataFrame) -> dict[str, Json]:
    if len(frame) < MIN_DRIFT_ROWS or not len(landed):
        return {}
    profile = reference_profile(feature_columns(landed, spec), spec.data.numeric, spec.data.categorical)
    return drift(profile, feature_columns(frame, spec))
