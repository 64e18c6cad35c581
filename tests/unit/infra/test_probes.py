from __future__ import annotations

import json
import math

import pytest

from lockgate.core.contract import ModelContract, ProbeRequest, ProbeSet, TaskKind
from lockgate.core.probes import (
    Malformed,
    edge_rows,
    golden_problem,
    malformed,
    plausible_problem,
    refusal_problem,
)
from lockgate.core.wire import (
    Answer,
    Call,
    infer_call,
    invocations_call,
    metadata_problem,
    read_infer,
    read_invocations,
)
from tests.bundles import DEAR_HIGH, PROBES, contract

TYPICAL = PROBES["typical-1"]
TASKS = list(TaskKind)


def answered(body: object, status: int = 200) -> Answer:
    return Answer(status=status, body=json.dumps(body).encode())


def test_a_request_carries_one_tensor_a_column_and_null_for_missing() -> None:
    call = infer_call(contract(), [TYPICAL, PROBES["missing"]])
    tensors = {each["name"]: each for each in json.loads(call.body or b"")["inputs"]}
    assert call.path == "/v2/models/toy/infer"
    assert tensors["amount"] == {"name": "amount", "shape": [2], "datatype": "FP64", "data": [12.5, None]}
    assert tensors["colour"]["datatype"] == "BYTES"


def test_the_scoring_form_holds_the_same_rows() -> None:
    body = json.loads(invocations_call(contract(), [TYPICAL]).body or b"")
    assert body["dataframe_split"] == {
        "columns": ["amount", "colour", "age", "shape"],
        "data": [[12.5, "red", 41, "disc"]],
    }


@pytest.mark.parametrize(
    ("task", "outputs", "rows"),
    [
        (TaskKind.BINARY, [{"name": "probability", "data": [0.25, 0.5]}], [(0.25,), (0.5,)]),
        (TaskKind.REGRESSION, [{"name": "value", "data": [7]}], [(7.0,)]),
        (TaskKind.MULTICLASS, [{"name": "probabilities", "data": [[0.2, 0.3, 0.5]]}], [(0.2, 0.3, 0.5)]),
        (TaskKind.MULTICLASS, [{"name": "probabilities", "data": [0.2, 0.3, 0.5]}], [(0.2, 0.3, 0.5)]),
    ],
)
def test_answers_are_read_row_by_row(task: TaskKind, outputs: object, rows: object) -> None:
    assert read_infer(contract(task=task), answered({"outputs": outputs})) == rows


PRICED = contract(task=TaskKind.MULTICLASS, costs=DEAR_HIGH)


@pytest.mark.parametrize(
    ("asked", "numbers", "right", "wrong"),
    [
        (contract(), [0.5], "yes", "no"),
        (contract(task=TaskKind.MULTICLASS), [0.3, 0.5, 0.2], "mid", "high"),
        (PRICED, [0.3, 0.5, 0.2], "high", "mid"),
    ],
)
def test_a_label_that_is_not_what_its_own_numbers_decide_for_is_no_answer(
    asked: ModelContract, numbers: list[float], right: str, wrong: str
) -> None:
    name = "probability" if asked.task is TaskKind.BINARY else "probabilities"

    def v2(label: object) -> Answer:
        return answered({"outputs": [{"name": name, "data": numbers}, {"name": "label", "data": label}]})

    def mlflow(label: str) -> Answer:
        row = {name: numbers if len(numbers) > 1 else numbers[0], "label": label}
        return answered({"predictions": [row]})

    assert read_infer(asked, v2([right])) == read_invocations(asked, mlflow(right)) == [tuple(numbers)]
    for read, answer in ((read_infer, v2([wrong])), (read_invocations, mlflow(wrong))):
        with pytest.raises(ValueError, match=f"row 0 says '{wrong}', not '{right}'"):
            read(asked, answer)
    for labels in ([], [right, right]):
        with pytest.raises(ValueError, match="labels for 1 decisions"):
            read_infer(asked, v2(labels))


@pytest.mark.parametrize(
    "answer",
    [
        answered({"outputs": []}),
        answered({"outputs": [{"name": "probability", "data": [None]}]}),
        answered({"outputs": [{"name": "probability", "data": [True]}]}),
        answered({"outputs": [{"name": "label", "data": ["yes"]}]}),
        answered({"error": "no"}, status=400),
        answered([]),
        Answer(status=200, body=b"{"),
        Answer(status=200, body=b'{"outputs": [{"name": "probability", "data": [NaN]}]}'),
    ],
)
def test_what_is_no_whole_answer_is_refused(answer: Answer) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_infer(contract(), answer)


def test_scoring_answers_are_read_whether_named_or_bare() -> None:
    assert read_invocations(contract(), answered({"predictions": [{"probability": 0.25, "label": "no"}]})) == [(0.25,)]
    assert read_invocations(contract(), answered({"predictions": [0.25]})) == [(0.25,)]
    with pytest.raises(ValueError, match="no predictions"):
        read_invocations(contract(), answered({}))


def probe_set(absolute: float = 1e-6, relative: float = 1e-3) -> tuple[ProbeSet, ProbeRequest]:
    probe = ProbeRequest(name="typical-1", row=TYPICAL, output=(0.5,))
    return ProbeSet(absolute=absolute, relative=relative, requests=(probe,)), probe


@pytest.mark.parametrize(("got", "holds"), [(0.5, True), (0.5004, True), (0.5006, False), (math.nan, False)])
def test_an_answer_holds_within_either_bound(got: float, *, holds: bool) -> None:
    probes, probe = probe_set()
    assert (golden_problem(probes, probe, (got,)) is None) == holds


def test_an_answer_of_another_width_is_wrong() -> None:
    probes, probe = probe_set()
    assert golden_problem(probes, probe, (0.5, 0.5)) is not None


@pytest.mark.parametrize("task", TASKS)
def test_edge_rows_hold_every_column_and_only_what_the_contract_allows(task: TaskKind) -> None:
    form = contract(task=task)
    rows = edge_rows(form, TYPICAL)
    assert len({name for name, _ in rows}) == len(rows) > 10
    for _, row in rows:
        assert set(row) == {"amount", "colour", "age", "shape"}
        assert row["age"] is not None  # the one column that is not nullable


@pytest.mark.parametrize("task", TASKS)
def test_malformed_requests_are_all_different_and_name_real_columns(task: TaskKind) -> None:
    form = contract(task=task)
    requests = malformed(form, TYPICAL)
    assert len({each.name for each in requests}) == len(requests) > 20
    columns = {column.name for column in form.inputs} | {"no_such_column", None}
    assert {each.field for each in requests} <= columns
    good = infer_call(form, [TYPICAL])
    assert good not in [each.call for each in requests]


def test_a_contract_without_numbers_or_nulls_still_has_malformed_requests() -> None:
    full = contract()
    only = [column for column in full.inputs if column.name == "colour"]
    narrow = ModelContract(
        model=full.model, task=full.task, inputs=tuple(only), classes=full.classes, threshold=0.5, graph=full.graph
    )
    assert malformed(narrow, {"colour": "red"})
    assert edge_rows(narrow, {"colour": "red"})


@pytest.mark.parametrize(
    ("status", "body", "problem"),
    [
        (400, {"error": "column 'age': null"}, None),
        (400, {"error": "something is wrong"}, "unnamed"),
        (422, {}, "unnamed"),
        (200, {"outputs": []}, "accepted"),
        (500, {"error": "column 'age'"}, "accepted"),
    ],
)
def test_a_refusal_is_4xx_and_names_the_field(status: int, body: object, problem: str | None) -> None:
    asked = Malformed(name="null-age", call=Call(path="/"), field="age")
    assert refusal_problem(asked, answered(body, status)) == problem


@pytest.mark.parametrize(
    ("task", "got", "problem"),
    [
        (TaskKind.BINARY, (0.5,), None),
        (TaskKind.BINARY, (1.5,), "no probability"),
        (TaskKind.REGRESSION, (1.5e9,), None),
        (TaskKind.REGRESSION, (math.inf,), "not finite"),
        (TaskKind.MULTICLASS, (0.5, 0.25, 0.25), None),
        (TaskKind.MULTICLASS, (0.5, 0.5, 0.5), "probabilities add up to 1.5"),
    ],
)
def test_an_answer_must_be_possible(task: TaskKind, got: tuple[float, ...], problem: str | None) -> None:
    assert plausible_problem(contract(task=task), got) == problem


def test_metadata_must_be_the_contracts() -> None:
    columns = [{"name": column.name} for column in contract().inputs]
    told = {"name": "toy", "inputs": columns, "outputs": [{"name": "probability"}, {"name": "label"}]}
    assert metadata_problem(contract(), answered(told)) is None
    assert metadata_problem(contract(), answered(told | {"inputs": columns[1:]})) is not None
    assert metadata_problem(contract(), answered(told | {"outputs": []})) is not None
    assert metadata_problem(contract(), answered({}, 404)) is not None
