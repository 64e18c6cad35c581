"""A few live requests about rows that production has not seen, and what it answers, shown beside what happened."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from lockgate.cli.surface import Surface
from lockgate.core.ids import Json
from lockgate.errors import BadInput, TransientError

if TYPE_CHECKING:
    from lockgate.bootstrap import Services
    from lockgate.core.spec import ReleaseSpec

_REQUESTS = 6


def send_requests(surface: Surface, services: Services, spec: ReleaseSpec) -> list[dict[str, Json]]:
    """Ask production about rows of the next month that it has not seen, and show what it answers."""
    from lockgate.adapters.http_probe import HttpClient
    from lockgate.core.wire import infer_call, read_infer

    champion = services.ledger.state(spec.name).champion
    if champion is None:
        raise BadInput(f"{spec.name} has no champion yet, so there is nobody to ask; land data: lockgate land FILE")
    contract = services.bundles.get(champion).contract
    rows, labels = _unseen_rows(services, spec)
    began = time.monotonic()
    with HttpClient(services.settings.url("production"), timeout_s=10.0) as client:
        answer = client.send(infer_call(contract, rows))
    if answer.status != 200:
        raise TransientError(f"production answered {answer.status}: {answer.body[:300]!r}")
    took_ms = (time.monotonic() - began) * 1000
    surface.say(f"  {len(rows)} rows in {took_ms:.1f} ms")
    shown = [column.name for column in contract.inputs][:4]
    predicted = read_infer(contract, answer)
    answers: list[dict[str, Json]] = [
        {"row": {name: row.get(name) for name in shown}, "answer": [round(each, 4) for each in numbers], "label": label}
        for row, numbers, label in zip(rows, predicted, labels, strict=True)
    ]
    head = (
        ", ".join(contract.classes[1:]) if len(contract.classes) == 2 else ", ".join(contract.classes) or spec.task.unit
    )
    surface.table(
        f"Answered by {str(answer.digest)[:12]}",
        (*shown, f"answer ({head})", "what happened"),
        [
            (*(row.get(name) for name in shown), "  ".join(f"{each:.3f}" for each in numbers), label)
            for row, numbers, label in zip(rows, predicted, labels, strict=True)
        ],
    )
    return answers


def _unseen_rows(services: Services, spec: ReleaseSpec) -> tuple[Sequence[dict[str, Json]], Sequence[Json]]:
    """Return a few rows of the batch that comes next, spread over its time, and what happened."""
    from lockgate.cli.sample_rows import next_batch, sample_rows

    sample = sample_rows(services, spec, next_batch(services, spec))
    known = [number for number, label in enumerate(sample.labels) if label is not None]
    chosen = known[:: max(len(known) // _REQUESTS, 1)][:_REQUESTS]
    return [sample.rows[number] for number in chosen], [str(sample.labels[number]) for number in chosen]
