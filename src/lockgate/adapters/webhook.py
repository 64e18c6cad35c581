"""Takes messages that ask for a release: one small HTTP endpoint on this machine, for programs that hold its token.

    POST /trigger/{model}     Authorization: Bearer TOKEN     Idempotency-Key: KEY (optional)
    {"reason": "upstream was mended"}

    202  a run was started, or this key started one before     404  no such model, or another path
    400  the body is no such object                             409  the policy says no, or the key has another message
    401  no or another token                                    411, 413  no length, or too long
    429  too many messages, or the policy says: later           503  what is needed is not running

Every answer is one JSON object with `answer`, `why` and `next`. Without a key, a message is the same as one with the
same body on the same day. Not here: what a message leads to, which the caller gives as `ask`.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

from lockgate.core.ids import Digest, Json
from lockgate.errors import ConfigError, LockgateError

log = logging.getLogger(__name__)

MOST_BYTES = 16 * 1024  # ours: a reason is a sentence
MOST_KEY = 200  # ours: a UUID has 36 characters, a hash 64
MOST_A_MINUTE = 30  # ours: a release takes minutes; who asks more often than every two seconds is broken
SILENT_AFTER_S = 10.0  # ours: a sender on this machine has sent its few bytes by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What was asked.

    Attributes:
        model: For which model.
        reason: Why, in the sender's words.
        key: What makes two messages one.
        body: Digest of the whole body.
    """

    model: str
    reason: str
    key: str
    body: Digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the sender is told.

    Attributes:
        status: The HTTP status.
        answer: In one or two words.
        why: In one sentence.
        next: What to do now.
        retry_after_s: When it may be another answer by itself.
        more: Further facts.
    """

    status: HTTPStatus
    answer: str
    why: str
    next: str = ""
    retry_after_s: float | None = None
    more: Mapping[str, Json] = field(default_factory=dict)


Ask = Callable[[Message], Reply]


def read_trigger_token(path: Path) -> bytes:
    """Read the token that senders show.

    Raises:
        ConfigError: There is no such file, it is empty, or others can read it.
    """
    if not path.is_file():
        raise ConfigError(f"the trigger token file {path} is not there; make one: openssl rand -hex 32 > {path}")
    if path.stat().st_mode & 0o077:
        raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
    token = path.read_bytes().strip()
    if not token:
        raise ConfigError(f"{path} is empty; it must hold the token that senders show")
    return token


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    token: ClassVar[bytes]
    ask: ClassVar[Ask]
    turns: ClassVar[threading.Lock]
    seen: ClassVar[deque[float]]
    timeout = SILENT_AFTER_S
    server_version = "lockgate"
    sys_version = ""

    def do_POST(self) -> None:
        """Answer one message."""
        try:
            reply = self._reply()
        except LockgateError as trouble:
            reply = Reply(status=HTTPStatus.SERVICE_UNAVAILABLE, answer="not now", why=trouble.message)
        except Exception:
            log.exception("a message could not be answered")
            why = "it could not be answered; the log of lockgate watch says why"
            reply = Reply(status=HTTPStatus.INTERNAL_SERVER_ERROR, answer="error", why=why)
        self._send(reply)

    def do_GET(self) -> None:
        """Say that only POST is taken."""
        self._send(Reply(status=HTTPStatus.METHOD_NOT_ALLOWED, answer="refused", why="send POST /trigger/MODEL"))

    do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET  # noqa: N815 - as the library names them

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002, ANN401 - the library's signature
        """Log a line as the process does."""
        log.info("trigger: %s", format % args)

    def _reply(self) -> Reply:
        if not self._knows_token():
            return Reply(status=HTTPStatus.UNAUTHORIZED, answer="refused", why="it needs 'Authorization: Bearer TOKEN'")
        path = self.path.partition("?")[0].strip("/").split("/")
        if len(path) != 2 or path[0] != "trigger":
            return Reply(status=HTTPStatus.NOT_FOUND, answer="refused", why="there is only POST /trigger/MODEL")
        read = self._read()
        if isinstance(read, Reply):
            return read
        with self.turns:
            if not self._within_rate():
                why = f"more than {MOST_A_MINUTE} messages in a minute"
                return Reply(status=HTTPStatus.TOO_MANY_REQUESTS, answer="later", why=why, retry_after_s=60.0)
            return type(self).ask(self._message(path[1], read))

    def _knows_token(self) -> bool:
        scheme, _, given = self.headers.get("Authorization", "").partition(" ")
        right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), self.token)
        return right and scheme.lower() == "bearer"

    def _read(self) -> bytes | Reply:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            return Reply(status=HTTPStatus.LENGTH_REQUIRED, answer="refused", why="say Content-Length")
        if len(length) > 9 or int(length) > MOST_BYTES:
            why = f"a message has at most {MOST_BYTES} bytes"
            return Reply(status=HTTPStatus.REQUEST_ENTITY_TOO_LARGE, answer="refused", why=why)
        body = self.rfile.read(int(length))
        wrong = "" if len(body) == int(length) else "the body is shorter than its Content-Length"
        wrong = wrong or _wrong(body) or _wrong_key(self.headers.get("Idempotency-Key"))
        return Reply(status=HTTPStatus.BAD_REQUEST, answer="refused", why=wrong) if wrong else body

    def _within_rate(self) -> bool:
        now = time.monotonic()
        while self.seen and now - self.seen[0] >= 60.0:
            self.seen.popleft()
        if len(self.seen) >= MOST_A_MINUTE:
            return False
        self.seen.append(now)
        return True

    def _message(self, model: str, body: bytes) -> Message:
        digest = Digest(hashlib.sha256(body).hexdigest())
        key = self.headers.get("Idempotency-Key") or f"{datetime.now(UTC):%Y-%m-%d}-{digest[:16]}"
        return Message(model=model, reason=str(_object(body).get("reason", "")), key=key, body=digest)

    def _send(self, reply: Reply) -> None:
        told = {"schema_version": 1, "answer": reply.answer, "why": reply.why, "next": reply.next, **reply.more}
        body = json.dumps(told).encode() + b"\n"
        self.close_connection = True  # what was not read of a refused body must not be taken for a next request
        self.send_response(reply.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if reply.retry_after_s is not None:
            self.send_header("Retry-After", str(max(1, math.ceil(reply.retry_after_s))))
        if reply.status is HTTPStatus.UNAUTHORIZED:
            self.send_header("WWW-Authenticate", "Bearer")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


def _object(body: bytes) -> dict[str, Json]:
    given = json.loads(body or b"{}")
    if not isinstance(given, dict):
        raise TypeError("a message is one JSON object")
    return given


def _wrong(body: bytes) -> str:
    try:
        given = _object(body)
    except (ValueError, TypeError, RecursionError) as broken:
        return f"the body is not one JSON object: {str(broken)[:100]}"
    unknown = sorted(set(given) - {"reason"})
    if unknown:
        return f"unknown key {unknown[0][:50]!r}; allowed: reason"
    return "" if isinstance(given.get("reason", ""), str) else "reason must be text"


def _wrong_key(key: str | None) -> str:
    if key is None or (0 < len(key) <= MOST_KEY and key.isascii() and key.isprintable()):
        return ""
    return f"Idempotency-Key must be 1 to {MOST_KEY} printable ASCII characters"


@contextmanager
def listening(host: str, port: int, token: bytes, ask: Ask) -> Iterator[int]:
    """Take messages for the length of a block; yields the port, which the system chooses for 0.

    Args:
        host: The address to listen on.
        port: The port.
        token: What senders must show.
        ask: Brings a message where it belongs; called by one thread at a time.

    Raises:
        ConfigError: Somebody else listens there.
    """
    names = {"token": token, "ask": staticmethod(ask), "turns": threading.Lock(), "seen": deque()}
    try:
        server = ThreadingHTTPServer((host, port), type("Handler", (_Handler,), names))
    except OSError as taken:
        raise ConfigError(f"cannot listen on {host}:{port}: {taken.strerror}; set LOCKGATE_TRIGGER_PORT") from taken
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.2}, daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5.0)
