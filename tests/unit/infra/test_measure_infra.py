"""The stage's own logic against a server made of functions; the real server is met in tests/integration."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from lockgate.core.contract import ModelBundle, TaskKind
from lockgate.core.gates import infra
from lockgate.core.ids import Digest, ModelName
from lockgate.core.verdict import Verdict
from lockgate.core.wire import Answer, Call
from lockgate.errors import SandboxError, TransientError
from lockgate.stages.infra import measure_infra
from tests.bundles import contract, golden, probes
from tests.unit.infra.measured import judged

DIGEST = Digest("b" * 64)
BUNDLE = ModelBundle(digest=DIGEST, contract=contract(), parts={})
PROBES = probes(0.0, TaskKind.BINARY)


def well(call: Call) -> Answer:
    """Answer as the real server does, in the little that the stage looks at."""
    headers = {"x-lockgate-release-digest": DIGEST}
    if call.path.endswith("/ready"):
        return Answer(status=200, seconds=0.01)
    try:
        rows = _rows(call)
        with np.errstate(over="ignore"):  # exp of a huge number is infinite, and one over it 0, as it should be
            numbers = [golden(row)[0] for row in rows]
    except (ValueError, KeyError, TypeError, AttributeError) as refused:
        return Answer(
            status=400, body=json.dumps({"error": f"{refused}: {(call.body or b'').decode('latin-1')}"}).encode()
        )
    if call.path.startswith("/v2"):
        body: Any = {"outputs": [{"name": "probability", "data": numbers}]}
    else:
        body = {"predictions": [{"probability": each} for each in numbers]}
    return Answer(status=200, headers=headers, body=json.dumps(body).encode())


def _rows(call: Call) -> list[dict[str, Any]]:
    if call.method != "POST" or call.path not in ("/v2/models/toy/infer", "/invocations?model=toy"):
        raise ValueError("unknown path")
    body = json.loads(call.body or b"")
    if "inputs" in body:
        tensors = body["inputs"]
        lengths = {len(each["data"]) for each in tensors} | {each["shape"][0] for each in tensors}
        types = {each["name"]: each["datatype"] for each in tensors}
        if types != {"amount": "FP64", "colour": "BYTES", "age": "FP64", "shape": "BYTES"} or len(lengths) != 1:
            raise ValueError("tensors do not fit: amount no_such_column")
        rows = [{each["name"]: each["data"][index] for each in tensors} for index in range(lengths.pop())]
    else:
        split = body["dataframe_split"]
        rows = [dict(zip(split["columns"], values, strict=True)) for values in split["data"]]
    for row in rows:
        _check(row)
    if not rows:
        raise ValueError("no rows")
    return rows


def _check(row: dict[str, Any]) -> None:
    for name, kinds in {"amount": (float, int), "age": (float, int), "colour": (str,), "shape": (str,)}.items():
        value = row[name]
        null = value is None and name != "age"
        if not null and (not isinstance(value, kinds) or (kinds != (str,) and abs(value) > 1e38)):
            raise ValueError(f"column {name}")


@dataclass
class ScriptedServer:
    answer: Callable[[Call], Answer] = well
    routed: Callable[[], Answer] = lambda: Answer(status=200, seconds=0.2)
    exit_code: int = 0
    dies_with: int | None = None
    start_s: float = 0.3

    def route(self, model: ModelName, bundle: Digest, *, sequence: int = 1) -> Answer:
        assert (model, bundle, sequence) == ("toy", DIGEST, 1)
        return self.routed()

    def send(self, call: Call) -> Answer:
        return self.answer(call)

    @property
    def ended(self) -> int | None:
        return self.dies_with

    def peak_rss_bytes(self) -> int:
        return 100_000_000

    def log_tail(self) -> str:
        return "the last words"

    def stop(self) -> int:
        return self.exit_code if self.dies_with is None else self.dies_with


@dataclass
class Scripted:
    servers: list[ScriptedServer] = field(default_factory=list)
    opened: list[str] = field(default_factory=list)

    @contextlib.contextmanager
    def open(self, name: str) -> Iterator[ScriptedServer]:
        self.opened.append(name)
        yield self.servers[len(self.opened) - 1] if self.servers else ScriptedServer()


def verdict_of(servers: list[ScriptedServer]) -> tuple[Verdict, str]:
    report = judged(infra.GATE, measure_infra(Scripted(servers), BUNDLE, PROBES, tries=len(servers)))
    return report.verdict, report.reason


def raising(message: str) -> Callable[..., Answer]:
    def fail(*_: object) -> Answer:
        raise TransientError(message)

    return fail


def test_a_server_that_does_everything_right_passes_every_try() -> None:
    sandboxes = Scripted()
    measured = measure_infra(sandboxes, BUNDLE, PROBES, tries=3)
    assert sandboxes.opened == ["infra-1", "infra-2", "infra-3"]
    report = judged(infra.GATE, measured)
    assert report.verdict is Verdict.PASS, report.reason
    assert measured["load_s_max"] == pytest.approx(0.21)


def test_one_bad_try_of_three_fails() -> None:
    verdict, reason = verdict_of([ScriptedServer(), ScriptedServer(exit_code=1), ScriptedServer()])
    assert verdict is Verdict.FAIL
    assert "try 2: told to stop, the server ended with code 1" in reason


def test_a_refused_bundle_fails_with_the_servers_reason() -> None:
    refused = ScriptedServer(routed=lambda: Answer(status=422, body=b'{"error": "part model.onnx: sha256"}'))
    verdict, reason = verdict_of([refused, refused, refused])
    assert verdict is Verdict.FAIL
    assert "part model.onnx: sha256" in reason


def test_a_bundle_that_kills_the_server_while_it_loads_fails_with_the_servers_last_words() -> None:
    verdict, reason = verdict_of([ScriptedServer(routed=raising("hung up"), dies_with=-9)] * 3)
    assert verdict is Verdict.FAIL
    assert "died with code -9" in reason
    assert "the last words" in reason


def test_a_server_that_hangs_fails() -> None:
    verdict, reason = verdict_of([ScriptedServer(answer=raising("timed out"))] * 3)
    assert verdict is Verdict.FAIL
    assert "hangs" in reason


def test_a_wrong_answer_fails() -> None:
    def wrong(call: Call) -> Answer:
        answer = well(call)
        return Answer(status=answer.status, headers=answer.headers, body=answer.body.replace(b"0.", b"0.9"))

    measured = measure_infra(Scripted([ScriptedServer(answer=wrong)]), BUNDLE, PROBES, tries=1)
    report = judged(infra.GATE, measured, tries=1)
    assert report.verdict is Verdict.FAIL
    assert {c.name: c.verdict for c in report.checks}["wrong_answers"] is Verdict.FAIL


def test_an_answer_of_another_bundle_is_a_wrong_answer() -> None:
    def foreign(call: Call) -> Answer:
        answer = well(call)
        return Answer(status=answer.status, headers={"x-lockgate-release-digest": "c" * 64}, body=answer.body)

    measured = measure_infra(Scripted([ScriptedServer(answer=foreign)]), BUNDLE, PROBES, tries=1)
    checks = {c.name: c.verdict for c in judged(infra.GATE, measured, tries=1).checks}
    assert checks["wrong_answers"] is Verdict.FAIL


def test_a_server_that_takes_anything_fails_for_malformed_requests() -> None:
    def careless(call: Call) -> Answer:
        answer = well(call)
        return answer if answer.status == 200 else Answer(status=200, body=b"{}")

    measured = measure_infra(Scripted([ScriptedServer(answer=careless)]), BUNDLE, PROBES, tries=1)
    checks = {c.name: c.verdict for c in judged(infra.GATE, measured, tries=1).checks}
    assert checks["malformed_accepted"] is Verdict.FAIL


def test_a_500_fails_though_the_request_was_malformed() -> None:
    def crashing(call: Call) -> Answer:
        answer = well(call)
        return answer if answer.status == 200 else Answer(status=500, body=b'{"error": "oh"}')

    measured = measure_infra(Scripted([ScriptedServer(answer=crashing)]), BUNDLE, PROBES, tries=1)
    checks = {c.name: c.verdict for c in judged(infra.GATE, measured, tries=1).checks}
    assert checks["server_errors"] is Verdict.FAIL


def test_no_finite_answer_to_an_unusual_request_fails() -> None:
    def fragile(call: Call) -> Answer:
        if b"never-seen-in-training" in (call.body or b""):
            return Answer(status=422, body=b'{"error": "no finite answer"}')
        return well(call)

    measured = measure_infra(Scripted([ScriptedServer(answer=fragile)]), BUNDLE, PROBES, tries=1)
    checks = {c.name: c.verdict for c in judged(infra.GATE, measured, tries=1).checks}
    assert checks["edge_requests_failed"] is Verdict.FAIL


def test_a_broken_sandbox_is_raised_and_measures_nothing() -> None:
    class Broken:
        def open(self, name: str) -> Any:
            raise SandboxError(f"{name} does not start")

    with pytest.raises(SandboxError):
        measure_infra(Broken(), BUNDLE, PROBES, tries=3)


def test_no_try_at_all_is_no_pass() -> None:
    assert judged(infra.GATE, measure_infra(Scripted(), BUNDLE, PROBES, tries=0)).verdict is not Verdict.PASS
