"""The wire contract of a bundle: typed columns in, named outputs out, and how they map to the graph's own tensors.

A caller sends columns (`carrier="UA"`, `distance=719`). The graph inside the bundle takes as few and as wide tensors
as it can (two matrices: numbers and strings), because that is fastest; `GraphForm` is the mapping between the two.
"""

from __future__ import annotations

from dataclasses import dataclass, field
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


class Policy(StrEnum):
    """What a server does with what the contract does not allow for."""

    REFUSE = "refuse"
    FLAG = "flag"


class RangePolicy(StrEnum):
    """What a server does with a number outside the trained range."""

    REFUSE = "refuse"
    CLIP = "clip"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestPolicy:
    """What a server does with a request that does not keep to the contract; whatever is answered is flagged.

    A wrong type, unequal lengths and a number beyond float32 are always refused.

    Attributes:
        out_of_range: A number outside [minimum, maximum]: flag, clip to the nearer bound, or refuse.
        unknown_category: A string that training never saw: flag (the model takes it as unseen) or refuse.
        null: A null in a column that training never saw null: refuse, or flag.
        missing_column: An input that the request lacks: refuse, or flag and take it as null.
        extra_column: A column that is no input: refuse, or flag and leave it out.
    """

    out_of_range: RangePolicy = RangePolicy.FLAG
    unknown_category: Policy = Policy.FLAG
    null: Policy = Policy.REFUSE
    missing_column: Policy = Policy.REFUSE
    extra_column: Policy = Policy.REFUSE


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPolicy:
    """What of a request the prediction log may hold.

    Attributes:
        inputs: Whether it holds inputs at all.
        hashed: Columns of which only a keyed hash is kept, so that equal values can still be joined.
        omitted: Columns that are left out.
    """

    inputs: bool = True
    hashed: tuple[str, ...] = ()
    omitted: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class CodedColumn:
    """A string column that the graph takes as a number.

    Attributes:
        name: The column.
        values: Its values in the order of their codes, 0 first; any other value, and null, is NaN. `missing_string`
            among them keeps its place and is no value.
    """

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphForm:
    """How the wire's columns map to the ONNX graph's tensors.

    Attributes:
        numeric_input: Name of the float32 [n, k + coded] input, or None when there is no such column.
        numeric_columns: Its first k columns, in order. A null is NaN.
        coded: The string columns that follow in it as codes; graphs of trees take all strings so, because one tensor
            of numbers is the fastest form.
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
    coded: tuple[CodedColumn, ...] = ()

    @property
    def categorical(self) -> tuple[str, ...]:
        """The string columns, however the graph takes them."""
        return (*self.string_columns, *(column.name for column in self.coded))


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
        costs: What a decision costs by what happened (row) and what was decided (column), by class index; rows are
            then decided for the class of least expected cost. None: for the likeliest; None unless multiclass.
        unit: Unit of the value for regression, else "1".
        entity: Column whose value keys sticky routing; None when requests carry their own key.
        requests: What is done with a request that does not keep to this contract.
        log: What of a request the prediction log may hold.
        graph: The inner form.
    """

    schema_version: int = 1
    model: ModelName
    task: TaskKind
    inputs: tuple[InputColumn, ...]
    classes: tuple[str, ...]
    threshold: float | None
    costs: tuple[tuple[float, ...], ...] | None = None
    unit: str = "1"
    entity: str | None = None
    requests: RequestPolicy = field(default_factory=RequestPolicy)
    log: LogPolicy = field(default_factory=LogPolicy)
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
