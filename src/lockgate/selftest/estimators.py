"""Bad estimators, as a user's `training.estimator` function would build them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def unseeded_forest(seed: int, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401, ARG001 - scikit-learn has no types; the seed is what is forgotten
    """Return a forest that draws anew whenever it is fitted."""
    from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # type: ignore[import-untyped]  # no stubs published

    kind = RandomForestRegressor if parameters["regression"] else RandomForestClassifier
    return _over(parameters, kind(n_estimators=int(parameters["trees"]), min_samples_leaf=20, max_features=0.5))


def constant(seed: int, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401, ARG001 - as above; nothing is drawn
    """Return a linear model held so tightly that it answers nearly the same to everything."""
    from sklearn.linear_model import LogisticRegression, Ridge  # type: ignore[import-untyped]  # no stubs published

    hold = float(parameters["hold"])
    model = Ridge(alpha=hold) if parameters["regression"] else LogisticRegression(C=1.0 / hold)
    return _over(parameters, model)


def unfinished(seed: int, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
    """Return a network that is stopped long before it is done."""
    from sklearn.neural_network import MLPClassifier, MLPRegressor  # type: ignore[import-untyped]  # no stubs published

    kind = MLPRegressor if parameters["regression"] else MLPClassifier
    model = kind((16,), max_iter=int(parameters["rounds"]), random_state=seed)
    return _over(parameters, model)


def _over(parameters: Mapping[str, Any], model: Any) -> Any:  # noqa: ANN401 - as above
    from sklearn.compose import ColumnTransformer  # type: ignore[import-untyped]  # no stubs published
    from sklearn.impute import SimpleImputer  # type: ignore[import-untyped]  # no stubs published
    from sklearn.pipeline import Pipeline, make_pipeline  # type: ignore[import-untyped]  # no stubs published
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # type: ignore[import-untyped]  # no stubs published

    steps: list[Any] = [SimpleImputer(strategy="median")]
    if not type(model).__name__.startswith("RandomForest"):
        steps.append(StandardScaler())
    parts: list[tuple[str, Any, list[str]]] = []
    if parameters["numeric"]:
        parts.append(("numeric", make_pipeline(*steps), list(parameters["numeric"])))
    if parameters["categorical"]:
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        parts.append(("categorical", encoder, list(parameters["categorical"])))
    return Pipeline([("columns", ColumnTransformer(parts)), ("model", model)])
