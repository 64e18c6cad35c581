"""Scores rows: by the fitted estimator itself, or by a bundle's graph where the estimator is gone.

The estimator is what golden answers and evaluation come from; the graph is what ships. `parity` compares the two.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-untyped]  # no stubs published
import pandas as pd
from numpy.typing import NDArray

from lockgate.adapters.trainer import fit_file
from lockgate.core.contract import GraphForm, TaskKind
from lockgate.core.ids import Json
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError
from lockgate.models import TRAINERS
from lockgate.models.contributions import contributions_of
from lockgate.models.frames import graph_matrix, native_frame, string_matrix
from lockgate.models.native import answers_of, load_native
from lockgate.stages.examination import Contributions

_BATCH_ROWS = 50_000  # ours: bounds the memory of a graph's inner tensors; larger is not faster


class NativeScorer:
    """A fitted estimator that answers rows."""

    def __init__(self, native: Any, kind: TaskKind, numeric: tuple[str, ...], categorical: tuple[str, ...]) -> None:  # noqa: ANN401 - any estimator
        self.native = native
        self._kind = kind
        self._numeric = numeric
        self._categorical = categorical

    @classmethod
    def load(cls, folder: Path) -> NativeScorer:
        """Read the fit in a folder; only types that its family is known to hold are loaded.

        Raises:
            ConfigError: The folder holds no fit.
            IntegrityError: The file holds a type that is not trusted.
        """
        facts = fit_file(folder)
        native = load_native(folder / "model.skops", TRAINERS[str(facts["family"])].trusted)
        return cls(native, TaskKind(facts["kind"]), tuple(facts["numeric"]), tuple(facts["categorical"]))

    def score(self, frame: pd.DataFrame) -> NDArray[Any]:
        """Answer rows.

        Args:
            frame: Any frame that has the features; null for missing.

        Returns:
            [n] probability of the second class, [n] value, or [n, classes] probabilities.

        Raises:
            BadInput: A feature is absent, or no number.
        """
        if frame.empty:
            return np.empty((0,))
        return answers_of(self.native, native_frame(frame, self._numeric, self._categorical), self._kind)

    def contributions(self, frame: pd.DataFrame) -> Contributions | None:
        """Say what each feature adds to the answers to rows; None when the family cannot say.

        Raises:
            BadInput: A feature is absent, or no number.
        """
        features = native_frame(frame, self._numeric, self._categorical)
        found = contributions_of(self.native, features, self._kind)
        return None if found is None else Contributions(columns=self._numeric + self._categorical, added=found)


class GraphScorer:
    """An ONNX graph that answers rows, as the server runs it: one thread, no spinning.

    Args:
        graph: The serialized graph.
        form: How columns map to its tensors.

    Raises:
        IntegrityError: The runtime does not take the graph.
    """

    def __init__(self, graph: bytes, form: GraphForm) -> None:
        self._graph = graph
        self._form = form

    @cached_property
    def _session(self) -> onnxruntime.InferenceSession:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        try:
            return onnxruntime.InferenceSession(self._graph, options, providers=["CPUExecutionProvider"])
        except Exception as refused:  # the runtime's errors share no public base
            raise IntegrityError(f"the runtime does not take the graph: {refused}") from refused

    def score(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        """Answer rows, as `NativeScorer.score`; float32."""
        pieces = [self._run(frame.iloc[at : at + _BATCH_ROWS]) for at in range(0, len(frame), _BATCH_ROWS)]
        return np.concatenate(pieces) if pieces else np.empty((0,), dtype=np.float32)

    def _run(self, frame: pd.DataFrame) -> NDArray[np.float32]:
        feeds: dict[str, NDArray[Any]] = {}
        if self._form.numeric_input:
            feeds[self._form.numeric_input] = graph_matrix(frame, self._form)
        if self._form.string_input:
            feeds[self._form.string_input] = string_matrix(frame, self._form.string_columns)
        answers: NDArray[np.float32] = self._session.run([self._form.output], feeds)[0]
        return answers


def score_bundle(folder: Path, frame: pd.DataFrame) -> NDArray[np.float32]:
    """Answer rows by the graph of a bundle's folder; verify the bundle first (`FileBundleStore.get`)."""
    import json

    contract: dict[str, Json] = json.loads((folder / "contract.json").read_bytes())
    form = read_record(GraphForm, contract["graph"])
    return GraphScorer((folder / "model.onnx").read_bytes(), form).score(frame)
