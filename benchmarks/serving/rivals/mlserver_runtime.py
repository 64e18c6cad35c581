"""MLServer with a runtime of our own making, as its documentation describes custom runtimes."""

import onnx_session
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class Trees(MLModel):
    async def load(self) -> bool:
        self._session = onnx_session.session()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        matrix = NumpyCodec.decode_input(payload.inputs[0])
        scores = self._session.run(onnx_session.OUTPUTS, {onnx_session.INPUT: matrix})[0]
        return InferenceResponse(
            model_name=self.name, id=payload.id, outputs=[NumpyCodec.encode_output("probability", scores)]
        )
