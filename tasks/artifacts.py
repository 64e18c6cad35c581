"""What a person sees on a task's page: the gates as a table, the stage in words, links to more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prefect.artifacts import create_link_artifact, create_markdown_artifact, create_table_artifact

from lockgate.core.ids import Json
from lockgate.stages.approving import Question

if TYPE_CHECKING:
    from lockgate.core.rollout.record import RolloutRecord
    from lockgate.line import Done


def show_stage(done: Done) -> None:
    """Publish one stage: a page of markdown, a searchable table of its checks, and its links."""
    from lockgate.line import illustrated, line_of

    key = done.so_far.release.lower() or done.so_far.model
    name = done.stage.value.replace("_", "-")
    page = illustrated(line_of(done.so_far.model), done.stage, done.so_far, done.page)
    create_markdown_artifact(page, key=f"{key}-{name}", description=done.sentence)
    if done.rows:
        rows: list[dict[str, Any]] = [dict(row) for row in done.rows]
        create_table_artifact(rows, key=f"{key}-{name}-checks", description="Every check of this stage")
    for label, link in done.links.items():
        create_link_artifact(link, link_text=label, key=f"{key}-{name}-{_slug(label)}", description=label)


def show_question(question: Question) -> None:
    """Publish what the approver is asked."""
    create_markdown_artifact(
        question.text, key=f"{question.so_far.release}-approval", description="Waits for a decision"
    )


def show_rollout(done: Mapping[str, str]) -> None:
    """Publish one switch of traffic."""
    lines = [f"# {done['sentence']}", "", *(f"- **{key}**: `{value}`" for key, value in done.items())]
    create_markdown_artifact("\n".join(lines), key=f"{done['model']}-traffic", description=done["sentence"])


def show_rollout_page(record: RolloutRecord, shown: Mapping[str, Json]) -> None:
    """Publish where a rollout stands: the page with its plots, a new version of it under one key."""
    from lockgate.line.several_words import several_page

    release = record.rollout.release
    create_markdown_artifact(several_page(record, shown), key=f"{release}-rollout", description=record.rollout.reason)


def _slug(label: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in label.lower()).strip("-")
