"""Parity over the wire against a server made of functions; the real server is met in tests/integration."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from lockgate.core.contract import ModelBundle, Policy, RangePolicy, RequestPolicy, TaskKind
from lockgate.core.wire import Answer, Call
from lockgate.errors import TransientError
from lockgate.stages.served_parity import Served, measure_served, permitted
from tests.bundles import PROBES, contract, golden
from tests.unit.infra.test_measure_infra import BUNDLE, Scripted, ScriptedServer, well

ROWS = [dict(PROBES[name]) for name in ("typical-1", "typical-2", "missing", "unseen-category-colour")]
NATIVE = [golden(row) for row in ROWS]


def served(
    answer: Callable[[Call], Answer] = well, bundle: ModelBundle = BUNDLE, rows: Any = None, **server: Any
) -> Served:
    given = ROWS if rows is None else rows
    sandboxes = Scripted([ScriptedServer(answer=answer, **server)])
    return measure_served(sandboxes, bundle, given, [golden(row) for row in given], size=1.0, bound=1e-5)


def many_rows(call: Call) -> int:
    return len(json.loads(call.body or b"")["inputs"][0]["data"]) if b'"inputs"' in (call.body or b"") else 0


def moved(answer: Answer, by: float) -> Answer:
    body = json.loads(answer.body)
    body["outputs"][0]["data"] = [each + by for each in body["outputs"][0]["data"]]
    return replace(answer, body=json.dumps(body).encode())


def test_a_good_server_answers_every_row_in_every_way_like_the_estimator() -> None:
    found = served()
    assert found.facts["max_difference"] == pytest.approx(0, abs=1e-12)
    assert found.facts["rows"] == len(ROWS) * len(found.facts["ways"])  # type: ignore[arg-type]
    assert set(found.facts["ways"]) == {  # type: ignore[arg-type]
        "single", "batch-2", "batch-7", "batch-64", "batch-all", "many times over", "column order",
        "column order, single", "mlflow form",
    }  # fmt: skip


def test_a_server_that_is_wrong_in_batches_alone_is_found() -> None:
    found = served(lambda call: moved(well(call), 0.01) if many_rows(call) > 1 else well(call))
    assert found.facts["max_difference"] == pytest.approx(0.01)
    ways: Any = found.facts["ways"]
    assert ways["single"]["max_difference"] == pytest.approx(0, abs=1e-12)


def test_a_server_that_mixes_many_rows_up_is_found() -> None:
    def mixed(call: Call) -> Answer:
        answer = well(call)
        if many_rows(call) < 512:
            return answer
        body = json.loads(answer.body)
        numbers = body["outputs"][0]["data"]
        numbers[300], numbers[301] = numbers[301], numbers[300]
        return replace(answer, body=json.dumps(body).encode())

    found = served(mixed)
    assert found.facts["not_finite"] == len(ROWS)
    assert found.facts["problems"] == {"a row is answered otherwise in another place of its request": len(ROWS)}


def test_a_server_that_takes_columns_by_their_place_is_found() -> None:
    def by_place(call: Call) -> Answer:
        if b'"inputs"' not in (call.body or b""):
            return well(call)
        body = json.loads(call.body or b"")
        wanted = [column.name for column in contract().inputs]
        misread = [{**each, "name": name} for each, name in zip(body["inputs"], wanted, strict=True)]
        return well(replace(call, body=json.dumps({"inputs": misread}).encode()))

    found = served(by_place)
    assert found.facts["not_finite"] == 2 * len(ROWS)  # both ways that reorder
    problems: Any = found.facts["problems"]
    assert problems == {"status 400": 2 * len(ROWS)}


@pytest.mark.parametrize(
    "fault",
    [
        lambda call: replace(well(call), headers={"x-lockgate-release-digest": "a" * 64}),
        lambda call: replace(well(call), status=500),
        lambda call: replace(well(call), body=b'{"outputs":[{"name":"probability","data":[]}]}'),
    ],
    ids=["another bundle", "an error", "no rows"],
)
def test_answers_that_are_none_count_as_no_number(fault: Callable[[Call], Answer]) -> None:
    assert served(fault).facts["not_finite"] == served().facts["rows"]


def test_a_server_that_stops_answering_counts_as_no_number() -> None:
    def silent(_: Call) -> Answer:
        raise TransientError("nobody there")

    found = served(silent)
    assert found.facts["not_finite"] == found.facts["rows"]
    assert list(found.facts["problems"]) == ["no answer"]  # type: ignore[arg-type]


def test_a_refused_bundle_is_told_in_the_servers_words() -> None:
    found = served(routed=lambda: Answer(status=422, body=b"its golden answers are wrong"))
    assert found.facts["not_finite"] == found.facts["rows"] == len(ROWS)
    assert "its golden answers are wrong" in str(found.facts["problem"])


def test_the_worst_row_is_named_with_the_servers_answer() -> None:
    def wrong_on_blue(call: Call) -> Answer:
        return moved(well(call), 0.3) if b"blue" in (call.body or b"") and many_rows(call) == 1 else well(call)

    found = served(wrong_on_blue)
    assert found.worst == 1
    assert found.answer == pytest.approx([NATIVE[1][0] + 0.3])


STRICT = RequestPolicy(unknown_category=Policy.REFUSE, out_of_range=RangePolicy.REFUSE)


@pytest.mark.parametrize(
    ("change", "policy", "allowed"),
    [
        ({}, RequestPolicy(), True),
        ({"amount": None}, RequestPolicy(), True),
        ({"age": None}, RequestPolicy(), False),  # training never saw it null
        ({"age": None}, RequestPolicy(null=Policy.FLAG), True),
        ({"colour": "octarine"}, RequestPolicy(), True),
        ({"colour": "octarine"}, STRICT, False),
        ({"amount": 1e6}, RequestPolicy(), True),
        ({"amount": 1e6}, STRICT, False),
        ({"amount": 1e6}, RequestPolicy(out_of_range=RangePolicy.CLIP), False),  # answered as another row
        ({"amount": 1e39}, RequestPolicy(), False),
        ({"amount": "Infinity"}, RequestPolicy(), False),
    ],
)
def test_only_rows_that_the_contract_answers_are_asked(
    change: dict[str, Any], policy: RequestPolicy, allowed: bool
) -> None:
    row = {**PROBES["typical-1"], **change}
    assert permitted(replace(contract(), requests=policy), row) is allowed


def test_rows_that_the_contract_refuses_are_counted_and_left_out() -> None:
    refused = {**ROWS[0], "age": None}
    sandboxes = Scripted([ScriptedServer()])
    found = measure_served(sandboxes, BUNDLE, [*ROWS, refused], [*NATIVE, NATIVE[0]], size=1.0, bound=1e-5)
    assert found.facts["refused_by_contract"] == 1
    assert found.facts["not_finite"] == 0


def test_several_classes_are_compared_class_by_class() -> None:
    bundle = replace(BUNDLE, contract=contract(task=TaskKind.MULTICLASS))

    def answer(call: Call) -> Answer:
        rows = len(json.loads(call.body or b"").get("dataframe_split", {}).get("data", ())) or many_rows(call)
        told = [list(golden(ROWS[0], task=TaskKind.MULTICLASS))] * rows
        body: Any = {"outputs": [{"name": "probabilities", "data": told}]}
        if b"dataframe_split" in (call.body or b""):
            body = {"predictions": [{"probabilities": each} for each in told]}
        return replace(well(call), status=200, headers={"x-lockgate-release-digest": BUNDLE.digest},
                       body=json.dumps(body).encode())  # fmt: skip

    native = golden(ROWS[0], task=TaskKind.MULTICLASS)
    sandboxes = Scripted([ScriptedServer(answer=answer)])
    found = measure_served(sandboxes, bundle, ROWS[:1] * 3, [native] * 3, size=1.0, bound=1e-5)
    assert found.facts["max_difference"] == pytest.approx(0, abs=1e-12)
    assert found.facts["not_finite"] == 0
