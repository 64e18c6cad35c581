"""Faults of what is fitted, through the spec's own `training` section."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lockgate.core.spec import ReleaseSpec
from lockgate.selftest import columns as take
from lockgate.selftest.entries import Specified
from lockgate.selftest.fault import By, Fault

_HELD = 1e10
"""How tightly the constant model is held at full size; each halving takes two powers of ten off."""


def _estimator(spec: ReleaseSpec, function: str, **parameters: float) -> ReleaseSpec:
    given: dict[str, Any] = {
        "regression": take.is_regression(spec),
        "numeric": list(spec.data.numeric),
        "categorical": list(spec.data.categorical),
        **parameters,
    }
    training = replace(
        spec.training,
        family="estimator",
        estimator=f"lockgate.selftest.estimators:{function}",
        parameters=given,
        search=None,
    )
    return replace(spec, training=training)


def _trees(spec: ReleaseSpec, **parameters: float) -> ReleaseSpec:
    training = replace(
        spec.training, family="xgboost", estimator=None, parameters=parameters, early_stopping_rounds=None, search=None
    )
    return replace(spec, training=training)


def _constant(spec: ReleaseSpec, strength: float) -> ReleaseSpec:
    return _estimator(spec, "constant", hold=_HELD**strength)


def _overfit(spec: ReleaseSpec, depth: float) -> ReleaseSpec:
    return _trees(spec, n_estimators=100, max_depth=round(depth), learning_rate=0.5, min_child_weight=0)


def _unfinished(spec: ReleaseSpec, rounds: float) -> ReleaseSpec:
    return _estimator(spec, "unfinished", rounds=round(rounds))


def _worse(spec: ReleaseSpec, rounds: float) -> ReleaseSpec:
    return _trees(spec, n_estimators=round(rounds), max_depth=2, learning_rate=0.1, min_child_weight=20)


def _unseeded(spec: ReleaseSpec, trees: float) -> ReleaseSpec:
    return _estimator(spec, "unseeded_forest", trees=round(trees))


FAULTS = (
    Fault(
        name="constant_model",
        story="the model answers nearly the same to everything",
        by=(By("training", ("improvement_over_constant",)),),
        entry=Specified(_constant),
        amount=1.0,
        unit="regularisation as a power of 1e10",
    ),
    Fault(
        name="overfit",
        story="trees that learned the training rows by heart",
        by=(By("training", ("overfit_gap",)),),
        entry=Specified(_overfit),
        amount=12.0,
        unit="depth of 100 unregularised trees",
    ),
    Fault(
        name="unfinished_fit",
        story="the solver was stopped before it was done",
        by=(By("training", ("converged",)),),
        entry=Specified(_unfinished),
        amount=2.0,
        unit="iterations made",
        grows=False,
    ),
    Fault(
        name="worse_than_champion",
        story="a sound model that knows less than the champion",
        by=(By("champion"),),
        entry=Specified(_worse),
        amount=5.0,
        unit="trees",
        grows=False,
    ),
    Fault(
        name="nondeterministic_training",
        story="the estimator forgets the seed: the same fit twice is two models",
        by=(By("reproducibility"),),
        entry=Specified(_unseeded),
        amount=10.0,
        unit="trees, each drawn anew",
        grows=False,
    ),
)
