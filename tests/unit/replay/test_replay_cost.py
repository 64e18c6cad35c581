"""What a policy cost, from the ledger's rows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, TypeAlias

import pytest

from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.core.replay_cost import cost, stage_seconds
from lockgate.core.replay_plan import KILLED
from lockgate.core.rollout.record import PROCESS_GONE
from tests.unit.replay.test_replay_plan import POLICY_DONE

Told: TypeAlias = tuple[float, Event, dict[str, Json]]
BEGAN = datetime(2013, 4, 1, tzinfo=UTC)


def rows(*told: Told, release: str = "toy-0001") -> list[LedgerRow]:
    return [
        LedgerRow(
            model=ModelName("toy"),
            seq=number,
            schema_version=1,
            at=BEGAN + timedelta(seconds=second),
            event=event,
            release=ReleaseId(release),
            actor="",
            payload=payload,
            prev_hash=Digest(""),
            row_hash=Digest(""),
        )
        for number, (second, event, payload) in enumerate(told, 1)
    ]


def evidence(stage: str) -> tuple[Event, dict[str, Json]]:
    return Event.EVIDENCE, {"stage": stage}


RELEASED: tuple[Told, ...] = (
    (0.0, Event.RELEASE_OPENED, {}),
    (1.0, *evidence("ingest_data")),
    (11.0, *evidence("validate_data")),
    (31.0, *evidence("train_model")),
    (32.0, Event.VERDICT, {"stage": "train_model"}),
    (40.0, Event.BLESSING, {}),
    (41.0, Event.TRAFFIC_VERIFIED, {"environment": "staging"}),
    (45.0, Event.APPROVAL_GIVEN, {}),
    (50.0, Event.ROLLOUT_BEGUN, {}),
    (70.0, Event.TRAFFIC_VERIFIED, {"environment": "production"}),
    (71.0, Event.RELEASE_ENDED, {"outcome": "promoted"}),
)


def test_the_time_between_two_rows_of_a_release_was_spent_in_the_stage_of_the_later_one() -> None:
    assert stage_seconds(rows(*RELEASED)) == {
        "ingest_data": 1.0,
        "validate_data": 10.0,
        "train_model": 21.0,
        "register_model": 8.0,
        "deploy_staging": 1.0,
        "approval": 4.0,
        "promote": 26.0,
    }


def test_what_passed_while_a_release_was_killed_or_away_is_nobodys_cost() -> None:
    away: tuple[Told, ...] = (
        (0.0, Event.RELEASE_OPENED, {}),
        (5.0, *evidence("ingest_data")),
        (900.0, Event.RELEASE_RESUMED, {}),
        (902.0, *evidence("validate_data")),
        (5000.0, Event.RELEASE_ENDED, {"outcome": "failed"}),
    )
    assert stage_seconds(rows(*away)) == {"ingest_data": 5.0, "validate_data": 2.0}


@pytest.mark.parametrize("reason", [KILLED, PROCESS_GONE])
def test_what_passed_while_a_rollout_had_lost_its_process_is_nobodys_cost(reason: str) -> None:
    gone: tuple[Told, ...] = (
        *RELEASED[:9],
        (60.0, Event.ROUTING_INTENDED, {}),
        (61.0, Event.ROUTING_VERIFIED, {}),
        (62.0, Event.ROLLOUT_MOVED, {"event": {"kind": "placed"}}),
        (64.0, Event.ROLLOUT_LOOK, {}),
        (9_000.0, Event.ROUTING_INTENDED, {}),
        (9_001.0, Event.ROUTING_VERIFIED, {}),
        (9_002.0, Event.ROLLOUT_ENDED, {"verdict": "inconclusive", "reason": f"{reason}; the routing is another's"}),
        (9_003.0, Event.RELEASE_ENDED, {"outcome": "failed"}),
    )
    assert stage_seconds(rows(*gone))["promote"] == 64.0 - 45.0


def test_what_passed_until_another_process_took_a_rollout_over_is_nobodys_cost() -> None:
    taken_over: tuple[Told, ...] = (
        *RELEASED[:9],
        (64.0, Event.ROLLOUT_LOOK, {}),
        (900.0, Event.ROLLOUT_MOVED, {"event": {"kind": "resumed", "now": 1.0}}),
        (904.0, Event.TRAFFIC_VERIFIED, {"environment": "production"}),
        (905.0, Event.ROLLOUT_ENDED, {"verdict": "promote", "reason": "no worse"}),
    )
    assert stage_seconds(rows(*taken_over))["promote"] == (64.0 - 45.0) + 5.0


def test_a_rollout_that_ended_inconclusive_by_itself_is_counted_whole() -> None:
    waited: tuple[Told, ...] = (
        *RELEASED[:9],
        (230.0, Event.ROLLOUT_ENDED, {"verdict": "inconclusive", "reason": "it took longer than it may"}),
    )
    assert stage_seconds(rows(*waited))["promote"] == 185.0


def test_releases_that_overlap_are_told_apart() -> None:
    one = rows((0.0, Event.RELEASE_OPENED, {}), (9.0, *evidence("train_model")))
    two = rows((4.0, Event.RELEASE_OPENED, {}), (6.0, *evidence("train_model")), release="toy-0002")
    assert stage_seconds(sorted([*one, *two], key=lambda row: row.at)) == {"train_model": 11.0}


def test_fits_approvals_and_people_are_counted() -> None:
    told: Any = cost(POLICY_DONE, rows(*RELEASED), people_each=2)
    assert told["fits"] == 1
    assert told["approvals"] == {"releases": 1, "people_each": 2, "people": 2}
    assert told["total_s"] == 71.0


def test_a_record_without_releases_costs_nothing() -> None:
    told: Any = cost(POLICY_DONE, (), people_each=1)
    assert (told["fits"], told["stages_s"], told["total_s"]) == (0, {}, 0.0)
