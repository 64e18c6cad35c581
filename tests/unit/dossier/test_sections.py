"""Every section of the dossier: shown when measured, silent when not, and never broken by what it reads."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.adapters.dossier_blocks import Figure, Section, Table
from lockgate.adapters.dossier_sections.comparisons import comparisons
from lockgate.adapters.dossier_sections.contributions import contributions
from lockgate.adapters.dossier_sections.drift import drift
from lockgate.adapters.dossier_sections.errors import errors
from lockgate.adapters.dossier_sections.fairness import fairness
from lockgate.adapters.dossier_sections.folds import folds
from lockgate.adapters.dossier_sections.load import load
from lockgate.adapters.dossier_sections.replay import replay
from lockgate.adapters.dossier_sections.reproducing import reproducing
from lockgate.adapters.dossier_sections.robustness import robustness
from lockgate.adapters.dossier_sections.skew import skew
from lockgate.adapters.dossier_sections.slice_search import slice_search
from lockgate.adapters.dossier_sections.staleness import staleness
from lockgate.core.ids import Json
from tests.unit.dossier.scene import MEASURED, SECTIONS

BUILDERS: Mapping[str, tuple[Callable[[Any], Section], Json]] = {
    "comparisons": (lambda given: comparisons(given, champion=True), SECTIONS["tests"]),
    "contributions": (contributions, SECTIONS["contributions"]),
    "drift": (lambda given: drift(given, champion=True), MEASURED["drift"]),
    "errors": (errors, SECTIONS["errors"]),
    "fairness": (fairness, MEASURED["fairness"]),
    "folds": (folds, SECTIONS["folds"]),
    "load": (load, MEASURED["stress"]),
    "replay": (replay, MEASURED["staging"]),
    "reproducing": (reproducing, MEASURED["reproducibility"]),
    "robustness": (robustness, MEASURED["robustness"]),
    "skew": (lambda given: skew(given, champion=True), MEASURED["skew"]),
    "slice_search": (slice_search, SECTIONS["slice_search"]),
    "staleness": (staleness, SECTIONS["staleness"]),
}
JUNK: tuple[Any, ...] = (None, "x", [], {}, -1, True, 1e308, float("nan"), [None, 3, "x", {}], {"a": 1}, "a\x00b")
ANY_JSON: Any = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
by_section = pytest.mark.parametrize("name", list(BUILDERS))


def whole(section: Section) -> None:
    """Check what the template relies on."""
    assert section.lead
    assert all(isinstance(line, str) and line for line in section.lead)
    for block in section.blocks:
        if isinstance(block, Table):
            assert all(len(row) == len(block.columns) for row in block.rows)
            assert all(isinstance(cell, str) for row in block.rows for cell in row)
        if isinstance(block, Figure):
            assert 'role="img"' in block.svg
            assert "<title" in block.svg
            assert "nan" not in block.svg.lower().split("<path")[-1][:40]


def paths(given: Json, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the place of everything within; of lists the first two items, which stand for the others."""
    if at:
        yield at
    if isinstance(given, Mapping):
        for key, inner in given.items():
            yield from paths(inner, (*at, key))
    elif isinstance(given, Sequence) and not isinstance(given, str):
        for place, inner in enumerate(given[:2]):
            yield from paths(inner, (*at, place))


def spoiled(given: Json, at: tuple[Any, ...], junk: Any) -> Json:
    """Return a copy with something else in one place."""
    found: Any = copy.deepcopy(given)
    holder = found
    for step in at[:-1]:
        holder = holder[step]
    holder[at[-1]] = junk
    return found  # type: ignore[no-any-return]  # JSON, as it was


@by_section
def test_what_was_measured_is_shown(name: str) -> None:
    build, measured = BUILDERS[name]
    section = build(measured)
    whole(section)
    assert section.measured
    assert section.blocks


@by_section
def test_what_was_not_measured_is_said_to_be_so(name: str) -> None:
    build, _ = BUILDERS[name]
    for nothing in (None, {}, [], "x", 3):
        section = build(nothing)
        assert not section.measured
        assert section.lead[0].startswith("Not measured: ")
        assert section.blocks == ()


@by_section
@given(ANY_JSON)
@settings(max_examples=40, deadline=None)
def test_no_form_of_measurements_breaks_a_section(name: str, odd: Any) -> None:
    whole(BUILDERS[name][0](odd))


def _spoil(name: str, every: int) -> None:
    build, measured = BUILDERS[name]
    for number, at in enumerate(paths(measured)):
        if number % every == 0:
            whole(build(spoiled(measured, at, JUNK[number // every % len(JUNK)])))


@by_section
def test_one_thing_of_another_form_breaks_no_section(name: str) -> None:
    _spoil(name, every=13)


@pytest.mark.soak
@by_section
def test_anything_of_another_form_breaks_no_section(name: str) -> None:
    _spoil(name, every=1)


def test_equal_measurements_give_equal_drawings() -> None:
    assert drift(MEASURED["drift"], champion=True) == drift(MEASURED["drift"], champion=True)


def test_without_a_champion_nothing_is_compared_with_one() -> None:
    sections = (
        drift(MEASURED["drift"], champion=False),
        comparisons(SECTIONS["tests"], champion=False),
        skew(MEASURED["skew"], champion=False),
    )
    assert not any(each.measured for each in sections)


def test_a_few_replayed_requests_are_said_to_say_little() -> None:
    few = {"replay": {"asked": 5, "agreement_fraction": 0.6, "slices": [], "unanswered": 0}}
    assert any("say little" in line for line in replay(few).lead)


def test_a_slice_whose_name_is_markup_stays_text() -> None:
    evil = spoiled(SECTIONS["slice_search"], ("findings", 0, "slice"), "<script>alert(1)</script>")
    drawn = [block.svg for block in slice_search(evil).blocks if isinstance(block, Figure)]
    assert drawn
    assert "<script" not in drawn[0]
