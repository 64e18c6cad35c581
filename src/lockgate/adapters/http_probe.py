"""One kept-alive HTTP/1.1 connection to a server, on the standard library alone.

`httpx` costs 0.15 s of import and client set-up, which is a tenth of what a rollback may take in all.
"""

from __future__ import annotations

import contextlib
import http.client
import time
import urllib.parse
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from lockgate.core.wire import Answer, Call
from lockgate.errors import BadInput, TransientError

_BROKEN = (OSError, http.client.HTTPException)  # timeouts are OSErrors


class HttpClient:
    """A connection that is made when first needed and made again when the server closed it; not for several threads."""

    def __init__(
        self, url: str, *, timeout_s: float, token: str | None = None, headers: Mapping[str, str] | None = None
    ) -> None:
        """Take the address; nothing is sent yet.

        Args:
            url: Scheme, host and port, such as http://127.0.0.1:8080.
            timeout_s: For connecting and for each wait on the socket.
            token: Bearer token.
            headers: Sent with each request; None: no others.

        Raises:
            BadInput: The URL is not of that form.
        """
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise BadInput(f"{url!r} is no address of a server; give one like http://127.0.0.1:8080")
        self.url = url.rstrip("/")
        self.timeout_s = timeout_s
        self._headers = dict(headers or {}) | ({} if token is None else {"Authorization": f"Bearer {token}"})
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self._connection = kind(parts.hostname, parts.port, timeout=timeout_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def send(self, call: Call) -> Answer:
        """Send a request and return the whole answer, whatever its status.

        Raises:
            TransientError: No whole answer came: nothing listens, it hung up, or it took longer than the timeout.
        """
        kept_alive = self._connection.sock is not None
        try:
            return self._exchange(call)
        except _BROKEN as broken:
            self.close()
            if not kept_alive or isinstance(broken, TimeoutError):
                raise self._no_answer(call, broken) from broken
        try:  # a kept-alive connection may have been closed by the server in between, which proves nothing
            return self._exchange(call)
        except _BROKEN as broken:
            self.close()
            raise self._no_answer(call, broken) from broken

    def _no_answer(self, call: Call, broken: Exception) -> TransientError:
        return TransientError(
            f"{self.url} did not answer {call.method} {call.path}: {str(broken) or type(broken).__name__}", url=self.url
        )

    def _exchange(self, call: Call) -> Answer:
        started = time.perf_counter()
        headers = dict(self._headers)
        if call.body is not None or call.declared_bytes is not None:
            headers["Content-Type"] = call.content_type
        if call.declared_bytes is not None:
            headers["Content-Length"] = str(call.declared_bytes)
        with contextlib.suppress(BrokenPipeError):  # the server may refuse before it has read all; its answer is there
            self._connection.request(call.method, call.path, body=call.body, headers=headers)
        response = self._connection.getresponse()
        body = response.read()
        if call.declared_bytes is not None:
            self.close()  # the rest of the body that was promised will not come
        return Answer(
            status=response.status,
            headers={name.lower(): value for name, value in response.getheaders()},
            body=body,
            seconds=time.perf_counter() - started,
        )
