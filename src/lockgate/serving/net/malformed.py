"""What is no request: how it is told, and what its caller is told before the connection is closed."""

from __future__ import annotations

import re
from typing import Final

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

HEADERS: Final = 128  # ours: browsers and proxies send below 50
HEAD_BYTES: Final = 64 << 10  # beyond what comes in one piece; nginx takes 32 KiB, Apache 800 KiB
# RFC 3986, 3.2.2 and 3.2.3: a name, IPv4 or [IPv6], and a port; nothing at all is allowed too (RFC 9112, 3.2)
_HOST: Final = re.compile(rb"(?:[\w.~!$&'()*+,;=%-]*|\[[\w.:%~-]+\])(?::[0-9]*)?[ \t]*", re.ASCII)


def _refusal(status: int, message: str, more: bytes = b"") -> bytes:
    body = b'{"error":"%s"}' % message.encode()
    head = b"content-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n%s\r\n" % (len(body), more)
    return STATUS_LINE[status] + head + body


FULL: Final = _refusal(503, "all connections that are taken are open already; try again later", b"retry-after: 1\r\n")
NOT_HTTP: Final = _refusal(400, "this is no HTTP/1.1 request")
NOT_ONE_HOST: Final = _refusal(400, "a request has one host header, which names the server, and one alone")
HEAD_TOO_LARGE: Final = _refusal(431, f"a request may carry {HEADERS} headers and {HEAD_BYTES >> 10} KiB of them")


class Malformed(Exception):
    """A head that is not answered.

    Attributes:
        answer: What is said instead, as it is sent.
    """

    def __init__(self, answer: bytes) -> None:
        super().__init__(answer)
        self.answer = answer


def checked_host(value: bytes) -> bytes:
    """Return the value of a `host` header; raises `Malformed` for what can be none."""
    if _HOST.fullmatch(value) is None:
        raise Malformed(NOT_ONE_HOST)
    return value
