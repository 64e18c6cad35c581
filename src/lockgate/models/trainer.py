"""What a trainable family must offer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from lockgate.core.contract import CodedColumn, GraphForm
from lockgate.core.spec import ReleaseSpec

if TYPE_CHECKING:  # the command line asks families to check parameters; it must not pay for pandas
    import numpy as np
    from numpy.typing import NDArray

    from lockgate.models.checkpoint import Checkpoint
    from lockgate.models.frames import Rows

MISSING = "__missing__"
"""What stands for a missing string, in fitting and in the graph; a value of the data may not be this."""
NUMERIC_INPUT = "numeric"
STRING_INPUT = "categorical"
OUTPUT = "prediction"
OPSETS = {"": 21, "ai.onnx.ml": 3}  # what the proved conversions were measured with; ml 5 is slower in the runtime
IR_VERSION = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What came out of one fit.

    Attributes:
        native: A fitted scikit-learn compatible estimator over `Rows.features`; `predict_proba` gives one column a
            class in the order of the spec's classes, `predict` the value.
        history: Loss after each round, by part; empty for families that do not fit in rounds.
        best_round: Rounds that are kept, counted from 1; None for families that do not fit in rounds.
        converged: False when the solver says that it stopped before it was done.
        notes: What the solver said, for people.
    """

    native: Any
    history: Mapping[str, list[float]] = field(default_factory=dict)
    best_round: int | None = None
    converged: bool = True
    notes: tuple[str, ...] = ()


class Trainer(Protocol):
    """One family: everything that is particular to it."""

    name: str
    trusted: tuple[str, ...]
    """Types beyond scikit-learn's public ones that its fitted estimators hold; nothing else is loaded."""
    weighs: bool
    """Whether its fit takes a weight for each row."""

    def check(self, spec: ReleaseSpec) -> None:
        """Refuse parameters that are unknown, out of range, or whose conversion was not proved faithful.

        Raises:
            ConfigError: Says which, why, and what to use instead.
        """
        ...

    def fit(
        self, train: Rows, validation: Rows, spec: ReleaseSpec, parameters: Mapping[str, Any], checkpoint: Checkpoint
    ) -> Fitted:
        """Fit with these parameters (the spec's, or a search's); the same inputs give the same model.

        Raises:
            BadInput: The library refuses the parameters or the rows.
        """
        ...

    def form(self, native: Any, spec: ReleaseSpec) -> GraphForm:  # noqa: ANN401 - any estimator
        """Return how the wire's columns map to the tensors of a fitted estimator's graph."""
        ...

    def to_onnx(self, native: Any, spec: ReleaseSpec, form: GraphForm) -> bytes:  # noqa: ANN401 - any estimator
        """Return the serialized ONNX graph of a fitted estimator, from raw columns; same estimator, same bytes."""
        ...

    def split_points(self, native: Any, spec: ReleaseSpec) -> Mapping[str, NDArray[np.float32]]:  # noqa: ANN401
        """Return the values of raw numeric columns at which the answer may jump; parity is measured around them."""
        ...


def coded_form(spec: ReleaseSpec, categories: Sequence[Sequence[str]]) -> GraphForm:
    """Return the form of a graph that takes one matrix: the numbers, then each string column as its code.

    Args:
        spec: Names the columns.
        categories: For each string column, its values in the order of their codes.
    """
    coded = [
        CodedColumn(name=name, values=tuple(values))
        for name, values in zip(spec.data.categorical, categories, strict=True)
    ]
    return GraphForm(
        numeric_input=NUMERIC_INPUT,
        numeric_columns=spec.data.numeric,
        string_input=None,
        string_columns=(),
        missing_string=MISSING,
        output=OUTPUT,
        coded=tuple(coded),
    )


def raw_form(spec: ReleaseSpec) -> GraphForm:
    """Return the form of a graph that codes strings itself: one matrix of numbers, one of strings."""
    return GraphForm(
        numeric_input=NUMERIC_INPUT if spec.data.numeric else None,
        numeric_columns=spec.data.numeric,
        string_input=STRING_INPUT if spec.data.categorical else None,
        string_columns=spec.data.categorical,
        missing_string=MISSING,
        output=OUTPUT,
    )
