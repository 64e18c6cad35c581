"""Estimators whose fit cannot be repeated, each for one reason; `(seed, parameters) -> unfitted estimator`.

Every part is on the proved list, so that nothing but the gate `reproducibility` can stop them.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any

from sklearn.ensemble import RandomForestClassifier
from sklearn.pipeline import Pipeline

from tests.estimators import ONE_HOT, imputed, over

Parameters = Mapping[str, Any]
_WORKERS = 16


def forest(seed: int | None) -> Pipeline:
    return over(RandomForestClassifier(20, random_state=seed, min_samples_leaf=20), imputed(), ONE_HOT)


def seeded(seed: int, parameters: Parameters) -> Pipeline:  # noqa: ARG001 - the signature is given
    """What a sound one looks like."""
    return forest(seed)


def unseeded(seed: int, parameters: Parameters) -> Pipeline:  # noqa: ARG001 - as above
    """Forgets the seed."""
    return forest(None)


def by_the_clock(seed: int, parameters: Parameters) -> Pipeline:  # noqa: ARG001 - as above
    """Reads the clock."""
    return forest(time.time_ns() % 2**31)


def by_the_race(seed: int, parameters: Parameters) -> Pipeline:  # noqa: ARG001 - as above
    """Depends on which of its threads ends first; with one thread allowed there is no race."""
    threads = _WORKERS if int(os.environ["OMP_NUM_THREADS"]) > 1 else 1

    def part(number: int) -> int:
        if threads > 1:
            time.sleep(int.from_bytes(os.urandom(2)) / 2**16 / 50)
        return number

    with ThreadPoolExecutor(threads) as pool:
        ended = [each.result() for each in as_completed([pool.submit(part, at) for at in range(_WORKERS)])]
    return forest(_mixed(ended if threads > 1 else sorted(ended)))


def _mixed(order: list[int]) -> int:
    found = 0
    for each in order:
        found = (found * 31 + each) % 2**31
    return found
