"""The approval form in the Prefect UI: a typed run input, and the pause that waits for it.

`suspend_flow_run` ends the process and runs the flow again from the top when it is resumed. Three traps of Prefect
3.8 shape what is here (each is held by a test):

* After a Retry, Prefect asks again under the same key, and a second answer under it conflicts for ever. So every
  attempt has its own key, and an answer that is already stored is read back instead of asked for.
* `with_initial_data(field=...)` drops that field's constraints; only `description` is passed.
* A form that pydantic refuses fails the run. So the form holds types only, and who may answer is checked by us.

Prefect stores whatever a form receives, for whoever reads its database. So no token is ever asked for here: where
approvers have tokens, the form takes a one-time code, which is worth nothing once it was used or its minutes are over.
"""

from __future__ import annotations

from typing import Any, Literal

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.actions import read_flow_run_input
from pydantic import Field, ValidationError, create_model

from lockgate.core.approval_rules import POLICY
from lockgate.core.spec import ApprovalMode
from lockgate.stages.approving import Answer, Question

ATTEMPTS = 20
"""Ours: a person who misses this often should start a new release."""


def read_answer(question: Question, attempt: int, note: str = "") -> Answer:
    """Return the answer to one form; suspends the flow run until there is one, unless it is stored already.

    Args:
        question: What is asked.
        attempt: The number of the form, from 0; each has its own key.
        note: What the form says first, in markdown: why the last answer did not count, or who approved so far.
    """
    if question.mode is ApprovalMode.WHEN_ALL_PASS:
        return Answer(
            decision="approve", approver=POLICY, reason="every required gate passed", checklist=question.checklist
        )
    form, key = form_of(question, note), f"approval-{attempt}"
    # Prefect keeps the answer of a suspended run under this name; pinned with the version of Prefect.
    stored: Any = read_flow_run_input(f"suspended-{key}-response")
    if stored is None:
        return _answer(question, suspend_flow_run(wait_for_input=form, key=key, timeout=int(question.timeout_s)))
    try:
        return _answer(question, form(**stored))
    except ValidationError as wrong:
        why = f"the form's answer is not of its type: {wrong.errors()[0]['msg']}"
        return Answer(decision="", approver="", reason="", unreadable=why)


def form_of(question: Question, note: str = "") -> type[RunInput]:
    """Return the form: decision, who (a name, or a code that proves one), reason, and a tick for each item."""
    approvers: Any = Literal[question.approvers] if question.approvers else str
    command = f"lockgate approve {question.so_far.release} --print-code"
    who: dict[str, Any] = {"approver": (approvers, Field(description="your name; it goes on record"))}
    if question.authenticated:
        who = {"code": (str, Field(description=f"your one-time code, from: {command} (or lockgate reject)"))}
    fields: dict[str, Any] = {
        "decision": (
            Literal["approve", "reject"],
            Field(description="approve promotes it now; reject keeps what serves"),
        ),
        **who,
        "reason": (str, Field(default="", description="why; it goes on record, and the next one starts from it")),
    }
    for number, item in enumerate(question.checklist):
        fields[f"check_{number + 1}"] = (bool, Field(default=False, title=item, description="approving confirms this"))
    form = create_model("Approval", __base__=RunInput, **fields)
    first = f"> {note}\n\n" if note else ""
    described: type[RunInput] = form.with_initial_data(description=first + question.text)
    return described


def _answer(question: Question, form: Any) -> Answer:  # noqa: ANN401 - the form's class is made at run time
    confirmed = tuple(
        item for number, item in enumerate(question.checklist) if getattr(form, f"check_{number + 1}", False)
    )
    return Answer(
        decision=form.decision,
        approver="" if question.authenticated else form.approver,
        reason=form.reason,
        checklist=confirmed,
        code=form.code if question.authenticated else "",
    )
