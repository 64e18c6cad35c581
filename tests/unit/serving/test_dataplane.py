"""The data plane, without any transport: what is answered, flagged and refused."""

import gc
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.core.contract import TaskKind
from lockgate.core.ids import Digest
from lockgate.errors import IntegrityError
from lockgate.serving.model.bundle import VerifiedBundle, open_bundle
from lockgate.serving.model.columns import Flag
from lockgate.serving.model.dataplane import OUTPUTS, Answer, ServedModel
from lockgate.serving.model.proving import load
from lockgate.serving.model.signature import load_public_key
from lockgate.serving.refusals import Reason, RequestRefused
from tests.bundles import contract, golden, graph, make_bundle, make_keys, probes

GOOD: dict[str, list[Any]] = {
    "amount": [12.5, None, 0],
    "colour": ["red", None, "blue"],
    "age": [41, 0.5, 120],
    "shape": ["disc", "cube", None],
}


def bundle(task: TaskKind = TaskKind.BINARY, **how: Any) -> VerifiedBundle:
    return VerifiedBundle(
        digest=Digest("ab" * 32),
        contract=contract(task=task),
        probes=how.get("probes", probes(0.0, task)),
        onnx=how.get("onnx", graph(0.0, task)),
    )


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return load(bundle())


def refusal(model: ServedModel, columns: dict[str, Any], max_rows: int = 10) -> RequestRefused:
    with pytest.raises(RequestRefused) as refused:
        model.answer(columns, max_rows)
    return refused.value


def rows(columns: dict[str, list[Any]]) -> list[dict[str, Any]]:
    return [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]


@pytest.mark.parametrize("task", TaskKind)
def test_every_task_answers_its_named_outputs(task: TaskKind) -> None:
    answer = load(bundle(task)).answer(GOOD, 10)
    assert tuple(answer.outputs) == OUTPUTS[task]
    numbers = np.asarray(answer.outputs[OUTPUTS[task][0]]).reshape(3, -1)
    expected = np.array([golden(row, task=task) for row in rows(GOOD)])
    np.testing.assert_allclose(numbers, expected, rtol=1e-5)


def test_labels_follow_the_threshold_and_the_largest_class(model: ServedModel) -> None:
    answer = model.answer(GOOD, 10)
    assert answer.outputs["label"] == ["yes" if golden(row)[0] >= 0.5 else "no" for row in rows(GOOD)]
    many = load(bundle(TaskKind.MULTICLASS)).answer(GOOD, 10)
    largest = [int(np.argmax(golden(row, task=TaskKind.MULTICLASS))) for row in rows(GOOD)]
    assert many.outputs["label"] == [("low", "mid", "high")[index] for index in largest]


def test_what_lies_in_the_domain_carries_no_flag(model: ServedModel) -> None:
    assert model.answer(GOOD, 10).flags == ()


def test_unknown_categories_and_numbers_out_of_range_are_answered_and_flagged(model: ServedModel) -> None:
    answer = model.answer({**GOOD, "colour": ["red", "mauve", "umber"], "age": [-1, 41, 121]}, 10)
    assert answer.rows == 3
    assert set(answer.flags) == {
        Flag("unknown_category", "colour", (1, 2)),
        Flag("out_of_range", "age", (0, 2)),
    }


def test_the_bounds_themselves_are_in_range(model: ServedModel) -> None:
    assert model.answer({**GOOD, "amount": [0, 100, 100.0]}, 10).flags == ()


def test_the_marker_for_null_is_no_category_of_the_data(model: ServedModel) -> None:
    flags = model.answer({**GOOD, "colour": ["__missing__", "red", "red"]}, 10).flags
    assert flags == (Flag("unknown_category", "colour", (0,)),)


@pytest.mark.parametrize(
    ("change", "reason", "said"),
    [
        ({"age": None}, Reason.MISSING_COLUMN, "column 'age' is missing"),
        ({"amount": None}, Reason.MISSING_COLUMN, "with null for what is not known"),
        ({"extra": [1, 2, 3]}, Reason.UNKNOWN_COLUMN, "column 'extra' is not an input"),
        ({"age": [1, "2", 3]}, Reason.WRONG_TYPE, "column 'age', row 1: expected a number, got a string"),
        ({"amount": [1, 2, True]}, Reason.WRONG_TYPE, "column 'amount', row 2: expected a number or null, got true"),
        ({"amount": [[1], 2, 3]}, Reason.WRONG_TYPE, "row 0: expected a number or null, got an array"),
        (
            {"colour": ["red", 1, "red"]},
            Reason.WRONG_TYPE,
            "column 'colour', row 1: expected a string or null, got a n",
        ),
        ({"colour": ["red", {}, "red"]}, Reason.WRONG_TYPE, "got an object"),
        ({"age": [1, None, 3]}, Reason.NULL_NOT_ALLOWED, "column 'age', row 1: null"),
        ({"age": [1, float("nan"), 3]}, Reason.NULL_NOT_ALLOWED, "column 'age', row 1: null"),
        ({"amount": [1, 1e39, 3]}, Reason.OUT_OF_FLOAT32, "column 'amount', row 1: the number is too large"),
        ({"amount": [1, 2, -(10**400)]}, Reason.OUT_OF_FLOAT32, "column 'amount', row 2"),
        ({"shape": ["disc"]}, Reason.UNEQUAL_LENGTHS, "column 'shape' has 1 values, column 'amount' has 3"),
    ],
)
def test_what_does_not_fit_the_contract_is_refused_by_name(
    model: ServedModel, change: dict[str, Any], reason: Reason, said: str
) -> None:
    columns = {name: values for name, values in {**GOOD, **change}.items() if values is not None}
    refused = refusal(model, columns)
    assert refused.reason is reason
    assert said in refused.message


def test_no_rows_and_too_many_rows_are_refused(model: ServedModel) -> None:
    assert refusal(model, {name: [] for name in GOOD}).reason is Reason.NO_ROWS
    assert refusal(model, GOOD, max_rows=2).reason is Reason.TOO_MANY_ROWS
    assert model.answer(GOOD, 3).rows == 3


def test_a_model_without_a_finite_answer_refuses_the_row() -> None:
    model = load(bundle(TaskKind.REGRESSION, onnx=overflowing()))
    assert refusal(model, {**GOOD, "amount": [1, 3e38, 1]}).reason is Reason.NO_FINITE_ANSWER


def overflowing() -> bytes:
    """The regression graph, its filled numbers squared and rooted: the same answers, infinite beyond 1.8e19."""
    import onnx
    from onnx import helper

    made = onnx.load_from_string(graph(0.0, TaskKind.REGRESSION))
    product = next(node for node in made.graph.node if node.op_type == "MatMul")
    product.input[0] = "rooted"
    place = list(made.graph.node).index(product)
    made.graph.node.insert(place, helper.make_node("Mul", ["filled", "filled"], ["squared"]))
    made.graph.node.insert(place + 1, helper.make_node("Sqrt", ["squared"], ["rooted"]))
    return bytes(made.SerializeToString())


cells = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=4), st.lists(st.integers(), max_size=2)
)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from([*GOOD, "other"]), st.lists(cells, max_size=3), max_size=5))
def test_any_columns_are_answered_finitely_or_refused(columns: dict[str, list[Any]]) -> None:
    model = SHARED
    try:
        answer: Answer = model.answer(columns, 3)
    except RequestRefused:
        return
    assert np.isfinite(np.asarray(answer.outputs["probability"])).all()


SHARED = load(bundle())


def test_a_wrong_golden_answer_refuses_the_bundle() -> None:
    with pytest.raises(IntegrityError, match=r"probe typical-1: answered \[0\.5.*golden is .*allowed 1e-05"):
        load(bundle(probes=probes(0.0, TaskKind.BINARY, shift=1e-3)))


def test_a_probe_that_the_model_itself_refuses_refuses_the_bundle() -> None:
    odd = probes(0.0, TaskKind.BINARY)
    odd.requests[0].row["age"] = None
    with pytest.raises(IntegrityError, match="probe typical-1: its own model refuses it: column 'age'"):
        load(bundle(probes=odd))


@pytest.mark.parametrize(
    ("onnx", "said"),
    [
        (b"no graph", "ONNX Runtime does not take it"),
        (graph(0.0, TaskKind.MULTICLASS), "no float32 output 'output' of"),
    ],
)
def test_a_graph_that_is_not_of_the_contracts_form_is_refused(onnx: bytes, said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        load(bundle(onnx=onnx))


def test_a_model_that_nobody_holds_is_gone_at_once_without_the_cycle_collector() -> None:
    gc.disable()
    try:
        model = load(bundle())
        model.answer(GOOD, 10)
        seen = weakref.ref(model)
        del model
        assert seen() is None
    finally:
        gc.enable()


def test_a_bundle_from_the_store_answers_like_its_golden_answers(tmp_path: Path) -> None:
    _, public = make_keys(tmp_path / "keys")
    digest = make_bundle(tmp_path / "bundles", key_dir=tmp_path / "keys", bias=0.7)
    opened = open_bundle(tmp_path / "bundles", digest, load_public_key(public))
    answer = load(opened).answer(GOOD, 10)
    expected = [golden(row, 0.7)[0] for row in rows(GOOD)]
    np.testing.assert_allclose(np.asarray(answer.outputs["probability"]), expected, rtol=1e-5)


def positions(splits: str | None) -> bytes:
    """Return a graph that answers each row with its place in the run, and says it wants rows in this order."""
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Shape", ["numeric"], ["rows_1"], start=0, end=1),
        helper.make_node("Squeeze", ["rows_1"], ["rows"]),
        helper.make_node("Range", ["zero", "rows", "one"], ["places"]),
        helper.make_node("Cast", ["places"], ["output"], to=TensorProto.FLOAT),
    ]
    made = helper.make_graph(
        nodes,
        "places",
        [
            helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("categorical", TensorProto.STRING, ["n", 2]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n"])],
        initializer=[
            numpy_helper.from_array(np.array(each, np.int64), name) for name, each in (("zero", 0), ("one", 1))
        ],
    )
    whole = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    if splits is not None:
        helper.set_model_props(whole, {"lockgate.row_order": splits})
    return bytes(whole.SerializeToString())


def of_places(splits: str | None) -> ServedModel:
    return ServedModel(Digest("ab" * 32), contract(task=TaskKind.REGRESSION), positions(splits))


def upside_down(rows: int) -> dict[str, list[Any]]:
    """Return rows of which every second one has an amount below 50."""
    return {"amount": [90.0, 10.0] * (rows // 2), "colour": ["red"] * rows, "age": [9] * rows, "shape": ["disc"] * rows}


def test_many_rows_go_through_the_graph_in_its_own_order_and_come_back_in_the_callers() -> None:
    few, many = (of_places("[[0, 50.0]]").scores(upside_down(rows), rows) for rows in (254, 256))
    assert few.tolist() == list(range(254))
    assert many.tolist() == [place for pair in zip(range(128), range(128, 256), strict=True) for place in pair]
    assert of_places(None).scores(upside_down(256), 256).tolist() == list(range(256))


def test_a_graph_with_an_order_that_is_none_of_its_matrix_is_refused() -> None:
    with pytest.raises(IntegrityError, match=r"part model\.onnx: metadata lockgate\.row_order: \[2, 50\.0\]"):
        of_places("[[2, 50.0]]")
