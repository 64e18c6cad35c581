"""One stack for all end-to-end tests of a session; each test has a model of its own on it."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.e2e.stack import Stack
from tests.e2e.starting import running_stack


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A running stack with the toy models; it is taken down too when the tests are ended by a signal."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with running_stack(tmp_path_factory.mktemp("stack")) as running:
        yield running
