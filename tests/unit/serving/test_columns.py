"""The two ways of a request into the graph's tensors, and what each policy does with what does not fit."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lockgate.core.contract import ColumnType, InputColumn, ModelContract, Policy, RangePolicy, RequestPolicy
from lockgate.core.ids import Digest
from lockgate.serving.model.column_values import MatrixColumns
from lockgate.serving.model.columns import CodedStrings, Columns, Encoded, Flag, InputEncoder
from lockgate.serving.model.dataplane import Answer, ServedModel
from lockgate.serving.model.number_bounds import NumberBounds
from lockgate.serving.model.row import EncodedRow, RowPacking
from lockgate.serving.refusals import Reason, RequestRefused
from tests.bundles import contract, golden, graph
from tests.graphs import coded_contract, coded_graph

ROW: dict[str, Any] = {"amount": [12.5], "colour": ["red"], "age": [41], "shape": ["disc"]}
LENIENT = RequestPolicy(
    out_of_range=RangePolicy.CLIP,
    null=Policy.FLAG,
    missing_column=Policy.FLAG,
    extra_column=Policy.FLAG,
)
STRICT = RequestPolicy(out_of_range=RangePolicy.REFUSE, unknown_category=Policy.REFUSE)
POLICIES = (RequestPolicy(), LENIENT, STRICT)
TASK = contract().task
FORMS = ((contract(), graph(0.0, TASK)), (coded_contract(), coded_graph()))


def served(base: ModelContract, onnx: bytes, policy: RequestPolicy = RequestPolicy()) -> ServedModel:  # noqa: B008 - frozen
    return ServedModel(Digest("ab" * 32), replace(base, requests=policy), onnx)


MODELS = [served(base, onnx, policy) for base, onnx in FORMS for policy in POLICIES]


def one_by_one(model: ServedModel, columns: Columns) -> Answer | RequestRefused:
    try:
        return model.answer(columns, 10)
    except RequestRefused as refused:
        return refused


def as_a_row(model: ServedModel, columns: Columns) -> Answer | RequestRefused:
    try:
        row = model.encoder.encode_row(columns)
        found = one_by_one(model, columns) if row is None else model.answer_rows([row])[0]
    except RequestRefused as refused:
        return refused
    assert isinstance(found, Answer | RequestRefused)
    return found


NUMBERS = st.one_of(
    st.none(), st.floats(), st.integers(-(10**40), 10**40), st.sampled_from([0, 100, 100.00001, 3.5e38, 10**400])
)
STRINGS = st.one_of(st.none(), st.sampled_from(["red", "blue", "cube", "__missing__", "", "nan"]), st.text(max_size=3))
ANYTHING = st.one_of(NUMBERS, STRINGS, st.booleans(), st.just([1]), st.just({}))


@settings(max_examples=300)
@given(
    st.sampled_from(MODELS),
    st.one_of(
        st.fixed_dictionaries({"amount": NUMBERS, "colour": STRINGS, "age": NUMBERS, "shape": STRINGS}),
        st.dictionaries(st.sampled_from(["amount", "colour", "age", "shape", "extra"]), ANYTHING),
    ),
)
@example(MODELS[0], {"amount": 10**400, "colour": "red", "age": 1, "shape": "disc"})
@example(MODELS[3], {"amount": 1, "colour": "red", "age": float("nan"), "shape": "disc"})
def test_both_ways_answer_and_refuse_alike(model: ServedModel, row: dict[str, Any]) -> None:
    columns = {name: [value] for name, value in row.items()}
    one, other = one_by_one(model, columns), as_a_row(model, columns)
    if isinstance(one, Answer):
        assert isinstance(other, Answer), other
        assert set(one.flags) == set(other.flags)
        np.testing.assert_allclose(one.outputs["probability"], other.outputs["probability"], rtol=1e-6)
    else:
        assert isinstance(other, RequestRefused)
        assert one.reason is other.reason


@settings(max_examples=200)
@given(
    st.sampled_from(MODELS),
    st.lists(
        st.fixed_dictionaries({"amount": NUMBERS, "colour": STRINGS, "age": NUMBERS, "shape": STRINGS}),
        min_size=2,
        max_size=4,
    ),
)
def test_a_row_is_answered_alone_as_it_is_with_others(model: ServedModel, requests: list[dict[str, Any]]) -> None:
    rows = [model.encoder.encode_row({name: [value] for name, value in row.items()}) for row in requests]
    known = [row for row in rows if row is not None]
    together = model.answer_rows(known) if known else []
    for row, one in zip(known, together, strict=True):
        (alone,) = model.answer_rows([row])
        if isinstance(one, Answer):
            assert isinstance(alone, Answer), alone
            assert (alone.outputs["label"], alone.flags) == (one.outputs["label"], one.flags)
            np.testing.assert_allclose(alone.outputs["probability"], one.outputs["probability"], rtol=1e-6)
        else:
            assert isinstance(alone, RequestRefused)
            assert (alone.reason, alone.message) == (one.reason, one.message)  # type: ignore[union-attr]


@pytest.mark.parametrize(("base", "onnx"), FORMS)
def test_both_forms_of_a_graph_answer_the_golden_numbers(base: ModelContract, onnx: bytes) -> None:
    rows = [ROW, {**ROW, "colour": [None]}, {**ROW, "shape": ["never seen"]}, {**ROW, "amount": [None]}]
    for row in rows:
        answer = served(base, onnx).answer(row, 1)
        expected = golden({name: values[0] for name, values in row.items()})
        np.testing.assert_allclose(answer.outputs["probability"], expected, rtol=1e-5)


def test_a_number_out_of_range_is_flagged_clipped_or_refused_by_the_policy() -> None:
    base, onnx = FORMS[0]
    too_old = {**ROW, "age": [130]}
    flagged, clipped = (served(base, onnx, policy).answer(too_old, 1) for policy in POLICIES[:2])
    assert flagged.flags == (Flag("out_of_range", "age", (0,)),)
    assert clipped.flags == (Flag("clipped", "age", (0,)),)
    np.testing.assert_allclose(
        clipped.outputs["probability"],
        golden({"amount": 12.5, "colour": "red", "age": 120, "shape": "disc"}),
        rtol=1e-5,
    )
    with pytest.raises(
        RequestRefused, match="column 'age', row 0: 130 is outside the trained range 0 to 120"
    ) as refused:
        served(base, onnx, STRICT).answer(too_old, 1)
    assert refused.value.reason is Reason.OUT_OF_RANGE


def test_clipping_one_request_leaves_those_it_shares_a_run_with_alone() -> None:
    model = served(*FORMS[0], LENIENT)
    rows = [model.encoder.encode_row({**ROW, "age": [age]}) for age in (130, 41, 120)]
    clipped, plain, bound = model.answer_rows([row for row in rows if row is not None])
    assert isinstance(clipped, Answer)
    assert isinstance(plain, Answer)
    assert isinstance(bound, Answer)
    assert (clipped.flags, plain.flags, bound.flags) == ((Flag("clipped", "age", (0,)),), (), ())
    np.testing.assert_array_equal(clipped.outputs["probability"], bound.outputs["probability"])
    np.testing.assert_allclose(plain.outputs["probability"], golden({name: v[0] for name, v in ROW.items()}), rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "flag"),
    [
        ({"age": [None]}, Flag("null", "age", (0,))),
        ({"age": None}, Flag("missing_column", "age", (0,))),
        ({"more": [1]}, Flag("extra_column", "more", (0,))),
    ],
)
def test_what_the_default_refuses_a_lenient_contract_answers_and_flags(change: dict[str, Any], flag: Flag) -> None:
    columns = {name: values for name, values in {**ROW, **change}.items() if values is not None}
    for base, onnx in FORMS:
        with pytest.raises(RequestRefused, match=flag.column):
            served(base, onnx).answer(columns, 1)
        assert served(base, onnx, LENIENT).answer(columns, 1).flags == (flag,)


def test_an_unknown_category_is_refused_where_the_contract_says_so() -> None:
    for base, onnx in FORMS:
        with pytest.raises(
            RequestRefused, match="column 'colour', row 0: 'mauve' is none of the 3 categories"
        ) as refused:
            served(base, onnx, STRICT).answer({**ROW, "colour": ["mauve"]}, 1)
        assert refused.value.reason is Reason.UNKNOWN_CATEGORY


@pytest.mark.parametrize(("base", "onnx"), FORMS)
def test_arrays_and_coded_strings_answer_as_lists_do(base: ModelContract, onnx: bytes) -> None:
    model = served(base, onnx)
    lists = {
        "amount": [12.5, None, 101.0],
        "colour": ["red", None, "mauve"],
        "age": [41, 18, 30],
        "shape": ["disc", "disc", "cube"],
    }
    arrays = {
        "amount": np.array([12.5, np.nan, 101.0]),
        "colour": CodedStrings(np.array([1, -1, 0], np.int32), ("mauve", "red")),
        "age": np.array([41, 18, 30], np.int16),
        "shape": CodedStrings(np.array([0, 0, 1], np.int32), ("disc", "cube")),
    }
    one, other = model.answer(lists, 3), model.answer(arrays, 3)
    np.testing.assert_array_equal(one.outputs["probability"], other.outputs["probability"])
    assert (
        set(one.flags)
        == set(other.flags)
        == {
            Flag("out_of_range", "amount", (2,)),
            Flag("unknown_category", "colour", (2,)),
        }
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colour": np.array([1.0])}, "column 'colour': expected a string a row, got float64"),
        ({"age": CodedStrings(np.array([0], np.int32), ("41",))}, "column 'age': expected a number a row, got strings"),
        ({"age": np.array(["41"])}, "column 'age': expected a number a row, got <U2"),
        ({"age": np.array([True])}, "column 'age': expected a number a row, got bool"),
        ({"amount": np.array([1e39])}, "column 'amount', row 0: the number is too large for float32"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused_by_name(change: dict[str, Any], said: str) -> None:
    for base, onnx in FORMS:
        with pytest.raises(RequestRefused) as refused:
            served(base, onnx).answer({**ROW, **change}, 1)
        assert refused.value.message == said


def numeric_encoder(policy: RequestPolicy) -> InputEncoder:
    base = contract()
    numbers = tuple(column for column in base.inputs if column.name in base.graph.numeric_columns)
    only = replace(base.graph, string_columns=(), string_input=None)
    return InputEncoder(replace(base, inputs=numbers, graph=only, entity=None, requests=policy))


def encoded(encoder: InputEncoder, columns: Columns) -> Encoded | RequestRefused:
    try:
        return encoder.encode(columns, 10)
    except RequestRefused as refused:
        return refused


@given(
    st.sampled_from(POLICIES),
    st.lists(st.tuples(*[st.one_of(st.floats(), st.integers(-1, 200).map(float))] * 2), max_size=12),
    st.sampled_from([np.float32, np.float64, np.int64]),
    st.booleans(),
)
@example(LENIENT, [(1e9, 1.0)], np.float32, False)
def test_a_matrix_is_encoded_as_its_columns_are_and_left_as_it_came(
    policy: RequestPolicy, rows: list[tuple[float, float]], dtype: type[Any], turned: bool
) -> None:
    encoder = numeric_encoder(policy)
    with np.errstate(all="ignore"):
        matrix = np.array(rows, np.float64).reshape(-1, 2).astype(dtype)
    matrix.flags.writeable = False  # what a request's body is
    before = matrix.tobytes()
    names = encoder.names[::-1] if turned else encoder.names
    whole = encoded(encoder, MatrixColumns(names, matrix))
    apart = encoded(encoder, {name: np.array(matrix[:, at]) for at, name in enumerate(names)})
    if isinstance(apart, RequestRefused):
        assert isinstance(whole, RequestRefused)
        assert whole.message == apart.message
    else:
        assert isinstance(whole, Encoded)
        assert (whole.rows, whole.flags) == (apart.rows, apart.flags)
        np.testing.assert_array_equal(whole.numbers, apart.numbers)
    assert matrix.tobytes() == before


@pytest.mark.parametrize("rows", [63, 64, 100, 128, 200])
def test_the_bounds_of_many_rows_are_those_of_each_row(rows: int) -> None:
    bounds = InputEncoder(contract()).bounds
    chance = np.random.default_rng(rows)
    numbers = chance.uniform(0, 90, (rows, 2)).astype(np.float32)
    assert bounds.check(numbers) is None
    for share in (1, 20):
        at = chance.integers(0, rows, share), chance.integers(0, 2, share)
        numbers[at] = chance.choice(np.array([np.nan, np.inf, -1e30, 1e30, 5.0], np.float32), share)
        found = bounds.check(numbers)
        one_by_one = [bounds.check(numbers[row : row + 1]) for row in range(rows)]
        wanted = np.array([[False, False] if each is None else each[0].tolist() for each in one_by_one])
        assert np.array_equal(np.zeros((rows, 2), np.bool_) if found is None else found, wanted)


def test_a_dictionary_that_came_before_is_encoded_and_flagged_as_the_first_time() -> None:
    encoder = InputEncoder(coded_contract())
    (name, *_) = [each.column.name for each in encoder._coded]
    known = tuple(sorted(encoder._coded[0].categories or ()))
    row = {column: values * 3 for column, values in ROW.items()}
    for values, flagged in ((known, False), ((*known, "unheard of"), True)):
        codes = np.array([0, -1, len(values) - 1], np.int32)
        found = [encoder.encode({**row, name: CodedStrings(codes, values)}, 10) for _ in range(3)]
        assert all(np.array_equal(each.numbers, found[0].numbers, equal_nan=True) for each in found)
        assert all(each.flags == found[0].flags for each in found)
        assert ("unknown_category" in {flag.flag for flag in found[0].flags}) == flagged


@given(
    rows=st.lists(
        st.lists(
            st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats()), min_size=5, max_size=5
        ),
        min_size=1,
        max_size=70,
    )
)
def test_rows_are_packed_as_numpy_rounds_them(rows: list[list[Any]]) -> None:
    packed = RowPacking(5).matrix([EncodedRow(row, ()) for row in rows])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(packed, np.array(rows, np.float32))
    packed[0, 0] = 7.0  # what a policy clips is changed in place
    assert packed[0, 0] == 7.0


def test_an_integer_that_no_double_holds_is_an_overflow() -> None:
    with pytest.raises(OverflowError):
        RowPacking(2).matrix([EncodedRow([1.0, 10**400], ())])


def test_rows_without_numbers_make_a_matrix_without_columns() -> None:
    assert RowPacking(0).matrix([EncodedRow((), ("red",)), EncodedRow((), ("blue",))]).shape == (2, 0)


BOUNDED = NumberBounds(
    [
        InputColumn(name="free", type=ColumnType.NUMBER),
        InputColumn(name="kept", type=ColumnType.NUMBER, minimum=-0.1, maximum=0.3),
    ],
    1,
    RequestPolicy(),
)


@given(row=st.tuples(st.floats(), st.floats(-0.4, 0.4) | st.none(), st.integers(0, 5) | st.just(float("nan"))))
@example(row=(0.0, 0.3, 0))
@example(row=(3.5e38, 0.0, 0))
def test_a_row_that_surely_keeps_to_its_bounds_does(row: tuple[float | None, ...]) -> None:
    if BOUNDED.keeps(row):
        assert BOUNDED.check(RowPacking(3).matrix([EncodedRow(row, ())])) is None
