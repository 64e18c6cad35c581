"""The ONNX graph of a fitted scikit-learn estimator: skl2onnx inside, this project's two inputs and one output outside.

numeric [n,k]     → Split ─┐
categorical [n,c] → Split ─┴→ (converted, one [n,1] tensor a column) → probability of the second class | value | all
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from lockgate.core.contract import GraphForm, TaskKind
from lockgate.core.spec import ReleaseSpec
from lockgate.errors import BadInput
from lockgate.models.conversion import refuse_unfaithful
from lockgate.models.split_choice import MetSplit, row_order
from lockgate.models.trainer import OPSETS
from lockgate.models.tree_graph import finish, graph_inputs, graph_output

_INNER = "column_"  # in front of each inner input, so that no column can collide with a tensor of the converter


def build_graph(native: Any, spec: ReleaseSpec, form: GraphForm) -> bytes:  # noqa: ANN401 - scikit-learn has no types
    """Return the serialized graph of a fitted estimator.

    Raises:
        ConfigError: The estimator holds something that was not proved to convert faithfully.
        BadInput: The converter refuses it.
    """
    refuse_unfaithful(native, spec.task.kind)
    inner = _convert(native, spec)
    initializers = list(inner.initializer)
    nodes = _split(form, initializers)
    taken = {name for node in inner.node for name in node.input}
    nodes = [node for node in nodes if taken & set(node.output)]
    nodes += inner.node
    nodes += _last(inner, spec, form.output, initializers)
    graph = helper.make_graph(
        nodes, "estimator", graph_inputs(form), [graph_output(form, spec)], initializer=initializers
    )
    return finish(graph, row_order(_met(native, spec)))


def split_values(native: Any, spec: ReleaseSpec) -> Mapping[str, NDArray[np.float32]]:  # noqa: ANN401 - as above
    """Return the thresholds of the trees on raw numeric columns, ascending.

    A column whose values are changed on the way is left out; an imputer keeps values that are there, so a threshold
    behind it is still one of the raw column.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for name, tree, nodes in _raw_splits(native, spec):
        values = tree.threshold[nodes].astype(np.float32)
        found[name] = np.union1d(found.get(name, values), values)
    return found


def _raw_splits(native: Any, spec: ReleaseSpec) -> Iterator[tuple[str, Any, NDArray[np.intp]]]:  # noqa: ANN401
    """Yield by raw numeric column and tree the nodes that split on it."""
    names = _names_before_model(native)
    for tree in _trees(native):
        branches = tree.children_left != -1
        for feature in np.unique(tree.feature[branches]):
            name = names[feature].rpartition("__")[2] if feature < len(names) else ""
            if name in spec.data.numeric:
                yield name, tree, np.flatnonzero(branches & (tree.feature == feature))


def _met(native: Any, spec: ReleaseSpec) -> Iterator[MetSplit]:  # noqa: ANN401 - as above
    """Yield the splits on raw numeric columns, which lead the graph's matrix in the spec's order."""
    for name, tree, nodes in _raw_splits(native, spec):
        column, rows = spec.data.numeric.index(name), tree.weighted_n_node_samples
        for node in nodes.tolist():
            yield MetSplit(
                column, float(tree.threshold[node]), float(rows[node]), float(rows[tree.children_left[node]])
            )


def _convert(native: Any, spec: ReleaseSpec) -> onnx.GraphProto:  # noqa: ANN401 - as above
    from skl2onnx import convert_sklearn  # type: ignore[import-untyped]  # no stubs published
    from skl2onnx.common.data_types import FloatTensorType, StringTensorType  # type: ignore[import-untyped]  # no stubs published

    types = [(name, FloatTensorType([None, 1])) for name in spec.data.numeric]
    types += [(name, StringTensorType([None, 1])) for name in spec.data.categorical]
    options = {} if spec.task.kind is TaskKind.REGRESSION else {id(native): {"zipmap": False}}
    try:
        model = convert_sklearn(native, "estimator", types, options=options, target_opset=dict(OPSETS))
    except (RuntimeError, NotImplementedError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BadInput(f"the estimator does not convert to ONNX: {error}") from error
    return _renamed_inputs(model.graph)


def _renamed_inputs(graph: onnx.GraphProto) -> onnx.GraphProto:
    columns = {each.name for each in graph.input}
    for node in graph.node:
        for at, name in enumerate(node.input):
            if name in columns:
                node.input[at] = _INNER + name
    return graph


def _split(form: GraphForm, initializers: list[onnx.TensorProto]) -> list[onnx.NodeProto]:
    nodes = []
    for tensor, columns in ((form.numeric_input, form.numeric_columns), (form.string_input, form.string_columns)):
        if tensor is None:
            continue
        initializers.append(numpy_helper.from_array(np.ones(len(columns), dtype=np.int64), f"{tensor}_widths"))
        nodes.append(
            helper.make_node("Split", [tensor, f"{tensor}_widths"], [_INNER + name for name in columns], axis=1)
        )
    return nodes


def _last(
    inner: onnx.GraphProto, spec: ReleaseSpec, output: str, initializers: list[onnx.TensorProto]
) -> list[onnx.NodeProto]:
    """Return the nodes from the converter's last output, [n, classes] or [n, 1], to the bundle's."""
    last = inner.output[-1].name
    match spec.task.kind:
        case TaskKind.MULTICLASS:
            return [helper.make_node("Identity", [last], [output])]
        case TaskKind.BINARY:
            initializers.append(numpy_helper.from_array(np.array(1, dtype=np.int64), "second_class"))
            return [helper.make_node("Gather", [last, "second_class"], [output], axis=1)]
        case TaskKind.REGRESSION:
            initializers.append(numpy_helper.from_array(np.array([-1], dtype=np.int64), "flat_shape"))
            return [helper.make_node("Reshape", [last, "flat_shape"], [output])]


def _names_before_model(native: Any) -> list[str]:  # noqa: ANN401 - as above
    if type(native).__name__ != "Pipeline" or len(native.steps) < 2:
        return list(getattr(native, "feature_names_in_", ()))
    try:
        return [str(name) for name in native[:-1].get_feature_names_out()]
    except AttributeError:  # a transformer without names: its columns cannot be traced back
        return []


def _trees(native: Any) -> Iterator[Any]:  # noqa: ANN401 - as above
    model = native.steps[-1][1] if type(native).__name__ == "Pipeline" else native
    waiting = [model]
    while waiting:
        member = waiting.pop()
        if hasattr(member, "tree_"):
            yield member.tree_
        elif isinstance(member, list | tuple | np.ndarray):
            waiting.extend(member)
        else:
            waiting.extend(getattr(member, "estimators_", ()))
