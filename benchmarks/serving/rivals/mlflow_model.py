"""Saves the graph as an MLflow model, as its ONNX flavour does it; `mlflow models serve` serves it."""

import os
import shutil
import sys

import mlflow.onnx
import numpy as np
import onnx
from mlflow.models import ModelSignature
from mlflow.types import Schema, TensorSpec

graph = onnx.load(os.environ["BENCH_GRAPH"])
width = graph.graph.input[0].type.tensor_type.shape.dim[1].dim_value
shutil.rmtree(sys.argv[1], ignore_errors=True)
mlflow.onnx.save_model(
    graph,
    sys.argv[1],
    signature=ModelSignature(
        inputs=Schema([TensorSpec(np.dtype("float32"), (-1, width))]),
        outputs=Schema([TensorSpec(np.dtype("float32"), (-1,))]),
    ),
    onnx_session_options={
        "intra_op_num_threads": 1,
        "inter_op_num_threads": 1,
        "extra_session_config": {"session.intra_op.allow_spinning": "0"},
    },
    pip_requirements=[],
)
