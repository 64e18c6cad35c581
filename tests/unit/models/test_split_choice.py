"""Which splits rows are ordered by: those at which most rows part, each column's middle one first."""

from lockgate.core.row_order import BITS
from lockgate.models.split_choice import MetSplit, row_order


def chosen(*nodes: MetSplit) -> tuple[tuple[int, float], ...]:
    order = row_order(nodes)
    assert order is not None
    return order.splits


def test_the_column_at_which_most_rows_part_comes_first() -> None:
    rarely_met = MetSplit(0, 1.0, met=10, left=5)
    one_sided = MetSplit(1, 2.0, met=100, left=99)
    telling = MetSplit(2, 3.0, met=100, left=40)
    assert chosen(rarely_met, one_sided, telling) == ((2, 3.0), (0, 1.0), (1, 2.0))


def test_a_column_is_split_in_the_middle_of_its_doubt_and_then_in_quarters() -> None:
    nodes = [MetSplit(0, float(at), met=8, left=4) for at in range(8)]
    assert chosen(*nodes)[:3] == ((0, 3.0), (0, 1.0), (0, 5.0))


def test_there_are_no_more_splits_than_bits() -> None:
    assert len(chosen(*[MetSplit(at, 0.5, met=2, left=1) for at in range(3 * BITS)])) == BITS


def test_splits_that_part_no_rows_make_no_order() -> None:
    assert row_order([]) is None
    assert row_order([MetSplit(0, 1.0, met=10, left=10), MetSplit(1, 1.0, met=0, left=0)]) is None
