"""The model that `lockgate selftest` takes when none is named: small enough for minutes, strict as any.

Will a delivery be late? Two months of made-up rows with everything the gates look at: numbers, strings, missing
values, a declared slice, a sensitive group, a suite with ranges. Whoever changes it checks the clean candidate first:
it must pass every gate by a margin, or a fault that is caught shows nothing.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from lockgate.config import Settings
from lockgate.core.spec import ReleaseSpec
from lockgate.spec_file import parse_spec

if TYPE_CHECKING:
    import pandas as pd

NAME = "toy-delivery"
ROWS_A_DAY = 300
HISTORY_DAYS = 49  # 21 to train on, 7 to validate, 21 to judge by: the least that intervals over days allow
BATCH_DAYS = 7
_SEED = 11
_FIRST_DAY = "2024-01-01"
_NUMERIC = ("distance_km", "stops", "weight_kg", "rain_mm", "traffic", "driver_years", "vehicle_age")
_CATEGORICAL = ("depot", "service")
_RANGES = {
    "distance_km": (0, 60),
    "stops": (1, 30),
    "weight_kg": (0, 400),
    "rain_mm": (0, 80),
    "traffic": (0, 10),
    "driver_years": (0, 40),
    "vehicle_age": (0, 20),
}
_DEPOTS = {"north": 0.0, "east": 0.3, "south": -0.3, "west": 0.1}
_SERVICES = {"same_day": 0.4, "next_day": -0.2, "economy": -0.4}


def make_project(settings: Settings, folder: Path) -> Settings:
    """Write the toy's project (suite, lock) into a folder and return settings that point at it.

    Args:
        settings: Of the checkout; the context of its suites is taken over.
        folder: Made.
    """
    suites = folder / "great_expectations"
    (suites / "expectations").mkdir(parents=True)
    (suites / "great_expectations.yml").write_bytes((settings.suites / "great_expectations.yml").read_bytes())
    (suites / "expectations" / f"{NAME}.json").write_text(json.dumps(suite()))
    (folder / "requirements.lock").write_bytes((settings.project / "requirements.lock").read_bytes())
    (folder / "prefect.yaml").write_text("deployments: []\n")
    return replace(settings, project=folder)


def spec() -> ReleaseSpec:
    """Return the toy's spec. Only what costs time is less than the defaults ask for: tries and load."""
    return parse_spec(
        {
            "model": {"name": NAME, "description": "Will this delivery be late?"},
            "task": {"kind": "binary", "classes": ["on_time", "late"]},
            "data": {
                "suite": NAME,
                "key": ["delivery"],
                "time": "due",
                "label": "outcome",
                "numeric": list(_NUMERIC),
                "categorical": list(_CATEGORICAL),
            },
            "split": {"validation_days": 7, "holdout_days": 21},
            "training": {
                "family": "xgboost",
                "parameters": {
                    "n_estimators": 150,
                    "max_depth": 2,
                    "learning_rate": 0.1,
                    "min_child_weight": 20,
                    "subsample": 0.8,
                },
                "early_stopping_rounds": 20,
            },
            "slices": [{"column": "depot"}],
            "sensitive": ["district"],
            "gates": {
                "infra": {"tries": 1},
                # ours: how fast this machine is, is not under test; how much slower than the champion, is
                "stress": {"duration_s": 6, "requests_min": 40, "champion_ratio": 2.0},
            },
        },
        where=NAME,
    )


def suite() -> dict[str, Any]:
    """Return the toy's expectations."""
    columns = ["delivery", "due", "district", "outcome", *_NUMERIC, *_CATEGORICAL]
    return {
        "name": NAME,
        "expectations": [
            _expect("expect_table_row_count_to_be_between", min_value=50),
            _expect("expect_table_columns_to_match_set", column_set=columns, exact_match=False),
            _expect("expect_column_values_to_not_be_null", column="delivery"),
            *(
                _expect("expect_column_values_to_be_between", column=name, min_value=low, max_value=high)
                for name, (low, high) in _RANGES.items()
            ),
            _expect("expect_column_values_to_be_in_set", column="depot", value_set=list(_DEPOTS)),
            _expect("expect_column_values_to_be_in_set", column="service", value_set=list(_SERVICES)),
        ],
    }


def _expect(kind: str, **kwargs: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"type": kind, "kwargs": kwargs, "meta": {}, "severity": "critical"}


def rows() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the history and the batch: the same every time."""
    whole = _rows(HISTORY_DAYS + BATCH_DAYS)
    cut = HISTORY_DAYS * ROWS_A_DAY
    return whole.iloc[:cut].reset_index(drop=True), whole.iloc[cut:].reset_index(drop=True)


def _rows(days: int) -> pd.DataFrame:
    import pandas as pd

    draw = np.random.default_rng(_SEED)
    n = days * ROWS_A_DAY
    numbers = _numbers(draw, n)
    depot = draw.choice(list(_DEPOTS), n, p=[0.4, 0.3, 0.2, 0.1])
    service = draw.choice(list(_SERVICES), n, p=[0.3, 0.4, 0.3])
    score = (
        0.09 * (numbers["distance_km"] - 12)
        + 0.06 * (numbers["stops"] - 15)
        + 0.25 * (numbers["traffic"] - 5)
        + 0.05 * numbers["rain_mm"]
        - 0.05 * (numbers["driver_years"] - 8)
        + np.array([_DEPOTS[each] for each in depot])
        + np.array([_SERVICES[each] for each in service])
        - 0.6
    )
    late = draw.random(n) < 1 / (1 + np.exp(-score))
    numbers["vehicle_age"][draw.random(n) < 0.1] = np.nan
    numbers["traffic"][draw.random(n) < 0.1] = np.nan
    return pd.DataFrame(
        {
            "delivery": [f"d{number:06d}" for number in range(n)],
            "due": pd.Timestamp(_FIRST_DAY, tz="UTC")
            + pd.to_timedelta(np.arange(n) * (86_400 // ROWS_A_DAY), unit="s"),
            **numbers,
            "depot": depot,
            "service": service,
            "district": draw.choice(["A", "B"], n, p=[0.7, 0.3]),
            "outcome": np.where(late, "late", "on_time"),
        }
    )


def _numbers(draw: np.random.Generator, n: int) -> dict[str, NDArray[np.float64]]:
    return {
        "distance_km": draw.gamma(4.0, 3.0, n).clip(0.5, 60),
        "stops": draw.integers(1, 31, n).astype(float),
        "weight_kg": draw.gamma(2.0, 30.0, n).clip(0.1, 400),
        "rain_mm": np.where(draw.random(n) < 0.6, 0.0, draw.gamma(1.0, 6.0, n)).clip(0, 80),
        "traffic": draw.uniform(0, 10, n),
        "driver_years": draw.gamma(2.0, 4.0, n).clip(0, 40),
        "vehicle_age": draw.integers(0, 16, n).astype(float),
    }
