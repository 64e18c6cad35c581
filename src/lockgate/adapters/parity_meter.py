"""Measures parity: the estimator's and the graph's answers to the same rows, family by family.

    real rows     holdout, column_order, single_row, batch_sizes (the same rows, asked otherwise)
    altered rows  boundaries, missing, unseen, extreme, infinite, sweep: one column of a real row changed
    search        what climbing from the worst of all these found

What comes out, beside the numbers that the gate judges (`groups`, see `core.parity.compare_answers`):

    worst    one row a family, the one that parity is worst on, with both answers; kept in the release's folder alone
    asked    rows for the server to answer too, with the estimator's answers
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.adapters.parity_rows import (
    Family,
    Splits,
    boundary_rows,
    extreme_rows,
    infinite_rows,
    missing_rows,
    own_values,
    sweep_rows,
    unseen_rows,
)
from lockgate.adapters.parity_search import Ground, climb
from lockgate.core.contract import ColumnType, ModelContract
from lockgate.core.ids import Json, to_json
from lockgate.core.parity import compare_answers, differences, joined, margins, typical_size

_SINGLE_ROWS = 100
_BATCHES_EACH = 10
_ORDERED_ROWS = 1_000
_BATCHES = (2, 7, 64, 1_000)  # ours: around the widths that vector instructions and the server's batches have
_ASKED_EACH = 6
_FAR_OUT = ("extreme", "search", "infinite")
REAL, ALTERED = "real", "a real row with changed values"


class Answers(Protocol):
    """Anything that answers rows."""

    def score(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Return [n] or [n, classes]."""
        ...


@dataclass(frozen=True, slots=True)
class _Scored:
    """A family with both answers."""

    family: Family
    native: NDArray[Any]
    graph: NDArray[Any]
    facts: Mapping[str, Json]
    origin: str


def measure_parity(  # noqa: PLR0913 - two models, the rows, and what is known of them; all but two are keywords
    native: Answers,
    graph: Answers,
    *,
    holdout: pd.DataFrame,
    contract: ModelContract,
    splits: Splits,
    bound: float,
    seed: int,
) -> dict[str, Json]:
    """Return the `parity` gate's measurements, with `worst` and `asked` rows beside them.

    Args:
        native: The fitted estimator.
        graph: What ships.
        holdout: Every row of the holdout; only features are looked at.
        contract: Task, threshold, costs and columns.
        splits: From `Trainer.split_points`.
        bound: How far apart two equal models may be; tells flips from ties.
        seed: Draws the rows that are changed.
    """
    form = contract.graph
    features = holdout[[*form.numeric_columns, *form.categorical]].reset_index(drop=True)
    meter = _Meter(native, graph, contract, bound)
    meter.add("holdout", Family(features, ("",) * len(features)), REAL)
    if len(features):
        around = {name: splits.get(name, own_values(features, name)) for name in form.numeric_columns}
        with np.errstate(over="ignore", invalid="ignore"):  # what is far out is meant to overflow
            meter.add("boundaries", boundary_rows(features, form, around, seed))
            meter.add("missing", missing_rows(features, form, seed))
            meter.add("unseen", unseen_rows(features, form, seed))
            meter.add("extreme", extreme_rows(features, form, seed))
            meter.add("sweep", sweep_rows(features, form, seed))
            ground = Ground(pool=features, form=form, splits=around)
            meter.add("search", climb(meter.worst_rows(), ground, meter.bad, seed))
            meter.add_infinite(infinite_rows(features, form, seed))
        meter.add_otherwise(features)
    return {
        "task": contract.task.value,
        "threshold": contract.threshold,
        "bound": bound,
        "size": meter.size,
        "columns": {"numeric": len(form.numeric_columns), "categorical": len(form.categorical)},
        "groups": meter.groups,
        "worst": [meter.worst(name) for name in meter.scored if meter.scored[name].facts["worst_row"] is not None],
        "asked": meter.asked(seed),
    }


class _Meter:
    """Scores families and keeps what came out."""

    def __init__(self, native: Answers, graph: Answers, contract: ModelContract, bound: float) -> None:
        self._native, self._graph = native, graph
        self._contract, self._bound = contract, bound
        self.size = 1.0
        self.scored: dict[str, _Scored] = {}
        self.groups: dict[str, Json] = {}

    def add(self, name: str, family: Family, origin: str = ALTERED) -> None:
        """Score a family on both sides; the first, the holdout, sets what differences are measured against."""
        if family.rows.empty:
            return
        ours = self._native.score(family.rows)
        if not self.scored:
            self.size = typical_size(self._contract.task, ours)
        theirs = self._graph.score(family.rows)
        has = _has_answer(ours) if name in _FAR_OUT else np.ones(len(ours), dtype=np.bool_)
        if has.all() or not has.any() or ours.shape != theirs.shape:
            self._keep(name, family, ours, theirs, origin)
            return
        changed = tuple(column for column, kept in zip(family.changed, has, strict=True) if kept)
        self._keep(name, Family(family.rows[has], changed), ours[has], theirs[has], origin)
        self.groups[name] = {**_facts_of(self.groups[name]), "unanswered": int((~has).sum())}

    def add_infinite(self, family: Family) -> None:
        """Score rows with infinities, which an estimator may refuse: then there is nothing to compare with."""
        try:
            self.add("infinite", family)
        except ValueError:  # scikit-learn's and XGBoost's word for it
            self.groups["infinite"] = {"rows": 0, "refused": len(family.rows)}

    def add_otherwise(self, features: pd.DataFrame) -> None:
        """Ask the graph for rows of the holdout in other orders of columns and in other batches."""
        holdout = self.scored["holdout"]
        some = features.iloc[_evenly(len(features), _ORDERED_ROWS)]
        ours = holdout.native[_evenly(len(features), _ORDERED_ROWS)]
        family = Family(some, ("",) * len(some))
        orders = [list(features.columns[::-1]), sorted(features.columns)]
        answers = [self._graph.score(some[order]) for order in orders]
        self._keep("column_order", family, ours, answers[0], REAL)
        self.groups["column_order"] = joined(self._contract.task, [self._facts(ours, each) for each in answers])
        at = _evenly(len(features), _SINGLE_ROWS)
        single = np.concatenate([self._graph.score(features.iloc[[row]]) for row in at])
        self._keep("single_row", Family(features.iloc[at], ("",) * len(at)), holdout.native[at], single, REAL)
        batches = [self._in_batches(some, size) for size in _BATCHES]
        compared = [self._facts(ours[: len(each)], each) for each in batches]
        self.groups["batch_sizes"] = joined(self._contract.task, compared)

    def _in_batches(self, rows: pd.DataFrame, size: int) -> NDArray[Any]:
        ends = range(0, min(len(rows), size * _BATCHES_EACH), size)
        return np.concatenate([self._graph.score(rows.iloc[at : at + size]) for at in ends])

    def bad(self, rows: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return each row's difference, infinite for no number, and its distance from the decision boundary."""
        ours, theirs = self._native.score(rows), self._graph.score(rows)
        if ours.shape != theirs.shape:
            return np.full(len(rows), np.inf), np.full(len(rows), np.inf)
        difference, bad = differences(self._contract.task, ours, theirs, self.size)
        far = np.full(len(rows), np.inf)
        margin = far if self._contract.task.value == "regression" else self._margins(ours)
        return np.where(bad, np.inf, difference), np.where(bad, np.inf, margin)

    def _margins(self, native: NDArray[Any]) -> NDArray[np.float64]:
        return margins(native, self._contract.threshold, self._contract.costs)

    def worst_rows(self, each: int = 12) -> pd.DataFrame:
        """Return the rows of every family that differ most, and those nearest to the decision boundary."""
        chosen = []
        for one in self.scored.values():
            if one.native.shape != one.graph.shape:
                continue
            difference, _ = differences(self._contract.task, one.native, one.graph, self.size)
            at = list(np.argsort(-difference, kind="stable")[:each])
            if self._contract.task.value != "regression":
                at += list(np.argsort(self._margins(one.native), kind="stable")[:each])
            chosen.append(one.family.rows.iloc[list(dict.fromkeys(at))])
        return pd.concat([each.astype(object) for each in chosen], ignore_index=True)

    def worst(self, name: str) -> dict[str, Json]:
        """Return the worst row of a family, whole, with both answers."""
        one = self.scored[name]
        at = int(str(one.facts["worst_row"]))
        return {
            "family": name,
            "origin": one.origin,
            "changed": one.family.changed[at] or None,
            "row": self._wire_row(one.family.rows.iloc[at]),
            "native": _listed(one.native[at]),
            "graph": _listed(one.graph[at]),
        }

    def asked(self, seed: int) -> dict[str, Json]:
        """Return the worst rows and a few others of each family, for the server to answer."""
        rng = np.random.default_rng(seed)
        rows: list[Json] = []
        native: list[Json] = []
        for name, one in self.scored.items():
            if name == "infinite":  # JSON has no infinity, and the server refuses what is beyond float32
                continue
            drawn = rng.integers(len(one.native), size=min(_ASKED_EACH, len(one.native)))
            worst = one.facts["worst_row"]
            for at in dict.fromkeys([*([] if worst is None else [int(str(worst))]), *(int(each) for each in drawn)]):
                rows.append(self._wire_row(one.family.rows.iloc[at]))
                native.append(_listed(one.native[at]))
        return {"rows": rows, "native": native}

    def _keep(self, name: str, family: Family, ours: NDArray[Any], theirs: NDArray[Any], origin: str) -> None:
        facts = self._facts(ours, theirs)
        worst = facts["worst_row"]
        changed = family.changed[int(str(worst))] if worst is not None else ""
        self.groups[name] = {**facts, "worst_column": changed or None}
        self.scored[name] = _Scored(family, ours, theirs, facts, origin)

    def _facts(self, ours: NDArray[Any], theirs: NDArray[Any]) -> dict[str, Json]:
        return compare_answers(
            self._contract.task,
            ours,
            theirs,
            threshold=self._contract.threshold,
            costs=self._contract.costs,
            size=self.size,
            bound=self._bound,
        )

    def _wire_row(self, row: pd.Series) -> dict[str, Json]:
        """Return a row as a client would send it; infinities in words."""
        told: dict[str, Json] = {}
        for column in self._contract.inputs:
            value = row[column.name]
            if pd.isna(value):
                told[column.name] = None
            else:
                told[column.name] = to_json(float(value)) if column.type is ColumnType.NUMBER else str(value)
        return told


def _has_answer(native: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where the estimator itself has an answer that float32 can hold: exp of a far out number has none."""
    held = np.abs(native) <= np.finfo(np.float32).max
    return np.asarray(held if held.ndim == 1 else held.all(axis=1))


def _facts_of(group: Json) -> Mapping[str, Json]:
    return group if isinstance(group, Mapping) else {}


def _evenly(rows: int, most: int) -> NDArray[np.int64]:
    return np.unique(np.linspace(0, rows - 1, min(most, rows)).astype(np.int64))


def _listed(answer: Any) -> Json:  # noqa: ANN401 - a number, or an array of them
    return to_json([float(each) for each in np.ravel(answer)])
