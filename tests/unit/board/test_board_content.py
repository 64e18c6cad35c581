"""What the board says of a chain, of days on disk, and of what is down, broken or not there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from lockgate.adapters.board_view import headline, needs
from lockgate.bootstrap import Services
from lockgate.core.board import BoardContent, Lamp, Light, ModelBoard
from lockgate.core.ids import Json, ModelName, ReleaseId, to_json
from lockgate.core.ledger import Event
from lockgate.core.rollout.record import begun_payload, moved_payload
from lockgate.core.rollout.state import Began, Phase, Rollout
from lockgate.core.rollout.steps import course_of
from lockgate.core.spec_sections.rollout import RolloutSection, RolloutStrategy
from lockgate.core.traffic import Kind
from lockgate.errors import TransientError
from lockgate.line import board_lamps
from lockgate.line.board import BoardReader
from lockgate.line.board_lamps import Told, agreement, read_metrics
from tests.fakes import FakeClock
from tests.unit.board.scene import FIRST_DAY, A, B, history, release, summary, write_day

FLIGHTS = ModelName("flights")


def flights(content: BoardContent) -> ModelBoard:
    return next(model for model in content.models if model.model == FLIGHTS)


def lamp(model: ModelBoard, name: str) -> Lamp:
    return next(each for each in model.lamps if each.name == name)


def test_it_says_what_serves_since_when_and_why(content: BoardContent) -> None:
    serves = flights(content).production
    assert serves is not None
    assert (serves.release, serves.bundle, serves.why) == ("flights-0003", B, "a better model")
    assert serves.since.date() == FIRST_DAY + timedelta(days=48)


def test_a_release_that_waits_says_until_when_and_how_to_decide(content: BoardContent) -> None:
    way = flights(content).under_way
    assert way is not None
    assert (way.release, way.waits) == ("flights-0004", True)
    assert "waits for approval until 2013-05-01" in way.says
    assert [command for command, _ in way.commands][:2] == [
        "lockgate approve flights-0004",
        "lockgate reject flights-0004",
    ]


def test_a_rollout_under_way_says_its_step_and_share_and_what_may_be_done(services: Services) -> None:
    history(services, 60)
    spec = release(services, 5, A, B, FIRST_DAY + timedelta(days=61))
    rollout = Rollout.at_start(ReleaseId("flights-0005"), A, B, began=spec.clock.time.timestamp())
    course = course_of(RolloutSection(strategy=RolloutStrategy.CANARY), sd=None)
    spec.open()
    spec.add(Event.ROLLOUT_BEGUN, **begun_payload(course, rollout, salt="s"))
    placed = replace(rollout, phase=Phase.BAKING, share=0.05)
    moved = moved_payload(Began(now=rollout.began), placed)
    spec.ledger.append(FLIGHTS, Event.ROLLOUT_MOVED, moved, release=ReleaseId("flights-0005"))
    way = flights(BoardReader(services).read()).under_way
    assert way is not None
    assert way.release == "flights-0005"
    assert way.share == 0.05
    assert way.says.startswith("step 1 of ")
    assert way.commands[0] == ("lockgate rollout pause flights-0005", "hold it")


def test_releases_and_rollbacks_are_marked(services: Services) -> None:
    history(services, 60)
    writer = release(services, 3, B, A, FIRST_DAY + timedelta(days=50))
    switched: dict[str, Json] = {
        "environment": "production",
        "sequence": 900,
        "from": B,
        "to": A,
        "kind": Kind.ROLLBACK,
    }
    writer.add(Event.TRAFFIC_VERIFIED, **switched)
    writer.add(Event.TRAFFIC_VERIFIED, **{**switched, "environment": "staging"})
    assert [mark.kind for mark in flights(BoardReader(services).read()).marks] == ["promotion", "promotion", "rollback"]


def test_harm_stands_first_and_what_is_well_is_left_out(content: BoardContent) -> None:
    found = flights(content).found
    assert [(each.name, each.light) for each in found] == [
        ("loss", Light.BAD),
        ("truth.coverage", Light.UNKNOWN),
        ("drift:distance", Light.GOOD),
    ]


def test_an_open_alert_and_its_finding_are_told_once(content: BoardContent) -> None:
    assert [alarm.name for alarm in flights(content).alarms] == ["loss"]
    assert [need.name for need in needs(content) if need.name == "loss"] == ["loss"]


def test_everything_bad_says_the_next_command(content: BoardContent) -> None:
    told = needs(content)
    assert told
    assert [need for need in told if not need.next.startswith("lockgate ")] == []
    assert [need.light for need in told] == sorted((need.light for need in told), key=[Light.BAD, Light.WARN].index)


def test_with_the_stack_down_it_says_so_and_shows_the_rest(content: BoardContent) -> None:
    assert {each.name: each.light for each in content.lamps} == {
        "production": Light.BAD, "staging": Light.BAD, "prefect": Light.BAD, "mlflow": Light.BAD, "ledger": Light.GOOD,
    }  # fmt: skip
    assert [need.next for need in needs(content) if need.name == "production, staging, prefect, mlflow"] == [
        "lockgate up"
    ]
    assert flights(content).course is not None


def test_figures_and_rehearsal_come_from_the_record(content: BoardContent) -> None:
    model = flights(content)
    assert model.delivery is not None
    assert model.score is not None
    assert model.drill is not None
    assert (model.delivery.promotions, model.delivery.releases) == (2, 4)
    assert model.score.score == 0.0
    assert model.drill.light is Light.GOOD
    assert model.drill.says == "passed: errors in shadow, restored after 4.2 s, 0 lost"


def test_the_days_of_production_are_there(content: BoardContent) -> None:
    model = flights(content)
    assert model.course is not None
    assert len(model.course.days) == 120
    assert model.course.worst[0][0] == "distance"
    assert model.limits == {"drift": 0.2, "latency_ms": 250.0}


def test_nothing_at_all_is_no_model_and_no_error(services: Services) -> None:
    found = BoardReader(services).read()
    assert found.models == ()
    assert found.light is Light.BAD  # nothing runs


def test_a_model_that_was_never_released_is_well_and_serves_nothing(
    services: Services, with_spec: Callable[[str], None]
) -> None:
    with_spec("flights")
    model = flights(BoardReader(services).read())
    assert (model.production, model.light) == (None, Light.GOOD)


def test_a_champion_that_nobody_watches_is_not_shown_as_well(services: Services) -> None:
    release(services, 1, A, None, FIRST_DAY).whole()
    monitor = lamp(flights(BoardReader(services).read()), "monitor")
    assert (monitor.light, monitor.next) == (Light.UNKNOWN, "lockgate monitor flights")


def test_a_monitor_that_missed_its_schedule_is_bad(services: Services, with_spec: Callable[[str], None]) -> None:
    with_spec("flights")
    path = services.settings.spec_file("flights")
    path.write_text(path.read_text() + 'monitoring: {schedule: "0 * * * *"}\n')
    history(services, 60)
    assert lamp(flights(BoardReader(services).read()), "monitor").light is Light.GOOD
    clock = services.clock
    assert isinstance(clock, FakeClock)
    clock.advance(86_400)
    silent = lamp(flights(BoardReader(services).read()), "monitor")
    assert silent.light is Light.BAD
    assert "said nothing" in silent.says


def test_a_spec_that_cannot_be_read_is_a_warning_and_hides_nothing(services: Services) -> None:
    history(services, 60)
    services.settings.spec_file("flights").write_text("model: [")
    model = flights(BoardReader(services).read())
    assert lamp(model, "spec").light is Light.WARN
    assert model.production is not None


def test_a_broken_row_spoils_one_model_only(services: Services) -> None:
    release(services, 1, A, None, FIRST_DAY).whole()
    services.ledger.append(ModelName("other"), Event.ROLLOUT_BEGUN, {"course": 1}, release=ReleaseId("other-0001"))
    found = BoardReader(services).read()
    other = next(model for model in found.models if model.model == "other")
    assert (lamp(other, "record").light, lamp(other, "record").next) == (Light.BAD, "lockgate verify other")
    assert flights(found).production is not None


class DeadLedger:
    """A ledger whose database does not answer."""

    def models(self) -> tuple[ModelName, ...]:
        raise TransientError("the ledger at db.example does not answer")

    def last_seq(self, model: ModelName) -> int:
        raise TransientError(f"the ledger of {model} does not answer")


def test_a_ledger_that_does_not_answer_is_said_with_every_model_that_has_a_spec(
    services: Services, with_spec: Callable[[str], None]
) -> None:
    with_spec("flights")
    services.ledger = DeadLedger()  # type: ignore[assignment]  # nothing else is asked of it
    found = BoardReader(services).read()
    assert [(each.light, each.says) for each in found.lamps if each.name == "ledger"] == [
        (Light.BAD, "the ledger at db.example does not answer")
    ]
    assert flights(found).light is Light.BAD


def test_a_summary_that_was_cut_short_is_left_out_and_said(services: Services) -> None:
    history(services, 60)
    write_day(services.settings.home, summary("flights", A, FIRST_DAY, 900, 0.0))
    broken = write_day(services.settings.home, summary("flights", A, FIRST_DAY + timedelta(days=1), 900, 0.0))
    broken.write_bytes(broken.read_bytes()[:-40])
    model = flights(BoardReader(services).read())
    assert model.course is not None
    assert len(model.course.days) == 1
    assert broken.name in lamp(model, "days").says


def test_a_reader_sees_what_came_after_its_first_look(services: Services) -> None:
    reader = BoardReader(services)
    assert reader.read().models == ()
    history(services, 60)
    write_day(services.settings.home, summary("flights", A, FIRST_DAY, 900, 0.0))
    first = flights(reader.read()).course
    write_day(services.settings.home, summary("flights", A, FIRST_DAY, 1_800, 0.0))
    second = flights(reader.read()).course
    assert first is not None
    assert second is not None
    assert second.requests[0] == pytest.approx(2 * first.requests[0], abs=1)


def test_the_content_is_json(content: BoardContent) -> None:
    told = json.loads(json.dumps(to_json(content)))
    assert told["models"][0]["served"][0]["release"] == "flights-0003"


def test_a_headline_says_what_is_to_be_done(content: BoardContent) -> None:
    assert headline(content) == "2 things need somebody now"
    well = replace(content, lamps=(Lamp(name="ledger", light=Light.GOOD, says="answers"),), models=())
    assert headline(well) == "No model yet"


# -- what a server says of itself --------------------------------------------------------------------------------------

PAGE = f"""\
# HELP lockgate_arm_weight_asked_ratio Share.
# TYPE lockgate_arm_weight_asked_ratio gauge
lockgate_arm_weight_asked_ratio{{model="flights",arm="champion",digest="{B}"}} 0.9
lockgate_arm_weight_asked_ratio{{model="flights",arm="challenger",digest="{A}"}} 0.1
lockgate_arm_wrong_processes{{model="flights",arm="champion"}} 0.0
lockgate_part_broken_processes{{part="archive"}} 1.0
lockgate_part_broken_processes{{part="prediction_log"}} 0.0
""".encode()


class _Says(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering() -> Iterator[int]:
    with HTTPServer(("127.0.0.1", 0), _Says) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def test_servers_that_answer_are_well_and_one_with_a_broken_part_warns(
    lived: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_lamps, "TIMEOUT_S", 60.0)  # how fast they answer is not what is looked at
    with answering() as port:
        settings = replace(lived.settings, ports=dict.fromkeys(lived.settings.ports, port))
        services = Services(settings)
        services.clock, services.ledger = lived.clock, lived.ledger
        found = BoardReader(services).read()
    assert {each.name: each.light for each in found.lamps} == {
        "production": Light.WARN, "staging": Light.WARN, "prefect": Light.GOOD, "mlflow": Light.GOOD,
        "ledger": Light.GOOD,
    }  # fmt: skip
    assert lamp(flights(found), "server").light is Light.GOOD


def test_what_a_server_says_is_read_off_its_metrics() -> None:
    told, broken = read_metrics(PAGE)
    assert (told.champions, told.wrong, broken) == ({"flights": B}, frozenset(), frozenset({"archive"}))


@pytest.mark.parametrize("page", [b"", b"<html>", b"lockgate_arm_weight_asked_ratio{", b"\xff\xfe"])
def test_a_page_that_is_none_says_nothing(page: bytes) -> None:
    assert read_metrics(page)[0] == Told()


@pytest.mark.parametrize(
    ("told", "changing", "light"),
    [
        (Told(champions={"flights": B}), False, Light.GOOD),
        (Told(champions={"flights": A}), False, Light.BAD),
        (Told(champions={"flights": A}), True, Light.WARN),
        (Told(), False, Light.BAD),
        (Told(champions={"flights": B}, wrong=frozenset({"flights"})), False, Light.BAD),
    ],
)
def test_a_server_that_serves_something_else_than_the_ledger_says_is_bad(
    told: Told, changing: bool, light: Light
) -> None:
    assert agreement(FLIGHTS, B, told, changing=changing)[-1].light is light


def test_of_a_server_that_does_not_answer_nothing_is_said_twice() -> None:
    assert agreement(FLIGHTS, B, None, changing=False) == ()
