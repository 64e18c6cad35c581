"""Stage `approval`: asked and recorded by tasks, awaited by the flow, because Prefect suspends only there."""

from __future__ import annotations

from prefect import task

from lockgate.core.progress import Progress
from lockgate.errors import BadInput
from lockgate.stages.answering import Taken
from lockgate.stages.approving import Answer, Question
from tasks.artifacts import show_question
from tasks.running import stage


@task(**stage(timeout_seconds=300))
def ask_approval(so_far: Progress) -> Question:
    """Write the dossier, put the question on record and tell the approvers."""
    from lockgate.line import ask, line_of

    question = ask(line_of(so_far.model), so_far)
    show_question(question)
    return question


def await_decision(question: Question) -> Progress:
    """Suspend the run until enough people answered; answers already given are read back, each form under its own key.

    Raises:
        BadInput: Too many answers that do not count.
    """
    from lockgate.adapters.approval_form import ATTEMPTS, read_answer

    note = ""
    for attempt in range(ATTEMPTS):
        taken = record_approval(question, read_answer(question, attempt, note), attempt)
        if taken.settled:
            return taken.so_far
        note = taken.note
    raise BadInput(f"{ATTEMPTS} answers settled nothing, the last: {note}; start a new release")


@task(**stage(timeout_seconds=300))
def record_approval(question: Question, answer: Answer, attempt: int) -> Taken:
    """Put an answer on record, if it counts and what was asked is still what would ship."""
    from lockgate.line import decide, line_of

    return decide(line_of(question.so_far.model), question, answer, attempt)
