"""One bundle, loaded and proved, answering columns: encode -> ONNX Runtime -> named outputs. Knows no transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import onnxruntime as ort  # type: ignore[import-untyped]  # no stubs published

from lockgate.core.contract import ModelContract, ProbeRequest, ProbeSet, TaskKind
from lockgate.core.ids import Digest
from lockgate.errors import IntegrityError
from lockgate.serving.bundle import VerifiedBundle
from lockgate.serving.columns import Columns, Flag, InputEncoder
from lockgate.serving.refusals import Reason, RequestRefused, refuse

Output = npt.NDArray[np.float32] | list[str]
OUTPUTS: Final[Mapping[TaskKind, tuple[str, ...]]] = {
    TaskKind.BINARY: ("probability", "label"),
    TaskKind.MULTICLASS: ("probabilities", "label"),
    TaskKind.REGRESSION: ("value",),
}
_ORT_TYPES = {"numeric": "tensor(float)", "string": "tensor(string)"}


@dataclass(frozen=True, slots=True)
class Answer:
    """What a model says to a request.

    Attributes:
        outputs: By name, see `OUTPUTS`: `probability` and `value` float32 [rows], `probabilities` float32
            [rows, classes], `label` one string a row. Always finite.
        rows: How many rows.
        flags: What lay outside the trained domain.
    """

    outputs: Mapping[str, Output]
    rows: int
    flags: tuple[Flag, ...]


class ServedModel:
    """A bundle in memory; safe to call from several threads."""

    def __init__(self, digest: Digest, contract: ModelContract, onnx: bytes) -> None:
        """Load the graph.

        Raises:
            IntegrityError: ONNX Runtime does not take the graph, or it is not of the contract's form.
        """
        self.digest: Final = digest
        self.contract: Final = contract
        self.encoder: Final = InputEncoder(contract)
        self._output = [contract.graph.output]
        self._threshold = 0.5 if contract.threshold is None else contract.threshold  # read for binary alone
        self._session = _session(onnx)
        problem = _form_problem(self._session, contract)
        if problem:
            raise IntegrityError(f"part model.onnx: {problem}")

    def answer(self, columns: Columns, max_rows: int) -> Answer:
        """Answer a request.

        Raises:
            RequestRefused: The request does not fit the contract, or the model has no finite answer to it.
        """
        encoded = self.encoder.encode(columns, max_rows)
        scores = self._session.run(self._output, encoded.feeds)[0]
        if not np.isfinite(scores).all():
            row = int(np.flatnonzero(~np.isfinite(scores.reshape(encoded.rows, -1)).all(axis=1))[0])
            raise refuse(Reason.NO_FINITE_ANSWER, f"row {row}: the model has no finite answer to it")
        return Answer(self._named(scores), encoded.rows, encoded.flags)

    def _named(self, scores: npt.NDArray[np.float32]) -> Mapping[str, Output]:
        classes = self.contract.classes
        match self.contract.task:
            case TaskKind.REGRESSION:
                return {"value": scores}
            case TaskKind.BINARY:
                # compared as doubles: the threshold is one, and rounding it to float32 could flip a decision
                positive = scores.astype(np.float64) >= self._threshold
                return {"probability": scores, "label": [classes[each] for each in positive.tolist()]}
            case TaskKind.MULTICLASS:
                return {"probabilities": scores, "label": [classes[each] for each in scores.argmax(axis=1).tolist()]}


def load(bundle: VerifiedBundle) -> ServedModel:
    """Load a verified bundle, warm it up with its own probes and hold their answers against the golden ones.

    Raises:
        IntegrityError: The graph does not load, refuses a probe, or answers one otherwise; says which.
    """
    model = ServedModel(bundle.digest, bundle.contract, bundle.onnx)
    requests = bundle.probes.requests
    names = model.encoder.names
    numbers = len(bundle.contract.classes) if bundle.contract.task is TaskKind.MULTICLASS else 1
    alone = [_scores(model, {name: [probe.row.get(name)] for name in names}, probe.name)[0] for probe in requests]
    together = _scores(model, {name: [probe.row.get(name) for probe in requests] for name in names}, "all together")
    for batch in (alone, together):
        for probe, scores in zip(requests, batch, strict=True):
            if not scores.size == len(probe.output) == numbers:
                raise IntegrityError(
                    f"probe {probe.name}: {scores.size} numbers answered, {len(probe.output)} are golden, "
                    f"the contract says {numbers}"
                )
            _check_golden(bundle.probes, probe, scores)
    return model


def _scores(model: ServedModel, columns: Columns, probe: str) -> npt.NDArray[np.float32]:
    """Return float32 [rows, numbers a row], where a row of a probability or value is one number."""
    try:
        answer = model.answer(columns, len(columns[model.encoder.names[0]]))
    except RequestRefused as refused:
        raise IntegrityError(f"probe {probe}: its own model refuses it: {refused.message}") from refused
    except Exception as broken:  # ORT raises classes of its own, without a common base
        raise IntegrityError(f"probe {probe}: the graph fails on it: {broken}") from broken
    numbers = answer.outputs[OUTPUTS[model.contract.task][0]]
    return np.asarray(numbers, np.float32).reshape(answer.rows, -1)


def _check_golden(probes: ProbeSet, probe: ProbeRequest, scores: npt.NDArray[np.float32]) -> None:
    golden = np.array(probe.output)
    off = np.abs(scores - golden)
    within = (off <= probes.absolute) | (off <= probes.relative * np.abs(golden))
    if not within.all():
        raise IntegrityError(
            f"probe {probe.name}: answered {scores.tolist()}, golden is {golden.tolist()}, "
            f"off by {off.max():.3g}; allowed {probes.absolute:g} or {probes.relative:g} of it"
        )


def _session(onnx: bytes) -> Any:  # noqa: ANN401 - onnxruntime publishes no types
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
        wanted[graph.numeric_input] = (_ORT_TYPES["numeric"], len(graph.numeric_columns))
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
