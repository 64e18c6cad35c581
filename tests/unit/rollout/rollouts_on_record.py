"""Rollouts on record, as the controller writes them, with the release that allows them; and ways to doctor a record."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache

from lockgate.core.blessing import Blessing, Subjects
from lockgate.core.ids import Digest, Json, ModelName, to_json
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.spec import GuardrailsSection, ModelSection, PlanSection, ReleaseSpec, RolloutSection, StepSection
from lockgate.core.spec_sections.rollout import RolloutStrategy
from tests.fakes import FakeClock, FakeLedger
from tests.record import small_spec
from tests.unit.rollout.world import MODEL, R2, A, B, Production

SMALL = RolloutSection(
    strategy=RolloutStrategy.CANARY,
    steps=(StepSection(set_weight=0.2, bake_s=10.0), StepSection(set_weight=0.5, bake_s=15.0)),
    guardrails=GuardrailsSection(latency=None),
    plan=PlanSection(margin=0.1, looks=(0.5, 1.0)),
    look_s=5.0,
    max_duration_s=200.0,
)
"""Two steps, and a plan with two looks that forty new entities a second soon reach."""


def spec_of(section: RolloutSection) -> ReleaseSpec:
    return replace(small_spec(), model=ModelSection(name=ModelName(MODEL), description="a toy"), rollout=section)


def allowed(section: RolloutSection, **how: object) -> Production:
    """Return a production whose next release is opened, blessed and approved."""
    clock, spec = FakeClock(), spec_of(section)
    production = Production(section=section, clock=clock, ledger=FakeLedger(clock), **how)  # type: ignore[arg-type]  # its fields
    blessing = Blessing(
        subjects=Subjects(release=R2, bundle=B, spec=spec.digest, data=A, champion=A, code=A), reports={}
    )
    rows: tuple[tuple[Event, Json], ...] = (
        (Event.RELEASE_OPENED, {"spec": spec.digest, "resolved_spec": to_json(spec), "run": "r", "reason": "new data"}),
        (Event.BLESSING, to_json(blessing)),
        (Event.APPROVAL_GIVEN, {"approver": "ada", "blessing": blessing.digest}),
    )
    for event, payload in rows:
        assert isinstance(payload, Mapping)
        production.ledger.append(MODEL, event, payload, release=R2)
    return production


def run(production: Production) -> Production:
    production.begin()
    controller = production.controller()
    controller.take_over()
    controller.run(lambda _: False)
    return production


def rows_of(production: Production) -> tuple[LedgerRow, ...]:
    return production.ledger.rows(MODEL)


@cache
def promoted() -> tuple[LedgerRow, ...]:
    """Return the record of a rollout that was paused, resumed and promoted."""
    production = allowed(SMALL)
    began = production.clock.now().timestamp()
    wishes = {3: "pause", 6: "resume"}

    def on_second(now: float) -> None:
        what = wishes.pop(round(now - began), None)
        if what is not None:
            production.wish(what)

    production.on_second = on_second
    return rows_of(run(production))


@cache
def rolled_back() -> tuple[LedgerRow, ...]:
    return rows_of(run(allowed(SMALL, fails={CHALLENGER: 0.3})))


def leaves(value: Json, path: tuple[str | int, ...] = ()) -> Iterator[tuple[tuple[str | int, ...], Json]]:
    """Yield every number, truth and word of some JSON, with where it is."""
    if isinstance(value, Mapping):
        for key, each in value.items():
            yield from leaves(each, (*path, key))
    elif isinstance(value, Sequence) and not isinstance(value, str):
        for index, each in enumerate(value):
            yield from leaves(each, (*path, index))
    else:
        yield path, value


def doctored(value: Json, path: Sequence[str | int], change: Callable[[Json], Json]) -> Json:
    """Return some JSON with one leaf changed."""
    if not path:
        return change(value)
    head, rest = path[0], path[1:]
    if isinstance(value, Mapping):
        return {key: doctored(each, rest, change) if key == head else each for key, each in value.items()}
    assert isinstance(value, Sequence)
    return [doctored(each, rest, change) if index == head else each for index, each in enumerate(value)]


def forged(value: Json) -> Json:
    """Return another value of the same kind, far enough away to matter."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1000 if abs(value) > 1e6 else value + 1 if isinstance(value, int) else value * 1.5 + 0.01
    if isinstance(value, str):
        others = {
            "promote": "continue",
            "continue": "promote",
            "clear": "harm",
            "harm": "clear",
            "inconclusive": "promote",
        }
        return others.get(value, Digest("e" * 64) if len(value) == 64 else f"{value}x")
    return 1.0


def with_payload(rows: Sequence[LedgerRow], seq: int, payload: Json) -> tuple[LedgerRow, ...]:
    assert isinstance(payload, Mapping)
    return tuple(replace(row, payload=payload) if row.seq == seq else row for row in rows)
