"""FastAPI with all that FastAPI does for a body taken away: no types, no validation, orjson both ways."""

import uuid

import numpy as np
import onnx_session
import orjson
from fastapi import FastAPI, Request, Response

app = FastAPI(openapi_url=None)
session = onnx_session.session()


@app.get("/v2/health/ready")
async def ready() -> dict[str, bool]:
    return {"ready": True}


@app.post("/v2/models/{model}/infer")
async def infer(model: str, request: Request) -> Response:
    asked = orjson.loads(await request.body())
    tensor = asked["inputs"][0]
    matrix = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    scores = session.run(onnx_session.OUTPUTS, {onnx_session.INPUT: matrix})[0]
    body = {
        "model_name": model,
        "id": asked.get("id") or str(uuid.uuid4()),
        "outputs": [{"name": "probability", "datatype": "FP32", "shape": list(scores.shape), "data": scores}],
    }
    return Response(orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY), media_type="application/json")
