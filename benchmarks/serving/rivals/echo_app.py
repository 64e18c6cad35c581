"""The floor of a Python server: raw ASGI that reads the body and answers with as many bytes as ours does."""

import os
from typing import Any

BODY = b"x" * int(os.environ["BENCH_ANSWER_BYTES"])
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
START = {"type": "http.response.start", "status": 200, "headers": HEADERS}


async def app(scope: object, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
    del scope
    while (await receive()).get("more_body"):
        pass
    await send(START)
    await send({"type": "http.response.body", "body": BODY})
