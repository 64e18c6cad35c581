"""A rollout and a drill as they are watched: what each row of the ledger says to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from lockgate.cli.rollout_lines import rollout_lines
from lockgate.core.drills import DrillResult, DrillVerdict, Fault, Mode, Times
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow, next_row
from lockgate.core.online.guardrails import Decision, Finding, Look, RolloutVerdict, State
from lockgate.core.online.means import Effect
from lockgate.core.online.plan_look import PlanLook
from lockgate.core.rollout.machine import Began, End, PersonAsked, Placed, Rollout, Unplaced, advance
from lockgate.core.rollout.record import begun_payload, ended_payload, look_payload, moved_payload
from lockgate.core.rollout.steps import Course, course_of
from lockgate.core.spec_sections.rollout import RolloutSection, RolloutStrategy, StepSection

RELEASE = ReleaseId("toy-0002")
CHALLENGER, CHAMPION = Digest("c" * 64), Digest("a" * 64)
COURSE: Course = course_of(
    RolloutSection(
        strategy=RolloutStrategy.CANARY,
        steps=(
            StepSection(shadow=1.0, bake_s=8.0),
            StepSection(set_weight=0.1, bake_s=12.0),
            StepSection(pause="a look at EWR"),
        ),
    ),
    sd=None,
)
START = Rollout.at_start(RELEASE, CHALLENGER, CHAMPION, began=0.0)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A look as a controller judged it."""

    look: Look
    decision: Decision
    plan: PlanLook | None = None
    effect: Effect | None = None
    next_share: float | None = None
    counted: Mapping[str, Json] | None = None


def row(event: Event, payload: Mapping[str, Json]) -> LedgerRow:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    return next_row(model=ModelName("toy"), at=at, event=event, release=RELEASE, actor="x", payload=payload, last=None)


def text(event: Event, payload: Mapping[str, Json]) -> str:
    return "\n".join(words for words, _ in rollout_lines(row(event, payload)))


def finding(guardrail: str, state: State) -> Finding:
    return Finding(guardrail=guardrail, state=state, observed=1.0, threshold=4.0, reason=f"{guardrail} said so")


def look(*findings: Finding, verdict: RolloutVerdict = RolloutVerdict.CONTINUE, plan: PlanLook | None = None) -> Judged:
    return Judged(
        look=Look(share=0.1, challenger_requests=27, champion_requests=250, findings=findings),
        decision=Decision(verdict=verdict, reason="because of it", next="all traffic goes to the champion"),
        plan=plan,
    )


def test_the_beginning_says_the_steps_the_guardrails_and_what_harm_can_be_seen() -> None:
    forecast: dict[str, Json] = {
        "sentence": "a challenger that fails 0.1 is rolled back with chance 0.97",
        "steps": [{"least_harm": None}, {"least_harm": 0.12}, {"least_harm": 0.034}],
        "promoted_fraction": 0.9234,
        "refusals": [],
        "warnings": ["the last look comes late"],
    }
    said = text(Event.ROLLOUT_BEGUN, begun_payload(COURSE, START, salt="s") | {"forecast": forecast})
    assert "challenger cccccccccccc beside aaaaaaaaaaaa" in said
    assert "step 1: 100 % of requests copied to it for 8 s" in said
    assert "step 2: 10 % of entities for 12 s" in said
    assert "step 3: a pause (a look at EWR)" in said
    assert "by the plan: a challenger that fails 0.1 is rolled back with chance 0.97" in said
    assert "by the end of step 2 12 %, step 3 3.4 %" in said
    assert "an equal challenger is promoted with chance 0.92" in said
    assert "the last look comes late" in said
    assert "guardrail errors: false alarm at most 0.025, stops at an e-value of 40" in said


def test_a_beginning_without_a_forecast_is_told_as_well() -> None:
    said = text(Event.ROLLOUT_BEGUN, begun_payload(COURSE, START, salt="s"))
    assert "by the plan" not in said
    assert "step 1" in said


def test_a_verified_routing_says_who_gets_what() -> None:
    told: dict[str, Json] = {"environment": "production", "sequence": 9, "weight": 0.1, "shadow": 0.0}
    assert text(Event.ROUTING_VERIFIED, told) == "  ▸ production gives the challenger 10 % of entities, verified"
    shadow = text(Event.ROUTING_VERIFIED, told | {"weight": 0.0, "shadow": 1.0})
    assert shadow.endswith("no entity, 100 % of requests copied, verified")
    back = text(Event.ROUTING_VERIFIED, told | {"weight": 0, "answers": 5})
    assert back.endswith("no entity, read back from 5 live answers")


def test_a_look_says_who_was_asked_which_guardrails_are_clear_and_how_far_the_plan_is() -> None:
    plan = PlanLook(verdict=RolloutVerdict.CONTINUE, z=1.0, bound=2.9, fraction=0.4, reason="z 1 of 2.9 at 40 %")
    judged = look(finding("errors", State.CLEAR), finding("latency", State.NO_DATA), plan=plan)
    lines = rollout_lines(row(Event.ROLLOUT_LOOK, look_payload(START, judged, 12.0)))
    ((words, style),) = lines
    asked = "    look  1, step 1, share 10 %; 27 challenger and 250 champion requests; "
    assert words == asked + "no data: latency; clear: errors; plan: z 1 of 2.9 at 40 %"
    assert not style


def test_a_look_that_sees_harm_says_what_was_seen_and_what_is_decided() -> None:
    judged = look(finding("latency", State.CLEAR), finding("errors", State.HARM), verdict=RolloutVerdict.ROLL_BACK)
    lines = rollout_lines(row(Event.ROLLOUT_LOOK, look_payload(START, judged, 12.0)))
    assert [style for _, style in lines] == ["bold red"] * 3
    assert "harm: errors; clear: latency" in lines[0][0]
    assert lines[1][0].strip() == "harm seen by errors: errors said so"
    assert lines[2][0].strip() == "decided: roll_back; because of it; all traffic goes to the champion"


def test_a_move_is_told_where_something_unplanned_happened_and_not_where_routing_and_looks_tell_it() -> None:
    placing, _ = advance(COURSE, START, Began(now=1.0))
    assert text(Event.ROLLOUT_MOVED, moved_payload(Began(now=1.0), placing)) == ""
    baking, _ = advance(COURSE, placing, Placed(now=2.0))
    assert text(Event.ROLLOUT_MOVED, moved_payload(Placed(now=2.0), baking)) == ""
    paused = PersonAsked(now=3.0, what="pause", by="ada", reason="lunch")
    held, _ = advance(COURSE, baking, paused)
    assert "paused by ada: lunch" in text(Event.ROLLOUT_MOVED, moved_payload(paused, held))
    unplaced = Unplaced(now=2.0, reason="the server refused it")
    back, _ = advance(COURSE, placing, unplaced)
    assert "the server refused it" in text(Event.ROLLOUT_MOVED, moved_payload(unplaced, back))


def test_a_wish_and_the_end_are_told_with_their_reasons() -> None:
    wish: dict[str, Json] = {"what": "abort", "by": "ada", "reason": "complaints"}
    assert text(Event.ROLLOUT_ASKED, wish).strip() == "abort asked by ada: complaints"
    for verdict, style in (
        (RolloutVerdict.PROMOTE, "green"),
        (RolloutVerdict.ROLL_BACK, "bold red"),
        (RolloutVerdict.INCONCLUSIVE, "yellow"),
    ):
        ended = row(Event.ROLLOUT_ENDED, ended_payload(End(verdict=verdict, reason="errors: seen")))
        assert rollout_lines(ended) == ((f"  rollout ended, {verdict.value}: errors: seen", style),)


def test_a_drill_says_when_each_part_was_over_and_what_was_lost() -> None:
    result = DrillResult(
        drill="toy-drill-0001",
        mode=Mode.PRODUCTION,
        fault=Fault.ERRORS,
        verdict=DrillVerdict.PASSED,
        passed=True,
        times_s=Times(detected=1.2, decided=1.3, switched=1.4, restored=1.6, switch=0.2),
        lost=0,
        asked=120,
        requests_per_s=140.0,
        reason="nothing lost",
        next="nothing",
        run="run-1",
    )
    said = text(Event.DRILL, result.payload())
    assert "seen after 1.2 s, decided after 1.3 s, switched after 1.4 s, champion restored after 1.6 s" in said
    assert "requests lost: 0; the drill itself asked 120 times" in said
    assert "drill passed: nothing lost" in said
    assert rollout_lines(row(Event.DRILL, {"verdict": "failed", "reason": "unseen"}))[-1] == (
        "  drill failed: unseen",
        "bold red",
    )


def test_a_row_of_another_form_is_said_to_be_unreadable_and_one_about_something_else_says_nothing() -> None:
    for event in (Event.ROLLOUT_BEGUN, Event.ROLLOUT_LOOK, Event.ROUTING_VERIFIED, Event.ROLLOUT_ENDED):
        ((words, style),) = rollout_lines(row(event, {"weight": "much"}))
        assert "cannot be read" in words
        assert style == "yellow"
    assert rollout_lines(row(Event.EVIDENCE, {})) == ()
