"""Every error survives pickling: task failures cross process boundaries."""

from __future__ import annotations

import inspect
import pickle

import pytest

from lockgate import errors

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, errors.LockgateError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_an_error_survives_a_pickle_round_trip(kind: type[errors.LockgateError]) -> None:
    first = kind("what was wrong; what to do", path="a.b", allowed=["x"])
    second = pickle.loads(pickle.dumps(first))  # noqa: S301 - our own bytes, made on this line
    assert (type(second), second.message, second.data) == (kind, first.message, first.data)
    assert str(second) == "what was wrong; what to do"
