"""The ONNX graph of boosted trees, built node by node from XGBoost's own model file.

Exact to float32 rounding: thresholds and leaves are the model's own float32 numbers, and `x < threshold` is the same
comparison in both. One matrix goes in, the fastest of the exact forms measured: strings are coded before the graph by
the tables in its `GraphForm`, and what these do not know is NaN and follows the branch for missing values.

    numeric [n, w] ──────────────────────┬→ Concat [n, 2 w] → TreeEnsembleRegressor → link → [n] or [n, classes]
                   └→ IsNaN, Where (-∞) ─┘

Every node asks `x < threshold`, which NaN is not, so a null goes right by itself. Where XGBoost sends nulls left, the
node asks the matrix's second copy, in which a null is less than any threshold. The runtime then needs no look at nulls
in its innermost loop: 15 % less time with two rows or more, the same answers to the last bit (docs/benchmarks.md).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from lockgate.core.contract import GraphForm, TaskKind
from lockgate.core.row_order import KEY, RowOrder
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.models.split_choice import MetSplit, row_order
from lockgate.models.trainer import IR_VERSION, OPSETS

_EXPONENTIAL = ("count:poisson", "reg:gamma", "reg:tweedie")
_IDENTITY = ("reg:squarederror", "reg:absoluteerror", "reg:squaredlogerror")


def build_graph(booster: Any, spec: ReleaseSpec, form: GraphForm) -> bytes:  # noqa: ANN401 - XGBoost has no types
    """Return the serialized graph of a booster.

    Args:
        booster: Fitted; features are the numeric columns, then one code a string column.
        spec: Names the task.
        form: Names the tensors.
    """
    model = _model_of(booster)
    initializers: list[onnx.TensorProto] = []
    width = len(form.numeric_columns) + len(form.coded)
    nodes = _with_copy(str(form.numeric_input), initializers)
    nodes.append(_ensemble(model, spec, width))
    nodes += _link(str(model["objective"]["name"]), spec.task.kind, form.output, initializers)
    graph = helper.make_graph(
        nodes, "boosted_trees", graph_inputs(form), [graph_output(form, spec)], initializer=initializers
    )
    return finish(graph, row_order(_met(model)))


def split_values(booster: Any) -> dict[int, NDArray[np.float32]]:  # noqa: ANN401 - XGBoost has no types
    """Return the distinct thresholds of each feature, by feature index, ascending."""
    found: dict[int, set[float]] = {}
    for tree in _model_of(booster)["gradient_booster"]["model"]["trees"]:
        for left, feature, value in zip(
            tree["left_children"], tree["split_indices"], tree["split_conditions"], strict=True
        ):
            if left != -1:
                found.setdefault(feature, set()).add(value)
    return {feature: np.array(sorted(values), dtype=np.float32) for feature, values in found.items()}


def graph_inputs(form: GraphForm) -> list[onnx.ValueInfoProto]:
    """Return the inputs that every bundle's graph has."""
    inputs = (
        (form.numeric_input, TensorProto.FLOAT, len(form.numeric_columns) + len(form.coded)),
        (form.string_input, TensorProto.STRING, len(form.string_columns)),
    )
    return [helper.make_tensor_value_info(name, kind, ["rows", width]) for name, kind, width in inputs if name]


def graph_output(form: GraphForm, spec: ReleaseSpec) -> onnx.ValueInfoProto:
    """Return the output that every bundle's graph has."""
    shape: list[str | int | None] = ["rows"]
    if spec.task.kind is TaskKind.MULTICLASS:
        shape.append(len(spec.task.classes))
    return helper.make_tensor_value_info(form.output, TensorProto.FLOAT, shape)


def finish(graph: onnx.GraphProto, order: RowOrder | None) -> bytes:
    """Return the checked, serialized model of a graph; the same graph gives the same bytes.

    Args:
        graph: The nodes.
        order: In which many rows are best asked; None where no order helps.
    """
    opsets = [helper.make_opsetid(domain, version) for domain, version in OPSETS.items()]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION, producer_name="lockgate")
    if order is not None:
        helper.set_model_props(model, {KEY: order.text()})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))


def _model_of(booster: Any) -> dict[str, Any]:  # noqa: ANN401 - XGBoost has no types
    learner: dict[str, Any] = json.loads(booster.save_raw("json"))["learner"]
    return learner


def _met(model: Mapping[str, Any]) -> Iterator[MetSplit]:
    """Yield the splits of a booster, with the sums of second derivatives that XGBoost keeps for the rows of a node."""
    for tree in model["gradient_booster"]["model"]["trees"]:
        sums = tree["sum_hessian"]
        for node, left in enumerate(tree["left_children"]):
            if left != -1:
                column, threshold = tree["split_indices"][node], tree["split_conditions"][node]
                yield MetSplit(column, threshold, sums[node], sums[left])


def _with_copy(matrix: str, initializers: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Return the nodes from the input to "features": the matrix, and its copy with -infinity for null."""
    initializers.append(numpy_helper.from_array(np.array(-np.inf, dtype=np.float32), "below_all"))
    return [
        helper.make_node("IsNaN", [matrix], ["is_null"]),
        helper.make_node("Where", ["is_null", "below_all", matrix], ["nulls_below"]),
        helper.make_node("Concat", [matrix, "nulls_below"], ["features"], axis=1),
    ]


def _ensemble(model: Mapping[str, Any], spec: ReleaseSpec, width: int) -> onnx.NodeProto:
    """Return the tree node, from "features", `width` columns and their copy, to "margin" [n, 1] or [n, classes]."""
    gbtree = model["gradient_booster"]["model"]
    targets = len(spec.task.classes) if spec.task.kind is TaskKind.MULTICLASS else 1
    columns: dict[str, list[Any]] = {name: [] for name in (*_NODE_COLUMNS, *_LEAF_COLUMNS)}
    for tree_id, (tree, target) in enumerate(zip(gbtree["trees"], gbtree["tree_info"], strict=True)):
        _append_tree(columns, tree_id, tree, target, width)
    attributes: dict[str, Any] = {
        "n_targets": targets,
        "aggregate_function": "SUM",
        "post_transform": "NONE",
        "base_values": _base_margins(model, targets),
        **columns,
    }
    return helper.make_node("TreeEnsembleRegressor", ["features"], ["margin"], domain="ai.onnx.ml", **attributes)


_NODE_COLUMNS = (
    "nodes_treeids",
    "nodes_nodeids",
    "nodes_featureids",
    "nodes_values",
    "nodes_modes",
    "nodes_truenodeids",
    "nodes_falsenodeids",
)
_LEAF_COLUMNS = ("target_treeids", "target_nodeids", "target_ids", "target_weights")


def _append_tree(columns: dict[str, list[Any]], tree_id: int, tree: Mapping[str, Any], target: int, width: int) -> None:
    if any(tree["split_type"]):
        raise BadInput("the booster splits on native categories, which this graph does not hold")
    for node, left in enumerate(tree["left_children"]):
        leaf = left == -1
        values = (
            tree_id,
            node,
            0 if leaf else tree["split_indices"][node] + width * bool(tree["default_left"][node]),
            0.0 if leaf else tree["split_conditions"][node],
            "LEAF" if leaf else "BRANCH_LT",
            0 if leaf else left,
            0 if leaf else tree["right_children"][node],
        )
        for name, value in zip(_NODE_COLUMNS, values, strict=True):
            columns[name].append(value)
        if leaf:  # XGBoost keeps a leaf's weight where a branch has its threshold
            for name, value in zip(_LEAF_COLUMNS, (tree_id, node, target, tree["split_conditions"][node]), strict=True):
                columns[name].append(value)


def _base_margins(model: Mapping[str, Any], targets: int) -> list[float]:
    """Return what trees are added to. XGBoost 3 writes it before the link, as "[x]" or "[x,y,...]"."""
    text = str(model["learner_model_param"]["base_score"]).strip("[]")
    scores = [float(each) for each in text.split(",")]
    if len(scores) == 1:
        scores *= targets
    objective = str(model["objective"]["name"])
    if objective == "binary:logistic":
        return [math.log(score / (1 - score)) for score in scores]
    if objective in _EXPONENTIAL:
        return [math.log(score) for score in scores]
    return scores


def _link(objective: str, kind: TaskKind, output: str, initializers: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    """Return the nodes from "margin" to the output."""
    if kind is TaskKind.MULTICLASS:
        return [helper.make_node("Softmax", ["margin"], [output], axis=1)]
    initializers.append(numpy_helper.from_array(np.array([1], dtype=np.int64), "column_axis"))
    if objective in _IDENTITY:
        return [helper.make_node("Squeeze", ["margin", "column_axis"], [output])]
    if objective not in (*_EXPONENTIAL, "binary:logistic"):
        raise BadInput(f"the objective {objective} has no proved graph")
    function = "Sigmoid" if objective == "binary:logistic" else "Exp"
    return [
        helper.make_node("Squeeze", ["margin", "column_axis"], ["flat_margin"]),
        helper.make_node(function, ["flat_margin"], [output]),
    ]
