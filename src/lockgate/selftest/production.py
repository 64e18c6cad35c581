"""A production that was asked: the champion in the real server, real requests, and the prediction log they leave."""

from __future__ import annotations

import shutil
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING

from lockgate.adapters.sandbox import Sandboxes
from lockgate.core.contract import ColumnType, ModelContract
from lockgate.core.ids import Digest
from lockgate.core.wire import Row, infer_call
from lockgate.errors import MeasurementError
from lockgate.stages.skew import SEPARATOR

if TYPE_CHECKING:
    import pandas as pd

    from lockgate.selftest.world import World

_ROWS = 300
"""Requests asked: three times what the skew gate calls too few."""


def ask(world: World, champion: Digest, rows: pd.DataFrame) -> None:
    """Ask the champion about rows, one request a row that names it, and keep the log as production's.

    Raises:
        MeasurementError: The server did not take the bundle.
    """
    import httpx

    services, key = world.services, list(world.plan.spec.data.key)
    contract = services.bundles.get(champion).contract
    kept = services.settings.serving("production")
    shutil.rmtree(kept, ignore_errors=True)
    with Sandboxes(services.settings, services.settings.logs).open("production") as server:
        answer = server.route(contract.model, champion)
        if answer.status != 200:
            raise MeasurementError(f"the champion did not load ({answer.status}): {answer.body[:300]!r}")
        with httpx.Client(base_url=server.url, trust_env=False, timeout=10) as client:
            for row in rows.tail(_ROWS).to_dict("records"):
                call = infer_call(contract, [_inputs(contract, row)])
                named = SEPARATOR.join(str(row[name]) for name in key)
                headers = {"content-type": call.content_type, "x-request-id": named}
                client.request(call.method, call.path, content=call.body, headers=headers)
        server.stop()
        shutil.copytree(server.token_file.parent / "state", kept)


def _inputs(contract: ModelContract, row: Mapping[Hashable, object]) -> Row:
    """Return a row as a caller sends it: null for what is missing."""
    sent: dict[str, float | str | None] = {}
    for column in contract.inputs:
        value = row[column.name]
        if value is None or value != value:  # noqa: PLR0124 - NaN alone differs from itself
            sent[column.name] = None
        else:
            sent[column.name] = float(str(value)) if column.type is ColumnType.NUMBER else str(value)
    return sent
