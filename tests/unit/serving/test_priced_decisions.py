"""Where a contract prices decisions, every way of asking decides as evaluation did: for the least expected cost."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from lockgate.adapters.bundle_contract import contract_of
from lockgate.core.contract import ModelContract, TaskKind
from lockgate.core.decisions import cheapest_class, decider, expected_prices, one_decider, price_margins
from lockgate.core.ids import Digest, canonical_json, to_json
from lockgate.core.parity import compare_answers, margins
from lockgate.core.records import read_record
from lockgate.core.replay import decision
from lockgate.core.spec import CostsSection, DataSection
from lockgate.errors import IntegrityError
from lockgate.serving.bulk.scoring import BulkOptions, score_file
from lockgate.serving.model.bundle import VerifiedBundle
from lockgate.serving.model.contract_file import parse_contract
from lockgate.serving.model.dataplane import Answer, ServedModel
from lockgate.serving.model.explanation import explain
from lockgate.serving.model.proving import load
from lockgate.stages.deciding import decided_for
from tests.bundles import COLOURS, DEAR_HIGH, SHAPES, contract, graph, probes
from tests.unit.judgement.scenes import spec_of

CLASSES = ("low", "mid", "high")
PRICED = contract(task=TaskKind.MULTICLASS, costs=DEAR_HIGH)
MATRIX = {was: dict(zip(CLASSES, row, strict=True)) for was, row in zip(CLASSES, DEAR_HIGH, strict=True)}
ROWS = 400


def bundle(promised: ModelContract = PRICED) -> VerifiedBundle:
    return VerifiedBundle(
        digest=Digest("ab" * 32),
        contract=promised,
        probes=probes(0.0, TaskKind.MULTICLASS),
        onnx=graph(0.0, TaskKind.MULTICLASS),
    )


@pytest.fixture(scope="module")
def model() -> ServedModel:
    return load(bundle())


@pytest.fixture(scope="module")
def asked() -> dict[str, list[Any]]:
    rng = np.random.default_rng(5)
    return {
        "amount": rng.uniform(0, 100, ROWS).tolist(),
        "colour": rng.choice(list(COLOURS), ROWS).tolist(),
        "age": rng.integers(0, 120, ROWS).tolist(),
        "shape": rng.choice(list(SHAPES), ROWS).tolist(),
    }


def evaluated(scores: Any) -> list[str]:
    """Return what evaluation decides on answers of a model, by the spec that holds these costs."""
    spec = spec_of(TaskKind.MULTICLASS)
    priced = replace(spec, task=replace(spec.task, classes=CLASSES), costs=CostsSection(matrix=MATRIX))
    return [CLASSES[each] for each in decided_for(priced, np.asarray(scores, np.float64), None)]


def test_the_labels_of_a_batch_are_those_of_evaluation_and_not_the_likeliest(
    model: ServedModel, asked: dict[str, list[Any]]
) -> None:
    outputs = model.answer(asked, ROWS).outputs
    scores = np.asarray(outputs["probabilities"])
    assert outputs["label"] == evaluated(scores)
    likeliest = load(bundle(contract(task=TaskKind.MULTICLASS))).answer(asked, ROWS).outputs["label"]
    assert likeliest == [CLASSES[each] for each in scores.argmax(axis=1)]
    turned = sum(one != other for one, other in zip(outputs["label"], likeliest, strict=True))
    assert 0.1 < turned / ROWS < 0.9


def test_single_rows_small_batches_and_joined_requests_are_decided_as_evaluation_does(
    model: ServedModel, asked: dict[str, list[Any]]
) -> None:
    rows = [{name: [values[at]] for name, values in asked.items()} for at in range(50)]
    few = model.answer({name: values[:50] for name, values in asked.items()}, 50).outputs
    assert few["label"] == evaluated(few["probabilities"])
    joined = model.answer_rows([encoded for row in rows if (encoded := model.encoder.encode_row(row)) is not None])
    for row, together in zip(rows, joined, strict=True):
        alone = model.answer(row, 1)
        assert isinstance(together, Answer)
        for answer in (alone, together):
            assert list(answer.outputs["label"]) == evaluated(answer.outputs["probabilities"])


def test_a_file_in_bulk_is_decided_as_the_server_does(
    model: ServedModel, asked: dict[str, list[Any]], tmp_path: Path
) -> None:
    pq.write_table(pa.table(asked), tmp_path / "in.parquet")
    options = BulkOptions(piece_rows=64, workers=2)
    score_file(bundle(), tmp_path / "in.parquet", tmp_path / "out.parquet", options, lambda _rows, _total: None)
    out = pq.read_table(tmp_path / "out.parquet")
    scores = np.array([out.column(f"probability_{each}").to_numpy() for each in CLASSES]).T
    assert out.column("label").to_pylist() == evaluated(scores) == model.answer(asked, ROWS).outputs["label"]


def test_a_replay_decides_on_the_wires_numbers_as_the_server_did(
    model: ServedModel, asked: dict[str, list[Any]]
) -> None:
    outputs = model.answer(asked, ROWS).outputs
    written = orjson.dumps(np.ascontiguousarray(outputs["probabilities"]), option=orjson.OPT_SERIALIZE_NUMPY)
    assert [decision(PRICED, numbers) for numbers in json.loads(written)] == outputs["label"]


def test_a_replay_decides_on_the_float32_that_the_server_had_and_not_on_its_shortest_decimal() -> None:
    served = np.float32(0.3)  # a little above 0.3; written as 0.3
    exact = replace(contract(), threshold=float(served))
    assert bool(decider(exact)(np.array([served]))[0])
    written = json.loads(orjson.dumps(np.array([served]), option=orjson.OPT_SERIALIZE_NUMPY))
    assert written[0] < exact.threshold
    assert decision(exact, written) == "yes"


def test_a_threshold_of_zero_decides_every_row_for_the_second_class() -> None:
    assert decision(replace(contract(), threshold=0.0), [0.0]) == "yes"


def test_the_class_that_is_explained_is_the_one_that_is_answered(asked: dict[str, list[Any]]) -> None:
    from tests.unit.serving.test_explanation import PROFILE

    promised = bundle()
    served = ServedModel(promised.digest, promised.contract, promised.onnx, profile=PROFILE)
    some = {name: values[:10] for name, values in asked.items()}
    answer, explained = served.answer(some, 10).outputs, explain(served, some)
    assert list(explained.classes or ()) == answer["label"]
    index = [CLASSES.index(each) for each in explained.classes or ()]
    np.testing.assert_allclose(explained.answer, np.asarray(answer["probabilities"])[np.arange(10), index], rtol=1e-5)


# -- the contract ------------------------------------------------------------------------------------------------------


def test_the_contract_holds_the_costs_of_the_spec_by_class_index() -> None:
    import pandas as pd

    spec = spec_of(TaskKind.MULTICLASS)
    priced = replace(
        spec,
        task=replace(spec.task, classes=CLASSES),
        data=DataSection(suite="toy", label="label", time="time", key=("id",), numeric=("x",)),
        costs=CostsSection(matrix=MATRIX),
    )
    made = contract_of(priced, pd.DataFrame({"x": [1.0, 2.0]}), None, PRICED.graph)
    assert made.costs == DEAR_HIGH
    assert (
        contract_of(replace(priced, costs=CostsSection()), pd.DataFrame({"x": [1.0]}), None, PRICED.graph).costs is None
    )


def test_a_contract_reads_back_with_its_costs_and_an_older_one_without() -> None:
    assert parse_contract(canonical_json(PRICED)) == PRICED
    assert read_record(ModelContract, to_json(PRICED)) == PRICED
    older = json.loads(canonical_json(contract()))
    del older["costs"]
    assert parse_contract(json.dumps(older).encode()) == contract() == read_record(ModelContract, older)


@pytest.mark.parametrize(
    ("task", "costs", "said"),
    [
        (TaskKind.MULTICLASS, DEAR_HIGH[:2], "the model has 3"),
        (TaskKind.MULTICLASS, tuple(row[:2] for row in DEAR_HIGH), "the model has 3"),
        (TaskKind.MULTICLASS, ((0.0, 1.0, 1.0), (1.0, 0.0, -1.0), (1.0, 1.0, 0.0)), "finite number of at least 0"),
        (TaskKind.BINARY, ((0.0, 1.0), (5.0, 0.0)), "a binary model has no costs"),
    ],
)
def test_costs_that_do_not_fit_the_classes_are_refused(task: TaskKind, costs: Any, said: str) -> None:
    with pytest.raises(IntegrityError, match=said):
        parse_contract(canonical_json(contract(task=task, costs=costs)))


def test_a_regression_decides_nothing() -> None:
    with pytest.raises(ValueError, match="decides nothing"):
        decider(contract(task=TaskKind.REGRESSION))


# -- the rule ----------------------------------------------------------------------------------------------------------

chances = arrays.arrays(np.float32, (40, 3), elements=st.floats(0, 1, width=32))
prices = arrays.arrays(np.float64, (3, 3), elements=st.floats(0, 100))


@given(chances, prices)
def test_a_row_is_priced_to_the_last_digit_alike_alone_and_among_others(score: Any, matrix: Any) -> None:
    together = expected_prices(score, matrix)
    alone = np.concatenate([expected_prices(score[at : at + 1], matrix) for at in range(len(score))])
    reversed_ = expected_prices(np.asfortranarray(score[::-1]), matrix)[::-1]
    assert (together == alone).all()
    assert (together == reversed_).all()


@given(chances, prices)
def test_no_change_smaller_than_half_the_margin_turns_a_decision(score: Any, matrix: Any) -> None:
    margin, taken = price_margins(score, matrix), cheapest_class(score, matrix)
    assert (margin >= 0).all()
    change = np.random.default_rng(0).choice([-1.0, 1.0], score.shape) * np.minimum(margin, 1.0)[:, None] * 0.499
    after = cheapest_class(score.astype(np.float64) + change, matrix)
    assert (after == taken)[margin > 1e-9].all()


@given(chances)
def test_with_one_price_for_every_mistake_margins_are_those_of_the_likeliest(score: Any) -> None:
    plain = margins(score, None)
    priced = margins(score, None, tuple(map(tuple, 1.0 - np.eye(3))))
    np.testing.assert_allclose(priced, plain, atol=1e-12)


def test_parity_counts_the_decision_that_is_served() -> None:
    native = np.array([[0.85, 0.05, 0.10], [0.30, 0.36, 0.34]])
    graph_ = np.array([[0.86, 0.06, 0.08], [0.30, 0.34, 0.36]])
    how: dict[str, Any] = {"threshold": None, "size": 1.0, "bound": 1e-5}
    by_cost = compare_answers(TaskKind.MULTICLASS, native, graph_, costs=DEAR_HIGH, **how)
    by_chance = compare_answers(TaskKind.MULTICLASS, native, graph_, **how)
    assert (by_chance["flips"], by_chance["worst_row"]) == (1, 1)
    expected = native @ np.array(DEAR_HIGH), graph_ @ np.array(DEAR_HIGH)
    turned = expected[0].argmin(axis=1) != expected[1].argmin(axis=1)
    assert turned.tolist() == [True, False]
    assert (by_cost["flips"], by_cost["worst_row"]) == (1, 0)


@given(st.floats(0, 1, width=32), st.floats(0, 1))
@example(float(np.float32(0.3)), 0.3)
def test_one_row_is_decided_as_many_are(probability: float, threshold: float) -> None:
    promised = replace(contract(), threshold=threshold)
    one = one_decider(promised)
    assert one is not None
    scores = np.array([probability], np.float32)
    assert one(scores.item()) == bool(decider(promised)(scores)[0])


def test_only_a_binary_model_decides_one_row_by_itself() -> None:
    assert one_decider(contract(task=TaskKind.REGRESSION)) is None
    assert one_decider(contract(task=TaskKind.MULTICLASS)) is None
