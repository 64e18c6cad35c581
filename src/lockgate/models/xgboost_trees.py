"""The family "xgboost": boosted trees over raw numbers and ordinal codes of strings.

A string that was missing or never seen in training becomes NaN, which each split sends the way it learned for missing
values. There is no scaler: trees do not need one, and in front of trees it cannot be converted faithfully.

Rounds are fitted in chunks. At each chunk's start the booster is made again from its bytes and seeded with the round
number, whether the fit was interrupted there or not: XGBoost does not save the state of its random numbers, so only
this makes a resumed fit equal to an uninterrupted one when rows or columns are sampled.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lockgate.core.contract import GraphForm, TaskKind
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, ConfigError
from lockgate.models.parameters import Number, OneOf, check_parameters
from lockgate.models.trainer import Fitted, coded_form

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lockgate.models.checkpoint import Checkpoint
    from lockgate.models.frames import Rows

_CHUNK_ROUNDS = 50
_THREADS = 2  # the fit is the same for any number (measured for hist); two is what the smallest machine has
_DEFAULTS: Mapping[str, Any] = {
    "n_estimators": 300,
    "learning_rate": 0.1,
    "max_depth": 6,
    "min_child_weight": 5,
    "subsample": 0.8,
    "colsample_bynode": 0.6,
}
# reg:pseudohubererror is left out: its starting value is a Newton step that may land anywhere (122,249 for labels near
# 50, in XGBoost 3.2 and 3.4), and its answers are then beyond float32. reg:absoluteerror is robust too.
_OBJECTIVES = {
    TaskKind.BINARY: ("binary:logistic",),
    TaskKind.MULTICLASS: ("multi:softprob",),
    TaskKind.REGRESSION: (
        "reg:squarederror",
        "reg:absoluteerror",
        "reg:squaredlogerror",
        "count:poisson",
        "reg:gamma",
        "reg:tweedie",
    ),
}
_ALLOWED: Mapping[str, Number | OneOf] = {
    "n_estimators": Number(lowest=1, highest=5000, whole=True),
    "max_depth": Number(lowest=1, highest=16, whole=True),
    "max_leaves": Number(lowest=0, highest=65536, whole=True),
    "max_bin": Number(lowest=2, highest=65536, whole=True),
    "grow_policy": OneOf(("depthwise", "lossguide")),
    "learning_rate": Number(lowest=1e-6, highest=1),
    "min_child_weight": Number(lowest=0),
    "subsample": Number(lowest=0.01, highest=1),
    "colsample_bytree": Number(lowest=0.01, highest=1),
    "colsample_bylevel": Number(lowest=0.01, highest=1),
    "colsample_bynode": Number(lowest=0.01, highest=1),
    "reg_alpha": Number(lowest=0),
    "reg_lambda": Number(lowest=0),
    "gamma": Number(lowest=0),
    "max_delta_step": Number(lowest=0),
    "scale_pos_weight": Number(lowest=0),
    "base_score": Number(lowest=-1e9, highest=1e9),
    "tweedie_variance_power": Number(lowest=1.01, highest=1.99),
    "objective": OneOf(tuple(name for names in _OBJECTIVES.values() for name in names)),
}
_REFUSED = {
    "booster": "dart and gblinear do not convert faithfully (dart: every row off, up to 0.14); gbtree is always used",
    "enable_categorical": "a string that training never saw would raise; strings are coded, unseen ones are missing",
    "num_parallel_tree": "forests inside boosting were not proved to convert; use family: random_forest",
    "tree_method": "hist is always used; the resumed fit was proved equal for it alone",
    "seed": "set training.seed",
    "random_state": "set training.seed",
    "eta": "say learning_rate",
    "lambda": "say reg_lambda",
    "alpha": "say reg_alpha",
    "early_stopping_rounds": "set training.early_stopping_rounds",
    "n_jobs": "the number of threads does not change the fit and is set by Lockgate",
    "quantile_alpha": "several quantiles need a sort that the graph does not have",
}


class XGBoostTrees:
    """Boosted trees; binary, multiclass and regression."""

    name = "xgboost"
    weighs = True
    trusted: tuple[str, ...] = ("xgboost.core.Booster", "xgboost.sklearn.XGBClassifier", "xgboost.sklearn.XGBRegressor")

    def check(self, spec: ReleaseSpec) -> None:
        """See `Trainer.check`."""
        check_parameters(spec.training.parameters, _ALLOWED, _REFUSED, family=self.name)
        objective = spec.training.parameters.get("objective")
        proved = _OBJECTIVES[spec.task.kind]
        if objective is not None and objective not in proved:
            raise ConfigError(
                f"training.parameters.objective: {objective} is not for {spec.task.kind} tasks; use {', '.join(proved)}"
            )

    def fit(
        self, train: Rows, validation: Rows, spec: ReleaseSpec, parameters: Mapping[str, Any], checkpoint: Checkpoint
    ) -> Fitted:
        """See `Trainer.fit`."""
        import xgboost

        encoder = _encoder(train, spec)
        try:
            model, history = _boost(
                (encoder.transform(train.features), train.label, train.weight),
                (encoder.transform(validation.features), validation.label),
                spec,
                dict(_DEFAULTS) | dict(parameters),
                checkpoint,
            )
        except xgboost.core.XGBoostError as error:
            if any(words in str(error) for words in ("bad_alloc", "Failed to allocate")):
                raise MemoryError(str(error)) from error
            reason = re.sub(r"^\[[\d:]+\] \S+ ", "", str(error).strip().splitlines()[0])  # its time and source line
            raise BadInput(f"XGBoost refuses the fit: {reason}") from error
        booster = xgboost.Booster(model_file=bytearray(model))
        best = (
            _best_round(history["validation"]) if spec.training.early_stopping_rounds else booster.num_boosted_rounds()
        )
        native = _pipeline(encoder, booster[:best], spec.task.kind)
        return Fitted(native=native, history=history, best_round=best)

    def form(self, native: Any, spec: ReleaseSpec) -> GraphForm:  # noqa: ANN401 - see `Trainer`
        """See `Trainer.form`: trees take every column as a number."""
        return coded_form(spec, _categories(native, spec))

    def to_onnx(self, native: Any, spec: ReleaseSpec, form: GraphForm) -> bytes:  # noqa: ANN401 - see `Trainer`
        """See `Trainer.to_onnx`."""
        from lockgate.models.tree_graph import build_graph

        return build_graph(native.named_steps["trees"].get_booster(), spec, form)

    def split_points(self, native: Any, spec: ReleaseSpec) -> Mapping[str, NDArray[np.float32]]:  # noqa: ANN401
        """See `Trainer.split_points`."""
        from lockgate.models.tree_graph import split_values

        values = split_values(native.named_steps["trees"].get_booster())
        return {name: values[at] for at, name in enumerate(spec.data.numeric) if at in values}


def _boost(
    train: tuple[Any, Any, Any],
    validation: tuple[Any, Any],
    spec: ReleaseSpec,
    given: dict[str, Any],
    checkpoint: Checkpoint,
) -> tuple[bytes, dict[str, list[float]]]:
    """Boost round by round until the rounds are used up or validation stopped improving."""
    import xgboost

    rounds = given.pop("n_estimators")
    params = _native_parameters(given, spec)
    bins = {"max_bin": given["max_bin"]} if "max_bin" in given else {}
    parts = [
        (xgboost.QuantileDMatrix(*train[:2], weight=train[2], nthread=_THREADS, **bins), "train"),
        (xgboost.DMatrix(*validation, nthread=_THREADS), "validation"),
    ]
    model, history = _resume(checkpoint)
    patience = spec.training.early_stopping_rounds
    while len(history["validation"]) < rounds and not _stopped(history["validation"], patience):
        start = len(history["validation"])
        booster = xgboost.Booster(params, [matrix for matrix, _ in parts])
        if model:
            booster.load_model(bytearray(model))
        booster.set_param({"seed": (spec.training.seed * 1_000_003 + start) % 2**31})
        for at in range(start, min(start + _CHUNK_ROUNDS, rounds)):
            booster.update(parts[0][0], at)
            for part, loss in re.findall(r"(train|validation)-[^:\s]+:(\S+)", booster.eval_set(parts, at)):
                history[part].append(float(loss))
            if _stopped(history["validation"], patience):
                break
        model = bytes(booster.save_raw("ubj"))
        checkpoint.save({"history": history}, model)
    return model, history


def _resume(checkpoint: Checkpoint) -> tuple[bytes, dict[str, list[float]]]:
    kept = checkpoint.load()
    if kept is None:
        return b"", {"train": [], "validation": []}
    state: Any = kept[0]
    return kept[1], {part: [float(loss) for loss in state["history"][part]] for part in ("train", "validation")}


def _best_round(losses: list[float]) -> int:
    """Return how many rounds have the smallest loss; the first of equals, NaN never."""
    finite = [loss if loss == loss else float("inf") for loss in losses]  # noqa: PLR0124 - NaN is not itself
    return finite.index(min(finite)) + 1


def _stopped(losses: list[float], patience: int | None) -> bool:
    return patience is not None and bool(losses) and len(losses) - _best_round(losses) >= patience


def _native_parameters(given: Mapping[str, Any], spec: ReleaseSpec) -> dict[str, Any]:
    fixed = {
        "objective": given.get("objective", _OBJECTIVES[spec.task.kind][0]),
        "tree_method": "hist",
        "nthread": _THREADS,
        "verbosity": 0,
    }
    if spec.task.kind is TaskKind.MULTICLASS:
        fixed["num_class"] = len(spec.task.classes)
    return dict(given) | fixed


def _encoder(train: Rows, spec: ReleaseSpec) -> Any:  # noqa: ANN401 - scikit-learn has no types
    import numpy as np
    from sklearn.compose import ColumnTransformer  # type: ignore[import-untyped]  # no stubs published
    from sklearn.preprocessing import OrdinalEncoder  # type: ignore[import-untyped]  # no stubs published

    from lockgate.models.trainer import MISSING

    seen = [np.array(sorted(set(train.features[name]) - {MISSING}), dtype=object) for name in spec.data.categorical]
    codes = OrdinalEncoder(
        categories=[values if len(values) else np.array([MISSING], dtype=object) for values in seen],
        handle_unknown="use_encoded_value",
        unknown_value=np.nan,
        dtype=np.float32,
    )
    parts: list[tuple[str, Any, list[str]]] = []
    if spec.data.numeric:
        parts.append(("numeric", "passthrough", list(spec.data.numeric)))
    if spec.data.categorical:
        parts.append(("categorical", codes, list(spec.data.categorical)))
    return ColumnTransformer(parts, sparse_threshold=0).fit(train.features)


def _pipeline(encoder: Any, booster: Any, kind: TaskKind) -> Any:  # noqa: ANN401 - scikit-learn has no types
    import xgboost
    from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]  # no stubs published

    trees = xgboost.XGBRegressor() if kind is TaskKind.REGRESSION else xgboost.XGBClassifier()
    trees.load_model(bytearray(booster.save_raw("ubj")))
    trees.set_params(n_jobs=_THREADS)
    return Pipeline([("columns", encoder), ("trees", trees)])


def _categories(native: Any, spec: ReleaseSpec) -> list[list[str]]:  # noqa: ANN401 - as `to_onnx`
    if not spec.data.categorical:
        return []
    encoder = native.named_steps["columns"].named_transformers_["categorical"]
    return [[str(value) for value in values] for values in encoder.categories_]
