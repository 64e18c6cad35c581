"""A scikit-learn estimator over the flights' columns, as a user would give it: `(seed, parameters) -> unfitted`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

NUMERIC = ["sched_dep_min", "distance", "precip", "visib", "humid", "wind_speed"]
CATEGORICAL = ["carrier", "origin"]


def late_flights(seed: int, parameters: Mapping[str, Any]) -> Pipeline:
    """Logistic regression over a few columns of the timetable and the weather."""
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    strings = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
    columns = ColumnTransformer([("numbers", numbers, NUMERIC), ("strings", strings, CATEGORICAL)])
    return Pipeline(
        [("columns", columns), ("model", LogisticRegression(max_iter=500, random_state=seed, **parameters))]
    )
