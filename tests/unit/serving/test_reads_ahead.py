"""Requests that come in one piece are parsed some at a time: all are answered in order, none waits parsed."""

import random

import pytest

from lockgate.serving.net.ahead import AHEAD_BYTES, MOST_AHEAD
from lockgate.serving.net.connection import Connection
from tests.unit.serving.test_connections import Scene, run, turns

READ_BYTES = 256 << 10  # what the loop reads at once


def get(number: int) -> bytes:
    return b"GET /%d HTTP/1.1\r\nhost: x\r\n\r\n" % number


def post(number: int, body: bytes, *more: bytes) -> bytes:
    lines = b"".join(b"%s\r\n" % line for line in more)
    return b"POST /%d HTTP/1.1\r\nhost: x\r\n%scontent-length: %d\r\n\r\n%s" % (number, lines, len(body), body)


def chunked(number: int, body: bytes) -> bytes:
    head = b"POST /%d HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n" % number
    return head + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


async def answered(scene: Scene, connection: Connection, most: int = 0) -> int:
    """Let everything be answered; return how many requests were ever parsed and waited."""
    still, parsed = 0, len(connection.pipeline)
    while still < 20:  # turns without a new request
        before = len(scene.asked)
        await turns()
        parsed = max(parsed, len(connection.pipeline))
        still = still + 1 if len(scene.asked) == before else 0
    assert not most or parsed <= most
    return parsed


def paths(scene: Scene) -> list[str]:
    return [asked["path"] for asked in scene.asked]


def test_of_thousands_of_requests_in_one_piece_few_are_parsed_before_their_turn() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"".join(map(get, range(8000)))[:READ_BYTES])
        assert (transport.reading, len(connection.pipeline) < MOST_AHEAD) == (False, True)
        assert await answered(scene, connection) < MOST_AHEAD
        connection.data_received(b"".join(map(get, range(8000)))[READ_BYTES:])
        await answered(scene, connection, MOST_AHEAD)
        assert paths(scene) == [f"/{number}" for number in range(8000)]
        assert transport.written.count(b"HTTP/1.1 200") == 8000
        assert transport.reading
        assert not connection.rest

    run(play)


def test_requests_behind_a_large_body_are_bounded_too() -> None:
    async def play() -> None:
        scene = Scene()
        connection, _ = scene.open()
        sent = post(0, b"x" * (READ_BYTES // 2)) + b"".join(map(get, range(1, 4000)))
        connection.data_received(sent[:READ_BYTES])
        connection.data_received(sent[READ_BYTES:])
        assert await answered(scene, connection) < 16 * 1024 // len(get(1))
        assert paths(scene) == [f"/{number}" for number in range(4000)]
        assert scene.bodies[0] == b"x" * (READ_BYTES // 2)

    run(play)


@pytest.mark.parametrize("seed", range(4))
def test_whatever_comes_in_pieces_of_any_size_is_what_comes_byte_by_byte(seed: int) -> None:
    async def play() -> None:
        chance = random.Random(seed)  # noqa: S311 - no secret
        odd = [b"x", b"HTTP/1.1\r\n", b"HTTP/", b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", b"\n"]
        bodies = [chance.choice(odd) * chance.choice([0, 1, 20, 900, 9000]) for _ in range(150)]
        kinds = [chance.choice(("get", "post", "chunked", "offer")) for _ in bodies]
        sent, wanted = b"", []
        for number, (kind, body) in enumerate(zip(kinds, bodies, strict=True)):
            match kind:
                case "get":
                    sent += get(number)
                case "chunked" if body:
                    sent += chunked(number, body)
                case "offer":
                    sent += post(number, body, b"connection: upgrade", b"upgrade: h2c")
                case _:
                    sent += post(number, body)
            wanted.append(b"" if kind == "get" else body)
        scene = Scene()
        connection, transport = scene.open()
        at = 0
        while at < len(sent):
            size = chance.choice([1, 700, AHEAD_BYTES, AHEAD_BYTES + 1, 50_000, READ_BYTES])
            connection.data_received(sent[at : at + size])  # also while reading is paused, as below TLS
            at += size
            if chance.random() < 0.7:
                await turns()
        await answered(scene, connection)
        assert paths(scene) == [f"/{number}" for number in range(150)]
        assert scene.bodies == wanted
        assert transport.written.count(b"HTTP/1.1 200") == 150
        assert not transport.ended

    run(play)


def test_what_is_no_request_behind_many_is_told_behind_their_answers() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"".join(map(get, range(500))) + b"no request\r\n\r\n" + get(500) * 100)
        await answered(scene, connection, MOST_AHEAD)
        assert paths(scene) == [f"/{number}" for number in range(500)]
        assert transport.written.count(b"HTTP/1.1 200") == 500
        assert transport.written.count(b"HTTP/1.1 400") == 1
        assert transport.ended == "closed"
        assert scene.all.malformed == 1

    run(play)


def test_a_caller_that_closes_its_half_behind_many_requests_gets_every_answer() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"".join(map(get, range(500))))
        assert connection.eof_received()
        await answered(scene, connection, MOST_AHEAD)
        assert transport.written.count(b"HTTP/1.1 200") == 500
        assert transport.ended == "closed"

    run(play)


def test_what_is_kept_of_a_caller_that_is_gone_is_not_parsed() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        connection.data_received(b"".join(map(get, range(500))))
        transport.abort()
        connection.connection_lost(None)
        await answered(scene, connection, MOST_AHEAD)
        assert len(scene.asked) <= MOST_AHEAD
        assert not scene.all.open

    run(play)


def test_a_last_request_whose_body_is_kept_gets_it_when_its_turn_comes() -> None:
    async def play() -> None:
        scene = Scene()
        connection, transport = scene.open()
        bodies = [b"%d" % number + b"HTTP/" * 40 for number in range(100)]
        connection.data_received(b"".join(post(number, body) for number, body in enumerate(bodies)))
        assert await answered(scene, connection) < 16 * 1024 // len(post(0, bodies[0]))
        assert scene.bodies == bodies
        assert transport.reading

    run(play)
