"""Whether a worker that begins serves what the others do: who comes in with less would answer an entity otherwise."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, TypeVar

from lockgate.errors import IntegrityError

Worker = TypeVar("Worker")


def check_even(
    model: str, needed: Collection[str], lacks: Mapping[str, str], served: Mapping[Worker, Mapping[str, Any]]
) -> list[Worker]:
    """Return the workers that lack what the new one has; where all lack the same, nobody is ahead of anybody.

    Args:
        model: Name of the model.
        needed: The bundles that answer callers or their copies, by digest.
        lacks: Why one of these is not loaded in the worker that begins, by digest.
        served: What each of the others serves of the model, as `account` has it.

    Raises:
        IntegrityError: The worker that begins lacks a bundle that one of the others has.
    """
    lacking = {worker: set(told["refused"]).intersection(needed) for worker, told in served.items()}
    ahead = {digest: why for digest, why in lacks.items() if any(digest not in each for each in lacking.values())}
    if ahead:
        reasons = "; ".join(f"bundle {digest}: {why}" for digest, why in ahead.items())
        raise IntegrityError(f"it cannot serve what the others do of model {model!r}: {reasons}")
    return [worker for worker, each in lacking.items() if each - set(lacks)]
