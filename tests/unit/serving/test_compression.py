"""Compressed bodies give the original or a refusal, within a bound; answers are compressed for whoever asks so."""

import asyncio
import gzip
import tracemalloc
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.serving.http import compression
from lockgate.serving.http.compression import DEFLATE, GZIP, Coding, Compression, accepted, coding_of, decompressed
from lockgate.serving.http.handling import Handler, Request, Response
from lockgate.serving.options import Limits
from lockgate.serving.refusals import Reason, RequestRefused

MOST = 1 << 20
CODINGS = st.sampled_from([GZIP, DEFLATE])
NOISE = bytes(zlib.crc32(b"%d" % i) & 255 for i in range(200_000))  # what hardly compresses
TEXTS = st.binary(max_size=300) | st.builds(
    lambda start, length, times: NOISE[start : start + length] * times,
    *(st.integers(0, 100_000), st.integers(0, 100_000), st.integers(1, 3)),
)
WRONG = "content-encoding 'gzip': the body is wrong from byte"
RUNNER = asyncio.Runner()


@pytest.fixture(scope="module", autouse=True)
def _closed() -> Iterator[None]:
    yield
    RUNNER.close()


def packed(text: bytes, coding: Coding = GZIP, level: int = 6) -> bytes:
    return zlib.compress(text, level, coding.window_bits)


def read(body: bytes, coding: Coding) -> bytes | Reason:
    """Return a body decompressed, or why it is refused."""
    try:
        return decompressed(body, coding, MOST)
    except RequestRefused as refused:
        return refused.reason


def reason(body: bytes, coding: Coding = GZIP, most_bytes: int = MOST) -> tuple[Reason, str]:
    """Return why a body is refused."""
    with pytest.raises(RequestRefused) as refused:
        decompressed(body, coding, most_bytes)
    return refused.value.reason, refused.value.message


class Asked:
    """Handles what compression lets through to it."""

    def __init__(self, answer: Response | None = None, most_bytes: int = MOST, timeout_s: float = 9) -> None:
        self.answer, self.got = answer, list[bytes]()
        self.compression = Compression(Limits(body_bytes=most_bytes, read_timeout_s=timeout_s))

    async def handle(self, service: Any, request: Request) -> Response:
        del service
        self.got.append(request.body)
        return self.answer or Response(200, request.body)

    def around(self, handler: Handler, body: bytes, **headers: str) -> Any:
        lines = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        service: Any = None
        return self.compression.around(handler, lines)(service, Request({}, b"", lines, body, 0.0))

    def __call__(self, body: bytes, **headers: str) -> Response:
        return RUNNER.run(self.around(self.handle, body, **headers))


# -- bodies that are whole ---------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(TEXTS, CODINGS, st.sampled_from([0, 1, 6, 9]))
def test_a_body_comes_out_as_it_went_in(text: bytes, coding: Coding, level: int) -> None:
    body = packed(text, coding, level)
    assert decompressed(body, coding, MOST) == text
    asked = Asked()
    asked(body, content_encoding=coding.name)
    assert asked.got == [text]


@settings(max_examples=60, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=5))
def test_members_one_behind_the_other_are_one_body(texts: list[bytes]) -> None:
    body = b"".join(map(gzip.compress, texts))
    assert decompressed(body, GZIP, MOST * 2) == b"".join(texts)
    asked = Asked(most_bytes=MOST * 2)
    asked(body, content_encoding="gzip")
    assert asked.got == [b"".join(texts)]


def test_members_are_counted() -> None:
    member = gzip.compress(b"x")
    assert decompressed(member * compression.MEMBERS, GZIP, MOST) == b"x" * compression.MEMBERS
    assert reason(member * (compression.MEMBERS + 1)) == (
        Reason.MALFORMED,
        f"{WRONG} {len(member) * compression.MEMBERS} on: it goes on where it should end",
    )


def test_a_header_with_names_comments_and_its_own_sum_is_read() -> None:
    head = b"\x1f\x8b\x08\x1e" + bytes(6) + b"\x03\x00abc" + b"name\0" + b"comment\0"
    head += (zlib.crc32(head) & 0xFFFF).to_bytes(2, "little")
    assert decompressed(head + gzip.compress(b"text")[10:], GZIP, MOST) == b"text"


@pytest.mark.parametrize("size", [1, 1000, compression.INLINE_BYTES, 200_000])
@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
def test_the_bound_is_on_what_comes_out_to_the_byte(size: int, coding: Coding) -> None:
    body = packed(NOISE[:size], coding)
    assert decompressed(body, coding, size) == NOISE[:size]
    assert Asked(most_bytes=size)(body, content_encoding=coding.name).body == NOISE[:size]
    for refused in (reason(body, coding, size - 1)[0], too_much(body, coding, size - 1)) if size > 1 else ():
        assert refused is Reason.BODY_TOO_LARGE


def too_much(body: bytes, coding: Coding, most_bytes: int) -> Reason:
    with pytest.raises(
        RequestRefused, match=f"larger than the {most_bytes} bytes taken, once it is decompressed"
    ) as no:
        Asked(most_bytes=most_bytes)(body, content_encoding=coding.name)
    return no.value.reason


# -- bodies that are not -----------------------------------------------------------------------------------------------


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60) | st.binary(max_size=60).map(lambda tail: gzip.compress(b"")[:3] + tail), CODINGS)
def test_any_bytes_are_what_zlib_says_they_are_or_refused(body: bytes, coding: Coding) -> None:
    stream = zlib.decompressobj(coding.window_bits)
    try:
        wanted = stream.decompress(body)
    except zlib.error:
        wanted = b""
    whole = stream.eof and not stream.unused_data
    assert read(body, coding) == (wanted if whole else Reason.MALFORMED)


@settings(max_examples=300, deadline=None)
@given(TEXTS, CODINGS, st.data())
def test_a_body_that_was_harmed_on_its_way_is_refused_or_the_original(text: bytes, coding: Coding, data: Any) -> None:
    whole = packed(text, coding)
    at = data.draw(st.integers(0, len(whole) - 1))
    harmed = data.draw(
        st.sampled_from(
            [
                whole[:at], whole[:at] + whole[at + 1 :], whole + whole[:at] if at else whole[:-1],
                whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :], whole[:at] + b"\0" + whole[at:],
            ]
        )
    )  # fmt: skip
    assert read(harmed, coding) in (text, Reason.MALFORMED, Reason.BODY_TOO_LARGE)


@pytest.mark.parametrize(
    ("body", "coding", "why"),
    [
        (b"", GZIP, "from byte 0 on: it is cut short"),
        (b"{}", GZIP, f"{WRONG} 0 on: incorrect header check"),
        (packed(b"abc")[:-1], GZIP, "from byte 0 on: it is cut short"),
        (packed(b"abc")[:-8] + bytes(8), GZIP, "from byte 0 on: incorrect data check"),
        (packed(b"abc") + b"\0", GZIP, "from byte 23 on: it is cut short"),
        (packed(b"abc") + bytes(512), GZIP, "from byte 23 on: incorrect header check"),
        (packed(b"abc") + b"more", GZIP, "from byte 23 on: incorrect header check"),
        (packed(b"abc", DEFLATE), GZIP, "incorrect header check"),
        (packed(b"abc"), DEFLATE, "content-encoding 'deflate': the body is wrong from byte 0 on: incorrect header"),
        (packed(b"abc", DEFLATE)[2:-4], DEFLATE, "from byte 0 on: "),  # the bare stream, which RFC 9110 calls wrong
        (packed(b"abc", DEFLATE)[:-1], DEFLATE, "from byte 0 on: it is cut short"),
        (packed(b"abc", DEFLATE) * 2, DEFLATE, "from byte 11 on: it goes on where it should end"),
        (zlib.compressobj(zdict=b"abc").flush(), DEFLATE, "from byte 0 on: "),
        (packed(NOISE)[:-1], GZIP, "from byte 0 on: it is cut short"),
        (packed(NOISE, DEFLATE)[:-1], DEFLATE, "from byte 0 on: it is cut short"),
    ],
)
def test_what_is_wrong_with_a_body_is_said(body: bytes, coding: Coding, why: str) -> None:
    for refuse in (lambda: reason(body, coding)[1], lambda: words(body, coding)):
        assert why in refuse()


def words(body: bytes, coding: Coding) -> str:
    with pytest.raises(RequestRefused) as refused:
        Asked()(body, content_encoding=coding.name)
    return refused.value.message


@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
@pytest.mark.parametrize("members", [1, 2])
def test_a_bomb_costs_no_more_memory_than_a_body_may(coding: Coding, members: int) -> None:
    bomb = packed(bytes(64 << 20), coding, 1) if coding is DEFLATE else packed(bytes(MOST - 9)) * 60 * members
    tracemalloc.start()
    try:
        assert reason(bomb, coding)[0] is Reason.BODY_TOO_LARGE
        assert tracemalloc.get_traced_memory()[1] < 2 * MOST
    finally:
        tracemalloc.stop()


def test_a_large_body_is_in_memory_once() -> None:
    body = packed(bytes(16 * MOST))
    tracemalloc.start()
    try:
        assert len(decompressed(body, GZIP, 16 * MOST)) == 16 * MOST
        assert tracemalloc.get_traced_memory()[1] < 20 * MOST
    finally:
        tracemalloc.stop()


def test_a_stream_that_goes_on_and_on_without_a_byte_of_text_is_read_once() -> None:
    nothing = b"\0\0\0\xff\xff" * 200_000  # blocks of none: as much input, no output
    body = packed(b"", DEFLATE)[:2] + nothing + packed(b"abc", DEFLATE)[2:]
    assert decompressed(body, DEFLATE, 10) == b"abc"
    assert reason(body[:-1], DEFLATE, 10)[0] is Reason.MALFORMED


# -- which encodings ---------------------------------------------------------------------------------------------------


def test_encodings_go_by_their_names() -> None:
    for name in (b"", b" ", b"identity", b"Identity "):
        assert coding_of(name) is None
    assert [coding_of(name) for name in (b"gzip", b"GZip", b" gzip ", b"x-gzip")] == [GZIP] * 4
    assert coding_of(b"deflate") is DEFLATE


@pytest.mark.parametrize(
    "name", ["br", "zstd", "compress", "gzip, gzip", "identity, gzip", "gzip,", "gzip;q=1", "x" * 999]
)
def test_other_encodings_and_several_are_refused_with_what_is_taken(name: str) -> None:
    with pytest.raises(RequestRefused, match="send one of gzip, deflate, or the body as it is") as refused:
        coding_of(name.encode())
    assert refused.value.reason is Reason.UNSUPPORTED_ENCODING
    assert repr(name[:100]) in refused.value.message
    assert len(refused.value.message) < 250


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("gzip", GZIP), ("deflate", DEFLATE), ("gzip, deflate, br, zstd", GZIP), ("deflate, gzip", GZIP),
        ("GZIP", GZIP), ("x-gzip", GZIP), (" gzip ;\tq=0.5 ", GZIP), ("*", GZIP), ("br;q=1, *;q=0.1", GZIP),
        ("gzip;q=0.5, deflate;q=0.6", DEFLATE), ("gzip;q=0, *", DEFLATE), ("gzip;q=0, deflate", DEFLATE),
        ("identity;q=0.5, gzip;q=0.5", GZIP), ("identity;q=0, gzip;q=0.001", GZIP), ("gzip;q=1.000", GZIP),
        ("", None), ("br", None), ("identity", None), ("gzip;q=0", None), ("gzip;q=0.000", None), ("*;q=0", None),
        ("gzip;q=0, deflate;q=0, *", None), ("gzip;q=0.5, identity", None), ("gzip;q=2", None), ("gzip;q=1.5", None),
        ("gzip;q=-1", None), ("gzip;q=", None), ("gzip;level=9", None), ("gzip deflate", None), (",;,", None),
    ],
)  # fmt: skip
def test_an_answer_is_compressed_as_its_caller_likes_it_best(header: str, wanted: Coding | None) -> None:
    assert accepted(header.encode()) is wanted


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=40) | st.text("gzipdeflat*, ;q=01.", max_size=40).map(str.encode))
def test_no_accept_encoding_breaks_an_answer(header: bytes) -> None:
    assert accepted(header) in (None, GZIP, DEFLATE)


# -- answers -----------------------------------------------------------------------------------------------------------

BODY = packed(b"{}")
LONG = b"0.123456789," * 100


@pytest.mark.parametrize("coding", [GZIP, DEFLATE])
@pytest.mark.parametrize("length", [compression.LEAST_ANSWER_BYTES, 5 * compression.INLINE_BYTES])
def test_a_long_answer_to_a_compressed_request_is_compressed(coding: Coding, length: int) -> None:
    text = (LONG * (1 + length // len(LONG)))[:length]
    told = Response(200, text, b"text/csv", ((b"x-lockgate-arm", b"champion"),))
    answer = Asked(told)(BODY, content_encoding="gzip", accept_encoding=coding.name)
    assert zlib.decompress(answer.body, coding.window_bits) == text
    assert (answer.content_type, dict(answer.headers)) == (
        b"text/csv",
        {b"x-lockgate-arm": b"champion", b"vary": b"accept-encoding", b"content-encoding": coding.name.encode()},
    )


def test_a_long_answer_says_that_it_depends_even_where_it_is_plain() -> None:
    for more in ({}, {"accept_encoding": "gzip;q=0"}, {"accept_encoding": "br"}):
        answer = Asked(Response(200, LONG))(BODY, content_encoding="gzip", **more)
        assert (answer.body, answer.headers) == (LONG, ((b"vary", b"accept-encoding"),))


@pytest.mark.parametrize(
    ("answer", "encoding"),
    [
        (Response(200, LONG[: compression.LEAST_ANSWER_BYTES - 1]), "gzip"),
        (Response(422, LONG), "gzip"),
        (Response(500, LONG), "gzip"),
        (Response(200, LONG), "identity"),
        (Response(200, LONG), ""),
    ],
)
def test_short_answers_refusals_and_answers_to_plain_requests_stay_as_they_are(answer: Response, encoding: str) -> None:
    body = answer.body
    given_back = Asked(answer)(BODY, content_encoding=encoding, accept_encoding="gzip")
    assert (given_back.body, given_back.headers) == (body, ())


# -- the event loop ----------------------------------------------------------------------------------------------------


def at_once(body: bytes, answer: bytes) -> bool:
    """Tell whether a request is answered without a wait."""
    asked = Asked(Response(200, answer))
    running = asked.around(asked.handle, body, content_encoding="gzip", accept_encoding="gzip")

    async def step() -> bool:
        try:
            running.send(None)
        except StopIteration:
            return True
        running.close()
        return False

    return RUNNER.run(step())


def test_what_is_small_is_done_at_once_and_what_is_large_in_a_thread() -> None:
    assert at_once(BODY, LONG)
    assert at_once(packed(bytes(compression.INLINE_BYTES - 1)), LONG)
    assert not at_once(packed(bytes(compression.INLINE_BYTES + 1)), b"")
    assert not at_once(packed(NOISE[: compression.INLINE_SENT_BYTES + 1], level=0), b"")
    assert not at_once(BODY + BODY, b"")
    assert not at_once(BODY, bytes(compression.INLINE_BYTES + 1))


def test_few_bodies_that_became_large_are_in_memory_and_small_ones_do_not_wait_for_them() -> None:
    asked, go_on, full, inside = Asked(), asyncio.Event(), asyncio.Event(), list[int]()

    async def wait(service: Any, request: Request) -> Response:
        del service
        inside.append(len(request.body))
        if len(request.body) > compression.INLINE_BYTES:
            if len(inside) == compression.LARGE_AT_ONCE:
                full.set()
            await go_on.wait()
        return Response(200, b"")

    async def crowd() -> None:
        large = packed(bytes(compression.INLINE_BYTES + 1))
        running = [
            asyncio.ensure_future(asked.around(wait, large, content_encoding="gzip"))
            for _ in range(compression.LARGE_AT_ONCE + 3)
        ]
        await full.wait()
        assert (await asked.around(wait, BODY, content_encoding="gzip")).status == 200
        assert len(inside) == compression.LARGE_AT_ONCE + 1
        running.pop().cancel()  # a caller that goes away takes no place with it
        running[0].cancel()
        go_on.set()
        await asyncio.gather(*running, return_exceptions=True)
        assert len(inside) == compression.LARGE_AT_ONCE + 3
        assert (await asked.around(wait, large, content_encoding="gzip")).status == 200

    RUNNER.run(crowd())


def test_a_large_body_waits_for_its_place_no_longer_than_a_body_may_take_to_arrive() -> None:
    asked, go_on = Asked(timeout_s=0.02), asyncio.Event()

    async def wait(service: Any, request: Request) -> Response:
        del service
        await go_on.wait()
        return Response(200, request.body)

    async def crowd() -> None:
        large = packed(bytes(compression.INLINE_BYTES + 1))
        running = [
            asyncio.ensure_future(asked.around(wait, large, content_encoding="gzip"))
            for _ in range(compression.LARGE_AT_ONCE)
        ]
        await asyncio.sleep(0)
        with pytest.raises(RequestRefused, match="try again later") as late:
            await asked.around(wait, large, content_encoding="gzip")
        assert late.value.reason is Reason.OVERLOADED
        go_on.set()
        assert [each.status for each in await asyncio.gather(*running)] == [200] * compression.LARGE_AT_ONCE
        assert (await asked.around(wait, large, content_encoding="gzip")).status == 200

    RUNNER.run(crowd())
