"""Loads a bundle and holds its answers against its golden ones, alone and all together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from lockgate.core.contract import ProbeRequest, ProbeSet, TaskKind
from lockgate.errors import IntegrityError
from lockgate.serving.model.bundle import VerifiedBundle
from lockgate.serving.model.columns import Columns
from lockgate.serving.model.dataplane import OUTPUTS, ServedModel
from lockgate.serving.model.fence import Fence, ModelFailed
from lockgate.serving.refusals import RequestRefused


def load(bundle: VerifiedBundle, fence: Fence | None = None) -> ServedModel:
    """Load a verified bundle, warm it up with its own probes and hold their answers against the golden ones.

    Raises:
        IntegrityError: The graph does not load, refuses a probe, or answers one otherwise; says which.
    """
    model = ServedModel(
        bundle.digest, bundle.contract, bundle.onnx, probes=bundle.probes, profile=bundle.profile, fence=fence
    )
    requests = bundle.probes.requests
    numbers = len(bundle.contract.classes) if bundle.contract.task is TaskKind.MULTICLASS else 1
    alone = [_scores(model, columns_of(model, probe), probe.name)[0] for probe in requests]
    together = _scores(model, columns_of(model, *requests), "all together")
    for batch in (alone, together):
        for probe, scores in zip(requests, batch, strict=True):
            if not scores.size == len(probe.output) == numbers:
                raise IntegrityError(
                    f"probe {probe.name}: {scores.size} numbers answered, {len(probe.output)} are golden, "
                    f"the contract says {numbers}"
                )
            _check_golden(bundle.probes, probe, scores)
    return model


def check_probe(model: ServedModel, probes: ProbeSet, probe: ProbeRequest) -> None:
    """Ask a loaded model one of its bundle's own probes.

    Raises:
        IntegrityError: It refuses it, fails on it, or its answer is not the golden one.
    """
    _check_golden(probes, probe, _scores(model, columns_of(model, probe), probe.name)[0])


def columns_of(model: ServedModel, *probes: ProbeRequest) -> Columns:
    """Return probes as one request, a row each, of the columns that a model takes."""
    return {name: [probe.row.get(name) for probe in probes] for name in model.encoder.names}


def _scores(model: ServedModel, columns: Columns, probe: str) -> npt.NDArray[np.float32]:
    """Return float32 [rows, numbers a row], where a row of a probability or value is one number."""
    try:
        answer = model.answer(columns, len(columns[model.encoder.names[0]]))
    except RequestRefused as refused:
        raise IntegrityError(f"probe {probe}: its own model refuses it: {refused.message}") from refused
    except ModelFailed as broken:
        raise IntegrityError(f"probe {probe}: {broken.message}") from broken
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
