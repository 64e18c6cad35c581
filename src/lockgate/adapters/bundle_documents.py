"""The parts of a bundle that people and other tools read: the card, the provenance, MLflow's description.

None of them holds a time or a release's name: the same inputs give the same bytes, and with them the same digest.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import yaml

from lockgate.core.contract import ColumnType, InputColumn, ModelContract
from lockgate.core.ids import Digest, Json, canonical_json
from lockgate.core.spec import ReleaseSpec

STATEMENT_TYPE = "https://in-toto.io/Statement/v1"
PREDICATE_TYPE = "https://slsa.dev/provenance/v1"
_LIMITS = (
    "Answers outside the ranges and categories above are given and flagged; they were not evaluated. "
    "The evaluation is of the newest rows before the release and says nothing of later change."
)
BUILD_TYPE = "https://github.com/lockgate/lockgate/release-bundle/v1"


def mlmodel(contract: ModelContract) -> bytes:
    """Return the `MLmodel` by which MLflow's own loader and server take the folder.

    MLflow feeds the graph as it is, so its signature names the graph's tensors, not the wire's columns; `coded_columns`
    tells which value of a string column goes in as which number (its place in the list, NaN for any other). Written by
    hand: MLflow's writer stamps the time and a random id.
    """
    form = contract.graph
    inputs = []
    if form.numeric_input:
        inputs.append(_tensor(form.numeric_input, "float32", [-1, len(form.numeric_columns) + len(form.coded)]))
    if form.string_input:
        inputs.append(_tensor(form.string_input, "str", [-1, len(form.string_columns)]))
    shape = [-1, len(contract.classes)] if contract.task == "multiclass" else [-1]
    described: dict[str, Any] = {
        "flavors": {
            "onnx": {
                "data": "model.onnx",
                "onnx_version": version("onnx"),
                "providers": ["CPUExecutionProvider"],
                "onnx_session_options": {"intra_op_num_threads": 1},
            },
            "python_function": {"data": "model.onnx", "loader_module": "mlflow.onnx"},
        },
        "metadata": {
            "numeric_columns": list(form.numeric_columns),
            "coded_columns": {column.name: list(column.values) for column in form.coded},
            "string_columns": list(form.string_columns),
        },
        "mlflow_version": version("mlflow"),
        "signature": {
            "inputs": canonical_json(inputs).decode(),
            "outputs": canonical_json([_tensor(form.output, "float32", shape)]).decode(),
            "params": None,
        },
    }
    return yaml.safe_dump(described, sort_keys=True).encode()


def provenance(
    spec: ReleaseSpec, data: Digest, code: Mapping[str, Json], lock: Digest, parts: Mapping[str, Digest]
) -> bytes:
    """Return an in-toto statement with SLSA provenance: what was made, of what, by what.

    Args:
        spec: What was asked for.
        data: The snapshot.
        code: Facts of the program (`commit`, `tree`, `dirty`); what is there is kept.
        lock: sha256 of the lock of its libraries.
        parts: What was made: sha256 by name, without this part, the manifest and the signature.
    """
    source = {"name": "source", "digest": {"sha256": str(code["tree"])}, "annotations": dict(code)}
    statement = {
        "_type": STATEMENT_TYPE,
        "subject": [{"name": name, "digest": {"sha256": parts[name]}} for name in sorted(parts)],
        "predicateType": PREDICATE_TYPE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {"model": spec.name, "spec": spec.digest},
                "internalParameters": {"family": spec.training.family, "seed": spec.training.seed},
                "resolvedDependencies": [
                    {"name": "data", "digest": {"sha256": data}},
                    {"name": "spec", "digest": {"sha256": spec.digest}},
                    source,
                    {"name": "requirements.lock", "digest": {"sha256": lock}},
                ],
            },
            "runDetails": {"builder": {"id": "lockgate", "version": {"lockgate": version("lockgate")}}},
        },
    }
    return canonical_json(statement)


def card(spec: ReleaseSpec, contract: ModelContract, facts: Mapping[str, Any], evaluation: Mapping[str, Json]) -> bytes:
    """Return the model card: Markdown, for the approver and whoever finds the bundle later."""
    lines = [
        f"# {spec.name}",
        "",
        spec.model.description or "No description is given.",
        "",
        f"- **Owner:** {spec.model.owner or 'not named'}",
        f"- **Intended use:** {spec.model.intended_use or 'not stated'}",
        f"- **Risk:** {spec.model.risk.value}",
        f"- **Task:** {_task(contract)}",
        f"- **Fitted:** {facts['family']}, {facts['rows']['train']} training rows, seed {spec.training.seed}",
        f"- **Chosen on:** {facts['rows']['validation']} validation rows",
        "",
        "## Training",
        "",
        "| loss | train | validation | constant, validation |",
        "|---|---|---|---|",
        "| {name} | {train:.6g} | {validation:.6g} | {validation_of_train_constant:.6g} |".format(**facts["loss"]),
        "",
        "## Evaluation",
        "",
        *_scalars(evaluation),
        "",
        "## Inputs",
        "",
        "| column | type | may be missing | seen in training |",
        "|---|---|---|---|",
        *(_input(column) for column in contract.inputs),
        "",
        "## Limits",
        "",
        _LIMITS,
        "",
    ]
    return "\n".join(lines).encode()


def _tensor(name: str, dtype: str, shape: list[int]) -> dict[str, Json]:
    return {"name": name, "type": "tensor", "tensor-spec": {"dtype": dtype, "shape": shape}}


def _task(contract: ModelContract) -> str:
    if not contract.classes:
        return f"{contract.task.value}, unit {contract.unit}"
    threshold = "" if contract.threshold is None else f", positive from {contract.threshold:.4g}"
    costs = "" if contract.costs is None else ", decided for the least expected cost"
    return f"{contract.task.value}: {', '.join(contract.classes)}{threshold}{costs}"


def _scalars(evaluation: Mapping[str, Json], prefix: str = "") -> list[str]:
    """Return a line for each number near the top of the evaluation; the whole of it is evaluation.json."""
    lines: list[str] = []
    for name, value in sorted(evaluation.items()):
        if isinstance(value, Mapping) and prefix.count(".") < 2:
            lines += _scalars(value, f"{prefix}{name}.")
        elif isinstance(value, int | float) and not isinstance(value, bool):
            lines.append(f"- {prefix}{name}: {value:.6g}")
    if prefix:
        return lines
    return lines[:60] or ["See evaluation.json."]


def _input(column: InputColumn) -> str:
    if column.type is ColumnType.NUMBER:
        seen = "nothing" if column.minimum is None else f"{column.minimum:.6g} to {column.maximum:.6g}"
    else:
        seen = f"{len(column.categories or ())} values"
    return f"| {column.name} | {column.type.value} | {'yes' if column.nullable else 'no'} | {seen} |"
