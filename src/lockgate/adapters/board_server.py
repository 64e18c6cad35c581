"""Serves the board to browsers of this machine: one page and its content as JSON, read-only.

    GET /              the page
    GET /board.json    its content
    GET /health        that it answers

A path is one of these three or it is not found: none reaches the disk. A page is made by one thread at a time and not
more than once in `FRESH_S`; while it is made, who asks waits for a moment and then gets the one before, which says of
when it is. A browser that was led here under another name (DNS rebinding) is refused.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from operator import attrgetter
from socket import socket
from typing import ClassVar, Final

FRESH_S: Final = 3.0
"""Ours: younger than a person's glance away and back."""
WAIT_S: Final = 2.0
FIRST_S: Final = 60.0  # nobody has seen anything yet: reading a year of days takes seconds
AT_ONCE: Final = 32
"""Connections; ours: some browsers with some tabs. Further ones are closed at once."""
TIMEOUT_S: Final = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """One look at everything.

    Attributes:
        page: As HTML.
        content: As JSON.
    """

    page: bytes
    content: bytes


class Kept:
    """What was made last, and made anew when it is asked for and too old.

    Args:
        make: Looks at everything; may take a while, may fail.
        fresh_s: Younger than this, it is not made anew.
        wait_s: How long who asks waits for a new one where there is one before it.
    """

    def __init__(self, make: Callable[[], Made], *, fresh_s: float = FRESH_S, wait_s: float = WAIT_S) -> None:
        self._make = make
        self._wait_s = wait_s
        self._fresh_s = fresh_s
        self._changed = threading.Condition()
        self._made: Made | None = None
        self._at = -float("inf")
        self._making = False
        self._looks = 0
        self._failed: Exception | None = None

    def get(self) -> Made:
        """Return the newest.

        Raises:
            TimeoutError: The first one takes too long.
            Exception: What making it raised; the one before is not shown instead, for nobody would know.
        """
        with self._changed:
            if not self._fresh() and not self._making:
                self._making = True
                threading.Thread(target=self._again, daemon=True).start()
            begun = self._looks
            self._changed.wait_for(
                lambda: self._fresh() or self._looks > begun, self._wait_s if self._made is not None else FIRST_S
            )
            if self._failed is not None and not self._making:
                raise self._failed
            if self._made is None:
                raise TimeoutError("the board is not ready yet; ask again")
            return self._made

    def _fresh(self) -> bool:
        return time.monotonic() - self._at < self._fresh_s

    def _again(self) -> None:
        made, failed = None, None
        try:
            made = self._make()
        except Exception as wrong:  # noqa: BLE001 - given to whoever asks, who says it
            failed = wrong
        with self._changed:
            self._made, self._failed = made or self._made, failed
            self._making, self._at, self._looks = False, time.monotonic(), self._looks + 1
            self._changed.notify_all()


class BoardServer(ThreadingHTTPServer):
    """Listens for browsers; `serve_forever` and `shutdown` are those of `socketserver`.

    Args:
        host: The address; loopback.
        port: The port; 0: any that is free.
        kept: What is shown.
        policy: Content-Security-Policy of the page.
    """

    daemon_threads = True
    request_queue_size = AT_ONCE

    def __init__(self, host: str, port: int, kept: Kept, policy: str) -> None:
        super().__init__((host, port), _Answer)
        self.kept = kept
        self.policy = policy
        self.host = host
        self._room = threading.BoundedSemaphore(AT_ONCE)

    def process_request(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        """Answer in a thread of its own, if there is room for one."""
        if not self._room.acquire(blocking=False):
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: socket | tuple[bytes, socket], client_address: object) -> None:
        """Answer, and make room."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._room.release()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: a browser that hangs up is no event."""
        del request, client_address


def is_address(host: str | None, named: str) -> bool:
    """Tell whether a Host header is one that no other site can have led here by: an address, or this machine's name.

    A site that lets its own name point at this machine has its name in the header.

    >>> is_address("127.0.0.1:8070", ""), is_address("[::1]:8070", ""), is_address("localhost", "")
    (True, True, True)
    >>> is_address("evil.example:8070", "127.0.0.1"), is_address(None, "127.0.0.1")
    (False, False)
    """
    if host is None:
        return False
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    if name.lower() in ("localhost", named.lower()):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


class _Answer(BaseHTTPRequestHandler):
    """One connection with one request."""

    server: BoardServer
    server_version = "lockgate"
    sys_version = ""
    timeout = TIMEOUT_S

    _PAGES: ClassVar[Mapping[str, tuple[str, Callable[[Made], bytes]]]] = {
        "/": ("text/html; charset=utf-8", attrgetter("page")),
        "/board.json": ("application/json", attrgetter("content")),
    }

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def _answer(self, *, body: bool) -> None:
        if not is_address(self.headers.get("Host"), self.server.host):
            self._send(HTTPStatus.FORBIDDEN, "text/plain", b"ask for it under the address it says\n", body=body)
            return
        path = self.path.partition("?")[0]
        if path == "/health":
            self._send(HTTPStatus.OK, "text/plain", b"ok\n", body=body)
        elif path in self._PAGES:
            self._page(path, body=body)
        else:
            self._send(HTTPStatus.NOT_FOUND, "text/plain", b"there is / and /board.json\n", body=body)

    def _page(self, path: str, *, body: bool) -> None:
        kind, read = self._PAGES[path]
        try:
            made = self.server.kept.get()
        except Exception as wrong:  # noqa: BLE001 - the last seam: a person gets a sentence
            text = f"the board could not be made: {wrong}\nNext: lockgate board --once\n"
            self._send(HTTPStatus.SERVICE_UNAVAILABLE, "text/plain; charset=utf-8", text.encode(), body=body)
            return
        self._send(HTTPStatus.OK, kind, read(made), body=body)

    def _send(self, status: HTTPStatus, kind: str, content: bytes, *, body: bool) -> None:
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(content))),
            ("Content-Security-Policy", f"{self.server.policy}; frame-ancestors 'none'"),
            ("X-Content-Type-Options", "nosniff"),
            ("X-Frame-Options", "DENY"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cross-Origin-Opener-Policy", "same-origin"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name in the base class
        """Say nothing: it is asked every few seconds."""
