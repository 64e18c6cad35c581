"""What a thousand rows cost without a server: decode, then ONNX Runtime, in one process.

    python -m benchmarks.serving.bare_rows binary|arrow --rows 1000 --seconds 3

Prints CPU microseconds a body. The least that can be done with the same bytes: a binary tensor is a view of the body;
Arrow's columns are stacked into a matrix, dictionary indices replaced by the codes of the values they stand for.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from benchmarks.serving import forms
from benchmarks.serving.model import Model, model

Decode = Callable[[bytes], NDArray[np.float32]]
BODIES = 4


def bodies(made: Model, kind: str, rows: int) -> list[forms.Call]:
    """Return the bodies that are asked in turns, by the bare loop and of the server alike."""
    size = len(made.rows)
    make = forms.v2_matrix_binary if kind == "binary" else forms.arrow
    return [make(made, indices_of(at, rows, size)) for at in range(BODIES)]


def indices_of(at: int, rows: int, size: int) -> list[int]:
    return [(at * 251 + row) % size for row in range(rows)]


def binary_decoder(made: Model, header_length: int) -> Decode:
    width = made.matrix.shape[1]
    return lambda body: np.frombuffer(body, "<f4", offset=header_length).reshape(-1, width)


def arrow_decoder(made: Model) -> Decode:
    import pyarrow as pa

    contract = json.loads((made.bundles / made.served("columns").champion / "contract.json").read_bytes())
    codes = {
        column["name"]: {value: code for code, value in enumerate(column["values"])}
        for column in contract["graph"]["coded"]
    }
    numeric = made.facts["numeric"]
    width = len(numeric) + len(codes)

    def decode(body: bytes) -> NDArray[np.float32]:
        (batch,) = pa.ipc.open_stream(body)
        matrix = np.empty((batch.num_rows, width), np.float32)
        for at, name in enumerate(numeric):
            matrix[:, at] = batch.column(name).to_numpy()
        for at, (name, known) in enumerate(codes.items(), len(numeric)):
            column = batch.column(name)
            table = np.array([known[value] for value in column.dictionary.to_pylist()], np.float32)
            matrix[:, at] = table[column.indices.to_numpy()]
        return matrix

    return decode


def measure(made: Model, kind: str, rows: int, seconds: float) -> float:
    """Return CPU microseconds a body.

    Raises:
        SystemExit: The answers are not the golden ones.
    """
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(made.graph.read_bytes(), options, providers=["CPUExecutionProvider"])
    name, outputs = made.facts["graph_input"], [made.facts["graph_output"]]
    calls = bodies(made, kind, rows)
    length = int(calls[0].headers.get("inference-header-content-length", 0))
    decode = binary_decoder(made, length) if kind == "binary" else arrow_decoder(made)
    for at, call in enumerate(calls):
        golden = made.golden[indices_of(at, rows, len(made.rows))]
        if np.abs(session.run(outputs, {name: decode(call.body)})[0] - golden).max() > 1e-5:
            raise SystemExit(f"bare {kind}: wrong answers")
    cycle, number = itertools.cycle(calls), 0
    until, cpu = time.perf_counter() + seconds, time.process_time()
    while time.perf_counter() < until:
        session.run(outputs, {name: decode(next(cycle).body)})
        number += 1
    return (time.process_time() - cpu) / number * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("binary", "arrow"))
    parser.add_argument("--rows", type=int, default=1_000)
    parser.add_argument("--seconds", type=float, default=3.0)
    options = parser.parse_args()
    print(measure(model(), options.kind, options.rows, options.seconds))


if __name__ == "__main__":
    main()
