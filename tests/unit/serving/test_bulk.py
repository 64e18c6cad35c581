"""A file scored in bulk: the server's answers, in the file's order, whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from lockgate.core.contract import Policy, ProbeRequest, ProbeSet, RangePolicy, RequestPolicy, TaskKind
from lockgate.core.ids import Digest
from lockgate.errors import BadInput
from lockgate.serving.bulk.scoring import BulkOptions, BulkResult, _in_order, score_file
from lockgate.serving.model.bundle import VerifiedBundle
from lockgate.serving.model.proving import load
from lockgate.serving.refusals import Reason, RequestRefused
from tests.bundles import COLOURS, SHAPES, contract, graph, probes

ROWS = 500


def bundle(task: TaskKind = TaskKind.BINARY, policy: RequestPolicy | None = None) -> VerifiedBundle:
    promised = contract(task=task)
    return VerifiedBundle(
        digest=Digest("ab" * 32),
        contract=promised if policy is None else replace(promised, requests=policy),
        probes=probes(0.0, task),
        onnx=graph(0.0, task),
    )


def rows(count: int = ROWS) -> pa.Table:
    """Rows of the toy model with a key, an unused column, nulls, strings never seen and numbers out of range."""
    rng = np.random.default_rng(3)
    colours = np.array([*COLOURS, "octarine", None], object)
    amount = rng.uniform(0, 101, count)
    return pa.table(
        {
            "key": pa.array([f"row-{at}" for at in range(count)]),
            "amount": pa.array(amount, mask=rng.random(count) < 0.1),
            "unused": pa.array(range(count), pa.timestamp("ms")),
            "age": pa.array(rng.integers(0, 120, count)),
            "colour": pa.array(colours[rng.integers(0, 5, count)]),
            "shape": pa.array(np.array([*SHAPES], object)[rng.integers(0, 2, count)]),
        }
    )


def scored(
    tmp_path: Path, table: pa.Table | None = None, of: VerifiedBundle | None = None, **options: Any
) -> tuple[pa.Table, BulkResult]:
    """Write the rows, score them, and return what was written."""
    source, target = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pq.write_table(rows() if table is None else table, source, row_group_size=130)
    result = score_file(of or bundle(), source, target, BulkOptions(**options), lambda _rows, _total: None)
    return pq.read_table(target), result


def refusal(tmp_path: Path, table: pa.Table | None = None, of: VerifiedBundle | None = None, **options: Any) -> str:
    with pytest.raises(BadInput) as refused:
        scored(tmp_path, table, of, **options)
    assert [each.name for each in tmp_path.iterdir()] == ["in.parquet"]
    return refused.value.message


@pytest.mark.parametrize("task", TaskKind)
def test_every_row_has_the_servers_answer_in_its_place(tmp_path: Path, task: TaskKind) -> None:
    table = rows()
    out, result = scored(tmp_path, table, bundle(task), piece_rows=64, workers=3)
    inputs = {name: table.column(name).to_pylist() for name in ("amount", "colour", "age", "shape")}
    answer = load(bundle(task)).answer(inputs, ROWS)
    for name, expected in answer.outputs.items():
        if name == "probabilities":
            columns = [out.column(f"probability_{each}").to_numpy() for each in ("low", "mid", "high")]
            np.testing.assert_allclose(np.array(columns).T, expected, rtol=1e-6)
        elif name == "label":
            assert out.column(name).to_pylist() == expected
        else:
            np.testing.assert_allclose(out.column(name).to_numpy(), expected, rtol=1e-6)
    assert result.rows == out.num_rows == ROWS


def test_the_flags_are_the_servers_counted_and_on_request_written(tmp_path: Path) -> None:
    table = rows()
    out, result = scored(tmp_path, table, flags=True, piece_rows=64)
    over = sum(1 for value in table.column("amount").to_pylist() if value is not None and value > 100)
    unknown = table.column("colour").to_pylist().count("octarine")
    assert result.flagged == {"out_of_range": {"amount": over}, "unknown_category": {"colour": unknown}}
    told = out.column("flags").to_pylist()
    for row, (amount, colour) in enumerate(zip(table.column("amount"), table.column("colour"), strict=True)):
        expected = ["out_of_range:amount"] if amount.as_py() is not None and amount.as_py() > 100 else []
        expected += ["unknown_category:colour"] if colour.as_py() == "octarine" else []
        assert sorted(told[row] or []) == expected
    assert [each for each in told if each is not None and not each] == []
    assert "flags" not in scored(tmp_path, table)[0].column_names


def test_kept_columns_come_first_as_they_were(tmp_path: Path) -> None:
    table = rows()
    out, _ = scored(tmp_path, table, keep=("key", "colour", "unused"), piece_rows=64)
    assert out.column_names == ["key", "colour", "unused", "probability", "label"]
    assert out.select(["key", "colour", "unused"]).equals(table.select(["key", "colour", "unused"]))


def test_the_output_names_model_and_bundle(tmp_path: Path) -> None:
    scored(tmp_path)
    facts = pq.read_metadata(tmp_path / "out.parquet").metadata
    assert (facts[b"lockgate.model"], facts[b"lockgate.bundle"]) == (b"toy", b"ab" * 32)


def test_a_limit_scores_the_first_rows_alone(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    pq.write_table(rows(), tmp_path / "in.parquet")
    out = tmp_path / "out.parquet"
    score_file(
        bundle(),
        tmp_path / "in.parquet",
        out,
        BulkOptions(limit=100, piece_rows=64, keep=("key",)),
        lambda rows, total: told.append((rows, total)),
    )
    assert pq.read_table(out).column("key").to_pylist() == [f"row-{at}" for at in range(100)]
    assert told == [(64, 100), (100, 100)]


def test_a_file_without_rows_gives_one_without_rows(tmp_path: Path) -> None:
    out, result = scored(tmp_path, rows(0), flags=True)
    assert (out.num_rows, result.rows) == (0, 0)
    assert out.column_names == ["probability", "label", "flags"]


@pytest.mark.parametrize("kind", ["arrow file", "arrow stream", "csv"])
def test_other_kinds_of_files_have_the_same_answers(tmp_path: Path, kind: str) -> None:
    table = rows()
    expected, _ = scored(tmp_path, table, keep=("key",))
    source = tmp_path / ("in.csv" if kind == "csv" else "in.arrow")
    if kind == "csv":
        pyarrow.csv.write_csv(table, source)
    else:
        make = pa.ipc.new_file if kind == "arrow file" else pa.ipc.new_stream
        with make(source, table.schema) as writer:
            writer.write_table(table, max_chunksize=200)
    target = tmp_path / "other.parquet"
    score_file(bundle(), source, target, BulkOptions(keep=("key",), piece_rows=64), lambda _rows, _total: None)
    assert pq.read_table(target).equals(expected)


def test_dictionaries_numbers_of_any_width_and_all_nulls_are_taken(tmp_path: Path) -> None:
    table = rows()
    narrow = table.set_column(4, "colour", table.column("colour").dictionary_encode())
    narrow = narrow.set_column(3, "age", table.column("age").cast(pa.int8()))
    assert scored(tmp_path, narrow)[0].equals(scored(tmp_path, table)[0])
    without = table.set_column(1, "amount", pa.nulls(ROWS))
    assert scored(tmp_path, without)[1].rows == ROWS


@pytest.mark.parametrize("name", ["age", "shape"])
def test_a_missing_column_is_named_with_what_the_file_has(tmp_path: Path, name: str) -> None:
    message = refusal(tmp_path, rows().drop_columns([name]))
    assert f"no column {name!r}, which model 'toy' takes" in message
    assert "it has key, amount, unused, " in message


def test_a_missing_column_may_be_taken_as_null_where_the_contract_says_so(tmp_path: Path) -> None:
    lenient = bundle(policy=RequestPolicy(missing_column=Policy.FLAG, null=Policy.FLAG))
    _, result = scored(tmp_path, rows().drop_columns(["age"]), lenient, piece_rows=64)
    assert result.flagged["missing_column"] == {"age": ROWS}


@pytest.mark.parametrize(
    ("column", "values", "said"),
    [
        ("age", pa.array(["41"] * ROWS), "column 'age': the model takes numbers here, this is string"),
        ("shape", pa.array([1.0] * ROWS), "column 'shape': the model takes strings here, this is double"),
        ("age", pa.array(range(ROWS), pa.timestamp("ms")), "this is timestamp[ms]"),
        ("age", pa.array([[1]] * ROWS), "this is list<"),
    ],
)
def test_a_column_of_the_wrong_type_is_named_before_a_row_is_scored(
    tmp_path: Path, column: str, values: pa.Array, said: str
) -> None:
    table = rows()
    assert said in refusal(tmp_path, table.set_column(table.column_names.index(column), column, values))


def test_a_refused_row_is_named_by_its_number_in_the_file_and_nothing_is_written(tmp_path: Path) -> None:
    table = rows()
    ages = table.column("age").to_pylist()
    ages[321] = None
    message = refusal(tmp_path, table.set_column(3, "age", pa.array(ages)), piece_rows=64)
    assert "column 'age', row 321: null" in message
    assert "nothing was written" in message


def test_a_policy_that_refuses_refuses_in_bulk_too(tmp_path: Path) -> None:
    strict = bundle(policy=RequestPolicy(out_of_range=RangePolicy.REFUSE))
    own = tuple(each for each in strict.probes.requests if each.name != "out-of-range-amount")
    strict = replace(strict, probes=replace(strict.probes, requests=own))
    assert "column 'amount', row" in refusal(tmp_path, of=strict)


def squares() -> VerifiedBundle:
    """A model whose value is the square of the amount."""
    from onnx import TensorProto, helper, numpy_helper

    made = helper.make_graph(
        [
            helper.make_node("Gather", ["numeric", "first"], ["amount"], axis=1),
            helper.make_node("Mul", ["amount", "amount"], ["output"]),
        ],
        "squares",
        [
            helper.make_tensor_value_info("numeric", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("categorical", TensorProto.STRING, ["n", 2]),
        ],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, ["n"])],
        [numpy_helper.from_array(np.array(0, np.int64), "first")],
    )
    onnx = helper.make_model(made, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    row: dict[str, Any] = {"amount": 3, "age": 41, "colour": "red", "shape": "disc"}
    own = ProbeSet(absolute=0, relative=0, requests=(ProbeRequest(name="nine", row=row, output=(9.0,)),))
    return replace(bundle(TaskKind.REGRESSION), onnx=onnx, probes=own)


def test_a_row_without_a_finite_answer_is_named(tmp_path: Path) -> None:
    amounts = pa.array([1e30 if at == 200 else 2.0 for at in range(ROWS)])
    with pytest.raises(RequestRefused, match="row 200: the model has no finite answer") as refused:
        scored(tmp_path, rows().set_column(1, "amount", amounts), squares(), piece_rows=64)
    assert refused.value.reason is Reason.NO_FINITE_ANSWER


def test_what_stood_there_before_a_refusal_still_does(tmp_path: Path) -> None:
    scored(tmp_path)
    before = (tmp_path / "out.parquet").read_bytes()
    with pytest.raises(BadInput):
        scored(tmp_path, rows().set_column(3, "age", pa.nulls(ROWS, pa.int64())), piece_rows=64)
    assert (tmp_path / "out.parquet").read_bytes() == before


def test_what_a_killed_run_left_is_removed_and_what_a_living_one_writes_is_not(tmp_path: Path) -> None:
    left, living, others = (tmp_path / f".{name}.partial" for name in ("out.parquet.999999999", "out.parquet.1", "x.9"))
    for each in (left, living, others):
        each.write_bytes(b"half")
    scored(tmp_path)
    assert sorted(each.name for each in tmp_path.iterdir()) == sorted(
        [living.name, others.name, "in.parquet", "out.parquet"]
    )


def test_a_string_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    broken = pa.array([b"red", b"\xff"] * (ROWS // 2), pa.binary()).view(pa.string())
    assert "is not UTF-8" in refusal(tmp_path, rows().set_column(4, "colour", broken))


@pytest.mark.parametrize("name", ["probability", "label", "flags"])
def test_a_kept_column_with_the_name_of_an_output_is_refused(tmp_path: Path, name: str) -> None:
    table = rows().append_column(name, pa.nulls(ROWS, pa.int64()))
    assert f"column {name!r} cannot be kept" in refusal(tmp_path, table, keep=(name,), flags=True)


def test_a_column_that_is_kept_twice_is_there_once(tmp_path: Path) -> None:
    out, _ = scored(tmp_path, rows(), keep=("key", "key"))
    assert out.column_names[:2] == ["key", "probability"]


def test_columns_that_cannot_be_told_apart_or_are_not_there_are_refused(tmp_path: Path) -> None:
    assert "no column 'kye' to keep" in refusal(tmp_path, keep=("kye",))
    twice = rows().append_column("age", pa.nulls(ROWS, pa.int64()))
    assert "has column 'age' 2 times" in refusal(tmp_path, twice)


def test_files_that_cannot_be_used_are_said_so(tmp_path: Path) -> None:
    def say(source: str, target: str = "out.parquet") -> str:
        with pytest.raises(BadInput) as refused:
            score_file(bundle(), tmp_path / source, tmp_path / target, BulkOptions(), lambda _rows, _total: None)
        return refused.value.message

    for name in ("bad.parquet", "bad.arrow"):
        (tmp_path / name).write_bytes(b"this is no such file, whatever its name says")
        assert "cannot be read" in say(name)
    (tmp_path / "bad.csv").write_text("amount,colour,age,shape\n1,red,forty,disc\n")
    assert "forty" in say("bad.csv")
    (tmp_path / "empty.csv").write_text("")
    assert "cannot be read" in say("empty.csv")
    assert "is not there" in say("none.parquet")
    assert "a file of rows ends in .parquet" in say("rows.xlsx")
    pq.write_table(rows(), tmp_path / "in.parquet")
    assert "there is no folder" in say("in.parquet", "no/out.parquet")
    (tmp_path / "folder").mkdir()
    assert "it is a folder" in say("in.parquet", "folder")
    assert "is the input itself" in say("in.parquet", "in.parquet")
    (tmp_path / "link.parquet").symlink_to("in.parquet")
    assert "is the input itself" in say("in.parquet", "link.parquet")


def test_what_is_no_ordinary_file_or_of_another_kind_is_not_replaced_by_answers(tmp_path: Path) -> None:
    pq.write_table(rows(), tmp_path / "in.parquet")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "round.parquet").symlink_to("round.parquet")
    for name, said in {
        "pipe": "no ordinary file",
        "out.csv": "answers are Parquet",
        "out.feather": "answers are Parquet",
        "round.parquet": "name another file",
        f"{'x' * 300}.parquet": "File name too long",
        f"{'x' * 240}.parquet": "its name is too long",
    }.items():
        with pytest.raises(BadInput, match=said):
            score_file(bundle(), tmp_path / "in.parquet", tmp_path / name, BulkOptions(), lambda _rows, _total: None)
    assert (tmp_path / "pipe").is_fifo()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["in.parquet", "pipe", "round.parquet"]


def test_answers_go_where_a_link_leads_and_the_link_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.parquet").symlink_to("elsewhere/march.parquet")
    out, result = scored(tmp_path)
    assert (len(out), result.rows) == (ROWS, ROWS)
    assert (tmp_path / "out.parquet").is_symlink()
    assert [each.name for each in (tmp_path / "elsewhere").iterdir()] == ["march.parquet"]


def test_a_damaged_page_is_said_to_be_the_files_fault(tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(rows(), source, compression="snappy", use_dictionary=False)
    data = bytearray(source.read_bytes())
    data[40:4000] = bytes(3960)
    source.write_bytes(data)
    with pytest.raises(BadInput, match=r"in\.parquet cannot be read"):
        score_file(bundle(), source, tmp_path / "out.parquet", BulkOptions(), lambda _rows, _total: None)
    assert not (tmp_path / "out.parquet").exists()


def test_pieces_on_the_way_are_bounded_however_slow_the_scoring_is() -> None:
    taken, go = [], threading.Event()
    batch = pa.record_batch({"x": [1]})

    def pieces() -> Iterator[pa.RecordBatch]:
        for at in range(50):
            taken.append(at)
            if len(taken) == 4:  # one a worker, and two that wait
                go.set()
            yield batch

    def score(piece: pa.RecordBatch, first: int) -> tuple[Any, Any]:
        assert go.wait(60)
        return (first, piece), ()

    most = 0
    for got, (answer, _) in enumerate(_in_order(pieces(), score, 2, Path("x"))):
        most = max(most, len(taken) - got)
        assert answer == (got, batch)
    assert most <= 4


def test_an_error_of_one_piece_ends_the_run_without_scoring_the_rest() -> None:
    scored_pieces = []

    def score(_piece: pa.RecordBatch, first: int) -> tuple[Any, Any]:
        scored_pieces.append(first)
        if first == 1:
            raise ValueError("a defect")
        return first, ()

    with pytest.raises(ValueError, match="a defect"):
        list(_in_order(iter([pa.record_batch({"x": [1]})] * 50), score, 1, Path("x")))
    assert len(scored_pieces) < 6
