"""Every value of every column and every pair of two, measured at once and ranked by how surely bad it is.

    ranking    first those whose simultaneous lower bound (Bonferroni over all candidates) is above `Plan.least`,
               the highest bound first: what is surely bad, by how bad it surely is
               then the others, by their t: what is most likely bad

A standard error from ten blocks is itself uncertain, and of ten thousand some are near 0 by chance. So for the ranking,
and for nothing else, each is averaged with what independent rows would give times the design effect of all columns.

Source of that average: Smyth 2004, moderated t, with as many prior degrees of freedom as there are own ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from lockgate.core.block_statistics import block_sums
from lockgate.core.intervals import t_quantile
from lockgate.core.metrics import Floats, Ints
from lockgate.core.slices import Table, excess

Bools = NDArray[np.bool_]

TAIL = 0.002
"""Ours: one confidently wrong answer costs as much as forty ordinary ones, and would hide a slice that is bad in every
row behind its own spread; of ten thousand rows twenty on either side are cut, for the ranking alone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How far to look.

    Attributes:
        findings: At most this many candidates go to the other half; each costs the others some power.
        walked: At most this many candidates of the ranking are looked at one by one.
        columns: At most this many columns are paired: those whose own slices differ most. The rest are searched alone.
        min_rows: Rows a candidate needs in either half.
        min_blocks: Blocks it needs in either half.
        least: Excess that is nobody's concern, however sure; in the loss's own unit.
    """

    findings: int = 10
    walked: int = 200
    columns: int = 40
    min_rows: int = 100
    min_blocks: int = 8
    least: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Coded:
    """One column as slices.

    Attributes:
        name: The column.
        codes: Slice of each row, shape [n]; -1 where no slice holds it.
        labels: What the slices are called, by code.
    """

    name: str
    codes: Ints
    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """What the search looks at.

    Attributes:
        difference: Loss above what the row should cost, shape [n]; finite.
        block: Block index of each row, 0..blocks-1, shape [n].
        blocks: How many blocks.
        against_rest: Whether the mean excess of all other rows is taken off.
    """

    difference: Floats
    block: Ints
    blocks: int
    against_rest: bool

    def half(self, parity: int) -> tuple[Rows, Bools]:
        """Return the rows of every other block, blocks numbered anew, and which rows they are."""
        mine = self.block % 2 == parity
        blocks = (self.blocks + 1 - parity) // 2
        rows = Rows(
            difference=self.difference[mine],
            block=self.block[mine] // 2,
            blocks=blocks,
            against_rest=self.against_rest,
        )
        return rows, mine

    def tempered(self) -> Rows:
        """Return the same rows with the outermost differences cut to the quantiles of `TAIL` on either side."""
        low, high = np.quantile(self.difference, [TAIL, 1 - TAIL]) if len(self.difference) else (0.0, 0.0)
        return replace(self, difference=self.difference.clip(low, high))

    def table(self, member: Bools) -> Table:
        """Return the sums of one slice by block, shapes [1, blocks]."""
        block, over = self.block[member], self.difference[member]
        return Table(
            rows=block_sums(np.ones(len(over)), block, self.blocks)[None],
            over=block_sums(over, block, self.blocks)[None],
        )

    def whole(self) -> Table:
        """Return the sums of all rows by block."""
        return self.table(np.ones(len(self.block), dtype=bool))


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One slice: a value of one column, or of two.

    Attributes:
        columns: Index of the column, or of both.
        codes: Its slice in each.
    """

    columns: tuple[int, ...]
    codes: tuple[int, ...]

    def among(self, codes: Sequence[Ints]) -> Bools:
        """Tell which rows it holds, shape [n]."""
        pairs = zip(self.columns, self.codes, strict=True)
        return np.asarray(np.logical_and.reduce([codes[column] == code for column, code in pairs]))


@dataclass(frozen=True, slots=True, kw_only=True)
class Scanned:
    """What a scan saw.

    Attributes:
        ranked: The first `Plan.walked` candidates.
        candidates: How many there were.
        too_small: Slices too small to look at.
        paired: Columns that were paired.
    """

    ranked: tuple[Candidate, ...]
    candidates: int
    too_small: int
    paired: int


@dataclass(frozen=True, slots=True, kw_only=True)
class _Cells:
    """The slices of one or two columns that are large enough; arrays have one entry a slice."""

    columns: tuple[int, ...]
    codes: Ints
    value: Floats
    se: Floats
    blocks: Ints
    independent: Floats  # variance of the mean if rows were independent
    too_small: int


def scan(columns: Sequence[Coded], rows: Rows, plan: Plan) -> Scanned:
    """Measure every slice of every column and of every two columns, and rank them."""
    squares, whole = rows.difference**2, rows.whole() if rows.against_rest else None

    def cells(*which: int) -> _Cells:
        return _cells(which, [columns[k] for k in which], rows, squares=squares, whole=whole, plan=plan)

    alone = [cells(k) for k in range(len(columns))]
    paired = _most_uneven(alone, plan.columns)
    measured = [*alone, *(cells(a, b) for a, b in combinations(paired, 2))]
    order, owner, place = _ranked(measured, alone, plan)
    ranked = tuple(
        Candidate(columns=measured[owner[k]].columns, codes=tuple(measured[owner[k]].codes[place[k]].tolist()))
        for k in order[: plan.walked].tolist()
    )
    return Scanned(
        ranked=ranked, candidates=len(order), too_small=sum(each.too_small for each in measured), paired=len(paired)
    )


def _cells(  # noqa: PLR0913 - one column or two, and what is the same for all of them
    which: tuple[int, ...],
    columns: Sequence[Coded],
    rows: Rows,
    *,
    squares: Floats,
    whole: Table | None,
    plan: Plan,
) -> _Cells:
    sizes = [len(each.labels) + 1 for each in columns]  # code 0: rows that no slice of the column holds
    cell = columns[0].codes + 1
    if len(columns) == 2:
        cell = cell * sizes[1] + (columns[1].codes + 1)
    count = int(np.prod(sizes))
    place, shape = cell * rows.blocks + rows.block, (count, rows.blocks)
    n = np.bincount(place, minlength=count * rows.blocks).reshape(shape).astype(np.float64)
    total = n.sum(axis=1)
    codes = np.stack(np.unravel_index(np.arange(count), sizes), axis=1) - 1
    there = (codes >= 0).all(axis=1) & (total > 0) & (total < len(rows.block))  # a slice of every row is none
    large = there & (total >= plan.min_rows) & ((n > 0).sum(axis=1) >= plan.min_blocks)
    over = block_sums(rows.difference, place, count * rows.blocks).reshape(shape)[large]
    found = excess(Table(rows=n[large], over=over), whole)
    mean = over.sum(axis=1) / total[large]
    spread = block_sums(squares, cell, count)[large] / total[large] - mean**2
    return _Cells(
        columns=which,
        codes=codes[large],
        value=found.value,
        se=found.se,
        blocks=found.blocks,
        independent=spread.clip(min=0.0) / total[large],
        too_small=int((there & ~large).sum()),
    )


def _most_uneven(alone: Sequence[_Cells], most: int) -> list[int]:
    """Return the columns to pair: all, or those whose worst slice is most surely bad."""
    if len(alone) <= most:
        return list(range(len(alone)))
    worst = [float(np.max(each.value / np.sqrt(each.independent + 1e-300), initial=-np.inf)) for each in alone]
    return sorted(np.argsort(worst, kind="stable")[::-1][:most].tolist())


def _ranked(measured: Sequence[_Cells], alone: Sequence[_Cells], plan: Plan) -> tuple[Ints, Ints, Ints]:
    """Return the order of all slices, and for each slice whose it is and which of theirs."""
    sizes = [len(each.value) for each in measured]
    owner = np.repeat(np.arange(len(measured)), sizes)
    place = np.concatenate([np.arange(size) for size in sizes] or [np.empty(0, dtype=np.int64)])
    if not len(owner):
        return owner, owner, place
    value, se, independent = (
        np.concatenate([getattr(each, name) for each in measured]) for name in ("value", "se", "independent")
    )
    degrees = np.concatenate([each.blocks for each in measured]) - 1
    moderated = np.sqrt((se**2 + independent * _design_effect(alone)) / 2)
    over = value - plan.least
    t = np.divide(over, moderated, out=np.where(over > 0, np.inf, -np.inf), where=moderated > 0)
    # twice the degrees: half of them are the prior's
    bound = over - t_quantile(1 - 0.05 / len(over), 2 * int(np.median(degrees))) * moderated
    return np.lexsort((-t, -np.maximum(bound, 0.0))), owner, place


def _design_effect(alone: Sequence[_Cells]) -> float:
    """Return how much more a mean varies over blocks than over independent rows: the median over one-way slices."""
    shares = [each.se[each.independent > 0] ** 2 / each.independent[each.independent > 0] for each in alone]
    known = np.concatenate(shares) if shares else np.empty(0)
    return float(np.median(known)) if len(known) else 1.0
