"""Looking back on decisions: had we not retrained, and what it cost that we did not; from landed rows, on record.

    ledger: what took over, what was held back ──> rows that landed in that time ──> asked of the bundles of then
                                                                                     ──> a row `counterfactuals`

A bundle, its rows or labels that are gone make one decision "not measured" with the reason; the others are told.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from lockgate.core.ids import Digest, Json, digest_of, to_json
from lockgate.core.learning.hindsight import HeldBack, Told, TookOver, held_back, summary, took_over
from lockgate.core.ledger import Event
from lockgate.core.spec import ReleaseSpec
from lockgate.core.task_metrics import loss_name
from lockgate.errors import LockgateError, TransientError
from lockgate.line.model_line import Line
from lockgate.line.past import data_of
from lockgate.line.scoring import answerer
from lockgate.stages.counterfactual import Side, compare_sides, compare_with_holdout, not_measured, told_json

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Past:
    """Whom and what is asked; each raises a `LockgateError` that says what is gone.

    Attributes:
        between: Rows that landed after one version of the table (None: all), up to another one (None: the newest).
        side: Who answers for a bundle.
        version: The version of the table that a bundle's rows are from.
        holdout: The rows that a bundle was judged on at release.
    """

    between: Callable[[int | None, int | None], pd.DataFrame]
    side: Callable[[Digest], Side]
    version: Callable[[Digest], int]
    holdout: Callable[[Digest], pd.DataFrame]


MOST = 20
"""Decisions of each kind that are looked back on, the newest first; ours: each asks two bundles some months of rows."""
_EVENTS = (Event.TRAFFIC_VERIFIED, Event.BATCH_INGESTED, Event.RETRAINING_DECIDED)


def look_back(line: Line, *, most: int = MOST, past: Past | None = None) -> dict[str, Json]:
    """Measure what past decisions gave, and put it on record unless the newest such row says the same.

    Args:
        line: The model's line.
        most: Decisions of each kind, the newest.
        past: Whom and what is asked; None: the model's bundles, snapshots and table.

    Returns:
        `model`, `summary`, `row`, and in `took_over` and `held_back` each decision with what `told_json` tells.

    Raises:
        TransientError: The ledger or the table does not answer.
    """
    rows = line.ledger.rows(line.model, events=_EVENTS)
    asked = past or _past(line)
    took = [(each, _guarded(partial(_taken, line.spec, each, asked))) for each in took_over(rows)[-most:]]
    held = [(each, _guarded(partial(_held, line.spec, each, asked))) for each in held_back(rows)[-most:]]
    said = summary(took, held)
    report: dict[str, Json] = {
        "model": line.model,
        "summary": said,
        "took_over": [_json(line, each, told) for each, told in took],
        "held_back": [_json(line, each, told) for each, told in held],
    }
    return {**report, "row": _put_on_record(line, report) if took or held else None}


def _taken(spec: ReleaseSpec, taken: TookOver, past: Past) -> Told:
    after = max(past.version(taken.bundle), past.version(taken.before))
    until = None if taken.until is None else past.version(taken.until)
    if until is not None and until <= after:
        return not_measured("it was replaced by a bundle of older or the same rows before anything landed")
    return compare_sides(spec, past.between(after, until), past.side(taken.bundle), past.side(taken.before))


def _held(spec: ReleaseSpec, held: HeldBack, past: Past) -> Told:
    if held.champion is None:
        return not_measured("nothing served, so there is no champion to look back on")
    after = max(past.version(held.champion), -1 if held.after is None else held.after)
    until = held.until_version if held.until is None else past.version(held.until)
    if until is not None and until <= after:
        return not_measured("another bundle served before anything landed")
    champion = past.side(held.champion)
    return compare_with_holdout(spec, past.between(after, until), past.holdout(held.champion), champion)


def _guarded(measure: Callable[[], Told]) -> Told:
    try:
        return measure()
    except TransientError:
        raise
    except LockgateError as why:
        return not_measured(why.message)


def _past(line: Line) -> Past:
    """Return the past as the model's table, snapshots and bundles hold it."""
    from lockgate.adapters.table_spans import landed_between

    data, block, store = line.spec.data, line.spec.split.block, line.services.store
    names = [*data.features, data.label, data.time, *data.key, *([] if block == "day" else [block])]

    def side(bundle: Digest) -> Side:
        asked = answerer(line, bundle)
        return Side(name=f"bundle {bundle[:12]}", ask=asked.ask, threshold=asked.threshold)

    return Past(
        between=lambda after, until: landed_between(line.services.settings.table(line.model), after, until, names),
        side=side,
        version=lambda bundle: store.snapshot(data_of(line, bundle)).table_version,
        holdout=lambda bundle: store.part(store.snapshot(data_of(line, bundle)), "holdout"),
    )


def _json(line: Line, decision: TookOver | HeldBack, told: Told) -> Json:
    facts = to_json(decision)
    return {**(facts if isinstance(facts, Mapping) else {}), "loss": loss_name(line.spec.task.kind), **told_json(told)}


def _put_on_record(line: Line, report: Mapping[str, Json]) -> int:
    key = digest_of(report)
    rows = line.ledger.rows(line.model, events=(Event.COUNTERFACTUALS,))
    if rows and rows[-1].payload.get("key") == key:
        return rows[-1].seq
    told = to_json(report)
    facts: dict[str, Json] = dict(told) if isinstance(told, Mapping) else {}
    return line.ledger.append(line.model, Event.COUNTERFACTUALS, {**facts, "key": key}).seq
