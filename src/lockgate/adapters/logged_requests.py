"""Reads the newest requests back from a server's prediction log (JSON lines, one file a segment)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from lockgate.core.ids import ModelName
from lockgate.core.replay import LoggedRequest

_ROWS_AT_MOST = 64  # a larger request is a batch job, not traffic


def recent_requests(state: Path, model: ModelName, *, at_most: int) -> tuple[LoggedRequest, ...]:
    """Return up to `at_most` of the newest requests that hold their inputs, newest first; none without a log.

    A line that was being written when the server died is left out.

    Args:
        state: The server's state folder.
        model: Whose requests.
        at_most: How many.
    """
    found: list[LoggedRequest] = []
    for segment in sorted((state / "predictions" / model).glob("*.jsonl"), reverse=True):
        for line in reversed(segment.read_bytes().splitlines()):
            found += _request(line)
            if len(found) >= at_most:
                return tuple(found)
    return tuple(found)


def _request(line: bytes) -> Iterator[LoggedRequest]:
    try:
        told = json.loads(line)
        inputs, rows, outputs = told["inputs"], int(told["rows"]), told["outputs"]
        if inputs and 0 < rows <= _ROWS_AT_MOST:
            yield LoggedRequest(
                rows=tuple({name: values[index] for name, values in inputs.items()} for index in range(rows)),
                outputs=outputs,
            )
    except (ValueError, KeyError, TypeError, IndexError):
        return
