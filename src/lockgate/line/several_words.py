"""What a person reads of several challengers beside one champion: one row each, and who is ahead."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from lockgate.core.ids import Json
from lockgate.core.rollout.machine import Phase
from lockgate.core.rollout.record import RolloutRecord
from lockgate.line.rollout_words import VERDICTS, plan_words, rollout_page

_HEAD = ("arm", "release", "bundle", "share", "stands", "metric worse by", "why")


def arms_content(records: Sequence[RolloutRecord]) -> Json:
    """Return several rollouts as rows, for a page or a program; the estimate is null before the plan's first look."""
    return [
        {
            "arm": each.course.arm,
            "release": each.rollout.release,
            "bundle": each.rollout.challenger,
            "share": each.rollout.share,
            "stands": stands(each),
            "metric": None if each.course.metric is None else each.course.metric.value,
            "effect": _effect(each),
            "plan": plan_words(each),
            "reason": each.rollout.reason,
        }
        for each in records
    ]


def stands(record: RolloutRecord) -> str:
    """Say in a word or two where one of several stands."""
    rollout = record.rollout
    if rollout.phase is Phase.ENDED and rollout.verdict is not None:
        return VERDICTS[rollout.verdict].partition(",")[0]
    return "passed, waits for the others" if rollout.passed else rollout.phase.value


def arms_text(records: Sequence[RolloutRecord]) -> str:
    """Return several rollouts as a table for a terminal."""
    rows = [_HEAD, *(_cells(each) for each in arms_of(arms_content(records)))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    return "\n".join(
        "  ".join([*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]) for row in rows
    )


def several_page(record: RolloutRecord, shown: Mapping[str, Json]) -> str:
    """Return the page of a rollout; where others are beside it, with all of them as a table."""
    arms = arms_of(shown.get("beside"))
    page = rollout_page(record, shown)
    if not arms:
        return page
    rows = [
        "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in _cells(each)) + " |" for each in arms
    ]
    head = ["| " + " | ".join(_HEAD) + " |", "|---" * len(_HEAD) + "|"]
    return "\n".join([page, "## Beside one champion", "", *head, *rows, ""])


def arms_of(content: Json) -> list[Mapping[str, Json]]:
    """Return the rows that `arms_content` made."""
    if isinstance(content, str) or not isinstance(content, Sequence):
        return []
    return [each for each in content if isinstance(each, Mapping)]


def _effect(record: RolloutRecord) -> float | None:
    value = record.effects[-1].value if record.effects else math.nan
    return None if math.isnan(value) else value


def _cells(row: Mapping[str, Json]) -> tuple[str, ...]:
    effect, share = row["effect"], row["share"]
    return (
        str(row["arm"]),
        str(row["release"]),
        str(row["bundle"])[:12],
        f"{share:.3g}" if isinstance(share, float) else "0",
        str(row["stands"]),
        f"{effect:.3g}" if isinstance(effect, float) else "no look yet",
        str(row["reason"]),
    )
