"""The rules of a desired routing."""

import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from lockgate.core.ids import Digest
from lockgate.errors import LedgerConflict
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow, already_served

A, B, C = (Digest(letter * 64) for letter in "abc")
DESIRED = Desired(sequence=5, champion=A, previous=B, since=datetime(2026, 1, 2, tzinfo=UTC))


def challenger(**what: Any) -> DesiredChallenger:
    return DesiredChallenger(**{"name": "b", "bundle": B, "weight": 0.1, **what})


def shadow(**what: Any) -> DesiredShadow:
    return DesiredShadow(**{"name": "s", "bundle": C, "share": 1.0, **what})


def test_a_full_routing_keeps_the_rules() -> None:
    full = replace(
        DESIRED,
        challengers=(challenger(tags=("canary", "team.x")), challenger(name="c", weight=0.9)),
        shadows=(shadow(), shadow(name="s2", share=0.0)),
        salt="autumn",
        timeout_s=0.05,
    )
    assert full.problem() is None
    assert full.needed == (A, B, C)
    assert replace(DESIRED, challengers=(challenger(bundle=C),)).bundles == (A, C, B)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sequence": 0}, r"sequence is 0; the ledger counts from 1"),
        ({"sequence": 2**53 + 1}, r"sequence is 9007199254740993; .* at most to 9007199254740992"),
        ({"champion": "A" * 64}, r"champion is 'A+', not a bundle digest"),
        ({"previous": ""}, r"previous is '', not a bundle digest"),
        ({"challengers": (challenger(bundle="x"),)}, r"challengers\[0\].bundle is 'x', not a bundle digest"),
        ({"shadows": (shadow(bundle="x"),)}, r"shadows\[0\].bundle is 'x', not a bundle digest"),
        ({"challengers": (challenger(weight=-0.1),)}, r"challengers\[0\].weight is -0.1; a share of the traffic"),
        ({"challengers": (challenger(weight=1.1),)}, r"challengers\[0\].weight is 1.1"),
        ({"challengers": (challenger(weight=math.nan),)}, r"challengers\[0\].weight is nan"),
        ({"challengers": (challenger(weight=math.inf),)}, r"challengers\[0\].weight is inf"),
        ({"challengers": (challenger(weight=1e-5),)}, r"weight is 1e-05; the smallest share is 0.0001"),
        ({"shadows": (shadow(share=2),)}, r"shadows\[0\].share is 2"),
        (
            {"challengers": (challenger(weight=0.6), challenger(name="c", weight=0.5))},
            r"challengers: their weights sum to 1.1; at most 1",
        ),
        ({"challengers": (challenger(name="champion"),)}, r"'champion' stands for an arm of every model"),
        ({"shadows": (shadow(name="previous"),)}, r"shadows\[0\].name: 'previous' stands for"),
        ({"challengers": (challenger(), challenger())}, r"challengers\[1\].name: 'b' is taken already"),
        ({"challengers": (challenger(),), "shadows": (shadow(name="b"),)}, r"shadows\[0\].name: 'b' is taken already"),
        ({"challengers": (challenger(tags=("t", "t")),)}, r"challengers\[0\].tags: 't' is taken already"),
        ({"challengers": (challenger(tags=("b",)),)}, r"challengers\[0\].tags: 'b' is taken already"),
        ({"challengers": (challenger(name=""),)}, r"challengers\[0\].name: '' is no name"),
        ({"challengers": (challenger(name="b\r\nx: y"),)}, r"is no name"),
        ({"challengers": (challenger(tags=("ü",)),)}, r"'ü' is no name"),
        ({"challengers": tuple(challenger(name=f"b{i}", weight=0) for i in range(8))}, r"challengers has 8 entries"),
        ({"challengers": (challenger(tags=tuple("abcdefghi")),)}, r"challengers\[0\].tags has 9 entries; at most 8"),
        ({"shadows": tuple(shadow(name=f"s{i}") for i in range(5))}, r"shadows has 5 entries; at most 4"),
        ({"salt": ""}, r"salt has 0 characters; 1 to 128"),
        ({"lease_s": 0.0}, r"lease_s is 0; 0.1 to 3600"),
        ({"lease_s": math.nan}, r"lease_s is nan"),
        ({"timeout_s": 0.0}, r"timeout_ms is 0; 1 to 60000"),
        ({"timeout_s": 61.0}, r"timeout_ms is 61000; 1 to 60000"),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_is_named_with_what_is_allowed(changes: dict[str, Any], problem: str) -> None:
    found = replace(DESIRED, **changes).problem()
    assert found is not None
    assert re.search(problem, found), found


def test_ten_tenths_are_one_though_doubles_say_otherwise() -> None:
    weights = (0.1, 0.2, 0.3, 0.4)
    challengers = tuple(challenger(name=f"b{weight}", weight=weight) for weight in weights)
    assert replace(DESIRED, challengers=challengers).problem() is None


def test_a_lower_sequence_is_refused() -> None:
    with pytest.raises(LedgerConflict, match="sequence 4 is behind 5"):
        already_served("toy", DESIRED, replace(DESIRED, sequence=4))


def test_the_same_request_again_changes_nothing_whenever_it_comes() -> None:
    assert already_served("toy", DESIRED.settled(None), replace(DESIRED, since=datetime.now(UTC)))


@pytest.mark.parametrize(
    "changes",
    [
        {"champion": B},
        {"previous": None},
        {"challengers": (challenger(),)},
        {"shadows": (shadow(),)},
        {"salt": "other"},
        {"lease_s": 20.0},
        {"timeout_s": 1.0},
        {"constant": {"value": 0.0}},
    ],
)
def test_the_same_sequence_with_other_content_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(LedgerConflict, match="already stands for"):
        already_served("toy", DESIRED, replace(DESIRED, **changes))


def test_a_conflict_is_told_in_words_that_are_no_programs() -> None:
    served = replace(DESIRED, previous=None, challengers=(challenger(weight=0.25),))
    with pytest.raises(LedgerConflict) as conflict:
        already_served("toy", served, replace(served, salt="other"))
    assert f"champion {A}, previous none, challengers b 0.25; a change needs" in conflict.value.message


def test_a_higher_sequence_is_a_change_even_with_the_same_content() -> None:
    assert not already_served("toy", DESIRED, replace(DESIRED, sequence=6))


def test_a_split_follows_from_the_one_before_unless_the_salt_changed() -> None:
    before = replace(DESIRED, challengers=(challenger(weight=0.3), challenger(name="c"))).settled(None)
    without_b = replace(DESIRED, sequence=6, challengers=(challenger(name="c"),))
    assert without_b.settled(before).split != without_b.settled(None).split
    salted = replace(without_b, salt="other")
    assert salted.settled(before).split == salted.settled(None).split


def test_a_split_that_comes_with_the_routing_is_kept_if_it_is_one_of_it() -> None:
    settled = replace(DESIRED, challengers=(challenger(),)).settled(None)
    assert settled.settled(DESIRED) is settled
    assert replace(settled, challengers=(challenger(weight=0.2),)).settled(None).split != settled.split
