"""One bundle, loaded and proved, answering columns: encode -> ONNX Runtime -> named outputs. Knows no transport."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt

from lockgate.core.contract import ModelContract, ProbeSet, TaskKind
from lockgate.core.decisions import decider, one_decider
from lockgate.core.ids import Digest
from lockgate.core.row_order import WORTHWHILE_ROWS
from lockgate.serving.model.column_values import Labels
from lockgate.serving.model.columns import Columns, EncodedRow, Flags, InputEncoder
from lockgate.serving.model.fence import DEFAULT, Breaker, Fence, ModelFailed, RunTimedOut
from lockgate.serving.model.graph_session import open_graph, row_order_of
from lockgate.serving.model.row import RowPacking
from lockgate.serving.refusals import Reason, RequestRefused, refuse

Output = npt.NDArray[np.float32] | list[str] | Labels
OUTPUTS: Final[Mapping[TaskKind, tuple[str, ...]]] = {
    TaskKind.BINARY: ("probability", "label"),
    TaskKind.MULTICLASS: ("probabilities", "label"),
    TaskKind.REGRESSION: ("value",),
}
_FEW: Final = 64  # ours: so many labels are looked up one by one before `Labels` have paid for themselves


class Answer(msgspec.Struct, frozen=True, gc=False):
    """What a model says to a request.

    Attributes:
        outputs: By name, see `OUTPUTS`: `probability` and `value` float32 [rows], `probabilities` float32
            [rows, classes], `label` one string a row, of many rows as `Labels`. Always finite.
        rows: How many rows.
        flags: What did not keep to the contract.
    """

    outputs: Mapping[str, Output]
    rows: int
    flags: Flags


class ServedModel:
    """A bundle in memory; safe to call from several threads.

    Attributes:
        digest: The bundle's.
        contract: What it takes and gives.
        probes: Its own requests with golden answers; None for a model that was not opened as a bundle.
        profile: The bundle's `reference_profile.json`; None where there is none.
        encoder: Brings requests into the graph's form.
        breaker: Whether it may be asked.
        turns: How often rows that came alone were answered, together or not; only grows.
        decide: Takes float32 scores of the graph to the index of each row's class, see `core.decisions.decider`; None
            for a regression.
    """

    def __init__(  # noqa: PLR0913 - its parts, and two that a server adds
        self,
        digest: Digest,
        contract: ModelContract,
        onnx: bytes,
        *,
        probes: ProbeSet | None = None,
        profile: bytes | None = None,
        fence: Fence | None = None,
    ) -> None:
        """Load the graph.

        Raises:
            IntegrityError: ONNX Runtime does not take the graph, or it is not of the contract's form.
        """
        self.digest: Final = digest
        self.contract: Final = contract
        self.probes: Final = probes
        self.profile: Final = profile
        self.encoder: Final = InputEncoder(contract)
        self._packing = RowPacking(self.encoder.width)
        self.breaker: Final = Breaker()
        self.turns = 0
        self.decide: Final = None if contract.task is TaskKind.REGRESSION else decider(contract)
        self._decide_one = one_decider(contract)
        graph = contract.graph
        self._output, self._named_output = [graph.output], OUTPUTS[contract.task][0]
        self._numeric_input, self._string_input = graph.numeric_input, graph.string_input
        self._classes = np.array(contract.classes, object)
        self._session = open_graph(onnx, contract)
        self._order = row_order_of(self._session, self.encoder.width)
        self._fence = fence or DEFAULT

    def answer(self, columns: Columns, max_rows: int, limit_s: float | None = None) -> Answer:
        """Answer a request, within so many seconds (None: the fence's own limit).

        Raises:
            RequestRefused: The request does not fit the contract.
            ModelFailed: The model has no answer to it.
        """
        encoded = self.encoder.encode(columns, max_rows)
        scores = self.run(encoded.numbers, encoded.texts, limit_s)
        finite = np.isfinite(scores)
        if np.count_nonzero(finite) != finite.size:  # `all` is Python in front of the same
            raise _not_finite(int(np.flatnonzero(~finite.reshape(encoded.rows, -1).all(axis=1))[0]))
        return Answer(self._named(scores), encoded.rows, encoded.flags)

    def scores(self, columns: Columns, max_rows: int) -> npt.NDArray[np.float32]:
        """Return the graph's own numbers, float32 [rows] or [rows, classes]; raises as `answer`."""
        encoded = self.encoder.encode(columns, max_rows)
        return self.run(encoded.numbers, encoded.texts)

    def answer_rows(
        self, rows: Sequence[EncodedRow], limit_s: float | None = None
    ) -> list[Answer | RequestRefused | ModelFailed]:
        """Answer several requests of one row in one run of the graph; a bad one spoils nobody else's.

        Args:
            rows: From `encoder.encode_row`.
            limit_s: How long the run may take, in seconds; None: the fence's own limit.

        Returns:
            For each its answer, or why it has none.
        """
        self.turns += 1
        try:
            return self._answer_rows(rows, limit_s)
        except RunTimedOut as late:
            return [late] * len(rows)  # one by one they would keep the loop for as long again, each
        except ModelFailed as failed:
            if len(rows) == 1:
                return [failed]
        except OverflowError:  # an integer that not even a double holds; as infinity its column can be named
            return self.answer_rows([self.encoder.bounded(row) for row in rows], limit_s)
        return [each for row in rows for each in self.answer_rows([row], limit_s)]

    def _answer_rows(
        self, rows: Sequence[EncodedRow], limit_s: float | None
    ) -> list[Answer | RequestRefused | ModelFailed]:
        if len(rows) == 1:
            return [self._answer_row(rows[0], limit_s)]
        numbers = self._packing.matrix(rows)
        refused: dict[int, RequestRefused] = {}
        flags: dict[int, Flags] = {}
        doubtful = self.encoder.bounds.check(numbers)
        if doubtful is not None:
            for at in np.flatnonzero(doubtful.any(axis=1)).tolist():
                try:
                    flags[at] = self.encoder.bounds.settle(
                        numbers[at : at + 1], doubtful[at : at + 1], rows[at].lacking
                    )
                except RequestRefused as reason:
                    refused[at] = reason
        texts = np.array([row.texts for row in rows], object) if self._string_input is not None else None
        scores = self.run(numbers, texts, limit_s)
        finite = np.isfinite(scores)
        if np.count_nonzero(finite) != finite.size:
            for at in np.flatnonzero(~finite.reshape(len(rows), -1).all(axis=1)).tolist():
                refused.setdefault(at, _not_finite(0))
        outputs = self._named_rows(scores)
        return [
            refused.get(at) or Answer(outputs[at], 1, row.flags + flags[at] if at in flags else row.flags)
            for at, row in enumerate(rows)
        ]

    def _answer_row(self, row: EncodedRow, limit_s: float | None) -> Answer | RequestRefused:
        """Answer one row as the others are, with little of numpy: a server at leisure finds none of it in caches."""
        numbers, flags = self._packing.matrix((row,)), row.flags
        bounds = self.encoder.bounds
        if not bounds.keeps(row.numbers) and (doubtful := bounds.check(numbers)) is not None:
            try:
                flags += bounds.settle(numbers, doubtful, row.lacking)
            except RequestRefused as reason:
                return reason
        texts = np.array([row.texts], object) if self._string_input is not None else None
        scores = self.run(numbers, texts, limit_s)
        if self._decide_one is None:
            return Answer(self._named(scores), 1, flags) if np.isfinite(scores).all() else _not_finite(0)
        probability = scores.item()
        if not math.isfinite(probability):
            return _not_finite(0)
        label = self.contract.classes[self._decide_one(probability)]
        return Answer({self._named_output: scores, "label": [label]}, 1, flags)

    def run(
        self,
        numbers: npt.NDArray[np.float32],
        texts: npt.NDArray[np.object_] | None,
        limit_s: float | None = None,
    ) -> npt.NDArray[np.float32]:
        """Run the graph on an encoded request, see `columns.Encoded`; returns and raises as `scores`.

        Many rows go through it in the order that is cheapest.
        """
        if self._order is None or len(numbers) < WORTHWHILE_ROWS:
            return self._run(numbers, texts, limit_s)
        order = self._order.of(numbers)
        ordered = self._run(numbers.take(order, axis=0), None if texts is None else texts[order], limit_s)
        scores = np.empty_like(ordered)
        scores[order] = ordered
        return scores

    def _run(
        self,
        numbers: npt.NDArray[np.float32],
        texts: npt.NDArray[np.object_] | None,
        limit_s: float | None,
    ) -> npt.NDArray[np.float32]:
        feeds: dict[str, npt.NDArray[Any]] = {}
        if self._numeric_input is not None:
            feeds[self._numeric_input] = numbers
        if self._string_input is not None and texts is not None:
            feeds[self._string_input] = texts
        try:
            scores: npt.NDArray[np.float32] = self._fence.run(self._session, self._output, feeds, limit_s)[0]
        except ModelFailed as failed:
            self.breaker.failed(timed_out=isinstance(failed, RunTimedOut))
            raise
        if len(scores) != len(numbers):
            self.breaker.failed()
            raise ModelFailed(f"the model's graph answered {len(scores)} rows of {len(numbers)}")
        self.breaker.answered()
        return scores

    def _named(self, scores: npt.NDArray[np.float32]) -> Mapping[str, Output]:
        if self.decide is None:
            return {self._named_output: scores}
        return {self._named_output: scores, "label": self._labels(self.decide(scores))}

    def _labels(self, indices: npt.NDArray[Any]) -> list[str] | Labels:
        """Return the class of each row by its index, int or bool [rows]."""
        classes = self.contract.classes
        if len(indices) <= _FEW:
            return [classes[each] for each in indices.tolist()]
        return Labels(indices.astype(np.intp), self._classes)

    def _named_rows(self, scores: npt.NDArray[np.float32]) -> list[Mapping[str, Output]]:
        """Return the outputs of each row as those of a request of its own."""
        (first, _), *more = self._named(scores).items()
        if not more:
            return [{first: scores[at : at + 1]} for at in range(len(scores))]
        ((label, labels),) = more
        return [{first: scores[at : at + 1], label: labels[at : at + 1]} for at in range(len(scores))]


def _not_finite(row: int) -> RequestRefused:
    return refuse(Reason.NO_FINITE_ANSWER, f"row {row}: the model has no finite answer to it")
