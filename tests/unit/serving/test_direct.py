"""The short way of one-row requests answers, counts and logs as the ordinary way does, or leaves a request to it."""

import asyncio
import dataclasses
import itertools
import json
import random
import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from uvicorn.config import Config

from lockgate.core.contract import TaskKind
from lockgate.core.ids import canonical_json
from lockgate.serving.http.access_log import AccessLog
from lockgate.serving.http.app import App, data_app
from lockgate.serving.model.column_values import Flag
from lockgate.serving.model.dataplane import OUTPUTS, Answer
from lockgate.serving.net.connection import Connection
from lockgate.serving.net.connections import Connections
from lockgate.serving.net.exchange import Exchange
from lockgate.serving.options import Limits, ServerOptions
from lockgate.serving.protocols.v2_answer import RowAnswer, infer_response
from lockgate.serving.protocols.v2_request import EVERYTHING
from lockgate.serving.routing.desired import Desired, DesiredChallenger
from lockgate.serving.service import Prediction, Service
from tests.bundles import DEAR_HIGH, contract, make_bundle, make_keys, probes
from tests.graphs import failing_graph
from tests.server_process import write_secret

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
KINDS = {"amount": "FP32", "colour": "BYTES", "age": "INT64", "shape": "BYTES"}
ROW: dict[str, Any] = {"amount": 12.5, "colour": "red", "age": 41, "shape": "disc"}


class End(asyncio.Transport):
    """The other end of a connection."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[bytes] = []
        self.closed = False
        self.came = asyncio.Event()

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self.written.append(bytes(data))
        self.came.set()

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def get_write_buffer_size(self) -> int:
        return 0

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...


class Way:
    """One of the two ways into an application."""

    def __init__(self, app: App, *, direct: bool) -> None:
        self.taken: list[bool] = []
        config = Config(app, http=Connection, ws="none", lifespan="off", interface="asgi3", log_config=None)
        config.load()
        self.config, self.all = config, Connections(100, 10.0)
        self.all.head = b"date: now\r\n"
        if direct:
            self.all.direct = lambda exchange, ordinary: self.note(app, exchange, ordinary)

    def note(self, app: App, exchange: Exchange, ordinary: Any) -> bool:
        assert app.direct is not None
        self.taken.append(app.direct(exchange, ordinary))
        return self.taken[-1]

    def open(self) -> tuple[Connection, End]:
        connection, end = Connection(self.all, self.config), End()
        connection.connection_made(end)
        return connection, end

    async def ask(self, request: bytes) -> bytes:
        connection, end = self.open()
        connection.data_received(request)
        await asyncio.wait_for(end.came.wait(), 60)
        connection.connection_lost(None)
        return b"".join(end.written)


class Scene:
    """A service with a model a task, and both ways to it."""

    def __init__(self, root: Path, access: list[bytes] | None = None, **limits: Any) -> None:
        make_keys(root / "keys")
        write_secret(root / "token", "secret")
        (root / "bundles").mkdir()
        self.root, self.runner, self.asked = root, asyncio.Runner(), 0
        options = ServerOptions(
            environment="sandbox", bundles=root / "bundles", public_key=root / "keys" / "signing.pub",
            state=root / "state", admin_token_file=root / "token",
            limits=Limits(**{"request_timeout_s": 60.0} | limits),  # the machine may stall
        )  # fmt: skip
        self.service = self.runner.run(self._service(options))
        self.log = None if access is None else AccessLog(access.append)
        self.app = data_app(self.service, self.log)
        self.direct, self.ordinary = (self.runner.run(self._way(direct=direct)) for direct in (True, False))

    async def _service(self, options: ServerOptions) -> Service:
        return Service(options)

    async def _way(self, *, direct: bool) -> Way:
        return Way(self.app, direct=direct)

    def route(self, model: str, sequence: int = 1, challenger: dict[str, Any] | None = None, **how: Any) -> None:
        def bundle(**how: Any) -> Any:
            return make_bundle(self.root / "bundles", model=model, key_dir=self.root / "keys", **how)

        desired = Desired(
            sequence=sequence,
            champion=bundle(**how),
            since=datetime.now(UTC),
            challengers=()
            if challenger is None
            else (DesiredChallenger(name="challenger", bundle=bundle(**challenger), weight=0.5, tags=()),),
            lease_s=600.0,
        )
        self.runner.run(self.service.control.put(model, desired))

    def both(self, body: bytes, model: str = "toy-binary", **headers: str) -> tuple[bytes, bytes, bool]:
        """Ask on both ways; return the answers, alike but for what must differ, and whether it was taken."""
        self.asked += 1
        answers = []
        for way, name in ((self.direct, "d"), (self.ordinary, "o")):
            given = {"x_request_id": f"{name}-{self.asked}", "content_type": "application/json", **headers}
            answers.append(plain(self.runner.run(way.ask(request(body, model, **given)))))
        return answers[0], answers[1], self.direct.taken[-1]

    def logged(self) -> list[dict[str, Any]]:
        """End the service and return its prediction log."""
        self.close()
        files = sorted((self.root / "state" / "predictions").rglob("*.jsonl"))
        return [json.loads(line) for path in files for line in path.read_text().splitlines()]

    def close(self) -> None:
        if self.log is not None:
            self.log.close(60.0)
            self.log = None
        self.service.close()
        self.runner.close()


def request(body: bytes, model: str = "toy-binary", path: str = "/v2/models/{}/infer", **headers: str) -> bytes:
    lines = "".join(f"{name.replace('_', '-').title()}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path.format(model)} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
    return head.encode() + body


def plain(answer: bytes) -> bytes:
    """Return an answer without its ids, its headers in order of their names."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status, *lines = head.split(b"\r\n")
    headers = dict(line.split(b": ", 1) for line in lines)
    assert len(headers) == len(lines), "a header is sent twice"
    assert int(headers.pop(b"content-length")) == len(body)
    headers.pop(b"x-request-id", None)
    identity = headers.pop(b"x-lockgate-prediction-id", None)
    if identity is not None:
        assert body.count(identity) >= 1
        body = body.replace(identity, b"ID")
    return b"\n".join((status, *(name + b": " + value for name, value in sorted(headers.items())), body))


def columns(row: dict[str, Any] = ROW, kinds: dict[str, str] = KINDS, **more: Any) -> bytes:
    tensors = [
        {"name": name, "shape": [1], "datatype": kinds.get(name, "FP32"), "data": [value]}
        for name, value in row.items()
    ]
    return orjson.dumps({"inputs": tensors, **more})


def row_major(numbers: Sequence[Any] = (12.5, 41), strings: Sequence[Any] = ("red", "disc"), **more: Any) -> bytes:
    tensors = [
        {"name": "numbers", "shape": [1, len(numbers)], "datatype": "FP32", "data": numbers},
        {"name": "strings", "shape": [1, len(strings)], "datatype": "BYTES", "data": strings},
    ]
    return orjson.dumps({"inputs": tensors, **more})


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    made = Scene(tmp_path_factory.mktemp("direct"))
    for task in TaskKind:
        made.route(f"toy-{task}", task=task, challenger={"task": task, "bias": 0.5})
    priced = contract("toy-costs", TaskKind.MULTICLASS, DEAR_HIGH)
    made.route("toy-costs", task=TaskKind.MULTICLASS, parts={"contract.json": canonical_json(priced)})
    keyed = canonical_json(dataclasses.replace(contract("toy-keyed"), entity="customer"))
    made.route("toy-keyed", parts={"contract.json": keyed}, challenger={"parts": {"contract.json": keyed}, "bias": 0.5})
    yield made
    rows = {row["request_id"]: row for row in made.logged()}
    pairs = [(row, rows[f"o-{name[2:]}"]) for name, row in rows.items() if name.startswith("d-")]
    assert len(pairs) * 2 == len(rows)
    for direct, ordinary in pairs:  # whatever the tests of this module asked
        for row in (direct, ordinary):
            for name in ("time", "prediction_id", "request_id", "latency_us"):
                assert row.pop(name)
        assert direct == ordinary


# -- alike -------------------------------------------------------------------------------------------------------------

MIXED = {"amount": "FP64", "colour": "BYTES", "age": "FP32", "shape": "BYTES"}
TAKEN = {
    "columns": columns(),
    "columns in another order": columns(dict(reversed(ROW.items()))),
    "other datatypes": columns(kinds=MIXED),
    "null": columns({**ROW, "amount": None, "colour": None}),
    "out of range": columns({**ROW, "amount": 1e6}),
    "an id": columns(id='mine "\\ é'),
    "an empty id": columns(id=""),
    "one output": columns(outputs=[{"name": "label"}]),
    "binary output": columns(parameters={"binary_data_output": True}),
    "parameters that say nothing": columns(parameters={}),
    "row-major": row_major(),
    "row-major, tensors turned round": orjson.dumps({"inputs": orjson.loads(row_major())["inputs"][::-1]}),
    "row-major with nulls and an id": row_major((None, 41), (None, None), id="mine"),
}
LEFT = {
    "not JSON": b"{",
    "no inputs": b"{}",
    "an unknown category": columns({**ROW, "colour": "octarine"}),
    "nested data": orjson.dumps({"inputs": [{"name": "amount", "shape": [1, 1], "datatype": "FP32", "data": [[1]]}]}),
    "two rows": orjson.dumps(
        {"inputs": [{"name": n, "shape": [2], "datatype": KINDS[n], "data": [v, v]} for n, v in ROW.items()]}
    ),
    "a column twice": orjson.dumps({"inputs": 2 * orjson.loads(columns())["inputs"]}),
    "a missing column": columns({name: ROW[name] for name in ("amount", "colour", "age")}),
    "a column too many": columns({**ROW, "more": 1}),
    "a string for a number": columns({**ROW, "amount": "12.5"}),
    "a number for a string": columns({**ROW, "colour": 3}),
    "a fraction called an integer": columns({**ROW, "age": 41.5}),
    "another datatype": columns(kinds={**KINDS, "colour": "FP32"}),
    "null where none was": columns({**ROW, "age": None}),
    "too large a number": columns({**ROW, "amount": 1e300}),
    "true": columns({**ROW, "amount": True}),
    "an unknown output": columns(outputs=[{"name": "nonsense"}]),
    "an explanation": columns(parameters={"explain": True}),
    "row-major, too few": row_major((12.5,)),
    "row-major, strings alone": orjson.dumps({"inputs": orjson.loads(row_major())["inputs"][1:]}),
    "row-major, numbers twice": orjson.dumps({"inputs": 2 * orjson.loads(row_major())["inputs"][:1]}),
    "row-major, a string for a number": row_major(("12.5", 41)),
}
SEEN_LATE = {"null where none was", "too large a number"}  # in the matrix, when they were taken already
ANSWERED = {"an unknown category", "two rows"}  # the other way


@pytest.mark.parametrize(
    ("amount", "shape", "likeliest", "cheapest"),
    [
        (10, "cube", "low", "low"),
        (70, "cube", "low", "high"),
        (12.5, "disc", "mid", "high"),
        (99, "disc", "high", "high"),
    ],
)
def test_both_ways_decide_for_the_least_expected_cost(
    scene: Scene, amount: float, shape: str, likeliest: str, cheapest: str
) -> None:
    direct, ordinary, taken = scene.both(columns({**ROW, "amount": amount, "shape": shape}), "toy-costs")
    assert taken
    assert direct == ordinary
    chances, label = (each["data"] for each in orjson.loads(direct[direct.index(b"{") :])["outputs"])
    assert ("low", "mid", "high")[int(np.argmax(chances))] == likeliest
    assert label == [cheapest]


@pytest.mark.parametrize("task", TaskKind)
@pytest.mark.parametrize("what", [*TAKEN, *LEFT])
def test_both_ways_answer_alike(scene: Scene, what: str, task: TaskKind) -> None:
    body = {**TAKEN, **LEFT}[what]
    if task is TaskKind.REGRESSION and what == "one output":
        body = columns(outputs=[{"name": "value"}])
    for entity in ("a", "b", "c", ""):  # some of the champion's, some of the challenger's
        direct, ordinary, taken = scene.both(body, f"toy-{task}", x_lockgate_entity=entity or "d", traceparent=TRACE)
        assert direct == ordinary
        assert taken == (what in TAKEN or what in SEEN_LATE)
        assert direct.startswith(b"HTTP/1.1 200") == (what in TAKEN or what in ANSWERED)


@pytest.mark.parametrize(
    "headers",
    [
        {"content_type": "text/plain"},
        {"content_type": "application/json; charset=utf-8"},
        {"content_encoding": "identity"},
        {"content_encoding": "gzip"},
        {"x_lockgate_arm": "champion"},
        {"inference_header_content_length": "3"},
    ],
)
def test_what_is_unusual_about_a_request_is_left_to_the_ordinary_way(scene: Scene, headers: dict[str, str]) -> None:
    direct, ordinary, taken = scene.both(columns(), x_lockgate_entity="a", **headers)
    assert (direct, taken) == (ordinary, False)


def test_only_models_that_are_routed_have_the_short_way(scene: Scene) -> None:
    direct, ordinary, taken = scene.both(columns(), "nobody")
    assert (direct, taken) == (ordinary, False)
    assert direct.startswith(b"HTTP/1.1 404")


CELLS = (
    st.none() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=3)
)
VALUES = {
    "amount": st.floats(0, 100, width=32) | CELLS,
    "colour": st.sampled_from(["red", "green", None]) | CELLS,
    "age": st.integers(0, 120) | CELLS,
    "shape": st.sampled_from(["disc", "cube", None]) | CELLS,
}
ROWS = st.fixed_dictionaries(VALUES, optional={"numbers": CELLS, "more": CELLS}).flatmap(
    lambda row: st.permutations(list(row.items())).map(dict)
)
DATATYPES = st.fixed_dictionaries(
    {name: st.just(kind) | st.sampled_from(["FP32", "FP64", "BYTES", "INT32", "BOOL"]) for name, kind in KINDS.items()}
)
WISHES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.none() | st.text(max_size=4),
        "outputs": st.none() | st.lists(st.sampled_from(["label", "probability", "x"]).map(lambda n: {"name": n})),
        "parameters": st.none() | st.fixed_dictionaries({}, optional={"binary_data_output": st.booleans()}),
    },
)


def _json(body: Any) -> bytes:
    return json.dumps(body).encode()  # orjson takes no integers beyond 64 bits


@settings(max_examples=150, deadline=None)
@given(ROWS, DATATYPES, WISHES)
def test_both_ways_answer_alike_whatever_a_row_holds(
    scene: Scene, row: dict[str, Any], kinds: dict[str, str], wishes: dict[str, Any]
) -> None:
    tensors = [{"name": n, "shape": [1], "datatype": kinds.get(n, "FP32"), "data": [v]} for n, v in row.items()]
    direct, ordinary, _ = scene.both(_json({"inputs": tensors, **wishes}), x_lockgate_entity="a")
    assert direct == ordinary


@settings(max_examples=100, deadline=None)
@given(st.lists(VALUES["amount"], max_size=3), st.lists(VALUES["colour"], max_size=3), WISHES, st.booleans())
def test_both_ways_answer_alike_whatever_a_row_major_row_holds(
    scene: Scene, numbers: list[Any], strings: list[Any], wishes: dict[str, Any], turned: bool
) -> None:
    tensors = [
        {"name": "numbers", "shape": [1, len(numbers)], "datatype": "FP32", "data": numbers},
        {"name": "strings", "shape": [1, len(strings)], "datatype": "BYTES", "data": strings},
    ]
    body = _json({"inputs": tensors[::-1] if turned else tensors, **wishes})
    direct, ordinary, _ = scene.both(body, x_lockgate_entity="a")
    assert direct == ordinary


# -- however a request is written --------------------------------------------------------------------------------------

PATHS = (
    "/v2/models/toy-keyed/infer?x=1", "/v2/models/toy-keyed/infer?", "/v2/models/toy%2Dkeyed/infer",
    "/v2/models/toy-keyed/%69nfer", "/v2/models/toy-keyed/infer#f", "http://x/v2/models/toy-keyed/infer",
    "/v2/models/toy-keyed/infer/", "//v2/models/toy-keyed/infer", "/V2/models/toy-keyed/infer",
    "/v2/models/toy-keyed/versions/x/infer", "/v2/models/toy-keyed/infer;x", "/v2/./models/toy-keyed/infer",
)  # fmt: skip
LINES = (
    ("Content-Type", "application/json"), ("Content-Type", "Application/JSON ; charset=utf-8"),
    ("Content-Type", ""), ("Content-Type", "text/plain"), ("Content-Encoding", "identity"), ("Content-Encoding", ""),
    ("Content-Encoding", "gzip"), ("X-Lockgate-Entity", "a"), ("X-Lockgate-Entity", " b "), ("X-Lockgate-Entity", ""),
    ("X-Lockgate-Entity", "é"), ("X-Lockgate-Arm", ""), ("X-Lockgate-Arm", "champion"),
    ("Authorization", "Bearer secret"), ("Inference-Header-Content-Length", ""),
    ("Inference-Header-Content-Length", "0"), ("Accept", "text/html"), ("Traceparent", TRACE), ("Traceparent", "00-0"),
    ("Connection", "keep-alive"), ("Connection", "close"), ("Connection", "Upgrade"), ("Upgrade", "h2c"),
    ("Expect", "something"),
)  # fmt: skip
SPELLED = st.sampled_from([str, str.lower, str.upper])
KEYS = st.sampled_from(["a", "b", "", " ", "é", "x" * 300]) | st.none() | st.integers(-9, 9) | st.floats(-2, 2)
ENDS = st.sampled_from(
    [
        b"}", b"} \r\n", b"}x", b",}", b',"z":[{"y":null}]}', b',"z":"\xff"}', b',"z":01}', b',"z":NaN}',
        b',"inputs":[]}', b',"id":"one","id":"two"}', b',"parameters":{"explain":false,"explain":true}}',
        b',"parameters":{"binary_data_output":false},"outputs":[]}', b',"z":' + b"[" * 2000 + b"]" * 2000 + b"}",
    ]
)  # fmt: skip


@settings(max_examples=250, deadline=None)
@given(
    st.just("/v2/models/toy-keyed/infer") | st.sampled_from(PATHS),
    st.lists(st.tuples(st.sampled_from(LINES), SPELLED), max_size=5),
    st.just("POST") | st.sampled_from(["POST", "PUT", "GET", "OPTIONS"]),
    st.sampled_from(["1.1", "1.1", "1.0"]),
    st.booleans(),
    st.none() | KEYS,
    st.just(b"}") | ENDS,
)
def test_both_ways_answer_alike_however_a_request_is_written(  # noqa: PLR0917 - all that can be odd about one
    scene: Scene, path: str, lines: list[Any], method: str, version: str, chunked: bool, key: Any, end: bytes
) -> None:
    body = _json({"inputs": orjson.loads(columns({**ROW} if key is None else {**ROW, "customer": key}))["inputs"]})
    body = body[:-1] + end
    length = "Transfer-Encoding: chunked" if chunked and version == "1.1" else f"Content-Length: {len(body)}"
    head = [f"{method} {path} HTTP/{version}", "Host: x", *(f"{spell(n)}: {value}" for (n, value), spell in lines)]
    whole = b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body) if length.startswith("T") else body
    answers = []
    scene.asked += 1
    for way, name in ((scene.direct, "d"), (scene.ordinary, "o")):
        random.seed(scene.asked)  # who names no entity is given an arm at random
        text = "\r\n".join([*head, length, f"X-Request-Id: {name}-{scene.asked}", "", ""])
        answers.append(plain(scene.runner.run(way.ask(text.encode() + whole))))
    assert answers[0] == answers[1]


# -- the body ----------------------------------------------------------------------------------------------------------

FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=32)
FLAGS = st.lists(st.builds(Flag, st.text(max_size=3), st.text(max_size=3), st.just((0,))), max_size=2).map(tuple)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(TaskKind), st.lists(FLOATS, min_size=3, max_size=3), FLAGS, st.none() | st.text())
def test_the_short_ways_body_is_the_ordinary_ones_byte_by_byte(
    scene: Scene, task: TaskKind, numbers: list[float], flags: tuple[Flag, ...], caller_id: str | None
) -> None:
    for arm in scene.service.router.table[f"toy-{task}"].arms:
        classes = arm.model.contract.classes
        scores = np.array([numbers] if task is TaskKind.MULTICLASS else numbers[:1], np.float32)
        for label in classes or ("",):
            named: dict[str, Any] = dict(zip(OUTPUTS[task], (scores, [label]), strict=False))
            answer = Answer(named, 1, flags)
            asked = msgspec.structs.replace(EVERYTHING, id=caller_id)
            choice: Any = None
            whole = infer_response(Prediction("18c-1f", arm, answer, choice), asked, ()).body
            assert RowAnswer(arm).body(answer, b"18c-1f", asked.id) == whole


# -- limits, counts, ends ----------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path, [], in_flight=2)
    made.route("toy-binary")
    yield made
    made.close()


def _turns() -> Any:
    async def turns() -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    return turns()


def test_above_the_limit_the_short_way_is_refused_too(own: Scene) -> None:
    async def crowd() -> int:
        for _ in range(3):
            own.direct.open()[0].data_received(request(columns()))
        in_flight = own.app.in_flight
        await _turns()
        return in_flight

    assert own.runner.run(crowd()) == 2
    assert own.direct.taken == [True, True, False]
    assert own.app.in_flight == 0
    own.app.in_flight = 2
    direct, ordinary, taken = own.both(columns())
    assert (direct, taken) == (ordinary, False)
    assert direct.startswith(b"HTTP/1.1 503")


def test_requests_in_one_go_are_answered_in_order_and_the_last_may_close(own: Scene) -> None:
    async def play() -> End:
        connection, end = own.direct.open()
        one, two = (request(columns(id=name)) for name in ("one", "two"))
        connection.data_received(one + two + request(columns(id="three"), connection="close"))
        await _turns()
        return end

    end = own.runner.run(play())
    answers = b"".join(end.written)
    assert [answers.index(b'"id":"%s"' % name) for name in (b"one", b"two", b"three")] == sorted(
        answers.index(b'"id":"%s"' % name) for name in (b"one", b"two", b"three")
    )
    assert answers.count(b"connection: close") == 1
    assert end.closed


def _asked_in(kind: str, name: str) -> bytes:
    """Return a request of some kind whose answer carries its name."""
    body = columns(id=name)
    if kind == "page":
        return f"GET /v2 HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n\r\n".encode()
    if kind == "chunked":
        head = f"POST /v2/models/toy-binary/infer HTTP/1.1\r\nHost: x\r\nX-Request-Id: {name}\r\n"
        return head.encode() + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\nX-A: b\r\n\r\n" % (len(body), body)
    kinds = {"plain": "application/json", "ordinary": "application/json; charset=utf-8", "wrong": "text/plain"}
    return request(body, x_request_id=name, content_type=kinds[kind])


@pytest.mark.parametrize("seed", range(25))
def test_requests_of_every_kind_in_any_pieces_are_answered_alike_and_in_order(own: Scene, seed: int) -> None:
    chance = random.Random(seed)  # noqa: S311 - no secret
    kinds = chance.choices(["plain", "plain", "ordinary", "page", "chunked", "wrong"], k=chance.randint(2, 6))
    whole = b"".join(_asked_in(kind, f"n{at}") for at, kind in enumerate(kinds))
    cuts = [0, *sorted(chance.sample(range(1, len(whole)), chance.choice([0, 1, 2, 5]))), len(whole)]
    waits = [chance.choice([0, 1, 3]) for _ in cuts]

    async def play(way: Way) -> list[list[bytes]]:
        connection, end = way.open()
        for (first, last), turns in zip(itertools.pairwise(cuts), waits, strict=False):
            connection.data_received(whole[first:last])
            for _ in range(turns):
                await asyncio.sleep(0)
        while len(found := _answers(b"".join(end.written))) < len(kinds):
            end.came.clear()
            await asyncio.wait_for(end.came.wait(), 60)
        return found

    direct, ordinary = (own.runner.run(play(way)) for way in (own.direct, own.ordinary))
    assert direct == ordinary
    for at, answer in enumerate(direct):
        assert b"x-request-id: n%d" % at in answer


def _answers(written: bytes) -> list[list[bytes]]:
    """Return the lines of each answer in order, without what is never the same twice."""
    written = re.sub(rb"[0-9a-f]{8,}-[0-9a-f]+(?!\w)", b"ID", written)
    written = re.sub(rb"content-length: \d+", b"", written)  # an id may have become longer
    return [sorted(answer.split(b"\r\n")) for answer in re.split(rb"(?=HTTP/1\.1 \d\d\d )", written)[1:]]


def test_a_single_request_may_close_its_connection(own: Scene) -> None:
    direct, ordinary, taken = own.both(columns(), connection="close")
    assert (direct, taken) == (ordinary, True)
    assert b"\nconnection: close\n" in direct


def test_a_caller_that_goes_away_is_counted_and_logged_and_frees_its_place(own: Scene) -> None:
    async def play() -> End:
        connection, end = own.direct.open()
        connection.data_received(request(columns()))
        connection.connection_lost(ConnectionResetError())
        await _turns()
        return end

    end = own.runner.run(play())
    assert (end.written, own.app.in_flight, own.app.responses) == ([], 0, {200: 1})
    own.service.log.close()  # a row that is being written is counted as neither queued nor written, or as both
    assert own.service.log.written_rows == 1


def test_a_body_that_comes_later_than_its_head_is_answered_too(own: Scene) -> None:
    async def play() -> End:
        connection, end = own.direct.open()
        whole = request(columns())
        connection.data_received(whole[:-5])
        await asyncio.sleep(0)
        connection.data_received(whole[-5:])
        await asyncio.wait_for(end.came.wait(), 60)
        return end

    assert own.runner.run(play()).written[0].startswith(b"HTTP/1.1 200")
    assert own.direct.taken == []


def test_both_ways_leave_the_same_line_in_the_access_log(tmp_path: Path) -> None:
    written: list[bytes] = []
    scene = Scene(tmp_path, written)
    try:
        scene.route("toy-binary")
        assert scene.both(columns(), traceparent=TRACE)[2]
        assert scene.both(columns(outputs=[{"name": "label"}]))[2]
        assert not scene.both(columns({**ROW, "amount": "x"}))[2]
    finally:
        scene.close()
    lines = [json.loads(line) for line in b"".join(written).splitlines()]
    assert len(lines) == 6
    for direct, ordinary in zip(lines[::2], lines[1::2], strict=True):
        assert direct["request_id"][1:] == ordinary["request_id"][1:]
        for line in (direct, ordinary):
            assert line.pop("latency_us") >= 0
            for name in ("time", "request_id", "prediction_id"):
                line.pop(name)
        assert direct == ordinary


def test_what_the_chosen_model_fails_on_is_answered_by_what_stands_behind_it(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    kept = [each for each in probes(0.0, TaskKind.BINARY).requests if 0 < float(each.row["amount"] or 0) < 50]
    halves = [{"name": p.name, "row": p.row, "output": [0.5]} for p in kept]
    golden = canonical_json({"schema_version": 1, "absolute": 1e-5, "relative": 1e-5, "requests": halves})
    try:
        parts = {"model.onnx": failing_graph(50), "probe_requests.json": golden}
        scene.route("toy-binary", challenger={"parts": parts})
        fell_back = 0
        for at in range(12):
            direct, ordinary, _ = scene.both(columns({**ROW, "amount": 90}), x_lockgate_entity=f"e{at}")
            assert direct == ordinary
            fell_back += b"x-lockgate-fallback: true" in direct
        assert 0 < fell_back < 12
    finally:
        scene.close()


def test_a_failure_on_the_short_way_stays_with_the_arm_that_was_chosen(tmp_path: Path) -> None:
    scene = Scene(tmp_path)
    kept = [each for each in probes(0.0, TaskKind.BINARY).requests if 0 < float(each.row["amount"] or 0) < 50]
    halves = [{"name": p.name, "row": p.row, "output": [0.5]} for p in kept]
    golden = canonical_json({"schema_version": 1, "absolute": 1e-5, "relative": 1e-5, "requests": halves})
    scene.route("toy-binary", challenger={"parts": {"model.onnx": failing_graph(50), "probe_requests.json": golden}})
    random.seed(7)
    try:
        for _ in range(8):
            scene.runner.run(scene.direct.ask(request(columns({**ROW, "amount": 90}), content_type="application/json")))
    finally:
        rows = scene.logged()
    random.seed(7)
    drawn = ["challenger" if random.random() < 0.5 else "champion" for _ in rows]  # noqa: S311 - as the server draws
    assert set(drawn) == {"challenger", "champion"}
    assert [row.get("chosen", row["arm"]) for row in rows] == drawn
    assert [row["fallback"] for row in rows] == [arm == "challenger" for arm in drawn]


def test_a_new_routing_is_answered_by_at_once(own: Scene) -> None:
    first = own.both(columns())[0]
    own.route("toy-binary", sequence=2, bias=1.5)
    second, ordinary, taken = own.both(columns())
    assert taken
    assert second == ordinary != first
