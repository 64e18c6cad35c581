"""What an HTTP handler sees and gives back: the seam between ASGI and the modules that speak a protocol.

A `Route` holds a handler and its description; the application dispatches on the same list that `openapi.py` renders,
so that the document cannot say anything else than the server does.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from lockgate.serving.http.json_body import parse_json
from lockgate.serving.refusals import Reason, refuse
from lockgate.serving.service import Service

if TYPE_CHECKING:
    from lockgate.serving.routing.router import Choice

Headers: TypeAlias = tuple[tuple[bytes, bytes], ...]
JSON: Final = b"application/json"
ARROW: Final = b"application/vnd.apache.arrow.stream"
REQUEST_ID: Final = b"x-request-id"
TRACE_PARENT: Final = b"traceparent"
CHOICE: Final = "lockgate.choice"
"""Where a request's scope says which arm was chosen for it and failed, when it is answered once more."""
LONGEST_REQUEST_ID: Final = 128
_CHARSET: Final = re.compile(rb"""charset\s*=\s*["']?([^"';\s]*)""", re.IGNORECASE)
_PRINTABLE: Final = re.compile(rb"[!-~]+(?: [!-~]+)*")
# https://www.w3.org/TR/trace-context/#traceparent-header: version, trace, parent, flags; later versions may add more
_TRACE: Final = re.compile(
    rb"(?!ff)(?!00.{54})[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[!-~]{1,128})?"
)
REMEMBERED_PATHS: Final = 1024
REMEMBERED_LENGTH: Final = 256

STATUS: Final[Mapping[Reason, int]] = {
    Reason.UNAUTHORIZED: 401,
    Reason.UNKNOWN_MODEL: 404,
    Reason.UNKNOWN_VERSION: 404,
    Reason.UNKNOWN_ARM: 404,
    Reason.UNKNOWN_PATH: 404,
    Reason.WRONG_METHOD: 405,
    Reason.READ_TIMEOUT: 408,
    Reason.BODY_TOO_LARGE: 413,
    Reason.TOO_MANY_ROWS: 413,
    Reason.UNSUPPORTED_MEDIA: 415,
    Reason.UNSUPPORTED_ENCODING: 415,
    Reason.NO_FINITE_ANSWER: 422,
    Reason.OVERLOADED: 503,
    Reason.NOT_LOADED: 503,
}
"""Status by reason; 400 for the rest."""


@dataclass(slots=True)
class Request:
    """One request, its body read.

    Attributes:
        params: The named segments of its path.
        query: The raw query string.
        headers: By lower-case name.
        body: Its bytes.
        started: `time.perf_counter()` when its headers were there.
        rows: How many rows were answered; set by the handler that did, None until then.
        choice: The arm that was chosen for it before, and failed; None: none was yet.
    """

    params: Mapping[str, str]
    query: bytes
    headers: Mapping[bytes, bytes]
    body: bytes
    started: float
    rows: int | None = None
    choice: Choice | None = None

    def header(self, name: bytes) -> str | None:
        """Return a header's text, None when it is absent or empty."""
        value = self.headers.get(name)
        return value.decode("latin-1").strip() or None if value else None

    @property
    def media_type(self) -> str:
        """The body's type without parameters; JSON where the caller does not say."""
        return (self.header(b"content-type") or "application/json").partition(";")[0].strip().lower()

    def expect_json(self, *others: str) -> None:
        """Refuse a body that says it is something else than JSON in UTF-8.

        Args:
            others: Media types that would be taken as well, for the words.

        Raises:
            RequestRefused: It does.
        """
        given = self.headers.get(b"content-type")
        if given is not None and given != JSON:
            self.expect_utf8()
            if self.media_type != "application/json":
                taken = " or ".join(("application/json", *others))
                raise refuse(Reason.UNSUPPORTED_MEDIA, f"content-type {self.media_type[:100]!r}: send {taken}")

    def expect_utf8(self) -> None:
        """Refuse a text in another character set.

        Raises:
            RequestRefused: Its content-type names one.
        """
        given = _CHARSET.search(self.headers.get(b"content-type", b""))
        if given is not None and given[1].lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            charset = given[1][:40].decode("latin-1")
            raise refuse(Reason.UNSUPPORTED_MEDIA, f"content-type: charset {charset!r}; send UTF-8")

    def json(self, *others: str) -> Any:  # noqa: ANN401 - any JSON value
        """Return the body as JSON.

        Args:
            others: See `expect_json`.

        Raises:
            RequestRefused: It says it is something else, or it is not JSON.
        """
        self.expect_json(*others)
        return parse_json(self.body)


@dataclass(slots=True)
class Response:
    """One answer.

    Attributes:
        status: HTTP status.
        body: Its bytes.
        content_type: Their type.
        headers: Further headers.
    """

    status: int
    body: bytes
    content_type: bytes = JSON
    headers: Headers = ()


Handler: TypeAlias = Callable[[Service, Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """One method on one path.

    Attributes:
        method: HTTP method.
        path: Path with `{name}` segments.
        handler: What answers.
        summary: One sentence for the API document.
        responses: What each status means.
        body: Name of the request body's schema, None without a body.
        returns: Name of the answer's schema, None where it is not JSON.
        query: Query parameters, with what each means.
        headers: Request headers it reads, with what each means.
        takes: What it takes beside JSON: media types, with what each is.
        gives: What it answers beside JSON, likewise.
        answers: Whether it answers rows, and so carries the headers of a prediction.
        limited: Whether it counts against the limit of requests in flight.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    responses: Mapping[int, str]
    body: str | None = None
    returns: str | None = None
    query: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    takes: Mapping[str, str] = field(default_factory=dict)
    gives: Mapping[str, str] = field(default_factory=dict)
    answers: bool = False
    limited: bool = False


def json_bytes(value: object) -> bytes:
    """Return a value as JSON; float32 arrays are written in their shortest form that reads back the same."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def json_response(value: object, status: int = 200, headers: Headers = ()) -> Response:
    """Return a JSON answer, see `json_bytes`."""
    return Response(status, json_bytes(value), JSON, headers)


def caller_request_id(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the request id that the caller gave, None where there is none that can be kept.

    It is kept when it is at most 128 printable ASCII characters; it goes into answers and logs, so nothing else is.
    """
    given = headers.get(REQUEST_ID)
    if given is None or len(given) > LONGEST_REQUEST_ID or not _PRINTABLE.fullmatch(given):
        return None
    return given.decode("ascii")


def caller_trace(headers: Mapping[bytes, bytes]) -> str | None:
    """Return the caller's W3C `traceparent`, None where there is none or it is not of the standard's form."""
    given = headers.get(TRACE_PARENT)
    return given.decode("ascii") if given is not None and _TRACE.fullmatch(given) else None


def error_response(status: int, message: str, headers: Headers = (), **facts: object) -> Response:
    """Return an error in the shape of the Open Inference Protocol."""
    return json_response({"error": message, **facts}, status, headers)


class Dispatch:
    """Finds the route of a path; patterns never overlap but for a literal segment, which goes before a named one."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._remembered = functools.lru_cache(maxsize=REMEMBERED_PATHS)(self._find)
        self._literal: dict[str, dict[str, Route]] = {}
        self._patterns: dict[tuple[int, tuple[tuple[int, str], ...]], dict[str, Route]] = {}
        for route in routes:
            segments = route.path.split("/")
            fixed = tuple((i, part) for i, part in enumerate(segments) if not part.startswith("{"))
            if len(fixed) == len(segments):
                self._literal.setdefault(route.path, {})[route.method] = route
            else:
                self._patterns.setdefault((len(segments), fixed), {})[route.method] = route

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        """Return the route and the named segments of a path.

        Raises:
            RequestRefused: There is no such path, or it has no such method.
        """
        # what callers send is remembered, so both the number and the length of it are bounded
        return self._remembered(method, path) if len(path) <= REMEMBERED_LENGTH else self._find(method, path)

    def _find(self, method: str, path: str) -> tuple[Route, Mapping[str, str]]:
        methods, params = self._match(path)
        route = methods.get(method)
        if route is None:
            allowed = ", ".join(sorted(methods))
            raise refuse(Reason.WRONG_METHOD, f"{method} {path}: this path takes {allowed}")
        if params is None:
            return route, {}
        names = route.path.split("/")
        return route, {names[i][1:-1]: value for i, value in params}

    def allowed(self, path: str) -> str:
        """Return the methods of a path that exists, for the `Allow` header."""
        return ", ".join(sorted(self._match(path)[0]))

    def _match(self, path: str) -> tuple[Mapping[str, Route], list[tuple[int, str]] | None]:
        methods = self._literal.get(path)
        if methods is not None:
            return methods, None
        segments = path.split("/")
        for (length, fixed), methods in self._patterns.items():
            if length == len(segments) and all(segments[i] == part for i, part in fixed):
                literal = {i for i, _ in fixed}
                named = [(i, value) for i, value in enumerate(segments) if i not in literal]
                if all(value for _, value in named):
                    return methods, named
        raise refuse(Reason.UNKNOWN_PATH, f"no path {path}; see /openapi.json on the data port for those there are")
