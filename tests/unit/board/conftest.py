"""One home that is read by several tests, and services that stand in it at a time of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from lockgate.bootstrap import Services
from lockgate.core.board import BoardContent
from lockgate.line.board import BoardReader
from tests.fakes import FakeClock, FakeLedger
from tests.unit.board.scene import FIRST_DAY, SPEC, history, settings_of, waiting, write_days

DAYS = 120


def services_in(root: Path) -> Services:
    settings = settings_of(root / "home")
    (root / "project" / "deployments").mkdir(parents=True, exist_ok=True)
    services = Services(replace(settings, project=root / "project"))
    clock = FakeClock()
    services.clock = clock
    services.ledger = FakeLedger(clock)  # type: ignore[assignment]  # the port's promises are all that is asked of it
    return services


@pytest.fixture
def services(tmp_path: Path) -> Services:
    """Nothing: no model, no ledger, no server."""
    return services_in(tmp_path)


@pytest.fixture(scope="session")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Services:
    """A third of a year; only read from it."""
    found = services_in(tmp_path_factory.mktemp("board"))
    (found.settings.spec_file("flights")).write_text(SPEC)
    history(found, DAYS)
    waiting(found, FIRST_DAY + timedelta(days=DAYS - 1))
    write_days(found.settings, "flights", DAYS)
    return found


@pytest.fixture(scope="session")
def content(lived: Services) -> BoardContent:
    return BoardReader(lived).read()


@pytest.fixture
def with_spec(services: Services) -> Callable[[str], None]:
    def write(name: str) -> None:
        services.settings.spec_file(name).write_text(SPEC.replace("name: flights", f"name: {name}"))

    return write
