"""Graphs that cost memory or time, of the toy bundle's form; the ones that hang and throw are in `tests.graphs`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

from lockgate.core.contract import ProbeRequest, ProbeSet
from lockgate.core.ids import canonical_json
from tests.bundles import PROBES
from tests.graphs import constant, model_of
from tests.server_process import World

BAD_ABOVE = 1e7
"""A row with a larger amount is one that a graph here misbehaves for; above every probe's."""
BAD_AMOUNT = 1e8
HALF = 0.5
"""What such a graph answers to every other row."""


def bundle_of(world: World, onnx: bytes, **parts: bytes) -> str:
    """Store a signed bundle of a graph that answers 0.5, which its golden answers say, too."""
    golden = ProbeSet(
        absolute=1e-5,
        relative=1e-5,
        requests=tuple(
            ProbeRequest(name=name, row=dict(row), output=(HALF,))
            for name, row in PROBES.items()
            if row["amount"] is not None  # its answer would be none, too
        ),
    )
    return world.bundle(parts={"model.onnx": onnx, "probe_requests.json": canonical_json(golden), **parts})


def allocating_graph(floats: int, above: float = BAD_ABOVE) -> bytes:
    """Return a graph that makes a tensor of so many float32 for a row whose amount is above a number."""
    nodes = [
        *_size_of_a_bad_row("size"),
        helper.make_node("ConstantOfShape", ["size"], ["huge"]),
        *_answer_half("huge"),
    ]
    return model_of(nodes, [*_constants(floats, above)])


def slow_node_graph(side: int, above: float = BAD_ABOVE) -> bytes:
    """Return a graph with one node, a product of matrices, that works long on a row whose amount is above a number."""
    nodes = [
        *_size_of_a_bad_row("side"),
        helper.make_node("Concat", ["side", "side"], ["square"], axis=0),
        helper.make_node("ConstantOfShape", ["square"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
        *_answer_half("product"),
    ]
    return model_of(nodes, [*_constants(side, above)])


def folded_graph(shape: Sequence[int]) -> bytes:
    """Return a graph whose constants ONNX Runtime works out as it loads it: a tensor, times itself if square.

    (1 << 38,) is more memory than there is; (11_000, 11_000) is a minute's work.
    """
    made = "constant"
    nodes = [helper.make_node("ConstantOfShape", ["shape"], [made])]
    if len(shape) == 2:
        nodes.append(helper.make_node("MatMul", [made, made], ["product"]))
        made = "product"
    nodes += [
        helper.make_node("Split", ["numeric"], ["amount", "age"], axis=1, num_outputs=2),
        helper.make_node("Squeeze", ["amount", "last"], ["flat"]),
        *_answer_half(made),
    ]
    return model_of(nodes, [constant("shape", np.array(shape, np.int64)), *_constants(1, 0.0)[:2]])


def _size_of_a_bad_row(name: str) -> list[Any]:
    """Return nodes that make a tensor [1]: 1, or more by `many` where the largest amount is above `bound`."""
    return [
        helper.make_node("Split", ["numeric"], ["amount", "age"], axis=1, num_outputs=2),
        helper.make_node("Squeeze", ["amount", "last"], ["flat"]),
        helper.make_node("ReduceMax", ["flat"], ["largest"], keepdims=1),
        helper.make_node("Greater", ["largest", "bound"], ["bad"]),
        helper.make_node("Cast", ["bad"], ["flag"], to=TensorProto.INT64),
        helper.make_node("Mul", ["flag", "many"], ["more"]),
        helper.make_node("Add", ["more", "last"], [name]),
    ]


def _answer_half(zeros: str) -> list[Any]:
    """Return nodes that answer 0.5 a row and need a tensor of zeros for it."""
    return [
        helper.make_node("ReduceMax", [zeros], ["zero"], keepdims=0),
        helper.make_node("Mul", ["flat", "zero"], ["nought"]),
        helper.make_node("Add", ["nought", "half"], ["output"]),
    ]


def _constants(many: int, above: float) -> list[Any]:
    return [
        constant("last", np.array([1], np.int64)),
        constant("half", np.float32(HALF)),
        constant("bound", np.float32(above)),
        constant("many", np.int64(many)),
    ]
