"""The family "estimator": an unfitted scikit-learn estimator that a function of the user builds.

    def build(seed: int, parameters: Mapping[str, object]) -> sklearn.base.BaseEstimator: ...

It takes a frame of the features, numeric columns as float32 and strings as text (a missing one is "__missing__"), and
may hold only what was proved to convert faithfully (`conversion.py`).
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

from lockgate.core.contract import TaskKind
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput, ConfigError
from lockgate.models.conversion import refuse_unfaithful
from lockgate.models.pipelines import SklearnTrainer


class OwnEstimator(SklearnTrainer):
    """The user's estimator; runs the user's code, so it is fitted in isolation only."""

    name = "estimator"
    weighs = False  # which of its steps takes weights, and under which name, only its author knows

    def check(self, spec: ReleaseSpec) -> None:
        """See `Trainer.check`; what the function builds is checked by `check_estimator`, in isolation."""
        if spec.training.estimator is None:
            raise ConfigError("training.estimator is missing: name the function, as package.module:function")

    def build(self, spec: ReleaseSpec, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as the base
        """See `SklearnTrainer.build`."""
        assert spec.training.estimator is not None  # noqa: S101 - `check` refused it; this tells the type checker
        estimator = build_estimator(spec.training.estimator, spec.training.seed, parameters)
        refuse_unfaithful(estimator, spec.task.kind)
        return estimator


def build_estimator(target: str, seed: int, parameters: Mapping[str, Any]) -> Any:  # noqa: ANN401 - any estimator
    """Call the user's function.

    Raises:
        BadInput: There is no such function, or it returned something that is no estimator.
    """
    module, _, name = target.partition(":")
    try:
        function = getattr(importlib.import_module(module), name)
    except (ModuleNotFoundError, AttributeError) as missing:
        raise BadInput(f"training.estimator: {target} cannot be imported: {missing}") from missing
    estimator = function(seed, dict(parameters))
    if not (hasattr(estimator, "fit") and hasattr(estimator, "get_params")):
        raise BadInput(f"training.estimator: {target} returned {type(estimator).__name__}, not an unfitted estimator")
    return estimator


def check_estimator(target: str, seed: int, parameters: Mapping[str, Any], kind: str) -> str:
    """Build the user's estimator and refuse it if it would not convert faithfully; called in isolation.

    Returns:
        The estimator's own description.
    """
    estimator = build_estimator(target, seed, parameters)
    refuse_unfaithful(estimator, TaskKind(kind))
    return str(estimator)
