"""Nodes that spoil or slow a graph's answers, put behind its output; the graph itself is left as it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from lockgate.core.contract import ModelContract, TaskKind

if TYPE_CHECKING:
    import numpy.typing as npt
    import onnx

SOUND = "drill_sound_answer"
PRODUCTS = 4
"""Products of two 512 x 512 matrices that slow a run: 1.1 GFLOP, some 10 to 40 ms on one core. Ours: beyond what any
latency guardrail tolerates, and too little to keep a core busy at the challenger's few requests a second."""
_WIDTH = 512
_KEPT, _MIDDLE = 0.1, 0.5
"""A tenth of the sound probability is kept, the rest is put on the side where less of it was. Ours: the mean of half of
the rows moves by 0.45 at least, so that of all by more than any guardrail should tolerate."""
_FAR = 2.0  # ours: twice the range of the golden answers is beyond what anybody tolerates of a value
_LEAST_WEIGHT, _MOST_WEIGHT = 7.0, 31.0  # ours: a column's range winds so often round the circle that rows spread


@dataclass(kw_only=True)
class Wires:
    """A graph that is being changed.

    Attributes:
        model: The graph; its own output goes into `SOUND` already.
        contract: Which form it has.
        tensors: Constants to be added, by name.
    """

    model: onnx.ModelProto
    contract: ModelContract
    tensors: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, graph: bytes, contract: ModelContract) -> Self:
        """Read a graph and lead its output aside."""
        import onnx

        model = onnx.load_from_string(graph)
        for node in model.graph.node:
            for at, name in enumerate(node.output):
                if name == contract.graph.output:
                    node.output[at] = SOUND
            for at, name in enumerate(node.input):
                if name == contract.graph.output:
                    node.input[at] = SOUND
        return cls(model=model, contract=contract)

    def add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:  # noqa: ANN401 - ONNX's own
        """Add a node and return its output's name."""
        from onnx import helper

        self.model.graph.node.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, name: str, value: Any) -> str:  # noqa: ANN401 - whatever numpy takes
        """Add a constant and return its name."""
        self.tensors[name] = np.asarray(value)
        return name


def hit(wires: Wires, share: float, rng: np.random.Generator) -> str:
    """Add nodes that tell whether a row is hit, bool [n]: a hash of its values on a circle, below `share` of it.

    The same row is hit or spared however many stand beside it.
    """
    form = wires.contract.graph
    sums = []
    if form.numeric_input:
        sums.append(_numbers_sum(wires, rng))
    if form.string_input:
        sums += [_string_sum(wires, at, rng) for at in range(len(form.string_columns))]
    around = wires.add("Sum", sums, "drill_around")
    turns = wires.add("Floor", [around], "drill_turns")
    place = wires.add("Sub", [around, turns], "drill_place")
    return wires.add("Less", [place, wires.constant("drill_share", np.float32(share))], "drill_hit")


def _numbers_sum(wires: Wires, rng: np.random.Generator) -> str:
    """Add a weighted sum of the numbers, each in its trained range, nulls in the middle; float32 [n]."""
    form, inputs = wires.contract.graph, {each.name: each for each in wires.contract.inputs}
    ranges = [(inputs[name].minimum or 0.0, inputs[name].maximum or 0.0) for name in form.numeric_columns]
    ranges += [(0.0, float(len(coded.values))) for coded in form.coded]
    least, most = np.array(ranges, dtype=np.float64).T
    width = np.where(most > least, most - least, 1.0)
    given = str(form.numeric_input)
    missing = wires.add("IsNaN", [given], "drill_missing")
    middle = wires.constant("drill_middle", ((least + most) / 2).astype(np.float32))
    filled = wires.add("Where", [missing, middle, given], "drill_filled")
    moved = wires.add("Sub", [filled, wires.constant("drill_least", least.astype(np.float32))], "drill_moved")
    scaled = wires.add("Div", [moved, wires.constant("drill_width", width.astype(np.float32))], "drill_scaled")
    bounds = [wires.constant("drill_zero", np.float32(0)), wires.constant("drill_one", np.float32(1))]
    bounded = wires.add("Clip", [scaled, *bounds], "drill_bounded")
    weights = rng.uniform(_LEAST_WEIGHT, _MOST_WEIGHT, len(ranges)).astype(np.float32)
    weighted = wires.add("Mul", [bounded, wires.constant("drill_weights", weights)], "drill_weighted")
    axis = wires.constant("drill_axis", np.array([1], np.int64))
    return wires.add("ReduceSum", [weighted, axis], "drill_numbers", keepdims=0)


def _string_sum(wires: Wires, at: int, rng: np.random.Generator) -> str:
    """Add a number for the value of one string column, another one for any value that is not known; float32 [n]."""
    name = wires.contract.graph.string_columns[at]
    column = next(each for each in wires.contract.inputs if each.name == name)
    known = list(column.categories or ())
    index = wires.constant(f"drill_column_{at}", np.int64(at))
    taken = wires.add("Gather", [str(wires.contract.graph.string_input), index], f"drill_text_{at}", axis=1)
    return wires.add(
        "LabelEncoder",
        [taken],
        f"drill_code_{at}",
        domain="ai.onnx.ml",
        keys_strings=[*known, wires.contract.graph.missing_string],
        values_floats=[float(each) for each in rng.random(len(known) + 1).astype(np.float32)],
        default_float=float(np.float32(rng.random())),
    )


def spoiled(wires: Wires, rows: str, instead: str) -> None:
    """Answer the rows that are hit with something else.

    Args:
        wires: The graph.
        rows: Name of the bool [n] that tells which.
        instead: Name of what is answered there.
    """
    if wires.contract.task is TaskKind.MULTICLASS:
        rows = wires.add("Unsqueeze", [rows, wires.constant("drill_last", np.array([1], np.int64))], "drill_hit_rows")
    wires.add("Where", [rows, instead, SOUND], wires.contract.graph.output)


def nothing(wires: Wires) -> str:
    """Add an answer that is none."""
    return wires.constant("drill_nan", np.float32(np.nan))


def shifted(wires: Wires, golden: npt.NDArray[np.float64]) -> str:
    """Add answers far from the sound ones, all to one side, so that their mean is far off too.

    Args:
        wires: The graph.
        golden: Sound answers, [n, numbers a row]: say which side is far, and of values how much.
    """
    task, mean = wires.contract.task, golden[:, 0].mean()
    if task is TaskKind.REGRESSION:
        step = wires.constant("drill_step", np.float32(_FAR * (np.ptp(golden) or 1.0)))
        return wires.add("Add", [SOUND, step], "drill_instead")
    if task is TaskKind.BINARY:
        far = np.float32(1.0 if mean < _MIDDLE else 0.0)
    else:
        far = np.eye(golden.shape[1], dtype=np.float32)[0 if mean < _MIDDLE else -1]
    kept = wires.add("Mul", [SOUND, wires.constant("drill_kept", np.float32(_KEPT))], "drill_kept_part")
    return wires.add("Add", [kept, wires.constant("drill_far", far * np.float32(1.0 - _KEPT))], "drill_instead")


def slowed(wires: Wires) -> None:
    """Multiply large matrices for every run, and add nothing of it to the answer.

    From the input's shape, so that nothing of it can be worked out once and for all.
    """
    import onnx

    form = wires.contract.graph
    shape = wires.add("Shape", [str(form.numeric_input or form.string_input)], "drill_shape")
    floats = wires.add("Cast", [shape], "drill_floats", to=onnx.TensorProto.FLOAT)
    largest = wires.add("ReduceMax", [floats], "drill_largest", keepdims=0)
    matrix = wires.constant("drill_matrix", np.full((_WIDTH, _WIDTH), 1.0 / _WIDTH, dtype=np.float32))
    product = wires.add("Mul", [matrix, largest], "drill_product")
    for at in range(PRODUCTS):
        product = wires.add("MatMul", [product, matrix], f"drill_product_{at}")
    most = wires.add("ReduceMax", [product], "drill_most", keepdims=0)
    none = wires.add("Min", [most, wires.constant("drill_nothing", np.float32(0))], "drill_none")
    wires.add("Add", [SOUND, none], form.output)


def finish(wires: Wires) -> bytes:
    """Return the changed graph, checked.

    Source of the domains: operators here are of opset 21 and of ai.onnx.ml 3, as in every bundle.
    """
    import onnx
    from onnx import helper, numpy_helper

    model = wires.model
    if all(each.domain != "ai.onnx.ml" for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in wires.tensors.items())
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString(deterministic=True))
