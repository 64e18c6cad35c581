"""Where rows come from, what their columns mean, and how they are divided."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from annotated_types import Gt, Le, MinLen

from lockgate.core.spec_sections.units import Days, MaybeSeconds


class SplitMethod(StrEnum):
    """How rows are divided into train, validation and holdout."""

    TIME = "time"
    GROUP = "group"
    RANDOM = "random"


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSection:
    """Where rows come from and what their columns mean.

    Attributes:
        suite: Name of the Great Expectations suite, a file in great_expectations/expectations/.
        label: The column to predict. Rows without a label are traffic, not training data; their share is shown.
        time: Column with the time an answer is needed, aware UTC; it orders and splits the rows.
        key: Columns that together name one row.
        numeric: Numeric feature columns.
        categorical: String feature columns.
        personal: Columns that hold personal data and are meant to: neither the bundle nor, unless hashed or left out by
            `serving.log`, the prediction log may hold them.
        forbidden: Columns that no feature may be: known only after the event, or not allowed.
        entity: Column whose value keys sticky routing.
        prepare: `package.module:function`, frame of landed rows -> frame of rows; null: rows are landed as they are.
        sample: `package.module:function`, batch name and path -> writes that batch of real data; for demo and replay.
        sample_batches: Names of the batches that `sample` can write, in the order they land.
        label_delay_s: How long after `time` the label is known.
        duplicates: What a row with a key already seen in the batch means: "refuse" or "keep_last".
    """

    suite: str
    label: str
    time: str
    key: Annotated[tuple[str, ...], MinLen(1)]
    numeric: tuple[str, ...] = ()
    categorical: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()
    personal: tuple[str, ...] = ()
    entity: str | None = None
    prepare: str | None = None
    sample: str | None = None
    sample_batches: tuple[str, ...] = ()
    label_delay_s: MaybeSeconds = 0.0
    duplicates: str = "refuse"

    @property
    def features(self) -> tuple[str, ...]:
        """Numeric then categorical feature columns: the order of the wire contract."""
        return self.numeric + self.categorical


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitSection:
    """How rows are divided.

    Attributes:
        method: time (the newest rows are the holdout), group (by `group`), random (by key hash).
        validation_days: Days before the holdout, for early stopping, search and the threshold; time only.
        holdout_days: The newest days, for evaluation only; time only.
        validation_fraction: Share of validation rows; group and random only.
        holdout_fraction: Share of holdout rows; group and random only.
        group: Column that keeps rows together; group only.
        block: Rows of one block are not independent; comparisons resample blocks. "day" (of `data.time`) or a column.
        train_window_days: Only rows of this many days before validation are trained on; null: all.
    """

    method: SplitMethod = SplitMethod.TIME
    validation_days: Days = 7
    holdout_days: Days = 21
    validation_fraction: Annotated[float, Gt(0), Le(0.5)] = 0.15
    holdout_fraction: Annotated[float, Gt(0), Le(0.5)] = 0.2
    group: str | None = None
    block: str = "day"
    train_window_days: Days | None = None
