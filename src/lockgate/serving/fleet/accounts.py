"""One account of a model's routing for all workers, of what each of them tells."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgspec

from lockgate.core.ids import Json
from lockgate.serving.refusals import Reason, refuse

_OWN: Final[tuple[str, ...]] = (
    "sequence",
    "champion",
    "loaded",
    "refused",
    "lease_left_s",
    "since",
    "weights",
    "shares",
)
"""Of a worker's account: what it really does; the rest is what all were asked for."""

Account: TypeAlias = dict[str, Json]


def one_account(model: str, answers: Mapping[int, Any]) -> Account:
    """Return one account of the workers' answers, or of the errors instead of them, by worker.

    Raises:
        RequestRefused: No worker has answered.
    """
    accounts = {number: decoded(each) for number, each in answers.items() if not isinstance(each, Exception)}
    if not accounts:
        raise refuse(
            Reason.NOT_LOADED, f"every worker ended meanwhile; read what is served of model {model!r}, and try again"
        )
    return merged(accounts)


def merged(accounts: Mapping[int, Account]) -> Account:
    """Return one account for all workers, with what each of them really serves."""
    first = next(iter(accounts.values()))
    served = {str(number): {field: each[field] for field in _OWN if field in each} for number, each in accounts.items()}
    return {**first, "workers": served}


def decoded(answer: msgspec.Raw) -> Any:  # noqa: ANN401 - an account is JSON
    """Return what a worker told."""
    return msgspec.json.decode(answer)
