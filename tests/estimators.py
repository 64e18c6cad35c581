"""Estimators as a user would write them: one function each, `(seed, parameters) -> unfitted estimator`.

`PROVED` is every combination whose conversion the contract suite proves; the refused ones stand in the tests that
refuse them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import (
    ExtraTreesClassifier,
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
    StackingClassifier,
    StackingRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, PoissonRegressor, Ridge, TweedieRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import KBinsDiscretizer, OneHotEncoder, OrdinalEncoder, StandardScaler, TargetEncoder

NUMERIC = ["x0", "x1", "x2"]
CATEGORICAL = ["c0", "c1"]
Parameters = Mapping[str, Any]

ONE_HOT = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
ORDINAL = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1)


def over(model: Any, numbers: Any, strings: Any) -> Pipeline:
    """A model over the test columns."""
    return Pipeline(
        [("columns", ColumnTransformer([("n", numbers, NUMERIC), ("s", strings, CATEGORICAL)])), ("model", model)]
    )


def scaled() -> Pipeline:
    return make_pipeline(SimpleImputer(strategy="median"), StandardScaler())


def imputed() -> SimpleImputer:
    return SimpleImputer(strategy="median")


def boosted(seed: int, parameters: Parameters) -> Pipeline:
    return over(GradientBoostingClassifier(random_state=seed, **parameters), imputed(), ONE_HOT)


def boosted_regressor(seed: int, parameters: Parameters) -> Pipeline:
    return over(GradientBoostingRegressor(random_state=seed, **parameters), imputed(), ORDINAL)


CLASSIFIERS: dict[str, Callable[[int], Any]] = {
    "logistic_one_hot": lambda _: over(LogisticRegression(max_iter=500), scaled(), ONE_HOT),
    "logistic_sparse": lambda _: over(
        LogisticRegression(max_iter=500), scaled(), OneHotEncoder(handle_unknown="ignore")
    ),
    "logistic_rare": lambda _: over(
        LogisticRegression(max_iter=500),
        scaled(),
        make_pipeline(
            OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1, min_frequency=30),
            OneHotEncoder(handle_unknown="ignore", sparse_output=False),
        ),
    ),
    "logistic_min_frequency": lambda _: over(
        LogisticRegression(max_iter=500),
        scaled(),
        OneHotEncoder(handle_unknown="ignore", min_frequency=30, sparse_output=False),
    ),
    "logistic_target": lambda seed: over(LogisticRegression(max_iter=500), scaled(), TargetEncoder(random_state=seed)),
    "logistic_bins": lambda _: over(
        LogisticRegression(max_iter=500),
        make_pipeline(imputed(), KBinsDiscretizer(8, encode="ordinal", quantile_method="averaged_inverted_cdf")),
        ONE_HOT,
    ),
    "boosting_ordinal": lambda seed: over(
        GradientBoostingClassifier(n_estimators=40, random_state=seed), imputed(), ORDINAL
    ),
    "boosting_one_hot": lambda seed: over(
        GradientBoostingClassifier(n_estimators=40, random_state=seed), imputed(), ONE_HOT
    ),
    "boosting_target": lambda seed: over(
        GradientBoostingClassifier(n_estimators=40, random_state=seed), imputed(), TargetEncoder(random_state=seed)
    ),
    "forest": lambda seed: over(RandomForestClassifier(40, random_state=seed, min_samples_leaf=5), imputed(), ORDINAL),
    "extra_trees": lambda seed: over(
        ExtraTreesClassifier(40, random_state=seed, min_samples_leaf=5), imputed(), ONE_HOT
    ),
    "mlp": lambda seed: over(MLPClassifier((16,), max_iter=300, random_state=seed), scaled(), ONE_HOT),
    "calibrated": lambda seed: over(
        CalibratedClassifierCV(GradientBoostingClassifier(n_estimators=20, random_state=seed), method="sigmoid", cv=3),
        imputed(),
        ORDINAL,
    ),
    "stacking": lambda seed: over(
        StackingClassifier(
            [
                ("boosted", GradientBoostingClassifier(n_estimators=20, random_state=seed)),
                ("logistic", LogisticRegression(max_iter=500)),
            ],
            final_estimator=LogisticRegression(),
            cv=3,
        ),
        imputed(),
        ONE_HOT,
    ),
}
REGRESSORS: dict[str, Callable[[int], Any]] = {
    "ridge": lambda _: over(Ridge(), scaled(), ONE_HOT),
    "least_squares": lambda _: over(LinearRegression(), scaled(), ORDINAL),
    "poisson": lambda _: over(PoissonRegressor(max_iter=500), scaled(), ONE_HOT),
    "tweedie": lambda _: over(TweedieRegressor(power=1.5, max_iter=500), scaled(), ONE_HOT),
    "mlp_regressor": lambda seed: over(
        MLPRegressor(hidden_layer_sizes=(16,), max_iter=300, random_state=seed), scaled(), ONE_HOT
    ),
    "boosting_regressor": lambda seed: over(
        GradientBoostingRegressor(n_estimators=40, random_state=seed), imputed(), ORDINAL
    ),
    "forest_regressor": lambda seed: over(RandomForestRegressor(40, random_state=seed), imputed(), ONE_HOT),
    "extra_trees_regressor": lambda seed: over(ExtraTreesRegressor(40, random_state=seed), imputed(), ORDINAL),
    "stacking_regressor": lambda seed: over(
        StackingRegressor(
            [("boosted", GradientBoostingRegressor(n_estimators=20, random_state=seed)), ("ridge", Ridge())],
            final_estimator=Ridge(),
            cv=3,
        ),
        imputed(),
        ONE_HOT,
    ),
}


def named(seed: int, parameters: Parameters) -> Any:
    """Build the one named by `parameters["name"]`."""
    return (CLASSIFIERS | REGRESSORS)[str(parameters["name"])](seed)


# -- functions that misbehave ----------------------------------------------------------------------------------------


def scaler_before_trees(seed: int, parameters: Parameters) -> Pipeline:  # noqa: ARG001 - the signature is given
    return over(GradientBoostingClassifier(random_state=seed), scaled(), ORDINAL)


def raising(seed: int, parameters: Parameters) -> None:  # noqa: ARG001 - as above
    raise RuntimeError("the user's own bug")


def hanging(seed: int, parameters: Parameters) -> None:  # noqa: ARG001 - as above
    time.sleep(600)


def hungry(seed: int, parameters: Parameters) -> None:  # noqa: ARG001 - as above
    import numpy as np

    np.ones(2**40)


def no_estimator(seed: int, parameters: Parameters) -> list[int]:  # noqa: ARG001 - as above
    return [seed]
