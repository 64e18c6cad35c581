"""The page and the status of a rollout, at every moment of real ones: what happens now, what next, what may be done."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from lockgate.core.ids import Json
from lockgate.core.rollout.machine import Phase
from lockgate.core.rollout.record import RolloutRecord
from lockgate.core.rollout.routing import CHALLENGER
from lockgate.core.spec import StepSection
from lockgate.line.rollout_words import commands, headline, plan_words, rollout_content, rollout_page, rollout_text
from tests.unit.rollout.world import CANARY, Production

PICTURE = re.compile(r"!\[(.+?)\]\(data:image/png;base64,[A-Za-z0-9+/=]+\)")
SHOWN: dict[str, Json] = {
    "champion": {"requests": 900, "failed_fraction": 0.01, "entities": 700, "entities_failed": 7, "mean_score": 0.31,
                 "latency_ms": {"0.5": 3.0, "0.95": 6.0, "0.99": None}},
    "challenger": {"requests": 220, "failed_fraction": 0.0, "entities": 180, "entities_failed": 0, "mean_score": None,
                   "latency_ms": {"0.5": 3.2, "0.95": 7.0, "0.99": None}},
    "pairs": {
        "pairs": 400,
        "agreement_fraction": 0.975,
        "score_correlation": 0.991,
        "flips_by_slice": [{"column": "carrier", "value": "A|A", "pairs": 50, "flips": 6, "cost": 18.0}],
    },
    "labels": {"coverage_fraction": 0.25},
    "not_counted": {"outside_requests": 12, "lost_requests": 3, "late_latencies": 0},
}  # fmt: skip


def recorded(production: Production) -> RolloutRecord:
    found = production.record()
    assert found is not None
    return found


def begun(**how: object) -> Production:
    production = Production(**how)  # type: ignore[arg-type]  # the fields of the dataclass
    production.begin()
    return production


def at_step(step: int, **how: object) -> RolloutRecord:
    """Return the record of a rollout some turns into one of its steps."""
    production = begun(**how)
    controller = production.controller()
    controller.take_over()
    controller.run(lambda rollout: rollout.step == step and rollout.phase is Phase.BAKING)
    for _ in range(8):
        controller.turn()
        production.sleep(1.0)
    return recorded(production)


@pytest.fixture(scope="module")
def second_step() -> RolloutRecord:
    return at_step(1)


@pytest.fixture(scope="module")
def promoted() -> RolloutRecord:
    production = begun()
    controller = production.controller()
    controller.take_over()
    controller.run(lambda _: False)
    return recorded(production)


@pytest.fixture(scope="module")
def rolled_back() -> RolloutRecord:
    production = begun(fails={CHALLENGER: 0.3})
    controller = production.controller()
    controller.take_over()
    controller.run(lambda _: False)
    return recorded(production)


def test_before_anything_was_looked_at_the_page_says_what_begins_and_what_is_declared() -> None:
    record = recorded(begun())
    page = rollout_page(record, {})
    assert headline(record) == "begins: step 1 of 3, 100 % of requests copied for 20 s"
    assert "No look yet. False alarms together at most 0.05: errors" in page
    assert "no look yet, the first at 20% of the information" in page


def test_in_the_middle_the_page_says_step_guardrails_plan_and_commands(second_step: RolloutRecord) -> None:
    page = rollout_page(second_step, SHOWN)
    assert headline(second_step).startswith("step 2 of 3, 20 % of entities for 30 s: ")
    assert "Next: " in page
    assert "1. ✓ 100 % of requests copied for 20 s" in page
    assert "2. ▶ 20 % of entities for 30 s" in page
    assert "3. · 50 % of entities for 1 min" in page
    for name in ("errors", "contract", "arrivals"):
        assert re.search(rf"^\| {name} \| (✓ clear|\? no data yet) \| e [\d.e+-]+ \| e \d+", page, re.MULTILINE), name
    assert "by now" in page  # what could have been detected
    assert "errors not worse by 0.05" in page
    assert "`lockgate rollout pause toy-0002`" in page
    assert "lockgate rollout abort toy-0002" in page


def test_what_was_counted_for_pages_is_told_by_arm_and_by_slice(second_step: RolloutRecord) -> None:
    page = rollout_page(second_step, SHOWN)
    assert "| champion | 900 | 0.01 | 700 | 7 | 0.31 |" in page
    assert "| challenger | 220 | 0 | 180 | 0 | none |" in page
    assert "400 requests were answered by both: 97.50% decided alike, scores correlate by 0.9910." in page
    assert "carrier=A\\|A (12.0% differ)" in page
    assert "Labels have come for 25.0% of the answers that are due." in page
    assert "Not counted: 3 lost requests." in page
    assert PICTURE.findall(page) == ["evidence of harm", "share", "promotion plan", "latency", "shadow"]


def test_the_page_shows_no_picture_of_what_has_no_data(second_step: RolloutRecord) -> None:
    assert PICTURE.findall(rollout_page(replace(second_step, looked=()), {})) == ["share", "promotion plan"]
    assert "latency" not in PICTURE.findall(rollout_page(second_step, {}))


def test_the_whole_page_stays_small(second_step: RolloutRecord) -> None:
    assert len(rollout_page(second_step, SHOWN)) < 150_000


def test_a_promoted_one_says_so_and_how_to_go_back(promoted: RolloutRecord) -> None:
    assert headline(promoted).startswith("promoted, after ")
    assert commands(promoted) == (("lockgate rollback toy", "put the champion before it back"),)
    assert "looks, promote:" in plan_words(promoted)
    assert "3. ✓ 50 % of entities" in rollout_page(promoted, {})


def test_a_rolled_back_one_says_which_guardrail_and_that_the_champion_serves(rolled_back: RolloutRecord) -> None:
    text = rollout_text(rolled_back)
    assert text.startswith("toy-0002: rolled back, after ")
    assert "errors" in text
    assert "✗ harm" in text
    assert "the champion serves" in text
    page = rollout_page(rolled_back, {})
    assert re.search(r"^\| errors \| ✗ harm \|", page, re.MULTILINE)
    assert "rollout promote" not in page


def test_a_paused_one_names_who_holds_it_and_offers_to_go_on() -> None:
    production = begun()
    controller = production.controller()
    controller.take_over()
    controller.run(lambda rollout: rollout.step == 1 and rollout.phase is Phase.BAKING)
    production.wish("pause")
    waiting = recorded(production)
    assert "asked pause by ada, not answered yet" in rollout_text(waiting)
    controller.turn()
    record = recorded(production)
    assert headline(record) == "held by ada at step 2 of 3, 20 % of entities for 30 s; guardrails go on deciding"
    assert commands(record)[0] == ("lockgate rollout resume toy-0002", "go on")


def test_a_step_that_waits_for_a_person_says_what_is_to_be_looked_at() -> None:
    steps = (CANARY.steps[1], StepSection(pause="read the | slices"), CANARY.steps[2])
    production = begun(section=replace(CANARY, steps=steps))
    controller = production.controller()
    controller.take_over()
    controller.run(lambda rollout: rollout.phase is Phase.PAUSED)
    record = recorded(production)
    assert "a pause: read the | slices" in headline(record)
    assert commands(record)[0][0] == "lockgate rollout resume toy-0002"


def test_promoting_by_hand_is_offered_only_with_every_guardrail_clear(second_step: RolloutRecord) -> None:
    clear = replace(second_step, rollout=replace(second_step.rollout, clear=True))
    not_clear = replace(second_step, rollout=replace(second_step.rollout, clear=False))
    assert any("rollout promote" in command for command, _ in commands(clear))
    assert not any("rollout promote" in command for command, _ in commands(not_clear))


def test_the_content_is_json_and_says_the_same(second_step: RolloutRecord, promoted: RolloutRecord) -> None:
    for record in (second_step, promoted):
        content = json.loads(json.dumps(rollout_content(record)))
        assert content["headline"] == headline(record)
        assert content["phase"] == record.rollout.phase.value
        assert {each["guardrail"] for each in content["findings"]} >= {"errors", "arrivals"}
    assert rollout_content(promoted)["verdict"] == "promote"


def test_a_rollout_of_the_switch_alone_has_words_too() -> None:
    record = recorded(begun())
    bare = replace(record, course=replace(record.course, steps=(), plan=None, metric=None))
    for phase in Phase:
        there = replace(bare, rollout=replace(bare.rollout, phase=phase))
        assert rollout_page(there, {})
        assert rollout_text(there)
