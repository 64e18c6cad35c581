"""What can be trained: one module a family; `TRAINERS` is the one list.

Adding a family is one new module and one line here; the contract suite (`tests/contract/test_trainers.py`) takes it
up from the list.
"""

from __future__ import annotations

from lockgate.core.spec import ReleaseSpec, Window
from lockgate.errors import ConfigError
from lockgate.models.own_estimator import OwnEstimator
from lockgate.models.pipelines import LinearRegressor, LogisticClassifier, RandomForest
from lockgate.models.trainer import Trainer
from lockgate.models.xgboost_trees import XGBoostTrees

_FAMILIES: tuple[Trainer, ...] = (
    XGBoostTrees(),
    LogisticClassifier(),
    LinearRegressor(),
    RandomForest(),
    OwnEstimator(),
)
TRAINERS: dict[str, Trainer] = {trainer.name: trainer for trainer in _FAMILIES}


def trainer_of(spec: ReleaseSpec) -> Trainer:
    """Return the trainer of the spec's family.

    Raises:
        ConfigError: There is no such family; names those there are.
    """
    family = spec.training.family
    if family not in TRAINERS:
        raise ConfigError(f"training.family: there is no {family!r}; families: {', '.join(TRAINERS)}")
    return TRAINERS[family]


def refuse_weights(spec: ReleaseSpec) -> None:
    """Refuse a weighted window for a family whose fit takes no weights.

    Raises:
        ConfigError: Names the families that do, and the windows that need none.
    """
    if spec.retraining.window is Window.WEIGHTED and not trainer_of(spec).weighs:
        able = ", ".join(name for name, trainer in TRAINERS.items() if trainer.weighs)
        raise ConfigError(
            f"retraining.window: weighted needs a family that takes weights, and training.family: "
            f"{spec.training.family} does not; use {able}, or window: rolling or expanding"
        )
