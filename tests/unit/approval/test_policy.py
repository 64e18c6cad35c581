"""The policy approves only where the spec's risk class lets it, and nobody passes for the policy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.adapters.approval_form import read_answer
from lockgate.core.approval_rules import POLICY, needed_on_record
from lockgate.core.ids import Json
from lockgate.core.ledger import Event
from lockgate.core.spec import ApprovalMode, Risk
from lockgate.errors import ConfigError
from lockgate.spec_file import parse_spec
from lockgate.stages.answering import Desk, take
from tests.unit.approval.people import DOSSIER, RELEASE, Waiting, blessed

ROOT = Path(__file__).resolve().parents[3]


def spec(risk: str, **approval: Any) -> Any:
    given = yaml.safe_load((ROOT / "deployments" / "flight-delays.yaml").read_text())
    return parse_spec({**given, "model": {**given["model"], "risk": risk}, "approval": approval})


@pytest.mark.parametrize("risk", [each.value for each in Risk])
def test_gates_alone_may_decide_for_every_risk_but_the_high_one(risk: str) -> None:
    if risk == Risk.HIGH.value:
        with pytest.raises(ConfigError, match="not allowed for a model of risk: high"):
            spec(risk, mode="when_all_pass")
    else:
        assert spec(risk, mode="when_all_pass").approval.mode is ApprovalMode.WHEN_ALL_PASS
    assert spec(risk, mode="human").approval.mode is ApprovalMode.HUMAN


def test_four_eyes_without_people_is_no_spec() -> None:
    with pytest.raises(ConfigError, match="four_eyes asks for people"):
        spec("low", mode="when_all_pass", four_eyes=True)


def test_the_policy_decides_without_a_code_also_where_people_have_tokens(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path)
    question = replace(waiting.question, mode=ApprovalMode.WHEN_ALL_PASS)
    desk = Desk(
        ledger=waiting.ledger,
        clock=waiting.clock,
        spec=waiting.spec,
        blessing=blessed(waiting.spec),
        dossier=DOSSIER,
        identify=waiting.approvers.identify,
    )
    assert take(desk, question, read_answer(question, 0), 0).settled
    (row,) = waiting.rows(Event.APPROVAL_GIVEN)
    assert (row.actor, row.payload["authenticated"]) == (POLICY, False)


def test_a_person_does_not_pass_for_the_policy(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, people=False)
    said = waiting.refused(waiting.give(waiting.answer(approver=POLICY)))
    assert "decides only where the spec says" in said


def test_how_many_must_approve_is_read_from_the_record_and_not_from_the_question_alone(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path, four_eyes=True, started_by="landing")
    fewer: dict[str, Json] = {"needed": 1}
    rows = [
        replace(row, payload={**row.payload, **fewer}) if row.event is Event.APPROVAL_ASKED else row
        for row in waiting.rows()
    ]
    assert needed_on_record(rows, RELEASE) == 2
