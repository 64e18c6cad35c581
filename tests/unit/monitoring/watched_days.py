"""Days of a champion made up for tests: as at release, worse, without labels, or failing."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest, ModelName
from lockgate.core.monitoring.reference import Frozen, Reference, ReleaseLoss
from lockgate.core.monitoring.summary import ColumnCounts, DaySummary, LabelSums, Span
from lockgate.core.online.means import Sums

MODEL, CHAMPION = ModelName("flights"), Digest("d" * 64)
FIRST = date(2026, 3, 1)
ROWS = 600
ESTIMATE = {"estimate": 0.2, "low": 0.15, "high": 0.25, "se": 0.01}

REFERENCE = Reference(
    model=MODEL,
    digest=CHAMPION,
    task=TaskKind.BINARY,
    rows=20_000,
    features={"wind": Frozen(shares=(0.5, 0.5, 0.0)), "rain": Frozen(shares=(0.5, 0.5, 0.0))},
    score=Frozen(shares=(0.5, 0.5, 0.0)),
    importance={"wind": 0.9, "rain": 0.1},
    loss=ReleaseLoss(mean=0.15, se=0.004, days=25, unit="1"),
    positive=0.25,
    naive=ESTIMATE,
    slices={"origin=EWR": (1.0, 0.1)},
)


def day(
    number: int,
    *,
    loss: float = 0.15,
    labelled: int = ROWS,
    wind: tuple[int, int] = (300, 300),
    rain: tuple[int, int] = (300, 300),
    positives: float = 0.25,
    expected: float = 0.15,
    failed: int = 0,
    origin: float | None = None,
) -> DaySummary:
    """Return one day; `loss` a labelled row, the rest as at release."""
    sums = LabelSums(n=labelled, loss=loss * labelled, loss_squares=loss * labelled, predicted=0.25 * labelled,
                     observed=positives * labelled)  # fmt: skip
    sliced = {} if origin is None else {"origin=EWR": LabelSums(n=200, loss=origin * 200)}
    return DaySummary(
        model=MODEL,
        digest=CHAMPION,
        day=(FIRST + timedelta(days=number)).isoformat(),
        requests=ROWS,
        rows=ROWS,
        failed=failed,
        features={"wind": ColumnCounts(bins=wind), "rain": ColumnCounts(bins=rain)},
        score=ColumnCounts(bins=(300, 300)),
        classes={"late": 100, "on_time": 500},
        expected_loss=Sums(n=ROWS, total=expected * ROWS, squares=ROWS * expected**2),
        labels=sums,
        hours=((ROWS, labelled), *((0, 0),) * 23),
        spans=tuple(Span(requests=10, failed=failed) for _ in range(288)),
        by_slice=sliced,
        files=f"{number:064x}",
    )


def noon_after(days: int) -> datetime:
    """Return the time at which the labels of so many days are due."""
    return datetime.combine(FIRST + timedelta(days=days), datetime.min.time(), UTC) + timedelta(hours=13)
