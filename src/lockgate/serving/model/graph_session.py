"""Opens the graph of a bundle in ONNX Runtime, and refuses one that is not of the contract's form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lockgate.core.contract import ModelContract, TaskKind
from lockgate.core.row_order import KEY, RowOrder, parse
from lockgate.errors import IntegrityError

_ORT_TYPES = {"numeric": "tensor(float)", "string": "tensor(string)"}


def open_graph(onnx: bytes, contract: ModelContract) -> Any:  # noqa: ANN401 - onnxruntime publishes no types
    """Return a session of ONNX Runtime.

    Raises:
        IntegrityError: It does not take the graph, or the graph is not of the contract's form.
    """
    session = _session(onnx)
    problem = _form_problem(session, contract)
    if problem:
        raise IntegrityError(f"part model.onnx: {problem}")
    return session


def row_order_of(session: Any, width: int) -> RowOrder | None:  # noqa: ANN401 - as above
    """Return in which order the graph wants many rows of a matrix so wide; None where it says nothing of it.

    Raises:
        IntegrityError: What it says is no order of its matrix.
    """
    text = session.get_modelmeta().custom_metadata_map.get(KEY)
    if text is None:
        return None
    try:
        return parse(text, width)
    except IntegrityError as broken:
        raise IntegrityError(f"part model.onnx: {broken.message}") from broken


def _session(onnx: bytes) -> Any:  # noqa: ANN401 - as above
    # only here: a parent of workers knows what a model is, and runs none
    import onnxruntime as ort  # type: ignore[import-untyped]  # no stubs published

    options = ort.SessionOptions()
    # one thread, no spinning: a request's own core; measured best under contention (docs/benchmarks.md)
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # no faster with it, and a freed model gives its memory back without
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    except Exception as broken:  # ORT raises classes of its own, without a common base
        raise IntegrityError(f"part model.onnx: ONNX Runtime does not take it: {broken}") from broken


def _form_problem(session: Any, contract: ModelContract) -> str | None:  # noqa: ANN401 - as above
    """Return how the graph's inputs and output differ from the contract's `GraphForm`, or None."""
    graph = contract.graph
    wanted = {}
    if graph.numeric_input is not None:
        wanted[graph.numeric_input] = (_ORT_TYPES["numeric"], len(graph.numeric_columns) + len(graph.coded))
    if graph.string_input is not None:
        wanted[graph.string_input] = (_ORT_TYPES["string"], len(graph.string_columns))
    found = {each.name: (each.type, each.shape[1] if len(each.shape) == 2 else None) for each in session.get_inputs()}
    if found != wanted:
        return f"its inputs are {found}, the contract's are {wanted}"
    outputs: Sequence[Any] = [each for each in session.get_outputs() if each.name == graph.output]
    rank = 2 if contract.task is TaskKind.MULTICLASS else 1
    if not outputs or outputs[0].type != _ORT_TYPES["numeric"] or len(outputs[0].shape) != rank:
        return f"it has no float32 output {graph.output!r} of rank {rank}, which the contract names"
    return None
