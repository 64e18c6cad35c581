"""Search for groups of rows that nobody declared and that are served worse than they should be.

Every value of every feature, and every pair of values of two features, is a candidate: tens of thousands of looks at
one holdout, so the worst of them looks bad by chance alone. Hence two halves of the blocks, every other block each:

    search half    rank all candidates, walk down, keep a few that say different things
    other half     measure those few afresh; only this half's numbers are shown with an interval and tested

What is ranked is excess loss over what the row should cost (`slices`), never the raw loss: rows that are hard for any
model are no finding. A candidate is kept when it is still worse on the rows that those kept before it do not hold (so
neither a near copy nor a parent that is bad only through its child is told twice), and a pair only when it is worse
than its two parents together explain.

Source of the split: Cox 1975, A note on data-splitting for the evaluation of significance levels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lockgate.core.block_statistics import block_sums
from lockgate.core.intervals import Estimate, t_quantile
from lockgate.core.metrics import Floats, Ints
from lockgate.core.slice_scan import Bools, Candidate, Coded, Plan, Rows, scan
from lockgate.core.slices import Excesses, beyond_parents, estimated, excess, worse_than

NUISANCE = 0.05
"""One-sided level of the two questions that only prune (still worse beside the others? worse than the parents?); the
conventional 5 %. They need no correction: what they let through is tested afresh on the other half."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """One candidate on one half.

    Attributes:
        rows: Rows in it.
        blocks: Blocks it appears in.
        excess: Mean excess, with its interval.
        beyond_parents: By how much a pair is worse than its parents explain; None for one column.
        beside: Mean excess of those of its rows that no finding before it holds; None for the first.
    """

    rows: int
    blocks: int
    excess: Estimate
    beyond_parents: Estimate | None
    beside: Estimate | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One candidate on both halves.

    Attributes:
        candidate: Which rows.
        searched: On the half it was found on: optimistic, because it was chosen for this number.
        confirmed: On the other half.
    """

    candidate: Candidate
    searched: Measured
    confirmed: Measured


@dataclass(frozen=True, slots=True, kw_only=True)
class Search:
    """What came of a search.

    Attributes:
        candidates: Slices large enough to be looked at.
        too_small: Slices that were not.
        paired: Columns that were paired.
        findings: At most `Plan.findings`, in the order of the ranking.
    """

    candidates: int
    too_small: int
    paired: int
    findings: tuple[Finding, ...]


def search(columns: Sequence[Coded], rows: Rows, plan: Plan) -> Search:
    """Search one half of the blocks, and measure what was found on the other.

    About three additions a row and pair of columns: 100,000 rows of 24 columns take a second or two.
    """
    (first, here), (other, there) = rows.half(0), rows.half(1)
    mine = [Coded(name=each.name, codes=each.codes[here], labels=each.labels) for each in columns]
    tempered = first.tempered()
    scanned = scan(mine, tempered, plan)
    ours, theirs = ([each.codes for each in mine], [each.codes[there] for each in columns])
    kept = _walk(ours, tempered, scanned.ranked, plan)
    findings = tuple(
        Finding(candidate=each, searched=found, confirmed=again)
        for each, found, again in zip(kept, measure(first, ours, kept), measure(other, theirs, kept), strict=True)
    )
    return Search(candidates=scanned.candidates, too_small=scanned.too_small, paired=scanned.paired, findings=findings)


def measure(rows: Rows, codes: Sequence[Ints], candidates: Sequence[Candidate]) -> list[Measured]:
    """Measure candidates on some rows, each also beside those before it."""
    told = np.zeros(len(rows.block), dtype=bool)
    measured: list[Measured] = []
    for candidate in candidates:
        member = candidate.among(codes)
        found = excess(rows.table(member), rows.whole() if rows.against_rest else None)
        pair = len(candidate.columns) == 2
        measured.append(
            Measured(
                rows=int(member.sum()),
                blocks=int(found.blocks[0]),
                excess=_first(found),
                beyond_parents=_first(_beyond(rows, codes, candidate)) if pair else None,
                beside=_first(_beside(rows, member & ~told, told)) if measured else None,
            )
        )
        told |= member
    return measured


def finding_p_value(finding: Finding, bound: float = 0.0) -> float:
    """Return the p-value of a finding on the half that did not choose it.

    Everything it claims must hold, so the largest p of its claims counts (intersection-union, Berger 1982): its excess
    is above `bound`, the pair is worse than its parents explain, and it is bad beside the findings before it.
    """
    claims = zip(_claims(finding), (bound, 0.0, 0.0), strict=False)
    return max(worse_than(each.value, each.se, finding.confirmed.blocks, at) for each, at in claims)


def is_measured(finding: Finding) -> bool:
    """Tell whether the half that did not choose it has rows enough to measure all that is claimed of it."""
    return all(np.isfinite(each.se) for each in _claims(finding))


def _claims(finding: Finding) -> list[Estimate]:
    found = finding.confirmed
    return [each for each in (found.excess, found.beyond_parents, found.beside) if each is not None]


def alike(loss: Floats, answer: Floats, ranges: int = 20) -> Floats:
    """Return what each row should cost: the mean loss of the rows that were answered alike, shape [n].

    Args:
        loss: Shape [n]; finite.
        answer: What was answered, shape [n]; cut into ranges of about as many rows.
        ranges: At most; fewer where answers tie or there are under a hundred rows for one.

    >>> alike(np.array([1.0, 3.0, 5.0]), np.array([0.1, 0.1, 0.9])).tolist()  # too few rows for two ranges
    [3.0, 3.0, 3.0]
    """
    if not len(loss):
        return loss
    ranges = max(1, min(ranges, len(loss) // 100))
    edges = np.unique(np.sort(answer)[np.arange(1, ranges) * len(answer) // ranges])
    place = np.searchsorted(edges, answer, side="right")
    rows = np.bincount(place, minlength=len(edges) + 1)
    return np.asarray((block_sums(loss, place, len(edges) + 1) / np.maximum(rows, 1))[place])


def _beyond(rows: Rows, codes: Sequence[Ints], pair: Candidate) -> Excesses:
    first, second = (codes[column] == code for column, code in zip(pair.columns, pair.codes, strict=True))
    return beyond_parents(rows.table(first), rows.table(second), rows.table(first & second), rows.whole())


def _first(found: Excesses) -> Estimate:
    return estimated(float(found.value[0]), float(found.se[0]), int(found.blocks[0]))


def _walk(codes: Sequence[Ints], rows: Rows, ranked: Sequence[Candidate], plan: Plan) -> list[Candidate]:
    """Walk down the ranking and keep those that say something which those kept before do not."""
    kept: list[Candidate] = []
    told = np.zeros(len(rows.block), dtype=bool)
    for candidate in ranked:
        if len(kept) == plan.findings:
            break
        member = candidate.among(codes)
        if int((member & ~told).sum()) < plan.min_rows or not _is_worse(_beside(rows, member & ~told, told), plan):
            continue
        if len(candidate.columns) == 2 and not _is_worse(_beyond(rows, codes, candidate), plan):
            continue
        kept.append(candidate)
        told |= member
    return kept


def _beside(rows: Rows, fresh: Bools, told: Bools) -> Excesses:
    """Return the excess of the rows that only this candidate holds, against all that nothing kept holds."""
    return excess(rows.table(fresh), rows.table(~told) if rows.against_rest else None)


def _is_worse(found: Excesses, plan: Plan) -> bool:
    value, se, blocks = float(found.value[0]), float(found.se[0]), int(found.blocks[0])
    if blocks < plan.min_blocks or not np.isfinite(se):
        return False
    return value > t_quantile(1 - NUISANCE, blocks - 1) * se
