"""Bodies that come compressed, and the answers to them: `Content-Encoding` and `Accept-Encoding` of RFC 9110.

    body --> decompressed, bounded --> handler --> answer --> compressed, where its caller takes that

All behind (limits, lengths, protocols) sees the bytes that were meant. An answer is compressed only for a caller who
compressed: that one pays for a network, everybody else would pay for work that a loopback does not need.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from lockgate.serving.http.handling import Handler, Request, Response
from lockgate.serving.options import Limits
from lockgate.serving.refusals import Reason, RequestRefused, refuse
from lockgate.serving.service import Service

CONTENT_ENCODING: Final = b"content-encoding"
ACCEPT_ENCODING: Final = b"accept-encoding"
TAKEN: Final = b"gzip, deflate"  # as `Accept-Encoding` says it
INLINE_SENT_BYTES: Final = 32 << 10  # ours: of the worst kind (nothing but tables of codes) read in 2.5 ms
INLINE_BYTES: Final = 64 << 10  # ours: read in 0.3 ms, written in 0.6 ms; the event loop has that much
LEAST_ANSWER_BYTES: Final = 1 << 10  # ours: below it a packet is sent all the same
LARGE_AT_ONCE: Final = 2  # ours: few bytes may have become these; p99 of others beside bombs 9 ms, with four 21 ms
MEMBERS: Final = 1024  # ours: of blocks of 64 KiB, as bgzip writes them, more than the largest body has
LEVEL: Final = 1  # ours: 5 % larger than level 6 on arrays of floats as JSON, for a fifth of the work
_SENT_PIECE: Final = 64 << 10  # what zlib leaves of one is copied, so that it must not be the whole body
_PIECE: Final = 256 << 10
# https://www.rfc-editor.org/rfc/rfc9110#name-accept-encoding: a coding and its weight
_WEIGHTED: Final = re.compile(rb"([!#$%&'*+.^_`|~0-9a-z-]+)(?:[ \t]*;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")


@dataclass(frozen=True, slots=True)
class Coding:
    """One form of compression: its name in headers, zlib's number for it, and how many may stand in one body."""

    name: str
    window_bits: int  # a deflate stream in gzip's wrapping (RFC 1952), or in zlib's own (RFC 1950)
    members: int


GZIP: Final = Coding("gzip", 16 + zlib.MAX_WBITS, MEMBERS)
DEFLATE: Final = Coding("deflate", zlib.MAX_WBITS, 1)
# https://www.rfc-editor.org/rfc/rfc9110#section-8.4.1.3: "x-gzip" is equivalent to "gzip"
_CODINGS: Final[Mapping[bytes, Coding]] = {b"gzip": GZIP, b"x-gzip": GZIP, b"deflate": DEFLATE}


class Compression:
    """Puts decompression before handlers, and compression behind them."""

    def __init__(self, limits: Limits) -> None:
        """Take the limits on bodies: on their size, which counts decompressed, and on the time for them."""
        self._most_bytes, self._most_s = limits.body_bytes, limits.read_timeout_s
        self._large = asyncio.Semaphore(LARGE_AT_ONCE)

    def around(self, handler: Handler, headers: Mapping[bytes, bytes]) -> Handler:
        """Return what handles a request with these headers, which name an encoding, by what handles a plain one.

        Raises:
            RequestRefused: The encoding is none that is taken, or there are several.
        """
        coding = coding_of(headers[CONTENT_ENCODING])
        if coding is None:
            return handler

        async def handle(service: Service, request: Request) -> Response:
            small = _at_once(request.body, coding, self._most_bytes)
            if small is not None:
                request.body = small
                return await _answered(handler, service, request)
            await self._take_place()
            try:
                request.body = await asyncio.to_thread(decompressed, request.body, coding, self._most_bytes)
                return await _answered(handler, service, request)
            finally:
                self._large.release()

        return handle

    async def _take_place(self) -> None:
        try:
            async with asyncio.timeout(self._most_s):
                await self._large.acquire()
        except TimeoutError as late:
            raise refuse(Reason.OVERLOADED, "large bodies of others are being decompressed; try again later") from late


def coding_of(content_encoding: bytes) -> Coding | None:
    """Return how a body is compressed; None: it is not.

    Raises:
        RequestRefused: In a way that is not taken, or in several.
    """
    name = content_encoding.strip().lower()
    if not name or name == b"identity":
        return None
    coding = _CODINGS.get(name)
    if coding is None:
        given = content_encoding[:100].decode("latin-1")
        raise refuse(
            Reason.UNSUPPORTED_ENCODING,
            f"content-encoding {given!r}: send one of {TAKEN.decode()}, or the body as it is (identity)",
        )
    return coding


def _at_once(body: bytes, coding: Coding, most_bytes: int) -> bytes | None:
    """Return a small body decompressed; None where it is not small, or has anything about it that needs words."""
    if len(body) > INLINE_SENT_BYTES:
        return None
    with contextlib.suppress(zlib.error):
        stream = zlib.decompressobj(coding.window_bits)
        found = stream.decompress(body, min(most_bytes, INLINE_BYTES))
        if stream.eof and not stream.unused_data:
            return found
    return None


def decompressed(body: bytes, coding: Coding, most_bytes: int) -> bytes:
    """Return a whole body decompressed, by work that is linear in what was sent and what may be found.

    Args:
        body: As it was sent.
        coding: How it is compressed.
        most_bytes: The most that may be found; little more is ever in memory.

    Raises:
        RequestRefused: More would be found, or the body is broken, cut short, or goes on behind its end.
    """
    found, at = io.BytesIO(), 0
    for _ in range(coding.members):
        at = _read_one(body, at, coding, found, most_bytes)
        if at == len(body):
            return found.getvalue()
    raise _broken(coding, at, "it goes on where it should end")


def _read_one(body: bytes, begins: int, coding: Coding, found: io.BytesIO, most_bytes: int) -> int:
    """Decompress the stream that begins somewhere in a body; return where it ends."""
    stream, sent, at = zlib.decompressobj(coding.window_bits), memoryview(body), begins
    while not stream.eof:
        feed: bytes | memoryview = stream.unconsumed_tail
        if not feed:
            feed = sent[at : at + _SENT_PIECE]
            at += len(feed)
        if not feed:
            raise _broken(coding, begins, "it is cut short")
        try:
            piece = stream.decompress(feed, _PIECE)
        except zlib.error as wrong:
            raise _broken(coding, begins, str(wrong).rpartition(": ")[2]) from wrong
        if found.tell() + len(piece) > most_bytes:
            raise refuse(
                Reason.BODY_TOO_LARGE, f"the body is larger than the {most_bytes} bytes taken, once it is decompressed"
            )
        found.write(piece)
    return at - len(stream.unused_data)


def _broken(coding: Coding, begins: int, why: str) -> RequestRefused:
    return refuse(Reason.MALFORMED, f"content-encoding {coding.name!r}: the body is wrong from byte {begins} on: {why}")


async def _answered(handler: Handler, service: Service, request: Request) -> Response:
    """Return a handler's answer, compressed where that is worth it and the caller takes it; refusals never are.

    Clients of others (tritonclient) decompress answers of status 200, and read what is told of errors as it comes.
    """
    response = await handler(service, request)
    body = response.body
    if response.status != 200 or len(body) < LEAST_ANSWER_BYTES:
        return response
    response.headers = (*response.headers, (b"vary", ACCEPT_ENCODING))
    coding = accepted(request.headers.get(ACCEPT_ENCODING, b""))
    if coding is not None:
        compress = functools.partial(zlib.compress, body, LEVEL, coding.window_bits)
        response.body = compress() if len(body) <= INLINE_BYTES else await asyncio.to_thread(compress)
        response.headers = (*response.headers, (CONTENT_ENCODING, coding.name.encode()))
    return response


def accepted(accept_encoding: bytes) -> Coding | None:
    """Return the compression that a caller likes best, gzip before deflate; None where it takes none, or likes none.

    A part of the header that is not of the standard's form counts as absent.
    """
    found = (_WEIGHTED.fullmatch(part.strip()) for part in accept_encoding.lower().split(b","))
    weights = {each[1]: float(each[2] or 1) for each in found if each is not None}
    other = weights.get(b"*", 0.0)
    liked = {GZIP: weights.get(b"gzip", weights.get(b"x-gzip", other)), DEFLATE: weights.get(b"deflate", other)}
    best = max(liked, key=liked.__getitem__)
    return best if liked[best] > 0 and liked[best] >= weights.get(b"identity", 0.0) else None
