"""Every bound that a spec moved is named, with what it was; the gates' own are not."""

from __future__ import annotations

import pytest

from lockgate.core.gates.champion import Design
from lockgate.core.gates.champion import Thresholds as ChampionThresholds
from lockgate.core.gates.leakage import Thresholds as LeakageThresholds
from lockgate.core.gates.overrides import overrides
from lockgate.core.gates.registry import GATES
from lockgate.core.gates.reproducibility import Refit
from lockgate.core.gates.reproducibility import Thresholds as ReproducibilityThresholds
from lockgate.core.gates.schema import AcceptedChange, ChangeKind
from lockgate.core.gates.schema import Thresholds as SchemaThresholds


def test_gates_that_keep_their_own_bounds_are_not_named() -> None:
    assert overrides(GATES, {}) == ()
    assert overrides(GATES, {gate.name: gate.thresholds() for gate in GATES}) == ()


@pytest.mark.parametrize(
    ("gate", "thresholds", "told"),
    [
        ("champion", ChampionThresholds(margin=1e9), "gates.champion.margin is 1e+09 (by itself null)"),
        (
            "champion",
            ChampionThresholds(design=Design.SUPERIORITY),
            "gates.champion.design is superiority (by itself non_inferiority)",
        ),
        (
            "leakage",
            LeakageThresholds(known_strong=("a", "b")),
            "gates.leakage.known_strong is a, b (by itself empty)",
        ),
        (
            "reproducibility",
            ReproducibilityThresholds(refit=Refit.NEVER),
            "gates.reproducibility.refit is never (by itself always)",
        ),
        (
            "schema",
            SchemaThresholds(accept=(AcceptedChange(column="city", kind=ChangeKind.CATEGORIES),)),
            "gates.schema.accept is city categories (by itself empty)",
        ),
    ],
)
def test_a_bound_that_was_moved_is_named_with_what_it_was(gate: str, thresholds: object, told: str) -> None:
    assert overrides(GATES, {gate: thresholds}) == (told,)
