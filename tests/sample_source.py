"""A model's example data for tests: written, and prepared, as a spec's own functions would."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


def write_batch(name: str, path: Path) -> None:
    """Write one batch: three rows out of order, the second known to nobody; an empty one where the name says so."""
    rows = pd.DataFrame(
        {
            "id": ["c", "a", "b"],
            "leg": [3, 1, 2],
            "when": pd.to_datetime(["2026-01-01T02:00Z", "2026-01-01T00:00Z", "2026-01-01T01:00Z"]),
            "length": [30, 10, 20],
            "weight": [np.nan, 1.5, np.inf],
            "colour": ["red", None, "blue"],
            "late": ["yes", "no", None],
            "amount": [12.5, 3.0, 99.0],
            "age": [41, 18, 30],
            "shape": ["disc", "cube", None],
        }
    )
    rows.head(0 if name == "empty" else 3).to_parquet(path, index=False)


def prepare(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows with a column of their own."""
    return frame.assign(twice=frame["length"] * 2)
