"""Graphs that are wrong in known ways: each is stopped by parity, on the rows that are made for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import GradientBoostingClassifier

from lockgate.adapters.bundle_contract import contract_of
from lockgate.adapters.native_scorer import GraphScorer, NativeScorer
from lockgate.adapters.parity_meter import measure_parity
from lockgate.adapters.parity_rows import boundary_rows, extreme_rows, sweep_rows, unseen_rows
from lockgate.adapters.parity_search import Ground, climb
from lockgate.core.contract import ModelContract, TaskKind
from lockgate.core.gates import parity
from lockgate.core.verdict import Verdict
from lockgate.models import sklearn_graph, trainer_of
from lockgate.models.checkpoint import nowhere
from lockgate.models.frames import labelled_rows
from lockgate.models.tree_graph import finish, graph_inputs, graph_output
from tests.estimators import ONE_HOT, over, scaled
from tests.unit.models.rows import CATEGORICAL, NUMERIC, judged, rows, spec_of

pytestmark = pytest.mark.integration
HOLDOUT = rows(2000, seed=3, unseen=True)


@dataclass(frozen=True)
class Subject:
    """A fitted estimator with what was made of it."""

    spec: Any
    native: Any
    graph: bytes
    contract: ModelContract

    def measured(self, graph: bytes | None = None, contract: ModelContract | None = None) -> dict[str, Any]:
        shipped = contract or self.contract
        measured: dict[str, Any] = measure_parity(
            NativeScorer(self.native, TaskKind.BINARY, NUMERIC, CATEGORICAL),
            GraphScorer(graph or self.graph, shipped.graph),
            holdout=HOLDOUT,
            contract=shipped,
            splits=trainer_of(self.spec).split_points(self.native, self.spec),
            bound=1e-5,
            seed=7,
        )
        measured["groups"]["served"] = measured["groups"]["single_row"]  # the server has tests of its own
        return measured


def subject(spec: Any, native: Any) -> Subject:
    trainer = trainer_of(spec)
    form = trainer.form(native, spec)
    contract = contract_of(spec, rows(200, seed=1), 0.5, form)
    return Subject(spec, native, trainer.to_onnx(native, spec, form), contract)


@pytest.fixture(scope="module")
def trees() -> Subject:
    spec = spec_of(parameters={"n_estimators": 40})
    parts = [labelled_rows(rows(1500, seed=seed), spec) for seed in (1, 2)]
    return subject(spec, trainer_of(spec).fit(*parts, spec, spec.training.parameters, nowhere()).native)


def failed(measured: dict[str, Any]) -> set[str]:
    report = judged(parity.GATE, measured)
    assert report.verdict is Verdict.FAIL
    assert "does not answer like the estimator" in report.reason
    return {check.name for check in report.checks if check.required and check.verdict is Verdict.FAIL}


def with_nodes(graph: bytes, attribute: str, change: Callable[[NDArray[Any]], NDArray[Any]]) -> bytes:
    model = onnx.load_from_string(graph)
    node = next(node for node in model.graph.node if node.op_type == "TreeEnsembleRegressor")
    found = next(each for each in node.attribute if each.name == attribute)
    values = found.floats or found.ints
    values[:] = change(np.array(values, dtype=np.float32 if found.floats else np.int64))
    return bytes(model.SerializeToString())


def test_a_faithful_graph_passes_every_family(trees: Subject) -> None:
    measured = trees.measured()
    assert judged(parity.GATE, measured).verdict is Verdict.PASS
    assert {name for name, group in measured["groups"].items() if not group["rows"]} == set()


def test_a_scaler_before_trees_is_stopped_where_the_list_would_not_stop_it() -> None:
    spec = spec_of(family="estimator", estimator="tests.estimators:named")
    part = labelled_rows(rows(1500, seed=1), spec)
    native = over(GradientBoostingClassifier(random_state=0), scaled(), ONE_HOT).fit(part.features, part.label)
    contract = contract_of(spec, rows(200, seed=1), 0.5, trainer_of(spec).form(native, spec))
    made = Subject(spec, native, converted_unasked(native, spec, contract), contract)
    assert {"holdout_difference", "boundaries_difference"} & failed(made.measured())


def converted_unasked(native: Any, spec: Any, contract: ModelContract) -> bytes:
    """Convert as `sklearn_graph.build_graph` does, but without asking the list of what is proved."""
    inner = sklearn_graph._convert(native, spec)
    initializers = list(inner.initializer)
    nodes = [*sklearn_graph._split(contract.graph, initializers), *inner.node]
    nodes += sklearn_graph._last(inner, spec, contract.graph.output, initializers)
    inputs, output = graph_inputs(contract.graph), graph_output(contract.graph, spec)
    return finish(onnx.helper.make_graph(nodes, "estimator", inputs, [output], initializer=initializers), None)


@pytest.mark.parametrize(
    ("attribute", "change", "family"),
    [
        ("nodes_values", lambda v: np.nextafter(v, np.float32(np.inf)), "boundaries"),
        ("nodes_values", lambda v: np.array([float(f"{each:.5g}") for each in v], np.float32), "boundaries"),
        ("nodes_values", lambda v: (v * np.float32(1 + 1e-4)).astype(np.float32), "boundaries"),
        ("nodes_values", lambda v: v.astype(np.float16).astype(np.float32), "boundaries"),
        ("target_weights", lambda v: v * np.float32(1.001), "holdout"),
    ],
    ids=["a step off", "rounded in a text dump", "drifted", "half precision", "leaves drifted"],
)
def test_thresholds_that_are_not_the_models_own_are_stopped(
    trees: Subject, attribute: str, change: Any, family: str
) -> None:
    assert f"{family}_difference" in failed(trees.measured(with_nodes(trees.graph, attribute, change)))


def test_a_wrong_category_code_is_stopped(trees: Subject) -> None:
    first, second = trees.contract.graph.coded
    turned = replace(first, values=("b", "a", "c"))  # training has them in order
    contract = replace(trees.contract, graph=replace(trees.contract.graph, coded=(turned, second)))
    assert {"holdout_difference", "sweep_difference"} <= failed(trees.measured(contract=contract))


def test_swapped_columns_are_stopped(trees: Subject) -> None:
    form = trees.contract.graph
    columns = (form.numeric_columns[1], form.numeric_columns[0], *form.numeric_columns[2:])
    contract = replace(trees.contract, graph=replace(form, numeric_columns=columns))
    assert "holdout_difference" in failed(trees.measured(contract=contract))


def test_the_worst_row_of_a_family_answers_anew_as_it_did(trees: Subject) -> None:
    bad = with_nodes(trees.graph, "nodes_values", lambda v: np.nextafter(v, np.float32(np.inf)))
    worst = {each["family"]: each for each in trees.measured(bad)["worst"]}["boundaries"]
    frame = pd.DataFrame([worst["row"]]).astype(dict.fromkeys(NUMERIC, "float64"))
    native = NativeScorer(trees.native, TaskKind.BINARY, NUMERIC, CATEGORICAL).score(frame)
    graph = GraphScorer(bad, trees.contract.graph).score(frame)
    assert (float(native[0]), float(graph[0])) == (worst["native"][0], worst["graph"][0])
    assert abs(worst["native"][0] - worst["graph"][0]) > 1e-5
    assert worst["changed"] in NUMERIC


# -- how the rows are made ---------------------------------------------------------------------------------------------


def test_every_split_is_met_from_both_sides_and_from_between(trees: Subject) -> None:
    splits = trainer_of(trees.spec).split_points(trees.native, trees.spec)
    family = boundary_rows(HOLDOUT, trees.contract.graph, splits, 0)
    for name in NUMERIC:
        got = family.rows[name][[each == name for each in family.changed]].to_numpy(dtype=np.float64)
        for split in splits[name]:
            near = got[np.abs(got - float(split)) <= 2 * float(np.spacing(np.abs(split)))]
            assert len(set(near.astype(np.float32))) >= 3, (name, split)
            assert any(each != np.float32(each) for each in near)  # a double between two float32


def test_a_sweep_leads_each_column_through_its_values(trees: Subject) -> None:
    family = sweep_rows(HOLDOUT, trees.contract.graph, 0)
    for name in CATEGORICAL:
        swept = set(family.rows[name][[each == name for each in family.changed]].dropna())
        assert set(HOLDOUT[name].dropna()) <= swept


def test_odd_strings_hold_the_empty_one_and_known_ones_in_another_case(trees: Subject) -> None:
    values = set(unseen_rows(HOLDOUT, trees.contract.graph, 0).rows["c0"].dropna())
    assert {"", " ", "A", "a "} <= values


def test_far_out_numbers_are_on_both_sides(trees: Subject) -> None:
    values = extreme_rows(HOLDOUT, trees.contract.graph, 0).rows["x0"]
    assert values.max() == 1e12
    assert values.min() == -1e12


def test_climbing_finds_a_corner_that_its_start_does_not_hold(trees: Subject) -> None:
    """A fault whose difference grows towards a corner of two columns: none of the first rows is in it."""

    def badness(frame: pd.DataFrame) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        x0, x2 = (frame[name].to_numpy(dtype=np.float64, na_value=0.0) for name in ("x0", "x2"))
        return np.maximum(x0, 0) * np.log1p(np.abs(x2)), np.full(len(frame), np.inf)

    start = HOLDOUT[(HOLDOUT.x0 < 0) & (HOLDOUT.x2 < 50)].head(30)
    ground = Ground(pool=HOLDOUT, form=trees.contract.graph, splits={})
    found = badness(climb(start, ground, badness, 1).rows)[0]
    assert badness(start)[0].max() == 0.0
    assert found.max() > np.quantile(badness(HOLDOUT)[0], 0.9)
