"""Tiny real bundles for tests: a small ONNX graph in the product's own form, signed with OpenSSF model-signing.

    private, public = make_keys(folder)
    digest = make_bundle(store, key_dir=folder)               # <store>/<digest>/...
    other = make_bundle(store, key_dir=folder, bias=1.5)      # another model, same contract

The graph is linear in two numbers and two coded strings; `golden` computes the same in numpy, apart from ONNX, so
that a probe's answer never comes from the graph it probes.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lockgate.core.contract import (
    ColumnType,
    GraphForm,
    InputColumn,
    ModelContract,
    ProbeRequest,
    ProbeSet,
    TaskKind,
)
from lockgate.core.ids import Digest, ModelName, canonical_json, digest_bytes

MISSING = "__missing__"
COLOURS = {"red": 0.5, "green": -0.25, "blue": 1.0}
SHAPES = {"disc": 0.75, "cube": -1.25}
UNKNOWN = {"colour": 0.125, "shape": -0.375}
WEIGHTS = {"amount": 0.02, "age": -0.03}
CLASS_OFFSETS = (0.0, 0.4, -0.7)
DEAR_HIGH = ((0.0, 1.0, 1.0), (1.0, 0.0, 1.0), (9.0, 6.0, 0.0))
"""Costs that make it dear to miss the third class, so that it is decided for where it is not the likeliest."""
PROBES: dict[str, dict[str, float | str | None]] = {
    "typical-1": {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"},
    "typical-2": {"amount": 99, "age": 18, "colour": "blue", "shape": "cube"},
    "missing": {"amount": None, "age": 30, "colour": None, "shape": None},
    "unseen-category-colour": {"amount": 3, "age": 77, "colour": "octarine", "shape": "disc"},
    "out-of-range-amount": {"amount": 1e6, "age": 50, "colour": "green", "shape": "disc"},
}


def make_keys(folder: Path) -> tuple[Path, Path]:
    """Write an EC P-256 key pair; return the private and the public file."""
    folder.mkdir(parents=True, exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = folder / "signing.key", folder / "signing.pub"
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    public.write_bytes(
        key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )
    return private, public


def make_bundle(
    store: Path,
    *,
    model: str = "toy",
    bias: float = 0.0,
    key_dir: Path,
    task: TaskKind = TaskKind.BINARY,
    golden_shift: float = 0.0,
    parts: dict[str, bytes] | None = None,
) -> Digest:
    """Make, sign and store one bundle; return its digest.

    Args:
        store: The bundle store; the bundle is the folder named by the digest in it.
        model: Name of the model.
        bias: Added before the link function: bundles of different bias answer differently.
        key_dir: Holds `signing.key`; a pair is made when there is none.
        task: What is predicted.
        golden_shift: Added to every golden answer, so that the bundle refuses itself.
        parts: Replaces or adds parts before hashing and signing.
    """
    made = {
        "model.onnx": graph(bias, task),
        "contract.json": canonical_json(contract(model, task)),
        "probe_requests.json": canonical_json(probes(bias, task, golden_shift)),
        "MLmodel": b"flavors: {}\n",
        "reference_profile.json": b"{}",
        "evaluation.json": b"{}",
        "provenance.json": b"{}",
        "requirements.lock": b"",
        "card.md": f"# {model}\n".encode(),
    } | (parts or {})
    return store_bundle(store, made, model=model, key_dir=key_dir)


def store_bundle(store: Path, parts: dict[str, bytes], *, model: str, key_dir: Path) -> Digest:
    """Write parts, manifest and signature into the store; return the digest."""
    manifest = canonical_json(
        {"schema_version": 1, "model": model, "parts": {name: digest_bytes(data) for name, data in parts.items()}}
    )
    digest = digest_bytes(manifest)
    store.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=store, prefix=".new-"))
    for name, data in {**parts, "manifest.json": manifest}.items():
        (folder / name).write_bytes(data)
    sign(folder, key_dir)
    if (store / digest).exists():
        shutil.rmtree(folder)
    else:
        folder.rename(store / digest)
    return digest


def sign(folder: Path, key_dir: Path) -> None:
    """Sign a folder with the real library, as the release does."""
    from model_signing import hashing, signing

    if not (key_dir / "signing.key").is_file():
        make_keys(key_dir)
    ignored = [os.fspath(folder / name) for name in ("signature", "registered_model_meta")]
    config = hashing.Config().set_ignored_paths(paths=ignored, ignore_git_paths=False)
    signer = signing.Config().set_hashing_config(config)
    signer.use_elliptic_key_signer(private_key=key_dir / "signing.key").sign(folder, folder / "signature")


def contract(
    model: str = "toy", task: TaskKind = TaskKind.BINARY, costs: tuple[tuple[float, ...], ...] | None = None
) -> ModelContract:
    """Return the contract every test bundle shares, but for its task and what its decisions cost."""
    classes = {TaskKind.BINARY: ("no", "yes"), TaskKind.MULTICLASS: ("low", "mid", "high"), TaskKind.REGRESSION: ()}
    return ModelContract(
        model=ModelName(model),
        task=task,
        inputs=(
            InputColumn(name="amount", type=ColumnType.NUMBER, minimum=0.0, maximum=100.0),
            InputColumn(name="colour", type=ColumnType.STRING, categories=tuple(COLOURS)),
            InputColumn(name="age", type=ColumnType.NUMBER, nullable=False, minimum=0.0, maximum=120.0),
            InputColumn(name="shape", type=ColumnType.STRING, categories=tuple(SHAPES)),
        ),
        classes=classes[task],
        threshold=0.5 if task is TaskKind.BINARY else None,
        costs=costs,
        graph=GraphForm(
            numeric_input="numeric",
            numeric_columns=("amount", "age"),
            string_input="categorical",
            string_columns=("colour", "shape"),
            missing_string=MISSING,
            output="output",
        ),
    )


def golden(row: dict[str, Any], bias: float = 0.0, task: TaskKind = TaskKind.BINARY) -> tuple[float, ...]:
    """Return what the model must answer to a row, computed in float64 without the graph."""
    numbers = sum(weight * (row.get(name) or 0.0) for name, weight in WEIGHTS.items())
    strings = COLOURS.get(row["colour"], UNKNOWN["colour"]) + SHAPES.get(row["shape"], UNKNOWN["shape"])
    score = numbers + strings + bias
    if task is TaskKind.REGRESSION:
        return (score,)
    if task is TaskKind.BINARY:
        return (float(1 / (1 + np.exp(-score))),)
    powers = np.exp([score * (index - 1) + offset for index, offset in enumerate(CLASS_OFFSETS)])
    return tuple(float(each) for each in powers / powers.sum())


def probes(bias: float, task: TaskKind, shift: float = 0.0) -> ProbeSet:
    """Return the probe requests with their golden answers, the huge amount left out where its exponential overflows."""
    return ProbeSet(
        absolute=1e-5,
        relative=1e-5,
        requests=tuple(
            ProbeRequest(name=name, row=dict(row), output=tuple(each + shift for each in golden(row, bias, task)))
            for name, row in PROBES.items()
            if task is not TaskKind.MULTICLASS or name != "out-of-range-amount"
        ),
    )


def graph(bias: float, task: TaskKind) -> bytes:
    """Return the ONNX graph: float32 [n, 2] and string [n, 2] in, one float32 output."""
    from onnx import TensorProto, checker, helper, numpy_helper

    def constant(name: str, values: object) -> Any:
        return numpy_helper.from_array(np.asarray(values), name)

    def encoder(column: str, codes: dict[str, float]) -> Any:
        return helper.make_node(
            "LabelEncoder",
            [column],
            [f"{column}_code"],
            domain="ai.onnx.ml",
            keys_strings=list(codes),
            values_floats=list(codes.values()),
            default_float=UNKNOWN[column],
        )

    nodes = [
        helper.make_node("IsNaN", ["numeric"], ["is_nan"]),
        helper.make_node("Where", ["is_nan", "zero", "numeric"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["linear"]),
        helper.make_node("Split", ["categorical"], ["colour", "shape"], axis=1, num_outputs=2),
        encoder("colour", COLOURS),
        encoder("shape", SHAPES),
        helper.make_node("Sum", ["linear", "colour_code", "shape_code", "bias"], ["score"]),
        *_link(task, helper.make_node),
    ]
    shape = ["n", len(CLASS_OFFSETS)] if task is TaskKind.MULTICLASS else ["n"]
    made = helper.make_model(
        helper.make_graph(
            nodes,
            "toy",
            [
                helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 2]),
                helper.make_tensor_value_info("categorical", TensorProto.STRING, ["n", 2]),
            ],
            [helper.make_tensor_value_info("output", TensorProto.FLOAT, shape)],
            [
                constant("zero", np.float32(0)),
                constant("weights", np.array([[each] for each in WEIGHTS.values()], np.float32)),
                constant("bias", np.float32(bias)),
                *_link_constants(task, constant),
            ],
        ),
        opset_imports=[helper.make_opsetid("", 21), helper.make_opsetid("ai.onnx.ml", 3)],
        ir_version=10,
    )
    checker.check_model(made)
    return bytes(made.SerializeToString())


def _link_constants(task: TaskKind, constant: Any) -> list[Any]:
    if task is not TaskKind.MULTICLASS:
        return [constant("last", np.array([1], np.int64))]
    return [
        constant("steps", np.array([[-1, 0, 1]], np.float32)),
        constant("offsets", np.array([CLASS_OFFSETS], np.float32)),
    ]


def _link(task: TaskKind, node: Any) -> list[Any]:
    if task is TaskKind.REGRESSION:
        return [node("Squeeze", ["score", "last"], ["output"])]
    if task is TaskKind.BINARY:
        return [node("Sigmoid", ["score"], ["p"]), node("Squeeze", ["p", "last"], ["output"])]
    return [
        node("MatMul", ["score", "steps"], ["stepped"]),
        node("Add", ["stepped", "offsets"], ["logits"]),
        node("Softmax", ["logits"], ["output"], axis=1),
    ]
