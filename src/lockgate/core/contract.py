"""The wire contract of a bundle: typed columns in, named outputs out, and how they map to the graph's own tensors.

A caller sends columns (`carrier="UA"`, `distance=719`). The graph inside the bundle takes as few and as wide tensors
as it can (two matrices: numbers and strings), because that is fastest; `GraphForm` is the mapping between the two.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from lockgate.core.ids import Digest, ModelName


class TaskKind(StrEnum):
    """What is predicted."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    REGRESSION = "regression"


class ColumnType(StrEnum):
    """The type of one input column on the wire."""

    NUMBER = "number"
    STRING = "string"


@dataclass(frozen=True, slots=True, kw_only=True)
class InputColumn:
    """One column a request carries.

    Attributes:
        name: The column's name.
        type: A number (float32 inside the graph) or a string.
        nullable: Whether null, NaN or an absent value is an answer the model was trained for.
        categories: For a string: the values seen in training; others are answered and flagged.
        minimum: For a number: smallest value seen in training; smaller ones are answered and flagged.
        maximum: For a number: largest value seen in training.
    """

    name: str
    type: ColumnType
    nullable: bool = True
    categories: tuple[str, ...] | None = None
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphForm:
    """How the wire's columns map to the ONNX graph's tensors.

    Attributes:
        numeric_input: Name of the float32 [n, k] input, or None when there are no numeric columns.
        numeric_columns: Its k columns, in order. A null is NaN.
        string_input: Name of the string [n, c] input, or None when there are no string columns.
        string_columns: Its c columns, in order. A null is `missing_string`.
        missing_string: What the graph takes for a null string; never a value of the data.
        output: Name of the graph's float32 output: [n] for binary (probability of the second class) and regression
            (the value), [n, classes] for multiclass (probabilities).
    """

    numeric_input: str | None
    numeric_columns: tuple[str, ...]
    string_input: str | None
    string_columns: tuple[str, ...]
    missing_string: str
    output: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelContract:
    """What a bundle takes and gives (`contract.json`).

    Attributes:
        schema_version: Version of this form.
        model: Name of the model.
        task: What is predicted.
        inputs: The columns, in the order the spec names them.
        classes: Class labels by index; for binary the second is the positive one; empty for regression.
        threshold: Decision threshold on the probability of the positive class; None unless binary.
        unit: Unit of the value for regression, else "1".
        entity: Column whose value keys sticky routing; None when requests carry their own key.
        log_inputs: Whether the server's prediction log may hold what was asked.
        graph: The inner form.
    """

    schema_version: int = 1
    model: ModelName
    task: TaskKind
    inputs: tuple[InputColumn, ...]
    classes: tuple[str, ...]
    threshold: float | None
    unit: str = "1"
    entity: str | None = None
    log_inputs: bool = True
    graph: GraphForm


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeRequest:
    """A synthetic request with its golden answer, from the native estimator before conversion.

    Attributes:
        name: What it probes, e.g. "typical-3" or "unseen-category-carrier".
        row: Column to value; null for missing.
        output: The golden numbers: one for binary and regression, one a class for multiclass.
    """

    name: str
    row: dict[str, float | str | None]
    output: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeSet:
    """The probe requests of a bundle (`probe_requests.json`); synthetic, so no personal data.

    Attributes:
        schema_version: Version of this form.
        absolute: Largest |answer - golden| that still counts as equal.
        relative: The same as a fraction of |golden|; a probe holds when either bound does.
        requests: The probes.
    """

    schema_version: int = 1
    absolute: float
    relative: float
    requests: tuple[ProbeRequest, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelBundle:
    """A bundle by its digest; where its bytes lie is the store's matter.

    Attributes:
        digest: sha256 of `manifest.json`; two bundles with one digest are one bundle.
        contract: What it takes and gives.
        parts: sha256 of every part, by file name.
    """

    digest: Digest
    contract: ModelContract
    parts: dict[str, Digest]
