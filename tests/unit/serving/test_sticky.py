"""The sticky split: who gets which arm, and who moves when weights change."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from lockgate.serving.routing.sticky import (
    BUCKETS,
    CHAMPION,
    SaltedHash,
    Split,
    apportion,
    entity_of_header,
    entity_text,
    split,
)

ENTITIES = [f"customer-{number}" for number in range(100_000)]
NAMES = ("b", "c", "d", "e")


@pytest.fixture(scope="module")
def hashed() -> dict[str, np.ndarray]:
    """Every entity's hash under four salts; made once, it is most of these tests' time."""
    return {
        salt: np.fromiter(map(SaltedHash(salt).of, ENTITIES), np.uint64, len(ENTITIES)) for salt in ("a", "b", "c", "d")
    }


def assignment(made: Split) -> dict[str, str]:
    owners, salted = made.owners(), SaltedHash(made.salt)
    return {entity: owners[salted.bucket(entity)] for entity in ENTITIES[:2000]}


@pytest.mark.parametrize("salt", ["a", "b", "c", "d"])
def test_entities_are_spread_evenly_over_the_buckets(hashed: dict[str, np.ndarray], salt: str) -> None:
    for cells in (2, 100, BUCKETS):
        counts = np.bincount((hashed[salt] % np.uint64(BUCKETS)).astype(np.int64) * cells // BUCKETS, minlength=cells)
        # fixed keys, so one draw: a threshold of 1e-6 over 12 draws fails by bad luck about never
        assert stats.chisquare(counts).pvalue > 1e-6


def test_where_an_entity_goes_under_one_salt_says_nothing_about_another(hashed: dict[str, np.ndarray]) -> None:
    for one, other in itertools.combinations(hashed.values(), 2):
        cells = (one % np.uint64(10)) * np.uint64(10) + other % np.uint64(10)
        assert stats.chisquare(np.bincount(cells.astype(np.int64), minlength=100)).pvalue > 1e-6


def test_the_hash_is_the_same_in_every_process_and_for_ever() -> None:
    # written down: another value would move every entity of every running rollout
    assert SaltedHash("salt").of("customer-1") == 11499989864389638884


def test_the_bucket_of_an_entity_follows_from_its_hash() -> None:
    salted = SaltedHash("salt")
    assert [salted.bucket(each) for each in ENTITIES[:50]] == [salted.of(each) % BUCKETS for each in ENTITIES[:50]]


def test_an_entity_may_be_any_text_even_what_utf_8_has_no_bytes_for() -> None:
    assert 0 <= SaltedHash("\udc80").bucket("\ud800 ü 東") < BUCKETS
    assert SaltedHash("").bucket("") == SaltedHash("").bucket("")


@pytest.mark.parametrize(
    ("value", "key"),
    [
        (33, "33"), (33.0, "33"), ("33", "33"), (-0.0, "0"), (0.5, "0.5"), (2.0**60, str(2**60)), ("33.0", "33.0"),
        (None, None), (math.nan, None), (math.inf, "inf"), ("", ""), ("caf\u00e9", "caf\u00e9"),
    ],
)  # fmt: skip
def test_a_columns_value_is_the_same_key_in_whatever_form_it_is_sent(value: object, key: str | None) -> None:
    assert entity_text(value) == key


@pytest.mark.parametrize(
    ("sent", "key"),
    [(b"33", "33"), (b" a ", "a"), (b"", None), (b" ", None), (b"caf\xc3\xa9", "caf\u00e9"), (b"caf\xe9", "caf\u00e9")],
)
def test_a_header_is_the_key_that_the_same_value_in_a_column_is(sent: bytes, key: str | None) -> None:
    assert entity_of_header(sent) == key


def test_requests_without_an_entity_are_spread_evenly() -> None:
    salted = SaltedHash("salt")
    counts = Counter(salted.bucket(None) * 10 // BUCKETS for _ in range(20_000))
    assert stats.chisquare([counts[cell] for cell in range(10)]).pvalue > 1e-6


@pytest.mark.parametrize(
    ("weights", "buckets"),
    [
        ({}, {}),
        ({"b": 0.0}, {"b": 0}),
        ({"b": 0.07, "c": 0.29}, {"b": 700, "c": 2900}),  # neither product is whole in doubles
        ({"b": 1.0}, {"b": 10_000}),
        ({"b": 1 / 3, "c": 1 / 3, "d": 1 / 3}, {"b": 3334, "c": 3333, "d": 3333}),
        ({"b": 0.00014}, {"b": 1}),
        ({"b": 0.00016}, {"b": 2}),
    ],
)
def test_weights_become_whole_basis_points(weights: dict[str, float], buckets: dict[str, int]) -> None:
    assert apportion(weights) == buckets


def test_a_tenth_of_the_weight_is_a_tenth_of_the_entities() -> None:
    seen = Counter(assignment(split("salt", {"b": 0.1}, None)).values())
    assert seen["b"] == pytest.approx(200, abs=60)  # 4.5 standard deviations of 2,000 entities


weights_of_arms = st.lists(st.integers(0, BUCKETS), min_size=1, max_size=len(NAMES)).map(
    lambda parts: {name: part / max(sum(parts), BUCKETS) for name, part in zip(NAMES, parts, strict=False)}
)


@settings(max_examples=60, deadline=None)
@given(st.lists(weights_of_arms, min_size=2, max_size=5))
def test_whatever_the_weights_do_nobody_leaves_an_arm_that_does_not_shrink(steps: list[dict[str, float]]) -> None:
    made = split("salt", steps[0], None)
    for weights in steps[1:]:
        before, made = made, split("salt", weights, made)
        wanted, had = apportion(weights), before.shares()
        assert made.fits("salt", weights)
        assert sum(made.shares().values()) == BUCKETS
        moved = Counter(pair for pair in zip(before.owners(), made.owners(), strict=True) if pair[0] != pair[1])
        for (source, target), count in moved.items():
            assert count
            if source != CHAMPION:
                assert wanted.get(source, 0) < had[source]  # only who shrinks gives away
            if target != CHAMPION:
                assert wanted[target] > had.get(target, 0)  # only who grows takes
        out = {name: sum(count for pair, count in moved.items() if name in pair) for name in wanted}
        assert all(out[name] == abs(wanted[name] - had.get(name, 0)) for name in wanted)  # and no more than it must


def test_growing_weights_take_entities_from_the_champion_alone() -> None:
    one = split("salt", {"b": 0.1, "c": 0.2, "d": 0.05}, None)
    two = split("salt", {"b": 0.3, "c": 0.2, "d": 0.25}, one)
    before, after = assignment(one), assignment(two)
    assert {before[each] for each in before if before[each] != after[each]} == {CHAMPION}


def test_one_or_two_challengers_have_the_same_entities_whatever_came_before() -> None:
    wanted = {"b": 0.3, "c": 0.4}
    long_way = split("salt", {"b": 0.05}, None)
    for weights in ({"b": 0.6, "c": 0.1}, {"b": 0.1, "c": 0.9}):
        long_way = split("salt", weights, long_way)
    assert split("salt", wanted, long_way) == split("salt", wanted, None)


def test_an_arm_that_left_gives_its_entities_back_and_a_new_salt_starts_anew() -> None:
    one = split("salt", {"b": 0.3, "c": 0.3}, None)
    assert split("salt", {"c": 0.3}, one).shares() == {CHAMPION: 7000, "c": 3000}
    assert split("other", {"c": 0.3}, one) == split("other", {"c": 0.3}, None)


@pytest.mark.parametrize(
    ("salt", "runs"),
    [
        ("other", ((CHAMPION, 9000), ("b", 1000))),
        ("salt", ((CHAMPION, 9000),)),
        ("salt", ((CHAMPION, 9001), ("b", 999))),
        ("salt", ((CHAMPION, 9000), ("c", 1000))),
        ("salt", ((CHAMPION, 9000), ("b", 2000), ("b", -1000))),
    ],
)
def test_a_split_that_is_not_of_these_weights_does_not_fit(salt: str, runs: tuple[tuple[str, int], ...]) -> None:
    assert not Split(salt, runs).fits("salt", {"b": 0.1})
    assert Split("salt", ((CHAMPION, 9000), ("b", 1000))).fits("salt", {"b": 0.1})
