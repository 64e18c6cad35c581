"""The order of rows: by Gray ranks of their bits, a permutation whatever the rows hold, read back or refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lockgate.core.row_order import BITS, BLOCK_ROWS, RowOrder, parse
from lockgate.errors import IntegrityError

TWO = RowOrder([(1, 5.0), (0, 2.0)])


def test_neighbours_differ_in_one_split_only() -> None:
    # bits (x1 < 5, x0 < 2): 10, 01, 11, 00, and as Gray code 00, 01, 11, 10
    numbers = np.array([[3, 1], [1, 9], [1, 1], [3, 9]], np.float32)
    assert TWO.of(numbers).tolist() == [3, 1, 2, 0]


def test_a_null_is_above_every_threshold_and_like_rows_keep_their_order() -> None:
    numbers = np.array([[1, 1], [np.nan, np.nan], [3, 9], [np.nan, 1]], np.float32)
    assert TWO.of(numbers).tolist() == [1, 2, 0, 3]


@given(numbers=arrays(np.float32, st.tuples(st.integers(0, 300), st.just(3)), elements=st.floats(width=32)))
def test_it_is_a_permutation_whatever_the_rows_hold(numbers: np.ndarray) -> None:
    order = RowOrder([(at % 3, float(at)) for at in range(BITS)]).of(numbers)
    assert sorted(order.tolist()) == list(range(len(numbers)))


def test_rows_beyond_one_block_are_ordered_with_the_others() -> None:
    numbers = np.random.default_rng(0).uniform(0, 10, (2 * BLOCK_ROWS + 5, 2)).astype(np.float32)
    ranks = [(x1 < 5, (x0 < 2) != (x1 < 5)) for x0, x1 in numbers[TWO.of(numbers)].tolist()]
    assert ranks == sorted(ranks)


def test_an_order_is_read_back_from_its_text() -> None:
    given_order = RowOrder([(2, 0.1), (0, float("-inf")), (1, 3.0)])
    assert parse(given_order.text(), 3).splits == given_order.splits


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "7",
        "[7]",
        "[[0]]",
        '[["0", 1.0]]',
        "[[0, null]]",
        "[[0.5, 1.0]]",
        "[[true, 1.0]]",
        "[[0, NaN]]",
        "[[3, 1.0]]",
        "[[-1, 1.0]]",
        "[[0, 1.0, 2.0]]",
        str([[0, 1.0]] * (BITS + 1)),
        "[[0, 1" + "0" * 400 + "]]",
    ],
)
def test_what_is_no_order_of_the_matrix_is_refused(text: str) -> None:
    with pytest.raises(IntegrityError, match=r"lockgate\.row_order"):
        parse(text, 3)
