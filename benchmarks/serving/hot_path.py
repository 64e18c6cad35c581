"""Where the microseconds of one request go: the server's own connections driven in process, without sockets.

    python -m benchmarks.serving.hot_path                         # us a request by form, alone and 32 at once
    python -m benchmarks.serving.hot_path --ordinary              # the same by the way that every request can take
    python -m benchmarks.serving.hot_path --profile "v2 columns with strings" [--at-once 32] [--sort cumtime]
    python -m benchmarks.serving.hot_path --rows 1000             # the same with a thousand rows a request

Two figures for each: of the thread that answers (what a request waits for), and of the whole process (with the
prediction log's writer, which answers do not wait for but the core pays for). Bytes of requests go into connections
as the event loop would hand them over, each on a connection of its own, and bytes of answers come out. The floor is
the same drive over an application that reads the body and answers 200 with a body of the same size: subtract it.
"ONNX Runtime alone" is `InferenceSession.run` on a ready matrix.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import cProfile
import gc
import itertools
import json
import pstats
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.serving.forms import FORMS, VARIED, Call, probabilities
from benchmarks.serving.model import CONTRACTS, TOKEN, Model, model

App = Callable[[Any, Any, Any], Awaitable[None]]
SWITCH_INTERVAL_S = 0.0005  # as the server sets it


class Memory(asyncio.Transport):
    """A connection's other end: keeps the last answer."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 50000), "sockname": ("127.0.0.1", 8080)})
        self.answers = 0
        self.last = b""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.answers += 1
        self.last = bytes(data)

    def is_closing(self) -> bool:
        return False

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Wires:
    """Connections of one port, and what comes out of them."""

    def __init__(self, app: App, number: int, *, ordinary: bool = False) -> None:
        from uvicorn.config import Config

        from lockgate.serving.net.connection import Connection
        from lockgate.serving.net.connections import Connections

        config = Config(app, http=Connection, ws="none", lifespan="off", interface="asgi3", log_config=None)
        config.load()
        shared = Connections(1_000, 10.0)
        shared.head = b"date: Sat, 21 Nov 2026 16:00:00 GMT\r\n"
        shared.direct = None if ordinary else getattr(app, "direct", None)
        self.ends = [Memory() for _ in range(number)]
        self.connections = [Connection(shared, config) for _ in range(number)]
        for connection, end in zip(self.connections, self.ends, strict=True):
            connection.connection_made(end)

    async def run(self, requests: Iterator[bytes], at_once: int) -> None:
        """Send one request on each of so many connections, and wait for the answers."""
        ends = self.ends[:at_once]
        wanted = sum(end.answers for end in ends) + at_once
        for connection in self.connections[:at_once]:
            connection.data_received(next(requests))
        while sum(end.answers for end in ends) < wanted:  # noqa: ASYNC110 - an event would be measured as well
            await asyncio.sleep(0)

    async def answer(self, request: bytes) -> tuple[int, dict[str, str], bytes]:
        """Return status, headers and body."""
        await self.run(iter((request,)), 1)
        head, _, body = self.ends[0].last.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        return int(status.split()[1]), dict(line.split(": ", 1) for line in lines), body


def raw(call: Call, entity: str | None, method: str = "POST") -> bytes:
    """Return a request as a client sends it."""
    headers = {"Host": "127.0.0.1:8080", "Content-Length": str(len(call.body)), **call.headers}
    if entity is not None:
        headers["X-Lockgate-Entity"] = entity
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"{method} {call.path} HTTP/1.1\r\n{lines}\r\n".encode() + call.body


def echo(size: int) -> App:
    """Return the floor: an application that reads the body and answers with `size` bytes."""
    body = b"x" * size

    async def app(scope: Any, receive: Any, send: Any) -> None:  # noqa: ANN401 - ASGI
        del scope
        await receive()
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % size)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return app


@contextlib.asynccontextmanager
async def server(made: Model, state: Path, asked: argparse.Namespace) -> AsyncIterator[App]:
    """Yield the data port's application, both models routed by the admin port's own."""
    from lockgate.serving.http.admin import admin_app
    from lockgate.serving.http.app import data_app
    from lockgate.serving.options import ServerOptions
    from lockgate.serving.service import Service

    options = ServerOptions(
        environment="benchmark",
        bundles=made.bundles,
        public_key=made.public_key,
        state=state,
        admin_token_file=made.token_file,
        log_inputs=not asked.no_log_inputs,
    )
    service = Service(options)
    try:
        await service.restore()
        admin = admin_app(service, TOKEN.encode())
        for contract in CONTRACTS:
            await route(admin, made, contract, asked.challenger, asked.shadow)
        gc.collect()
        gc.freeze()
        yield data_app(service)
    finally:
        service.close()


def routing(made: Model, contract: str, challenger: float, shadow: float, sequence: int = 1) -> dict[str, Any]:
    """Return the body that routes a contract's model."""
    served = made.served(contract)
    body: dict[str, Any] = {"sequence": sequence, "champion": served.champion, "previous": None}
    if challenger:
        body["challengers"] = [{"name": "challenger", "bundle": served.challenger, "weight": challenger, "tags": []}]
    if shadow:
        body["shadows"] = [{"name": "shadow", "bundle": served.challenger, "share": shadow}]
    if challenger or shadow:
        body["lease_s"] = 600
    return body


async def route(admin: App, made: Model, contract: str, challenger: float, shadow: float) -> None:
    body = json.dumps(routing(made, contract, challenger, shadow)).encode()
    call = Call(f"/admin/routing/{made.served(contract).model}", body, _BEARER)
    status, _, said = await Wires(admin, 1).answer(raw(call, None, "PUT"))
    if status != 200:
        print(f"contract {contract!r} is not routed: {status} {said.decode()}", file=sys.stderr)


_BEARER = {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}


async def drive(wires: Wires, requests: Iterator[bytes], number: int, at_once: int) -> None:
    """Send so many requests, in groups that arrive in one turn of the event loop."""
    for _ in range(number // at_once):
        await wires.run(requests, at_once)


async def measure(wires: Wires, requests: Sequence[bytes], at_once: int, seconds: float) -> tuple[float, float]:
    """Return the medians over five parts: us a request of the answering thread, and of the whole process."""
    cycle = itertools.cycle(requests)
    number = at_once * 4
    while True:  # find how many requests take a fifth of the time
        began = time.perf_counter()
        await drive(wires, cycle, number, at_once)
        took = time.perf_counter() - began
        if took > seconds / 20:
            break
        number *= 2
    number = max(at_once, int(number * seconds / 5 / took) // at_once * at_once)
    parts = []
    for _ in range(5):
        thread, process = time.thread_time(), time.process_time()
        await drive(wires, cycle, number, at_once)
        parts.append((time.thread_time() - thread, time.process_time() - process))
        await asyncio.sleep(0)
    thread_s, process_s = (statistics.median(column) for column in zip(*parts, strict=True))
    return thread_s / number * 1e6, process_s / number * 1e6


def requests_of(made: Model, name: str, rows: int) -> list[bytes]:
    """Return requests of one form over different rows, each with an entity of its own."""
    form = FORMS[name]
    number = VARIED if rows == 1 else 4
    size = len(made.rows)
    return [
        raw(form.make(made, [(at * rows + row) % size for row in range(rows)]), f"entity-{at}") for at in range(number)
    ]


async def refusal(wires: Wires, made: Model, request: bytes, rows: int) -> tuple[str | None, int]:
    """Return why a form is not answered rightly, if so, and the size of its answer."""
    status, headers, body = await wires.answer(request)
    if status != 200:
        return f"{status} {body[:150].decode(errors='replace')}", 0
    difference = float(np.abs(np.array(probabilities(body, headers)) - made.golden[:rows]).max())
    return (None if difference < 1e-5 else f"wrong by {difference}"), len(body)


async def table(made: Model, options: argparse.Namespace) -> dict[str, Any]:
    """Print and return the figures of every form."""
    found: dict[str, Any] = {"onnxruntime_us": onnxruntime_alone(made, options.rows), "forms": {}}
    print(f"ONNX Runtime alone, {options.rows} row(s): {found['onnxruntime_us']:.1f} us")
    print(f"{'us a request, in process':<34}{'alone':>16}{options.at_once:>9} at once{'floor of both':>20}")
    print(f"{'':<34}{'thread / all':>16}{'thread / all':>17}")
    with tempfile.TemporaryDirectory() as state:
        async with server(made, Path(state), options) as app:
            wires = Wires(app, max(1, options.at_once), ordinary=options.ordinary)
            for name in options.form or FORMS:
                requests = requests_of(made, name, options.rows)
                problem, size = await refusal(wires, made, requests[0], options.rows)
                if problem is not None:
                    print(f"{name:<34}  not answered: {problem}")
                    found["forms"][name] = {"problem": problem}
                    continue
                alone = await measure(wires, requests, 1, options.seconds)
                together = await measure(wires, requests, options.at_once, options.seconds)
                bare = Wires(echo(size), options.at_once)
                floor = [(await measure(bare, requests, n, 0.3))[0] for n in (1, options.at_once)]
                found["forms"][name] = {"alone_us": alone, "at_once_us": together, "floor_us": floor}
                print(
                    f"{name:<34}{alone[0]:>8.1f} /{alone[1]:>6.1f}{together[0]:>9.1f} /{together[1]:>6.1f}"
                    f"{floor[0]:>13.1f}, {floor[1]:.1f}"
                )
    return found


def onnxruntime_alone(made: Model, rows: int) -> float:
    """Return us a call of `run` on ready matrices, median of five parts."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    session = ort.InferenceSession(made.graph.read_bytes(), options, providers=["CPUExecutionProvider"])
    name, outputs = made.facts["graph_input"], [made.facts["graph_output"]]
    size = len(made.matrix)
    feeds = [{name: made.matrix[[(at + row) % size for row in range(rows)]]} for at in range(VARIED)]
    number = max(20, 4_000 // rows)
    parts = []
    for _ in range(5):
        cycle = itertools.islice(itertools.cycle(feeds), number)
        began = time.thread_time()
        for feed in cycle:
            session.run(outputs, feed)
        parts.append((time.thread_time() - began) / number)
    return statistics.median(parts) * 1e6


async def profile(made: Model, options: argparse.Namespace) -> None:
    """Print what cProfile sees, by function, in us a request; its own cost inflates small functions most."""
    requests = requests_of(made, options.profile, options.rows)
    number = max(options.at_once, (20_000 if options.rows == 1 else 200) // options.at_once * options.at_once)
    with tempfile.TemporaryDirectory() as state:
        async with server(made, Path(state), options) as app:
            wires = Wires(app, options.at_once, ordinary=options.ordinary)
            problem, _ = await refusal(wires, made, requests[0], options.rows)
            if problem is not None:
                raise SystemExit(f"{options.profile}: not answered: {problem}")
            cycle = itertools.cycle(requests)
            await drive(wires, cycle, 1024, options.at_once)
            profiler = cProfile.Profile()
            profiler.enable()
            await drive(wires, cycle, number, options.at_once)
            profiler.disable()
    print(f"{options.profile}, {options.rows} row(s), {options.at_once} at once: us a request under cProfile")
    show(pstats.Stats(profiler), number, options.sort, options.top)


def show(stats: pstats.Stats, number: int, sort: str, top: int) -> None:
    """Print a profile by function, in microseconds a request of `number`."""
    found = [
        (total / number * 1e6, cumulative / number * 1e6, calls / number, where)
        for where, (calls, _, total, cumulative, _) in stats.stats.items()  # type: ignore[attr-defined]  # not in stubs
    ]
    found.sort(key=lambda each: each[0] if sort == "tottime" else each[1], reverse=True)
    print(f"{'own':>8} {'with callees':>13} {'calls':>7}  function")
    for own, cumulative, calls, (file, line, function) in found[:top]:
        place = function if file == "~" else f"{'/'.join(Path(file).parts[-2:])}:{line} {function}"
        print(f"{own:8.2f} {cumulative:13.2f} {calls:7.2f}  {place}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1)
    parser.add_argument("--at-once", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each figure")
    parser.add_argument("--form", action="append", choices=FORMS, help="only this one; may be repeated")
    parser.add_argument("--challenger", type=float, default=0.0, help="weight of a second arm")
    parser.add_argument("--shadow", type=float, default=0.0, help="share of requests that a shadow answers too")
    parser.add_argument("--ordinary", action="store_true", help="each request in a task of its own")
    parser.add_argument("--no-log-inputs", action="store_true", help="leave inputs out of the prediction log")
    parser.add_argument("--profile", choices=FORMS, help="print cProfile's view of one form instead")
    parser.add_argument("--sort", choices=("tottime", "cumtime"), default="tottime")
    parser.add_argument("--top", type=int, default=40)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    made = model()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        if options.profile:
            runner.run(profile(made, options))
            return
        found = runner.run(table(made, options))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
