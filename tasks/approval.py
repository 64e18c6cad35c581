"""Stage `approval`: asked and recorded by tasks, awaited by the flow, because Prefect suspends only there."""

from __future__ import annotations

from prefect import task

from lockgate.core.progress import Progress
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


def await_decision(question: Question) -> Answer:
    """Suspend the run until somebody answers; an answer already given is read back."""
    from lockgate.adapters.approval_form import await_answer

    return await_answer(question)


@task(**stage(timeout_seconds=300))
def record_approval(question: Question, answer: Answer) -> Progress:
    """Put the answer on record, if what was asked is still what would ship."""
    from lockgate.line import decide, line_of

    return decide(line_of(question.so_far.model), question, answer)
