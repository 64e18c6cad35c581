"""Faults of the packaging: the graph that ships is not the model that was evaluated, or is slow, or sealed wrongly.

input ── [bent here] ──> the converter's graph ── [slowed here] ──> output
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from lockgate.core.spec import ReleaseSpec
from lockgate.selftest import columns as take
from lockgate.selftest.entries import Packaged
from lockgate.selftest.fault import By, Fault

if TYPE_CHECKING:
    import onnx
    import pandas as pd
    from numpy.typing import NDArray

    from lockgate.adapters.packager import Candidate as Converted

_WIDTH = 512
"""Side of the matrices that the slow graph multiplies: 0.27 GFLOP each, 5 to 20 ms on one core."""


def _rewired(converted: Converted, make: Callable[[str, str, int], list[Any]], tensors: dict[str, Any]) -> Converted:
    """Put nodes between the numeric input and whatever reads it.

    Args:
        make: From the names of the input and of what is read instead, and the input's width, the nodes.
        tensors: Constants that the nodes take, by name.
    """
    import onnx

    model = onnx.load_from_string(converted.graph)
    form = converted.contract.graph
    given, bent = str(form.numeric_input), "bent_numbers"
    for node in model.graph.node:
        for at, name in enumerate(node.input):
            if name == given:
                node.input[at] = bent
    nodes = make(given, bent, len(form.numeric_columns) + len(form.coded))
    kept = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *kept])
    return _with_graph(converted, model, tensors)


def _with_graph(converted: Converted, model: onnx.ModelProto, tensors: dict[str, Any]) -> Converted:
    import onnx
    from onnx import numpy_helper

    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in tensors.items())
    onnx.checker.check_model(model)
    return replace(converted, graph=bytes(model.SerializeToString(deterministic=True)))


def _swapped(converted: Converted, spec: ReleaseSpec, pairs: float) -> Converted:  # noqa: ARG001 - `Bend`
    """Let the graph read columns in another order than training wrote them: neighbours change places."""
    from onnx import helper

    numeric = len(converted.contract.graph.numeric_columns)
    order = np.arange(numeric + len(converted.contract.graph.coded), dtype=np.int64)
    for pair in range(max(1, round(pairs * (numeric // 2)))):
        order[[2 * pair, 2 * pair + 1]] = order[[2 * pair + 1, 2 * pair]]
    return _rewired(
        converted,
        lambda given, bent, _: [helper.make_node("Gather", [given, "order"], [bent], axis=1)],
        {"order": order},
    )


def _other_unit(converted: Converted, spec: ReleaseSpec, decades: float) -> Converted:  # noqa: ARG001 - `Bend`
    """Let the server convert a unit that training did not."""
    from onnx import helper

    factors = np.ones(len(converted.contract.graph.numeric_columns) + len(converted.contract.graph.coded), np.float32)
    factors[0] = 10.0**decades
    return _rewired(
        converted, lambda given, bent, _: [helper.make_node("Mul", [given, "factors"], [bent])], {"factors": factors}
    )


def _nulls_filled(converted: Converted, spec: ReleaseSpec, share: float) -> Converted:  # noqa: ARG001 - `Bend`
    """Let the graph take 0 for a missing number where training took it as missing."""
    from onnx import helper

    form = converted.contract.graph
    columns = np.zeros(len(form.numeric_columns) + len(form.coded), dtype=np.bool_)
    columns[: max(1, round(share * len(form.numeric_columns)))] = True

    def nodes(given: str, bent: str, width: int) -> list[Any]:  # noqa: ARG001 - the columns say it
        return [
            helper.make_node("IsNaN", [given], ["numbers_missing"]),
            helper.make_node("And", ["numbers_missing", "filled_columns"], ["numbers_filled"]),
            helper.make_node("Where", ["numbers_filled", "filled_with", given], [bent]),
        ]

    tensors = {"filled_columns": columns, "filled_with": np.array(0.0, dtype=np.float32)}
    return _rewired(converted, nodes, tensors)


def _drifted(converted: Converted, spec: ReleaseSpec, deviations: float) -> Converted:  # noqa: ARG001 - `Bend`
    """Move every threshold of the graph's trees; a graph without trees has its numbers moved instead."""
    import onnx
    from onnx import helper

    model = onnx.load_from_string(converted.graph)
    moved = 0
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in ("nodes_values", "nodes_splits") and attribute.floats:
                values = np.array(attribute.floats, dtype=np.float32)
                attribute.floats[:] = [float(each) for each in values + deviations * values.std()]
                moved += 1
    if moved:
        return _with_graph(converted, model, {})
    numbers = [float(converted.seen[name].astype(float).std()) for name in converted.contract.graph.numeric_columns]
    step = np.array(numbers, dtype=np.float32) * np.float32(deviations)
    return _rewired(
        converted, lambda given, bent, _: [helper.make_node("Add", [given, "step"], [bent])], {"step": step}
    )


def _slow(converted: Converted, spec: ReleaseSpec, products: float) -> Converted:  # noqa: ARG001 - `Bend`
    """Make the graph multiply large matrices for every request, and add nothing of it to the answer."""
    import onnx
    from onnx import helper

    model = onnx.load_from_string(converted.graph)
    output = converted.contract.graph.output
    for node in model.graph.node:
        for at, name in enumerate(node.output):
            if name == output:
                node.output[at] = "fast_answer"
    given = converted.contract.graph.numeric_input or converted.contract.graph.string_input
    # from the input's shape, so that nothing can be computed once and for all; never NaN, never below 0
    nodes = [
        helper.make_node("Shape", [str(given)], ["asked_shape"]),
        helper.make_node("Cast", ["asked_shape"], ["asked_floats"], to=onnx.TensorProto.FLOAT),
        helper.make_node("ReduceMax", ["asked_floats"], ["asked"], keepdims=0),
        helper.make_node("Mul", ["matrix", "asked"], ["product_0"]),
    ]
    nodes += [
        helper.make_node("MatMul", [f"product_{at}", "matrix"], [f"product_{at + 1}"]) for at in range(round(products))
    ]
    nodes += [
        helper.make_node("ReduceMax", [f"product_{round(products)}"], ["largest"], keepdims=0),
        helper.make_node("Min", ["largest", "nothing"], ["zero"]),
        helper.make_node("Add", ["fast_answer", "zero"], [output]),
    ]
    model.graph.node.extend(nodes)
    matrix = np.full((_WIDTH, _WIDTH), 1.0 / _WIDTH, dtype=np.float32)
    return _with_graph(converted, model, {"matrix": matrix, "nothing": np.array(0.0, dtype=np.float32)})


class _Off:
    """An estimator that answers a share of the rows wrongly."""

    def __init__(self, real: Any, share: float) -> None:  # noqa: ANN401 - any estimator
        self.native = real.native
        self._real = real
        self._share = share

    def score(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Answer as the estimator does, but for some rows those of others."""
        answers: NDArray[Any] = self._real.score(frame)
        if len(frame) > 1000:  # the reference profile's rows, which no golden answer comes from
            return answers
        wrong = answers.copy()
        at = np.flatnonzero(take.chosen(len(answers), self._share))
        wrong[at] = 1.0 - answers[at] if answers.max() <= 1 and answers.min() >= 0 else answers[at] * 1.5 + 1.0
        return wrong


def _wrong_golden(converted: Converted, spec: ReleaseSpec, share: float) -> Converted:  # noqa: ARG001 - `Bend`
    return replace(converted, native=_Off(converted.native, share))  # type: ignore[arg-type]  # it answers as one does


_PARITY = (By("parity"),)

FAULTS = (
    Fault(
        name="graph_drift",
        story="the conversion moves every threshold a little",
        by=_PARITY,
        entry=Packaged(graph=_drifted),
        amount=0.04,
        unit="deviations of the thresholds",
        needs=take.numbers,
    ),
    Fault(
        name="swapped_columns",
        story="the graph reads columns in another order than training wrote them",
        by=_PARITY,
        entry=Packaged(graph=_swapped),
        amount=1.0,
        unit="share of the pairs of neighbours that change places",
        needs=take.two_numbers,
    ),
    Fault(
        name="unit_change_when_serving",
        story="the graph converts a unit that training did not",
        by=_PARITY,
        entry=Packaged(graph=_other_unit),
        amount=0.4,
        unit="powers of ten",
        needs=take.numbers,
    ),
    Fault(
        name="missing_values_bug",
        story="the graph takes 0 for a missing number, training took it as missing",
        by=_PARITY,
        entry=Packaged(graph=_nulls_filled),
        amount=1.0,
        unit="share of the numeric columns",
        needs=take.numbers,
    ),
    Fault(
        name="wrong_golden_answers",
        story="golden answers in the bundle are not what the model answers",
        by=(By("infra", ("wrong_answers",)), By("parity", ("served_not_finite",))),
        entry=Packaged(seal=_wrong_golden),
        amount=0.5,
        unit="share of the golden answers",
    ),
    Fault(
        name="slow_graph",
        story="the graph does ten times the work for the same answer",
        by=(By("stress"),),
        entry=Packaged(graph=_slow),
        amount=8.0,
        unit="products of two 512 x 512 matrices a request",
    ),
)
