"""Reads the body of a request, within the limits on its size and its time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from lockgate.serving.http.read_deadline import ReadDeadline
from lockgate.serving.options import Limits
from lockgate.serving.refusals import Reason, RequestRefused, refuse

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]


class Gone(Exception):
    """The caller went away."""


class BodyReader:
    """Reads the bodies of one application."""

    def __init__(self, limits: Limits) -> None:
        """Take the limits."""
        self._most_bytes, self._limit_s = limits.body_bytes, limits.read_timeout_s
        self._deadline = ReadDeadline(self._limit_s)

    async def read(self, receive: Receive, headers: Mapping[bytes, bytes], started: float) -> bytes:
        """Return the body.

        Args:
            receive: Returns the next message, as ASGI has it.
            headers: The request's.
            started: When the request began, on `time.perf_counter`.

        Raises:
            RequestRefused: It is too large, came too late, or in a form that is not taken.
            Gone: The caller went away.
        """
        coding = headers.get(b"transfer-encoding")
        if coding is not None and coding.lower() != b"chunked":
            raise refuse(
                Reason.UNSUPPORTED_MEDIA, f"transfer-encoding {coding.decode('latin-1')!r}: send it plain, or chunked"
            )
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and int(announced) > self._most_bytes:
            raise self._too_large()
        try:
            message = await self._deadline.read(receive(), started)
            body: bytes = message.get("body", b"")
            if message["type"] == "http.request" and not message["more_body"] and len(body) <= self._most_bytes:
                return body  # the common case: one piece
            return await self._read_rest(receive, message, started)
        except TimeoutError as late:
            raise refuse(Reason.READ_TIMEOUT, f"the body did not arrive in {self._limit_s:g} s") from late

    async def _read_rest(self, receive: Receive, message: Message, started: float) -> bytes:
        pieces, size = [message.get("body", b"")], len(message.get("body", b""))
        while True:
            if message["type"] == "http.disconnect":
                raise Gone
            if size > self._most_bytes:
                raise self._too_large()
            if not message["more_body"]:
                return b"".join(pieces)
            message = await self._deadline.read(receive(), started)
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])

    def _too_large(self) -> RequestRefused:
        return refuse(Reason.BODY_TOO_LARGE, f"the body is larger than the {self._most_bytes} bytes taken")
