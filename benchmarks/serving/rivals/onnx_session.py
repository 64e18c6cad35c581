"""ONNX Runtime as every rival runs it: one thread, no spinning, which is the fastest on one core."""

import os

import numpy as np
import onnxruntime as ort

INPUT = os.environ["BENCH_INPUT"]
OUTPUTS = [os.environ["BENCH_OUTPUT"]]


def session() -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    made = ort.InferenceSession(os.environ["BENCH_GRAPH"], options, providers=["CPUExecutionProvider"])
    width = made.get_inputs()[0].shape[1]
    for _ in range(50):
        made.run(OUTPUTS, {INPUT: np.zeros((1, width), np.float32)})
    return made
