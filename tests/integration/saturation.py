"""Callers that keep a server busy, in a process of their own, and note of each answer what it was and when.

    with Saturation(port, amounts=[1.0, 2.0]) as load:      # one connection an amount, asking on and on
        ...
    load.seen.answers, load.seen.failures

Even connections speak the Open Inference Protocol, odd ones MLflow's form. Every connection sends a row of its own, so
that an answer shows by its value which bundle gave it and for whom. Times are `time.monotonic`'s, which on Linux is one
clock for all processes. A connection that is lost is opened again; each loss is noted.
"""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self, cast

import msgspec

START_TIMEOUT_S = 60.0
DRAIN_S = 30.0
ANSWER_TIMEOUT_S = 30.0
AGAIN_S = 0.005
ROW = {"amount": 12.5, "age": 41, "colour": "red", "shape": "disc"}
_DIGEST = b"x-lockgate-release-digest: "
_ID = b"x-lockgate-prediction-id: "
_ARM = b"x-lockgate-arm: "
_LENGTH = b"content-length: "


class Answer(NamedTuple):
    """One answer; times in seconds, monotonic."""

    sent: float
    received: float
    connection: int
    status: int
    digest: str
    arm: str
    value: float | None
    prediction_id: str


class Failure(NamedTuple):
    """One connection that was lost, refused, or not answered; `sent` is None where no request was under way."""

    sent: float | None
    lost: float
    connection: int
    why: str


class Seen(msgspec.Struct):
    """What the callers saw."""

    answers: list[Answer]
    failures: list[Failure]


@dataclass
class Saturation:
    """The callers, from the beginning of a block, when each has been answered once, to its end.

    Attributes:
        port: Whom they ask.
        amounts: What each connection's row says.
        pause_s: How long each waits between an answer and its next request.
        seen: What they saw, once the block has ended.
    """

    port: int
    amounts: Sequence[float]
    pause_s: float = 0.0
    seen: Seen = field(init=False)
    _process: subprocess.Popen[bytes] = field(init=False)

    def __enter__(self) -> Self:
        command = [sys.executable, __file__, str(self.port), str(self.pause_s), json.dumps(list(self.amounts))]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        if self._process.stdout.readline() != b"going\n":
            self._end()
            raise AssertionError("the callers were not all answered")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        said = self._end()
        if kind is None:
            self.seen = msgspec.json.decode(said, type=Seen)

    def _end(self) -> bytes:
        try:
            return self._process.communicate(timeout=DRAIN_S + START_TIMEOUT_S)[0]
        finally:
            self._process.kill()
            self._process.wait()
            for pipe in (self._process.stdin, self._process.stdout):
                if pipe is not None:
                    pipe.close()


# -- the process -----------------------------------------------------------------------------------------------------


def request_of(connection: int, amount: float) -> bytes:
    """Return the request that a connection sends again and again."""
    row: Mapping[str, Any] = {**ROW, "amount": amount}
    path, body = "/invocations", {"dataframe_records": [row]}
    if connection % 2 == 0:
        kinds = {name: "BYTES" if isinstance(value, str) else "FP64" for name, value in row.items()}
        path, body = "/v2/models/toy/infer", {
            "inputs": [{"name": name, "shape": [1], "datatype": kinds[name], "data": [row[name]]} for name in row]
        }  # fmt: skip
    data = json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {len(data)}\r\n\r\n"
    return head.encode() + data


def value_of(body: bytes) -> float | None:
    """Return the probability in an answer's body; None where there is none."""
    try:
        read = json.loads(body)
        if "predictions" in read:
            return float(read["predictions"][0]["probability"])
        return float(read["outputs"][0]["data"][0])
    except (ValueError, KeyError, IndexError, TypeError):
        return None


class Caller(asyncio.Protocol):
    """One connection: asks, waits for the answer, asks again."""

    def __init__(self, callers: Callers, connection: int, request: bytes) -> None:
        self._callers, self._connection, self._request = callers, connection, request
        self._transport: asyncio.Transport | None = None
        self._sent: float | None = None
        self._came = b""
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # a cast, because uvloop's are no subclass
        self._transport = cast("asyncio.Transport", transport)
        self._ask()

    def data_received(self, data: bytes) -> None:
        came = self._came = self._came + data
        end = came.find(b"\r\n\r\n")
        if end < 0:
            return
        head = came[:end]
        length = int(_header(head, _LENGTH) or 0)
        if len(came) < end + 4 + length or self._sent is None:
            return
        received = time.monotonic()
        answer = (self._sent, received, self._connection, int(head[9:12]), head, came[end + 4 :])
        self._came, self._sent = b"", None
        self._callers.answered(answer)
        if self._callers.pause_s:
            asyncio.get_running_loop().call_later(self._callers.pause_s, self._ask)
        else:
            self._ask()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._callers.ending or self._sent is not None:
            self._callers.lost(self._sent, self._connection, repr(exc) if exc else "closed by the server")
        if not self.closed.done():
            self.closed.set_result(None)

    def _ask(self) -> None:
        assert self._transport is not None
        if self._callers.ending:
            self._transport.close()
            return
        if not self._transport.is_closing():
            self._sent = time.monotonic()
            self._transport.write(self._request)

    def give_up_if_late(self, now: float) -> None:
        """Drop a connection that has waited too long."""
        if self._transport is not None and self._sent is not None and now - self._sent > ANSWER_TIMEOUT_S:
            self._transport.abort()


class Callers:
    """All connections of the process."""

    def __init__(self, port: int, pause_s: float, amounts: Iterable[float]) -> None:
        self.pause_s, self.ending = pause_s, False
        self._port, self._amounts = port, list(amounts)
        self._answers: list[tuple[float, float, int, int, bytes, bytes]] = []
        self._failures: list[Failure] = []
        self._answered: set[int] = set()
        self._going = asyncio.Event()
        self._open: dict[int, Caller] = {}

    def answered(self, answer: tuple[float, float, int, int, bytes, bytes]) -> None:
        self._answers.append(answer)
        if not self._going.is_set():
            self._answered.add(answer[2])
            if len(self._answered) == len(self._amounts):
                self._going.set()

    def lost(self, sent: float | None, connection: int, why: str) -> None:
        self._failures.append(Failure(sent, time.monotonic(), connection, why))

    async def _keep(self, connection: int, amount: float) -> None:
        request = request_of(connection, amount)
        loop = asyncio.get_running_loop()
        while not self.ending:
            try:
                _, caller = await loop.create_connection(
                    functools.partial(Caller, self, connection, request), "127.0.0.1", self._port
                )
            except OSError as refused:
                self.lost(None, connection, repr(refused))
            else:
                self._open[connection] = caller
                await caller.closed
            await asyncio.sleep(AGAIN_S)

    async def run(self, told_to_end: asyncio.Future[None]) -> Seen:
        keeping = [asyncio.ensure_future(self._keep(*each)) for each in enumerate(self._amounts)]
        await asyncio.wait_for(self._going.wait(), START_TIMEOUT_S)
        sys.stdout.write("going\n")
        sys.stdout.flush()
        while not told_to_end.done():
            await asyncio.wait((told_to_end,), timeout=1.0)
            for caller in self._open.values():
                caller.give_up_if_late(time.monotonic())
        self.ending = True
        _, late = await asyncio.wait(keeping, timeout=DRAIN_S)
        for each in late:
            each.cancel()
        now = time.monotonic()
        self._failures += [Failure(None, now, -1, "a connection did not end")] * len(late)
        return Seen(list(map(_answer, self._answers)), self._failures)


def _answer(raw: tuple[float, float, int, int, bytes, bytes]) -> Answer:
    sent, received, connection, status, head, body = raw
    said = [_header(head, name) for name in (_DIGEST, _ARM, _ID)]
    return Answer(sent, received, connection, status, said[0], said[1], value_of(body), said[2])


def _header(head: bytes, name: bytes) -> str:
    at = head.find(name)
    if at < 0:
        return ""
    end = head.find(b"\r\n", at)
    return head[at + len(name) : end if end >= 0 else len(head)].decode("latin-1")


async def main() -> None:
    callers = Callers(int(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3]))
    loop = asyncio.get_running_loop()
    told = loop.create_future()
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    end = asyncio.ensure_future(reader.read())
    end.add_done_callback(lambda _: told.set_result(None))
    sys.stdout.buffer.write(msgspec.json.encode(await callers.run(told)))


if __name__ == "__main__":
    try:
        import uvloop
    except ImportError:
        asyncio.run(main())
    else:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
