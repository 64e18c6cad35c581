"""KServe's Python server with a custom model, as its documentation describes custom predictors."""

import os

import onnx_session
from kserve import InferInput, InferOutput, InferRequest, InferResponse, Model, ModelServer


class Trees(Model):
    def __init__(self, name: str) -> None:
        super().__init__(name)
        self._session = onnx_session.session()
        self.ready = True

    async def predict(self, payload: InferRequest, *_: object, **__: object) -> InferResponse:
        tensor: InferInput = payload.inputs[0]
        scores = self._session.run(onnx_session.OUTPUTS, {onnx_session.INPUT: tensor.as_numpy()})[0]
        output = InferOutput(name="probability", shape=list(scores.shape), datatype="FP32")
        output.set_data_from_numpy(scores, binary_data=False)
        return InferResponse(response_id=payload.id or "", model_name=self.name, infer_outputs=[output])


if __name__ == "__main__":
    ModelServer().start([Trees(os.environ["BENCH_MODEL"])])
