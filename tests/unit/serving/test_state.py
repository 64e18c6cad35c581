"""The routing on disk."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from lockgate.core.ids import Digest
from lockgate.errors import BadInput, ConfigError, IntegrityError
from lockgate.serving.router import Desired
from lockgate.serving.state import RoutingFile

WANTED = {"toy": Desired(sequence=3, champion=Digest("a" * 64), previous=None, since=datetime(2026, 1, 2, tzinfo=UTC))}


def test_what_was_saved_is_loaded_by_the_next_server(tmp_path: Path) -> None:
    first = RoutingFile(tmp_path, "staging")
    assert first.load() == {}
    first.save(WANTED)
    first.close()
    assert RoutingFile(tmp_path, "staging").load() == WANTED


def test_a_half_written_file_beside_it_changes_nothing(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.save(WANTED)
    (tmp_path / "routing.new").write_text('{"schema')
    assert file.load() == WANTED


def test_two_servers_cannot_own_one_folder(tmp_path: Path) -> None:
    owner = RoutingFile(tmp_path, "staging")
    with pytest.raises(BadInput, match="owned by another server"):
        RoutingFile(tmp_path, "staging")
    owner.close()
    RoutingFile(tmp_path, "staging").close()


def test_another_environments_routing_is_refused(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.save(WANTED)
    file.close()
    with pytest.raises(ConfigError, match="environment 'staging', not 'production'"):
        RoutingFile(tmp_path, "production").load()


@pytest.mark.parametrize("data", [b"", b"{", b'{"schema_version":1}', b'\xff{"schema_version":1}'])
def test_a_damaged_file_is_never_guessed_at(tmp_path: Path, data: bytes) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.path.write_bytes(data)
    with pytest.raises(IntegrityError, match="put the routing again"):
        file.load()


def test_when_the_disk_refuses_the_old_routing_stands(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.save(WANTED)
    (tmp_path / "routing.new").mkdir()  # nothing can be written in its place
    with pytest.raises(OSError, match="directory"):
        file.save({})
    assert file.load() == WANTED
