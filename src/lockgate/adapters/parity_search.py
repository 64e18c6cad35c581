"""Looks for a counter-example where the others left off: changes the worst rows found, keeps the worse, again.

A conversion that is wrong in one corner shows a small difference on the way there, so climbing finds it where a
sample of any size may not. Deterministic for a seed, and bounded: so many rounds of so many rows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lockgate.adapters.parity_rows import Family, Splits
from lockgate.core.contract import GraphForm

ROUNDS = 6
_CHILDREN = 250  # ours: with six rounds 1,500 rows, 0.1 s of scoring
_KEPT = 24
_STEPS = np.array([-2, -1, 1, 2])
Badness = Callable[[pd.DataFrame], tuple[NDArray[np.float64], NDArray[np.float64]]]
"""Frame -> each row's difference, and its distance from the decision boundary (infinite where there is none)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """Where new values come from.

    Attributes:
        pool: Real rows; a value is borrowed from one of them.
        form: Names the columns.
        splits: Values at which the answer may jump, by column.
    """

    pool: pd.DataFrame
    form: GraphForm
    splits: Splits


def climb(start: pd.DataFrame, ground: Ground, badness: Badness, seed: int) -> Family:
    """Return every row that was tried.

    Args:
        start: Rows to begin with, the worst found so far.
        ground: Where new values come from.
        badness: Scores rows; half of those kept have the largest difference, half are nearest to the boundary.
        seed: Draws parents, columns and values.
    """
    columns = ground.form.numeric_columns + ground.form.categorical
    if start.empty or not columns:
        return Family(start.iloc[:0], ())
    rng = np.random.default_rng(seed)
    parents = start.reset_index(drop=True).astype(object)
    tried, changed = [], []
    for _ in range(ROUNDS):
        names = [columns[at] for at in rng.integers(len(columns), size=_CHILDREN)]
        children = parents.iloc[rng.integers(len(parents), size=_CHILDREN)].reset_index(drop=True)
        for name in dict.fromkeys(names):
            at = [row for row, each in enumerate(names) if each == name]
            children[name] = _changed(children[name], at, name, ground, rng)
        tried.append(children)
        changed += names
        parents = _worst(pd.concat([parents, children], ignore_index=True), badness)
    return Family(pd.concat(tried, ignore_index=True), tuple(changed))


def _worst(rows: pd.DataFrame, badness: Badness) -> pd.DataFrame:
    difference, margin = badness(rows)
    chosen = [*np.argsort(-difference, kind="stable")[:_KEPT], *np.argsort(margin, kind="stable")[:_KEPT]]
    return rows.iloc[list(dict.fromkeys(int(at) for at in chosen))].reset_index(drop=True)


def _changed(column: pd.Series, at: list[int], name: str, ground: Ground, rng: np.random.Generator) -> pd.Series:
    values = column.to_numpy(dtype=object, copy=True)
    new = _number if name in ground.form.numeric_columns else _text
    for row in at:
        values[row] = new(values[row], name, ground, rng)
    return pd.Series(values, dtype=object)


def _number(value: Any, name: str, ground: Ground, rng: np.random.Generator) -> float:  # noqa: ANN401 - a cell
    """Return a split or its neighbour, the value a step or two on, another row's value, or nothing."""
    splits = ground.splits.get(name)
    kind = rng.random()
    if kind < 0.05:
        return float("nan")
    if kind < 0.5 and splits is not None and len(splits):
        return _stepped(splits[rng.integers(len(splits))], int(rng.integers(-1, 2)))
    if kind < 0.75 and not pd.isna(value):
        return _stepped(np.float32(value), int(rng.choice(_STEPS)))
    borrowed = ground.pool[name].iloc[rng.integers(len(ground.pool))]
    return float("nan") if pd.isna(borrowed) else float(borrowed)


def _text(value: Any, name: str, ground: Ground, rng: np.random.Generator) -> str | None:  # noqa: ANN401 - a cell
    kind = rng.random()
    if kind < 0.1:
        return None
    if kind < 0.2:
        return f"{value}?"  # never seen, unless a column is stranger than this
    borrowed = ground.pool[name].iloc[rng.integers(len(ground.pool))]
    return None if pd.isna(borrowed) else str(borrowed)


def _stepped(value: np.float32, steps: int) -> float:
    """Return the float32 so many steps on."""
    with np.errstate(over="ignore"):  # beyond the largest float32 there is infinity
        for _ in range(abs(steps)):
            value = np.nextafter(value, np.float32(np.inf if steps > 0 else -np.inf))
    return float(value)
