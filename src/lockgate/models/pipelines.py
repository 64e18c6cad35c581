"""The scikit-learn families that need no code of the user: logistic, linear and random forest.

Each is one pipeline of proved parts (`conversion.py`): medians for missing numbers, a one-hot column a string seen in
training, a scaler for linear models only. A string never seen is all zeros; a missing one is a value of its own.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from lockgate.core.contract import GraphForm, TaskKind
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, ConfigError
from lockgate.models.parameters import Number, OneOf, check_parameters
from lockgate.models.trainer import Fitted, raw_form

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from lockgate.models.checkpoint import Checkpoint
    from lockgate.models.frames import Rows

SKLEARN_TRUSTED = (
    "numpy.dtype",
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.tree._tree.Tree",
    "sklearn.utils._bunch.Bunch",
)


class SklearnTrainer:
    """What the scikit-learn families share."""

    name: str
    tasks: tuple[TaskKind, ...] = tuple(TaskKind)
    allowed: Mapping[str, Number | OneOf] = {}
    refused: Mapping[str, str] = {"random_state": "set training.seed", "n_jobs": "it is set by Lockgate"}
    trusted: tuple[str, ...] = SKLEARN_TRUSTED
    weighs = True  # the pipelines here end in a step `model`, and each such model takes weights

    def check(self, spec: ReleaseSpec) -> None:
        """See `Trainer.check`."""
        if spec.task.kind not in self.tasks:
            raise ConfigError(
                f"training.family: {self.name} is for {', '.join(self.tasks)} tasks, not {spec.task.kind}"
            )
        check_parameters(spec.training.parameters, self.allowed, self.refused, family=self.name)

    def build(self, spec: ReleaseSpec, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - scikit-learn has no types
        """Return the unfitted estimator over a frame of the features."""
        raise NotImplementedError

    def fit(
        self,
        train: Rows,
        validation: Rows,  # noqa: ARG002 - these families do not look at it
        spec: ReleaseSpec,
        parameters: Mapping[str, Any],
        checkpoint: Checkpoint,  # noqa: ARG002 - one call of a solver: there is nothing in between
    ) -> Fitted:
        """See `Trainer.fit`."""
        from sklearn.exceptions import ConvergenceWarning  # type: ignore[import-untyped]  # no stubs published

        estimator = self.build(spec, parameters)
        with warnings.catch_warnings(record=True) as said:
            warnings.simplefilter("always")
            try:
                weights = {} if train.weight is None else {"model__sample_weight": train.weight}
                estimator.fit(train.features, train.label, **weights)
            except (ValueError, TypeError) as error:
                raise BadInput(f"{self.name}: the fit is refused: {error}") from error
        _score_alone(estimator)
        unfinished = [str(each.message) for each in said if issubclass(each.category, ConvergenceWarning)]
        notes = tuple(dict.fromkeys(f"{each.category.__name__}: {each.message}" for each in said))
        return Fitted(native=estimator, converged=not unfinished, notes=notes[:10])

    def form(self, native: Any, spec: ReleaseSpec) -> GraphForm:  # noqa: ANN401, ARG002 - see `Trainer`
        """See `Trainer.form`: the pipeline's own encoders are part of the graph."""
        return raw_form(spec)

    def to_onnx(self, native: Any, spec: ReleaseSpec, form: GraphForm) -> bytes:  # noqa: ANN401 - see `Trainer`
        """See `Trainer.to_onnx`."""
        from lockgate.models.sklearn_graph import build_graph

        return build_graph(native, spec, form)

    def split_points(self, native: Any, spec: ReleaseSpec) -> Mapping[str, NDArray[np.float32]]:  # noqa: ANN401
        """See `Trainer.split_points`."""
        from lockgate.models.sklearn_graph import split_values

        return split_values(native, spec)


class LogisticClassifier(SklearnTrainer):
    """Logistic regression; binary and multiclass."""

    name = "logistic"
    tasks = (TaskKind.BINARY, TaskKind.MULTICLASS)
    allowed: Mapping[str, Number | OneOf] = {
        "C": Number(lowest=1e-9, highest=1e9),
        "max_iter": Number(lowest=1, highest=100_000, whole=True),
        "class_weight": OneOf((None, "balanced")),
    }

    def build(self, spec: ReleaseSpec, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as the base
        """See `SklearnTrainer.build`."""
        from sklearn.linear_model import LogisticRegression  # type: ignore[import-untyped]  # no stubs published
        from sklearn.pipeline import Pipeline  # type: ignore[import-untyped]  # no stubs published

        model = LogisticRegression(**({"max_iter": 1000} | dict(parameters)))
        return Pipeline([("columns", _columns(spec, scaled=True)), ("model", model)])


class LinearRegressor(SklearnTrainer):
    """Ridge regression."""

    name = "linear"
    tasks = (TaskKind.REGRESSION,)
    allowed: Mapping[str, Number | OneOf] = {"alpha": Number(lowest=0)}

    def build(self, spec: ReleaseSpec, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as the base
        """See `SklearnTrainer.build`."""
        from sklearn.linear_model import Ridge
        from sklearn.pipeline import Pipeline

        return Pipeline([("columns", _columns(spec, scaled=True)), ("model", Ridge(**parameters))])


class RandomForest(SklearnTrainer):
    """Random forest; binary, multiclass and regression."""

    name = "random_forest"
    allowed: Mapping[str, Number | OneOf] = {
        "n_estimators": Number(lowest=1, highest=2000, whole=True),
        "max_depth": Number(lowest=1, highest=32, whole=True),
        "min_samples_leaf": Number(lowest=1, highest=1_000_000, whole=True),
        "max_features": Number(lowest=0.01, highest=1),
    }

    def build(self, spec: ReleaseSpec, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as the base
        """See `SklearnTrainer.build`."""
        from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor  # type: ignore[import-untyped]  # no stubs published
        from sklearn.pipeline import Pipeline

        given = {"n_estimators": 100, "min_samples_leaf": 20, "max_features": 0.3, "max_depth": 12} | dict(parameters)
        kind = RandomForestRegressor if spec.task.kind is TaskKind.REGRESSION else RandomForestClassifier
        model = kind(**given, random_state=spec.training.seed, n_jobs=2)
        return Pipeline([("columns", _columns(spec, scaled=False)), ("model", model)])


def _score_alone(estimator: Any) -> None:  # noqa: ANN401 - scikit-learn has no types
    """Make a fitted estimator answer in one thread: a forest's threads add up their trees in any order otherwise."""
    threads = [name for name, value in estimator.get_params().items() if name.endswith("n_jobs") and value is not None]
    estimator.set_params(**dict.fromkeys(threads, 1))


def _columns(spec: ReleaseSpec, *, scaled: bool) -> Any:  # noqa: ANN401 - scikit-learn has no types
    from sklearn.compose import ColumnTransformer  # type: ignore[import-untyped]  # no stubs published
    from sklearn.impute import SimpleImputer  # type: ignore[import-untyped]  # no stubs published
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler  # type: ignore[import-untyped]  # no stubs published

    steps: list[tuple[str, Any]] = [("impute", SimpleImputer(strategy="median"))]
    if scaled:
        steps.append(("scale", StandardScaler()))
    parts: list[tuple[str, Any, list[str]]] = []
    if spec.data.numeric:
        parts.append(("numeric", Pipeline(steps), list(spec.data.numeric)))
    if spec.data.categorical:
        encoder = OneHotEncoder(handle_unknown="ignore", sparse_output=False)
        parts.append(("categorical", encoder, list(spec.data.categorical)))
    return ColumnTransformer(parts, sparse_threshold=0)
