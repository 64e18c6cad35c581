"""Small ONNX graphs that misbehave, or take another form, for tests of the server."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper, numpy_helper

from lockgate.core.contract import CodedColumn, ModelContract
from tests.bundles import COLOURS, MISSING, SHAPES, UNKNOWN, WEIGHTS, contract

OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)]
CODED = {"colour": (*COLOURS, MISSING), "shape": tuple(SHAPES)}


def constant(name: str, value: Any) -> Any:
    return numpy_helper.from_array(np.asarray(value), name)


def model_of(nodes: list[Any], initializers: list[Any], *, width: int = 2, strings: bool = True) -> bytes:
    """Return a graph with the toy contract's inputs and output."""
    inputs = [helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", width])]
    if strings:
        inputs.append(helper.make_tensor_value_info("categorical", TensorProto.STRING, ["n", 2]))
    output = helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n"])
    made = helper.make_model(
        helper.make_graph(nodes, "toy", inputs, [output], initializers), opset_imports=OPSETS, ir_version=10
    )
    checker.check_model(made)
    return bytes(made.SerializeToString())


def coded_contract() -> ModelContract:
    """Return the toy contract for a graph that takes strings as codes."""
    plain = contract()
    coded = tuple(CodedColumn(name=name, values=values) for name, values in CODED.items())
    return replace(plain, graph=replace(plain.graph, string_input=None, string_columns=(), coded=coded))


def coded_graph(bias: float = 0.0) -> bytes:
    """Return the toy graph over one matrix: two numbers, two codes; it answers as `tests.bundles.graph` does."""
    nodes = [
        helper.make_node("Split", ["numeric"], ["numbers", "colour", "shape"], axis=1),
        helper.make_node("IsNaN", ["numbers"], ["absent"]),
        helper.make_node("Where", ["absent", "zero", "numbers"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["linear"]),
    ]
    initializers = [
        constant("zero", np.float32(0)),
        constant("weights", np.array([[each] for each in WEIGHTS.values()], np.float32)),
        constant("bias", np.float32(bias)),
        constant("last", np.array([1], np.int64)),
        constant("unknown", np.float32(-1)),
    ]
    nodes[0].input.append("parts")
    initializers.append(constant("parts", np.array([2, 1, 1], np.int64)))
    for name, values in CODED.items():
        table = [{**COLOURS, **SHAPES}.get(value, 0.0) for value in values] + [UNKNOWN[name]]
        initializers.append(constant(f"{name}_table", np.array(table, np.float32)))
        nodes += [
            helper.make_node("IsNaN", [name], [f"{name}_absent"]),
            helper.make_node("Where", [f"{name}_absent", "unknown", name], [f"{name}_code"]),
            helper.make_node("Cast", [f"{name}_code"], [f"{name}_index"], to=TensorProto.INT64),
            helper.make_node("Gather", [f"{name}_table", f"{name}_index"], [f"{name}_value"]),
        ]
    nodes += [
        helper.make_node("Sum", ["linear", "colour_value", "shape_value", "bias"], ["score"]),
        helper.make_node("Sigmoid", ["score"], ["p"]),
        helper.make_node("Squeeze", ["p", "last"], ["output"]),
    ]
    return model_of(nodes, initializers, width=4, strings=False)


def failing_graph(above: float) -> bytes:
    """Return a graph that fails in the run when a row's amount is above a number, and answers 0.5 otherwise."""
    nodes = [
        helper.make_node("Split", ["numeric"], ["amount", "age"], axis=1, num_outputs=2),
        helper.make_node("Squeeze", ["amount", "last"], ["flat"]),
        helper.make_node("Greater", ["flat", "bound"], ["bad"]),
        helper.make_node("Cast", ["bad"], ["index"], to=TensorProto.INT64),
        helper.make_node("Gather", ["half", "index"], ["output"]),  # index 1 of a table of one: out of bounds
    ]
    return model_of(
        nodes,
        [
            constant("last", np.array([1], np.int64)),
            constant("bound", np.float32(above)),
            constant("half", np.array([0.5], np.float32)),
        ],
    )


def hanging_graph(above: float) -> bytes:
    """Return a graph whose run does not end when a row's amount is above a number, and that answers 0.5 otherwise."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["go_on"]), helper.make_node("Identity", ["seen"], ["seen_on"])],
        "forever",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("seen", TensorProto.FLOAT, ["n"]),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("seen_on", TensorProto.FLOAT, ["n"]),
        ],
    )
    nodes = [
        helper.make_node("Split", ["numeric"], ["amount", "age"], axis=1, num_outputs=2),
        helper.make_node("Squeeze", ["amount", "last"], ["flat"]),
        helper.make_node("ReduceMax", ["flat"], ["largest"], keepdims=0),
        helper.make_node("Greater", ["largest", "bound"], ["bad"]),
        helper.make_node("Mul", ["flat", "zero"], ["nought"]),
        helper.make_node("Add", ["nought", "half"], ["halves"]),
        helper.make_node("Loop", ["trips", "bad", "halves"], ["output"], body=body),
    ]
    return model_of(
        nodes,
        [
            constant("last", np.array([1], np.int64)),
            constant("bound", np.float32(above)),
            constant("zero", np.float32(0)),
            constant("half", np.float32(0.5)),
            constant("trips", np.int64(2**60)),
        ],
    )
