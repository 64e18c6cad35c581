"""Which scikit-learn estimators convert to ONNX faithfully, and why others are refused.

A converter that fails is no danger; several succeed and answer differently (a scaler before trees: 63 to 69 % of rows
off by more than 1e-4, up to 5 % of decisions flipped). So only what was measured to be equal is taken, parameters
included; the list is proved by `tests/contract/test_trainers.py`, and parity is measured for every bundle anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from lockgate.core.contract import TaskKind
from lockgate.errors import ConfigError

_SCALERS = ("StandardScaler",)
_FORESTS = ("RandomForestClassifier", "RandomForestRegressor", "ExtraTreesClassifier", "ExtraTreesRegressor")
_BOOSTED = ("GradientBoostingClassifier", "GradientBoostingRegressor")
_TREES = (*_FORESTS, *_BOOSTED)
_LINEAR = (
    "LogisticRegression",
    "LinearRegression",
    "Ridge",
    "PoissonRegressor",
    "TweedieRegressor",
    "MLPClassifier",
    "MLPRegressor",
)
_TRANSFORMERS = ("SimpleImputer", *_SCALERS, "OneHotEncoder", "OrdinalEncoder", "TargetEncoder", "KBinsDiscretizer")
_WRAPPERS = ("StackingClassifier", "StackingRegressor", "CalibratedClassifierCV")
_CONTAINERS = ("Pipeline", "ColumnTransformer", *_WRAPPERS)
PROVED = frozenset((*_TREES, *_LINEAR, *_TRANSFORMERS, *_CONTAINERS))
"""Class names of scikit-learn whose conversion was measured to be equal."""

_KNOWN_BAD: Mapping[str, str] = {
    "HistGradientBoostingClassifier": "its converter fails on this version; use family: xgboost",
    "HistGradientBoostingRegressor": "its converter fails on this version; use family: xgboost",
    "RobustScaler": "its graph rounds differently (24 % of rows off before trees); use StandardScaler before a linear "
    "model, nothing before trees",
    "PowerTransformer": "its graph answers 73 % of rows differently; use StandardScaler, or bins",
    "QuantileTransformer": "conversion takes minutes and 7 % of rows are wrong; use KBinsDiscretizer(encode='ordinal')",
    "VotingClassifier": "its converter does not flatten votes; use StackingClassifier",
    "XGBClassifier": "inside a scikit-learn pipeline its conversion was not proved; use family: xgboost, which codes "
    "strings and keeps missing numbers by itself",
    "XGBRegressor": "inside a scikit-learn pipeline its conversion was not proved; use family: xgboost",
    "GridSearchCV": "a search is not an estimator that ships; use training.search",
    "RandomizedSearchCV": "a search is not an estimator that ships; use training.search",
    "FunctionTransformer": "a Python function has no graph; prepare columns in data.prepare",
}


_SCALER_BEFORE_TREES = (
    "the graph's scaler rounds differently by one unit, and trees split on data values, so up to 5 % of decisions "
    "flip; take the scaler out, trees need none"
)
_FOREST_WITH_MISSING = (
    "a forest whose numbers may be missing: its graph loses the branch for missing values (86 % of rows off); put "
    "SimpleImputer(strategy='median') before it, or use family: xgboost"
)


def refuse_unfaithful(estimator: Any, kind: TaskKind) -> None:  # noqa: ANN401 - whatever the user built
    """Refuse an estimator that holds something whose conversion was not proved to be faithful.

    Args:
        estimator: Unfitted or fitted; it is looked at, never fitted.
        kind: What it is to predict.

    Raises:
        ConfigError: Names the part, why it is refused, and the alternative.
    """
    for path, reason in unfaithful(estimator, kind):
        raise ConfigError(f"training.estimator: {path} is refused: {reason}", part=path)


def unfaithful(estimator: Any, kind: TaskKind) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - as above
    """Yield the path and the reason of everything that is refused, known traps before what is merely not proved."""
    name = type(estimator).__name__
    parts = list(_walk(estimator, name))
    for path, part in parts:
        yield from _refuse_combination(part, path)
    for path, part in parts:
        yield from _refuse_one(part, path)
        if kind is TaskKind.MULTICLASS and type(part).__name__ == "TargetEncoder":
            yield path, "TargetEncoder of several classes has no converter; use OneHotEncoder(handle_unknown='ignore')"
    if name != "Pipeline" or type(estimator.steps[0][1]).__name__ != "ColumnTransformer":
        yield name, "the graph takes named columns; make it a Pipeline whose first step is a ColumnTransformer"
    wanted = "predict" if kind is TaskKind.REGRESSION else "predict_proba"
    if not hasattr(estimator, wanted):
        yield name, f"a {kind.value} task needs {wanted}, which it does not have; end it with a fitting model"


def _walk(estimator: Any, path: str) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - as above
    yield path, estimator
    for name, part in _parts(estimator):
        yield from _walk(part, f"{path}.{name}")


def _refuse_one(estimator: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - as above
    name = type(estimator).__name__
    if isinstance(estimator, str):
        if estimator not in ("passthrough", "drop"):
            yield path, f"{estimator!r} is no transformer; only 'passthrough' and 'drop' may be named"
        return
    if name in _KNOWN_BAD:
        yield path, f"{name}: {_KNOWN_BAD[name]}"
    elif name not in PROVED or not type(estimator).__module__.startswith("sklearn."):
        yield path, f"{name} is not on the proved list: {', '.join(sorted(PROVED))}"
    elif name in _RULES:
        reason = _RULES[name](estimator)
        if reason:
            yield path, reason


def _parts(estimator: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - as above
    match type(estimator).__name__:
        case "Pipeline":
            yield from ((name, step) for name, step in estimator.steps if step is not None)
        case "ColumnTransformer":
            yield from ((name, part) for name, part, _ in estimator.transformers)
        case "StackingClassifier" | "StackingRegressor":
            yield from estimator.estimators
            if estimator.final_estimator is not None:
                yield "final_estimator", estimator.final_estimator
        case "CalibratedClassifierCV":
            yield "estimator", estimator.estimator
        case _:
            return


def _all_names(estimator: Any) -> set[str]:  # noqa: ANN401 - as above
    return {type(estimator).__name__}.union(*(_all_names(part) for _, part in _parts(estimator)))


def _refuse_combination(estimator: Any, path: str) -> Iterator[tuple[str, str]]:  # noqa: ANN401 - as above
    name = type(estimator).__name__
    if name in _WRAPPERS and "ColumnTransformer" in _all_names(estimator):
        yield path, f"{name} around a ColumnTransformer has no converter; put the ColumnTransformer in front of it"
    if name != "Pipeline":
        return
    before: set[str] = set()
    for name, step in estimator.steps:
        here = _all_names(step)
        trees = sorted(here & {*_TREES, "XGBClassifier", "XGBRegressor"})
        scalers = sorted((before | here) & {*_SCALERS, "RobustScaler", "PowerTransformer", "MinMaxScaler"})
        if trees and scalers:
            yield f"{path}.{name}", f"{scalers[0]} before {trees[0]}: {_SCALER_BEFORE_TREES}"
        if here & set(_FORESTS) and not before & {"SimpleImputer"} and "SimpleImputer" not in here:
            yield f"{path}.{name}", _FOREST_WITH_MISSING
        before |= here


def _imputer(estimator: Any) -> str | None:  # noqa: ANN401 - as above
    if estimator.add_indicator:
        return "SimpleImputer(add_indicator=True): the graph drops the indicators; make that column in data.prepare"
    if estimator.strategy not in ("mean", "median") or estimator.keep_empty_features:
        return f"SimpleImputer(strategy={estimator.strategy!r}) was not proved; use 'median' or 'mean' on numbers"
    return None


def _one_hot(estimator: Any) -> str | None:  # noqa: ANN401 - as above
    if estimator.handle_unknown != "ignore":
        return (
            f"OneHotEncoder(handle_unknown={estimator.handle_unknown!r}): its graph stops at a string never seen; use "
            "'ignore', after OrdinalEncoder(min_frequency=...) if rare ones are to be one"
        )
    return None if estimator.drop is None else "OneHotEncoder(drop=...) was not proved; leave every column in"


def _ordinal(estimator: Any) -> str | None:  # noqa: ANN401 - as above
    if estimator.handle_unknown != "use_encoded_value":
        return (
            "OrdinalEncoder(handle_unknown='error') stops at a string never seen; use "
            "handle_unknown='use_encoded_value', unknown_value=-1"
        )
    if estimator.unknown_value != estimator.unknown_value:  # NaN alone is not itself
        return "OrdinalEncoder(unknown_value=nan) brings missing values into what follows; use -1"
    return None


def _scaler(estimator: Any) -> str | None:  # noqa: ANN401 - as above
    proved = estimator.with_mean and estimator.with_std
    return None if proved else "StandardScaler without mean or deviation was not proved; use its defaults"


def _bins(estimator: Any) -> str | None:  # noqa: ANN401 - as above
    return None if estimator.encode == "ordinal" else "KBinsDiscretizer: only encode='ordinal' was proved"


def _columns(estimator: Any) -> str | None:  # noqa: ANN401 - as above
    if not isinstance(estimator.remainder, str) or estimator.remainder != "drop":
        return "ColumnTransformer(remainder=...) was not proved; name every column, or drop the rest"
    if estimator.transformer_weights:
        return "ColumnTransformer(transformer_weights=...) was not proved; leave it out"
    named = all(isinstance(columns, list | tuple) and all(isinstance(c, str) for c in columns)
                for _, _, columns in estimator.transformers)  # fmt: skip
    return None if named else "ColumnTransformer: give each part a list of column names"


def _calibrated(estimator: Any) -> str | None:  # noqa: ANN401 - as above
    if estimator.method == "sigmoid":
        return None
    return f"CalibratedClassifierCV(method={estimator.method!r}): up to 1.6 % of rows are off; use method='sigmoid'"


_RULES: Mapping[str, Callable[[Any], str | None]] = {
    "SimpleImputer": _imputer,
    "OneHotEncoder": _one_hot,
    "OrdinalEncoder": _ordinal,
    "StandardScaler": _scaler,
    "KBinsDiscretizer": _bins,
    "ColumnTransformer": _columns,
    "CalibratedClassifierCV": _calibrated,
}
