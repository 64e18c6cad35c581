"""What a candidate is judged by, beside the thresholds of the gates."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

from annotated_types import Ge, Le, Lt, MinLen

from lockgate.core.spec_sections.units import AboveZero, Amount, Scalar, Seconds, Signed


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceColumn:
    """The slices of one column: its values, or ranges of its numbers.

    Attributes:
        column: Every value of this column is a slice.
        values: Only these; null: all.
        edges: Ranges of a number instead: below the first edge, between two, from the last.
        bins: Ranges of about as many holdout rows each instead.
    """

    column: str
    values: tuple[str, ...] | None = None
    edges: Annotated[tuple[Signed, ...], MinLen(1)] | None = None
    bins: Annotated[int, Ge(2), Le(20)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceSection(SliceColumn):
    """Rows that are judged on their own.

    Attributes:
        column: Every value of this column is a slice.
        values: Only these; null: all.
        edges: Ranges of a number instead: below the first edge, between two, from the last.
        bins: Ranges of about as many holdout rows each instead.
        across: A second column (column, values, edges, bins): every pair of a slice of each is a slice.
        min_rows: A slice of fewer rows is named, not judged; null: `gates.slices.min_rows`.
    """

    across: SliceColumn | None = None
    min_rows: Annotated[int, Ge(30), Le(1_000_000_000)] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CostsSection:
    """What a wrong decision costs, in any one unit; used to choose the threshold and to rank.

    Attributes:
        false_positive: Cost of acting when nothing was wrong; binary only.
        false_negative: Cost of not acting when something was; binary only.
        matrix: Multiclass only: what happened, to what was decided, to its cost; every class is named in both places,
            and a right decision may be left out (0). Rows are then decided for the class of least expected cost, in
            evaluation and by the server; null: for the likeliest.
    """

    false_positive: Amount = 1.0
    false_negative: Amount = 1.0
    matrix: Mapping[str, Mapping[str, Amount]] | None = None

    def by_index(self, classes: tuple[str, ...]) -> tuple[tuple[float, ...], ...] | None:
        """Return the matrix by class index, row for what happened; None when there is none."""
        if self.matrix is None:
            return None
        return tuple(tuple(float(self.matrix[row].get(column, 0.0)) for column in classes) for row in classes)


class Effect(StrEnum):
    """What adding to a column may not do to the answer."""

    NOT_LOWER = "not_lower"
    NOT_HIGHER = "not_higher"


@dataclass(frozen=True, slots=True, kw_only=True)
class InvariantSection:
    """A change that must not matter to the answer.

    Attributes:
        column: The feature that is changed.
        values: Rows that hold one of these are asked again with each of the others. For a numeric column, numbers.
        tolerance: The answer may change by this much: a probability, or the value in its unit.
        rows_fraction: Share of rows whose answer may change by more.
    """

    column: str
    values: Annotated[tuple[Scalar, ...], MinLen(2)]
    tolerance: Amount
    rows_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectionalSection:
    """A change whose effect on the answer has a known sign.

    Attributes:
        column: The numeric feature that is changed.
        step: Added to it; may be negative, not 0.
        answer: not_lower (the answer must not fall by it) or not_higher (it must not rise).
        of: Multiclass: the class whose probability is meant.
        tolerance: The answer may go the wrong way by this much: a probability, or the value in its unit.
        rows_fraction: Share of rows whose answer may go the wrong way by more.
    """

    column: str
    step: Signed
    answer: Effect
    of: str | None = None
    tolerance: Amount = 0.0
    rows_fraction: Annotated[float, Ge(0), Lt(1)] = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RobustnessSection:
    """What the answer must withstand, beyond what every model must.

    Attributes:
        noise: Standard deviation of a numeric feature's measurement error, by column, in the column's unit. The answer
            must be stable within it. Columns that are not named are shaken by a small share of their spread, which is
            shown and does not block.
        invariant: Changes that must not matter.
        directional: Changes whose effect has a known sign.
    """

    noise: Mapping[str, AboveZero] = field(default_factory=dict)
    invariant: tuple[InvariantSection, ...] = ()
    directional: tuple[DirectionalSection, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationSection:
    """What offline evaluation looks at beyond its gates; shown to the approver, binding on nothing.

    Attributes:
        folds: Into how many folds of whole blocks train and validation are divided, each left out once and the rest
            fitted again; 0: none. Costs as many fits.
        folds_time_s: Folds that are not fitted by then are left out, and counted.
        past_champions: At most this many past champions are scored on the holdout, newest first.
    """

    folds: Annotated[int, Ge(0), Le(20)] = 0
    folds_time_s: Seconds = 300.0
    past_champions: Annotated[int, Ge(0), Le(6)] = 6
