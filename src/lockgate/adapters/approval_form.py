"""The approval form in the Prefect UI: a typed run input, and the pause that waits for it.

`suspend_flow_run` ends the process and runs the flow again from the top when it is resumed. Three traps of Prefect
3.8 shape what is here (each is held by a test):

* After a Retry, Prefect asks again under the same key, and a second answer under it conflicts for ever. So every
  attempt has its own key, and an answer that is already stored is read back instead of asked for.
* `with_initial_data(field=...)` drops that field's constraints; only `description` is passed.
* A form that pydantic refuses fails the run. So the form holds types only, and who may answer is checked by us.
"""

from __future__ import annotations

from typing import Any, Literal

from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.input.actions import read_flow_run_input
from pydantic import Field, ValidationError, create_model

from lockgate.core.spec import ApprovalMode
from lockgate.errors import BadInput
from lockgate.stages.approving import POLICY, Answer, Question, refuse_answer

_ATTEMPTS = 20  # ours: a person who misses this often should start a new release


def await_answer(question: Question) -> Answer:
    """Return the approver's answer; suspends the flow run until there is one.

    Raises:
        BadInput: Too many answers that do not count.
    """
    if question.mode is ApprovalMode.WHEN_ALL_PASS:
        return Answer(
            decision="approve", approver=POLICY, reason="every required gate passed", checklist=question.checklist
        )
    note = ""
    for attempt in range(_ATTEMPTS):
        try:
            answer = _one_answer(question, f"approval-{attempt}", note)
            refuse_answer(question, answer)
        except BadInput as refused:
            note = refused.message
            continue
        return answer
    raise BadInput(f"{_ATTEMPTS} answers did not count, the last because {note}; start a new release")


def _one_answer(question: Question, key: str, note: str) -> Answer:
    form = form_of(question, note)
    # Prefect keeps the answer of a suspended run under this name; pinned with the version of Prefect.
    stored: Any = read_flow_run_input(f"suspended-{key}-response")
    if stored is not None:
        try:
            return _answer(question, form(**stored))
        except ValidationError as wrong:
            raise BadInput(f"the form's answer is not of its type: {wrong.errors()[0]['msg']}") from wrong
    return _answer(question, suspend_flow_run(wait_for_input=form, key=f"{key}", timeout=int(question.timeout_s)))


def form_of(question: Question, note: str = "") -> type[RunInput]:
    """Return the form: decision, approver, reason, and a tick for each item of the checklist."""
    approvers: Any = Literal[question.approvers] if question.approvers else str
    fields: dict[str, Any] = {
        "decision": (
            Literal["approve", "reject"],
            Field(description="approve promotes it now; reject keeps what serves"),
        ),
        "approver": (approvers, Field(description="your name; it goes on record")),
        "reason": (str, Field(default="", description="why; it goes on record, and the next one starts from it")),
    }
    for number, item in enumerate(question.checklist):
        fields[f"check_{number + 1}"] = (bool, Field(default=False, title=item, description="approving confirms this"))
    form = create_model("Approval", __base__=RunInput, **fields)
    refused = f"> **Your last answer did not count:** {note}\n\n" if note else ""
    described: type[RunInput] = form.with_initial_data(description=refused + question.text)
    return described


def _answer(question: Question, form: Any) -> Answer:  # noqa: ANN401 - the form's class is made at run time
    confirmed = tuple(
        item for number, item in enumerate(question.checklist) if getattr(form, f"check_{number + 1}", False)
    )
    return Answer(decision=form.decision, approver=form.approver, reason=form.reason, checklist=confirmed)
