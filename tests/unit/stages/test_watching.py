"""The watcher announces a folder once it is quiet, tells a trouble once, and lets no model stop another."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.errors import NotRunning
from lockgate.line.model_line import Line
from lockgate.line.watching import ANNOUNCE_AGAIN_S, QUIET_S, Watcher

ROOT = Path(__file__).resolve().parents[3]


class Told:
    """Records what was announced; `down` refuses as an orchestrator that is away does."""

    def __init__(self) -> None:
        self.models: list[str] = []
        self.down = False

    def __call__(self, line: Line) -> bool:
        if self.down:
            raise NotRunning("nothing listens there; run: lockgate up")
        self.models.append(line.spec.name)
        return True


def nothing_to_reap(_: Line) -> Iterator[str]:
    return iter(())


@pytest.fixture
def services(tmp_path: Path) -> Services:
    specs = tmp_path / "project" / "deployments"
    specs.mkdir(parents=True)
    shutil.copy(ROOT / "deployments" / "flight-delays.yaml", specs)
    return Services(load_settings({"LOCKGATE_PROJECT": str(specs.parent), "LOCKGATE_HOME": str(tmp_path / "home")}))


def drop(services: Services, name: str = "a.parquet", content: str = "rows") -> None:
    folder = services.settings.landing(services.specs()[0])
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(content)


def test_a_folder_is_announced_once_it_has_been_quiet(services: Services) -> None:
    told = Told()
    watcher = Watcher(services, told, nothing_to_reap)
    drop(services)
    watcher.look(0.0)
    assert told.models == []
    watcher.look(QUIET_S)
    watcher.look(QUIET_S + 1)
    assert told.models == ["flight-delays"]


def test_a_second_file_starts_the_quiet_time_anew(services: Services) -> None:
    told = Told()
    watcher = Watcher(services, told, nothing_to_reap)
    drop(services)
    watcher.look(0.0)
    drop(services, "b.parquet")
    watcher.look(QUIET_S)
    assert told.models == []
    watcher.look(2 * QUIET_S)
    assert told.models == ["flight-delays"]


def test_an_event_that_started_nothing_is_emitted_again(services: Services) -> None:
    told = Told()
    watcher = Watcher(services, told, nothing_to_reap)
    drop(services)
    for now in (0.0, QUIET_S, QUIET_S + ANNOUNCE_AGAIN_S):
        watcher.look(now)
    assert len(told.models) == 2


def test_an_empty_folder_is_never_announced(services: Services) -> None:
    told = Told()
    watcher = Watcher(services, told, nothing_to_reap)
    for now in (0.0, 10.0, 2000.0):
        watcher.look(now)
    assert told.models == []


def test_a_silent_orchestrator_is_told_once_and_tried_again(
    services: Services, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    watcher = Watcher(services, told, nothing_to_reap)
    drop(services)
    told.down = True
    with caplog.at_level(logging.INFO):
        for now in (0.0, 2.0, 3.0, 4.0):
            watcher.look(now)
        assert len(caplog.records) == 1
        told.down = False
        watcher.look(5.0)
    assert told.models == ["flight-delays"]


def test_a_broken_spec_stops_no_other_model(services: Services) -> None:
    (services.settings.project / "deployments" / "broken.yaml").write_text("model: [")
    told = Told()
    watcher = Watcher(services, told, nothing_to_reap)
    drop_for = services.settings.landing(services.specs()[-1])
    drop_for.mkdir(parents=True)
    (drop_for / "a.parquet").write_text("rows")
    watcher.look(0.0)
    watcher.look(QUIET_S)
    assert told.models == ["flight-delays"]


def test_a_spec_that_changed_is_read_again(services: Services) -> None:
    before = services.spec("flight-delays")
    path = services.settings.spec_file("flight-delays")
    path.write_text(path.read_text().replace("operations desk", "night desk"))
    assert services.spec("flight-delays").model.owner == "night desk"
    assert before.model.owner == "operations desk"
