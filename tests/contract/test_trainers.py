"""Every trainable family, and every estimator on the proved list: the graph answers like the estimator."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort  # type: ignore[import-untyped]  # no stubs published
import pandas as pd
import pytest

from lockgate.adapters.bundle_contract import contract_of
from lockgate.adapters.native_scorer import GraphScorer, NativeScorer
from lockgate.adapters.parity_meter import measure_parity
from lockgate.core.contract import TaskKind
from lockgate.core.gates import parity
from lockgate.core.ids import Digest
from lockgate.core.row_order import KEY as ROW_ORDER
from lockgate.core.verdict import Verdict
from lockgate.models import TRAINERS, trainer_of
from lockgate.models.checkpoint import nowhere
from lockgate.models.conversion import PROVED
from lockgate.models.frames import labelled_rows
from lockgate.models.native import answers_of, load_native, save_native
from lockgate.models.trainer import Fitted
from lockgate.serving.model.dataplane import ServedModel
from tests.estimators import CLASSIFIERS, REGRESSORS
from tests.unit.models.rows import CATEGORICAL, NUMERIC, judged, rows, spec_of

pytestmark = pytest.mark.integration

SMALL: dict[str, dict[str, Any]] = {
    "xgboost": {"n_estimators": 60},
    "random_forest": {"n_estimators": 30},
}
FAMILIES = [
    (family, kind)
    for family, kinds in {
        "xgboost": tuple(TaskKind),
        "logistic": (TaskKind.BINARY, TaskKind.MULTICLASS),
        "linear": (TaskKind.REGRESSION,),
        "random_forest": tuple(TaskKind),
    }.items()
    for kind in kinds
]
NO_CONVERTER = {"logistic_target", "boosting_target"}  # for several classes; refused by name, see test_conversion
ESTIMATORS = [
    *((name, TaskKind.BINARY) for name in CLASSIFIERS),
    *((name, TaskKind.MULTICLASS) for name in CLASSIFIERS if name not in NO_CONVERTER),
    *((name, TaskKind.REGRESSION) for name in REGRESSORS),
]
OBJECTIVES = (
    "reg:absoluteerror",
    "reg:squaredlogerror",
    "count:poisson",
    "reg:gamma",
    "reg:tweedie",
)


def fit(spec: Any) -> Fitted:
    kind = spec.task.kind
    trainer = trainer_of(spec)
    trainer.check(spec)
    parts = [labelled_rows(rows(1500, kind, seed=seed), spec) for seed in (1, 2)]
    return trainer.fit(parts[0], parts[1], spec, spec.training.parameters, nowhere())


def graph_of(spec: Any, native: Any) -> bytes:
    trainer = trainer_of(spec)
    return trainer.to_onnx(native, spec, trainer.form(native, spec))


def measure(spec: Any, native: Any, graph: bytes) -> dict[str, Any]:
    kind = spec.task.kind
    scorer = NativeScorer(native, kind, NUMERIC, CATEGORICAL)
    contract = contract_of(spec, rows(200, kind, seed=1), 0.5, trainer_of(spec).form(native, spec))
    measured = measure_parity(
        scorer,
        GraphScorer(graph, contract.graph),
        holdout=rows(4000, kind, seed=3, unseen=True),
        contract=contract,
        splits=trainer_of(spec).split_points(native, spec),
        bound=1e-5,
        seed=7,
    )
    return not_served(measured)


def not_served(measured: Any) -> dict[str, Any]:
    """Leave the server to the packaging's own tests: here the graph answers for it."""
    groups = measured["groups"]
    return {**measured, "groups": {**groups, "served": groups["single_row"]}}


def prove(spec: Any, tmp_path: Any) -> None:
    """Parity on every group, the same graph twice, and the estimator back from disk."""
    native = fit(spec).native
    graph = graph_of(spec, native)
    measured = measure(spec, native, graph)
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.PASS, report.reason
    assert set(measured["groups"]) == {*parity.GROUPS, *parity.ADVISORY}
    save_native(native, tmp_path / "model.skops")
    again = load_native(tmp_path / "model.skops", trainer_of(spec).trusted)
    features = labelled_rows(rows(500, spec.task.kind, seed=4, unseen=True), spec).features
    assert np.array_equal(answers_of(again, features, spec.task.kind), answers_of(native, features, spec.task.kind))
    assert graph_of(spec, again) == graph


def test_every_family_is_under_contract() -> None:
    assert {family for family, _ in FAMILIES} | {"estimator"} == set(TRAINERS)


@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_a_family_converts_exactly(family: str, kind: TaskKind, tmp_path: Any) -> None:
    prove(spec_of(kind, family, parameters=SMALL.get(family, {})), tmp_path)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_taken_objective_converts_exactly(objective: str, tmp_path: Any) -> None:
    prove(spec_of(TaskKind.REGRESSION, parameters={"n_estimators": 40, "objective": objective}), tmp_path)


@pytest.mark.parametrize(
    "parameters",
    [
        {"base_score": 0.3},
        {"scale_pos_weight": 3},
        {"max_depth": 12, "grow_policy": "lossguide", "max_leaves": 31, "max_bin": 64},
        {"min_child_weight": 1e9},  # no split at all: trees of one leaf
        {"learning_rate": 1, "reg_alpha": 1, "reg_lambda": 0, "gamma": 0.1, "max_delta_step": 1},
    ],
)
def test_every_taken_parameter_of_boosting_converts_exactly(parameters: dict[str, Any], tmp_path: Any) -> None:
    prove(spec_of(parameters={"n_estimators": 30} | parameters), tmp_path)


@pytest.mark.parametrize("columns", [{"numeric": ()}, {"categorical": ()}])
@pytest.mark.parametrize("family", ["xgboost", "logistic"])
def test_columns_of_one_kind_alone_convert(family: str, columns: dict[str, Any]) -> None:
    spec = spec_of(family=family, parameters=SMALL.get(family, {}))
    spec = replace(spec, data=replace(spec.data, **columns))
    native = fit(spec).native
    contract = contract_of(spec, rows(200), 0.5, trainer_of(spec).form(native, spec))
    scorer = NativeScorer(native, TaskKind.BINARY, spec.data.numeric, spec.data.categorical)
    graph = GraphScorer(graph_of(spec, native), contract.graph)
    measured = measure_parity(
        scorer,
        graph,
        holdout=rows(500, seed=3),
        contract=contract,
        splits=trainer_of(spec).split_points(native, spec),
        bound=1e-5,
        seed=7,
    )
    assert judged(parity.GATE, not_served(measured)).verdict is Verdict.PASS


@pytest.mark.parametrize(("name", "kind"), ESTIMATORS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning:sklearn.*")  # MLP's exp overflows on purpose-made outliers
def test_an_estimator_on_the_proved_list_converts_exactly(name: str, kind: TaskKind, tmp_path: Any) -> None:
    prove(spec_of(kind, "estimator", estimator="tests.estimators:named", parameters={"name": name}), tmp_path)


def test_the_proved_list_holds_nothing_that_is_not_proved_here() -> None:
    def names(estimator: Any) -> set[str]:
        from lockgate.models.conversion import _parts

        return {type(estimator).__name__}.union(*(names(part) for _, part in _parts(estimator)))

    proved = set().union(*(names(build(7)) for build in (CLASSIFIERS | REGRESSORS).values()))
    assert proved == set(PROVED)


@pytest.mark.parametrize(("family", "kind"), FAMILIES)
def test_the_same_seed_gives_the_same_model(family: str, kind: TaskKind) -> None:
    spec = spec_of(kind, family, parameters=SMALL.get(family, {}))
    graphs = [graph_of(spec, fit(spec).native) for _ in range(2)]
    assert graphs[0] == graphs[1]


def test_a_forest_answers_in_one_thread() -> None:
    fitted = fit(spec_of(family="random_forest", parameters=SMALL["random_forest"]))
    assert fitted.native.named_steps["model"].n_jobs == 1  # several add up in any order: golden answers would differ


def test_another_seed_gives_another_model() -> None:
    graphs = []
    for seed in (1, 2):
        spec = spec_of(parameters={"n_estimators": 20}, seed=seed)
        graphs.append(graph_of(spec, fit(spec).native))
    assert graphs[0] != graphs[1]


def test_early_stopping_ships_the_best_round_only() -> None:
    spec = spec_of(parameters={"n_estimators": 400, "learning_rate": 0.5}, early_stopping_rounds=10)
    fitted = fit(spec)
    losses = fitted.history["validation"]
    assert fitted.best_round == losses.index(min(losses)) + 1
    assert len(losses) == fitted.best_round + 10 < 400
    assert fitted.native.named_steps["trees"].get_booster().num_boosted_rounds() == fitted.best_round


def test_without_early_stopping_all_rounds_ship() -> None:
    fitted = fit(spec_of(parameters={"n_estimators": 60, "learning_rate": 0.5}, early_stopping_rounds=None))
    assert fitted.native.named_steps["trees"].get_booster().num_boosted_rounds() == 60


@pytest.mark.parametrize(("family", "kind"), [each for each in FAMILIES if each[0] in SMALL])
def test_trees_say_in_which_order_they_want_rows_and_answer_the_same_in_it(family: str, kind: TaskKind) -> None:
    spec = spec_of(kind, family=family, parameters=SMALL[family])
    native = fit(spec).native
    graph, form = graph_of(spec, native), trainer_of(spec).form(native, spec)
    features = labelled_rows(rows(1000, kind, seed=5, unseen=True), spec).features
    model = ServedModel(Digest("ab" * 32), contract_of(spec, features, 0.5, form), graph)
    columns = {name: [None if pd.isna(each) else each for each in features[name]] for name in features}
    together = model.scores(columns, len(features))
    one_by_one = [model.scores({name: [values[at]] for name, values in columns.items()}, 1)[0] for at in range(1000)]
    assert ROW_ORDER in ort.InferenceSession(graph).get_modelmeta().custom_metadata_map
    assert np.array_equal(together, np.array(one_by_one))


def test_a_graph_without_trees_says_nothing_of_an_order() -> None:
    spec = spec_of(family="logistic", parameters={})
    graph = graph_of(spec, fit(spec).native)
    assert ROW_ORDER not in ort.InferenceSession(graph).get_modelmeta().custom_metadata_map
