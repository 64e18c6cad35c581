"""Contributions of columns: they add up, they are exact where that can be known, and they cost what they may."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import CodedColumn, ColumnType, GraphForm, InputColumn, ModelContract, TaskKind
from lockgate.core.drift import reference_profile
from lockgate.core.ids import Digest, ModelName, canonical_json
from lockgate.serving.model.dataplane import ServedModel
from lockgate.serving.model.explanation import ROWS_AT_MOST, _design, explain, typical_row
from lockgate.serving.refusals import Reason, RequestRefused
from tests.bundles import COLOURS, SHAPES, WEIGHTS, contract, golden, graph

ROW: dict[str, Any] = {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"}
TYPICAL: dict[str, Any] = {"amount": 20.0, "age": 30.0, "colour": "green", "shape": "cube"}
PROFILE = canonical_json(
    reference_profile(
        {
            "amount": np.array([1, 20, 20, 90, np.nan]),
            "age": np.array([18.0, 30, 30, 70, 30]),
            "colour": np.array(["green", "green", "red", None, None], object),
            "shape": np.array(["cube", "cube", "disc", "cube", "disc"], object),
        },
        ("amount", "age"),
        ("colour", "shape"),
    )
)


def served(task: TaskKind = TaskKind.BINARY, profile: bytes | None = PROFILE) -> ServedModel:
    return ServedModel(Digest("a" * 64), contract(task=task), graph(0.0, task), profile=profile)


def columns_of(*rows: dict[str, Any]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def product_model(columns: int) -> ServedModel:
    """A model that a linear one cannot stand for: the product of (1 + value) over its columns."""
    from onnx import TensorProto, helper, numpy_helper

    names = tuple(f"x{at}" for at in range(columns))
    made = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("Add", ["numeric", "one"], ["more"]),
                helper.make_node("ReduceProd", ["more"], ["output"], axes=[1], keepdims=0),
            ],
            "product",
            [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", columns])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n"])],
            [numpy_helper.from_array(np.float32(1).reshape(1), "one")],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=10,
    )
    whole = ModelContract(
        model=ModelName("product"),
        task=TaskKind.REGRESSION,
        inputs=tuple(InputColumn(name=name, type=ColumnType.NUMBER) for name in names),
        classes=(),
        threshold=None,
        graph=GraphForm(
            numeric_input="numeric",
            numeric_columns=names,
            string_input=None,
            string_columns=(),
            missing_string="",
            output="output",
        ),
    )
    zeros = {name: np.zeros(3) for name in names}
    profile = canonical_json(reference_profile(zeros, names, ()))
    return ServedModel(Digest("b" * 64), whole, made.SerializeToString(), profile=profile)


def product_shapley(values: list[float]) -> list[float]:
    """Shapley values by the definition itself: the mean step over every order."""
    found = [0.0] * len(values)
    for order in itertools.permutations(range(len(values))):
        worth = 1.0
        for column in order:
            found[column] += worth * values[column]
            worth *= 1 + values[column]
    return [each / math.factorial(len(values)) for each in found]


def test_the_typical_row_is_the_medians_and_the_commonest_categories() -> None:
    assert typical_row(served()) == TYPICAL  # null was as common as green: what is there wins a tie


def test_a_column_that_is_mostly_missing_is_null_in_the_typical_row() -> None:
    columns = {
        "amount": np.array([1.0, np.nan, np.nan]),
        "age": np.array([1.0, 2.0, 3.0]),
        "colour": np.array(["red", None, None], object),
        "shape": np.array(["cube", "disc", None], object),
    }
    profile = canonical_json(reference_profile(columns, ("amount", "age"), ("colour", "shape")))
    assert typical_row(served(profile=profile)) == {"amount": None, "age": 2.0, "colour": None, "shape": "cube"}


@pytest.mark.parametrize("values", [[3.0], [1, 2], [1, 2, 2, 9], [5, 1, 4, 2, 3], list(range(100))])
def test_the_median_is_the_lower_one_of_the_column(values: list[float]) -> None:
    numbers = np.array(values, float)
    data = {"amount": numbers, "age": numbers, "colour": np.array(["red"] * len(values), object)}
    profile = canonical_json(
        reference_profile(data | {"shape": data["colour"]}, ("amount", "age"), ("colour", "shape"))
    )
    assert typical_row(served(profile=profile))["age"] == np.quantile(numbers, 0.5, method="lower")


@pytest.mark.parametrize("task", list(TaskKind))
def test_contributions_and_baseline_add_up_to_the_answer(task: TaskKind) -> None:
    model = served(task)
    other = ROW | {"amount": 99, "colour": "octarine", "shape": None}
    told = explain(model, columns_of(ROW, other))
    assert told.columns == ("amount", "colour", "age", "shape")
    assert told.exact
    np.testing.assert_allclose(told.baseline + told.contributions.sum(axis=1), told.answer, atol=1e-6)
    for at, row in enumerate((ROW, other)):
        assert told.answer[at] == pytest.approx(max(golden(row, task=task)), abs=1e-5)


def test_on_a_linear_model_each_column_contributes_its_weight_times_its_distance() -> None:
    told = explain(served(TaskKind.REGRESSION), columns_of(ROW))
    expected = {
        "amount": WEIGHTS["amount"] * (ROW["amount"] - TYPICAL["amount"]),
        "age": WEIGHTS["age"] * (ROW["age"] - TYPICAL["age"]),
        "colour": COLOURS["red"] - COLOURS["green"],
        "shape": SHAPES["disc"] - SHAPES["cube"],
    }
    assert told.of == "value"
    assert told.classes is None
    np.testing.assert_allclose(told.contributions[0], [expected[name] for name in told.columns], atol=1e-6)


def test_a_value_that_is_the_typical_one_contributes_nothing() -> None:
    told = explain(served(), columns_of(TYPICAL | {"age": 77}))
    assert np.flatnonzero(told.contributions[0]).tolist() == [told.columns.index("age")]
    same = explain(served(), columns_of(TYPICAL))
    assert not same.contributions.any()
    assert same.answer == same.baseline


def test_for_multiclass_the_probability_of_the_predicted_class_is_explained() -> None:
    low, high = ROW | {"age": 110, "shape": "cube"}, ROW | {"age": 0, "amount": 100, "colour": "blue"}
    told = explain(served(TaskKind.MULTICLASS), columns_of(low, high))
    assert told.of == "probabilities"
    assert told.classes == ("low", "high")
    typical = golden(TYPICAL, task=TaskKind.MULTICLASS)
    np.testing.assert_allclose(told.baseline, [typical[0], typical[2]], atol=1e-5)


def test_few_columns_are_exact_by_the_definition() -> None:
    values = [0.5, -0.25, 1.5, 0.75, -0.5, 0.125]
    told = explain(product_model(6), {f"x{at}": [value] for at, value in enumerate(values)})
    assert told.exact
    np.testing.assert_allclose(told.contributions[0], product_shapley(values), rtol=1e-5)


def test_eight_columns_are_exact_in_as_many_rows_as_may_be_asked() -> None:
    assert explain(product_model(8), {f"x{at}": [0.5] * ROWS_AT_MOST for at in range(8)}).exact


def test_many_columns_are_estimated_add_up_and_come_near_the_truth() -> None:
    model = product_model(24)
    values = [0.02 * (at - 8) for at in range(24)]
    told = explain(model, {f"x{at}": [value] for at, value in enumerate(values)})
    assert not told.exact
    assert told.baseline[0] + told.contributions.sum() == pytest.approx(float(told.answer[0]), rel=1e-5)
    closed = shapley_of_a_product(values)
    assert np.abs(told.contributions[0] - closed).max() < 0.05 * np.abs(closed).max()
    again = explain(model, {f"x{at}": [value] for at, value in enumerate(values)})
    np.testing.assert_array_equal(told.contributions, again.contributions)


def shapley_of_a_product(values: list[float]) -> np.ndarray[Any, Any]:
    """The same in closed form: a column joins after a uniform share t of the others, integrated over t."""
    nodes, weights = np.polynomial.legendre.leggauss(20)
    shares = (nodes + 1) / 2
    found = []
    for column, value in enumerate(values):
        others = [1 + other * shares for at, other in enumerate(values) if at != column]
        found.append(value * float(np.sum(weights / 2 * np.prod(others, axis=0))))
    return np.array(found)


def test_the_closed_form_is_the_definition() -> None:
    values = [0.5, -0.25, 1.5, 0.75]
    np.testing.assert_allclose(shapley_of_a_product(values), product_shapley(values))


@pytest.mark.parametrize(("columns", "coalitions"), [(1, 2), (5, 1024), (11, 1024), (24, 1024), (24, 256), (200, 256)])
def test_a_column_that_alone_decides_gets_all_and_the_bound_is_kept(columns: int, coalitions: int) -> None:
    design = _design(columns, coalitions)
    assert len(design.masks) <= max(coalitions, 2 * columns)
    assert not design.masks[design.empty].any()
    assert design.masks[design.full].all()
    alone = [design.values(design.masks[:, column].astype(float)) for column in range(columns)]
    np.testing.assert_allclose(alone, np.eye(columns), atol=1e-9)


def test_more_rows_than_are_explained_are_refused() -> None:
    with pytest.raises(RequestRefused, match="at most 10 rows a request, this one holds 11") as refused:
        explain(served(), columns_of(*[ROW] * 11))
    assert refused.value.reason is Reason.TOO_MANY_ROWS


def test_more_columns_than_can_be_paid_for_are_refused() -> None:
    model = product_model(1200)
    with pytest.raises(RequestRefused, match="would cost too much") as refused:
        explain(model, {f"x{at}": [1.0] * 10 for at in range(1200)})
    assert refused.value.reason is Reason.NOT_EXPLAINABLE


@pytest.mark.parametrize("profile", [None, b"{}", b"not json", b'{"numeric": {}, "categorical": {}}'])
def test_a_bundle_without_a_typical_row_is_said_to_have_none(profile: bytes | None) -> None:
    with pytest.raises(RequestRefused, match="names no typical row") as refused:
        explain(served(profile=profile), columns_of(ROW))
    assert refused.value.reason is Reason.NOT_EXPLAINABLE


def test_a_request_that_does_not_fit_the_contract_is_refused_as_ever() -> None:
    with pytest.raises(RequestRefused, match="column 'age', row 0: null"):
        explain(served(), columns_of(ROW | {"age": None}))


def test_coded_columns_are_explained_like_strings() -> None:
    """One matrix, a code after the number: the value is number + 10 * code, null counting as code 0."""
    from onnx import TensorProto, helper, numpy_helper

    made = helper.make_model(
        helper.make_graph(
            [
                helper.make_node("IsNaN", ["numeric"], ["nan"]),
                helper.make_node("Where", ["nan", "zero", "numeric"], ["filled"]),
                helper.make_node("MatMul", ["filled", "weights"], ["sum"]),
                helper.make_node("Squeeze", ["sum", "last"], ["output"]),
            ],
            "coded",
            [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 2])],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n"])],
            [
                numpy_helper.from_array(np.float32(0), "zero"),
                numpy_helper.from_array(np.array([[1], [10]], np.float32), "weights"),
                numpy_helper.from_array(np.array([1], np.int64), "last"),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 21)],
        ir_version=10,
    )
    toy = contract(task=TaskKind.REGRESSION)
    form = replace(
        toy.graph,
        numeric_columns=("age",),
        string_input=None,
        string_columns=(),
        coded=(CodedColumn(name="colour", values=("red", "green", "blue")),),
    )
    inputs = tuple(column for column in toy.inputs if column.name in ("age", "colour"))
    profile = canonical_json(
        reference_profile(
            {"age": np.array([30.0, 30, 30]), "colour": np.array(["green", "green", "red"], object)},
            ("age",),
            ("colour",),
        )
    )
    model = ServedModel(
        Digest("c" * 64), replace(toy, inputs=inputs, graph=form), made.SerializeToString(), profile=profile
    )
    told = explain(model, {"age": [41, 30], "colour": ["blue", None]})
    assert told.columns == ("colour", "age")
    np.testing.assert_allclose(told.contributions, [[10, 11], [-10, 0]], atol=1e-5)


@pytest.mark.integration
def test_a_real_booster_is_explained_as_its_own_library_explains_it() -> None:
    """TreeSHAP averages over the training rows, this over one typical row: they agree on what matters, not to a digit.

    The exact values against the same typical row are computed from the booster's own answers, by the definition.
    """
    import pandas as pd
    import xgboost
    from scipy.stats import spearmanr

    from lockgate.models import TRAINERS
    from lockgate.models.checkpoint import nowhere
    from lockgate.models.frames import Rows
    from tests.unit.models.rows import spec_of

    names = tuple(f"x{at}" for at in range(6))
    rng = np.random.default_rng(0)
    data = rng.normal(size=(3000, 6)).astype(np.float32)
    label = 4 * data[:, 0] - 2 * data[:, 1] + np.where(data[:, 2] > 0, data[:, 3], -0.5) + 0.2 * data[:, 4]
    spec = spec_of(TaskKind.REGRESSION, threshold=None, parameters={"n_estimators": 60})
    spec = replace(spec, data=replace(spec.data, numeric=names, categorical=()))
    rows = Rows(features=pd.DataFrame(data, columns=list(names)), label=label.astype(np.float64))
    trainer = TRAINERS["xgboost"]
    native = trainer.fit(rows, rows, spec, spec.training.parameters, nowhere()).native
    form = replace(product_model(6).contract.graph, output="prediction")
    whole = replace(product_model(6).contract, graph=form)
    profile = canonical_json(reference_profile({name: data[:, at] for at, name in enumerate(names)}, names, ()))
    model = ServedModel(Digest("d" * 64), whole, trainer.to_onnx(native, spec, form), profile=profile)

    asked = data[:ROWS_AT_MOST]
    told = explain(model, {name: asked[:, at] for at, name in enumerate(names)})
    booster = native.named_steps["trees"].get_booster()
    typical = np.array(list(typical_row(model).values()), np.float32)
    masks = (np.arange(64)[:, None] >> np.arange(6) & 1).astype(bool)
    for row, found in zip(asked, told.contributions, strict=True):
        worth = booster.inplace_predict(np.where(masks, row, typical))
        exact = [
            sum(
                math.factorial(size) * math.factorial(5 - size) / 720 * float(worth[each | 1 << column] - worth[each])
                for each in range(64)
                if not each >> column & 1
                for size in [each.bit_count()]
            )
            for column in range(6)
        ]
        np.testing.assert_allclose(found, exact, atol=1e-4)
    library = booster.predict(xgboost.DMatrix(asked), pred_contribs=True)[:, :-1]
    ranks = [
        spearmanr(np.abs(ours), np.abs(theirs))[0] for ours, theirs in zip(told.contributions, library, strict=True)
    ]
    assert np.mean(ranks) > 0.7
    largest = np.abs(library).argmax(axis=1)
    rows_at = np.arange(len(asked))
    assert (np.sign(told.contributions[rows_at, largest]) == np.sign(library[rows_at, largest])).mean() >= 0.9
