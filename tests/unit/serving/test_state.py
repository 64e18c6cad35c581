"""The routing on disk."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest

from lockgate.core.ids import Digest
from lockgate.errors import BadInput, ConfigError, IntegrityError
from lockgate.serving.disk import write_synced
from lockgate.serving.routing.desired import Desired, DesiredChallenger, DesiredShadow
from lockgate.serving.routing.state import RoutingFile, read_routing

A, B, C = (Digest(letter * 64) for letter in "abc")
SINCE = datetime(2026, 1, 2, tzinfo=UTC)
WANTED = {
    "toy": Desired(
        sequence=3,
        champion=A,
        previous=B,
        challengers=(DesiredChallenger(name="canary", bundle=B, weight=0.07, tags=("new",)),),
        shadows=(DesiredShadow(name="dark", bundle=C, share=0.5),),
        salt="autumn",
        lease_s=3.5,
        timeout_s=0.05,
        constant={"probability": 1.0, "label": "yes"},
        since=SINCE,
    ).settled(None),
    "other": Desired(sequence=1, champion=A, since=SINCE),
}


def test_what_was_saved_is_loaded_by_the_next_server(tmp_path: Path) -> None:
    first = RoutingFile(tmp_path, "staging")
    assert first.load() == {}
    first.save(WANTED)
    first.close()
    assert RoutingFile(tmp_path, "staging").load() == WANTED


def test_a_file_of_the_version_before_is_still_read(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    champion = {"sequence": 3, "champion": A, "previous": None, "since": SINCE.isoformat()}
    file.path.write_text(json.dumps({"schema_version": 1, "environment": "staging", "models": {"toy": champion}}))
    assert file.load() == {"toy": Desired(sequence=3, champion=A, since=SINCE)}


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.path.write_text('{"schema_version": 3, "environment": "staging", "models": {}, "what it has more": 1}')
    with pytest.raises(IntegrityError, match="schema_version is 3; this server reads 1 and 2"):
        file.load()


def test_a_routing_that_breaks_a_rule_is_never_served(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.save(WANTED)
    file.path.write_text(file.path.read_text().replace("0.07", "1.07"))
    with pytest.raises(IntegrityError, match=r"model 'toy': challengers\[0\]\.weight is 1\.07"):
        file.load()


def test_a_model_of_an_impossible_name_is_never_served(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.save(WANTED)
    file.path.write_text(file.path.read_text().replace('"toy"', '"../toy"'))
    with pytest.raises(IntegrityError, match=r"model '\.\./toy': that is no model name"):
        file.load()


def test_the_routing_is_read_without_the_lock_by_who_does_not_own_it(tmp_path: Path) -> None:
    owner = RoutingFile(tmp_path, "staging")
    owner.save(WANTED)
    assert read_routing(owner.path, "staging") == WANTED


def test_a_half_written_file_beside_it_changes_nothing(tmp_path: Path) -> None:
    file = RoutingFile(tmp_path, "staging")
    file.save(WANTED)
    (tmp_path / ".routing.json.tmp").write_text('{"schema')
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
    (tmp_path / ".routing.json.tmp").mkdir()  # nothing can be written in its place
    with pytest.raises(OSError, match="directory"):
        file.save({})
    assert file.load() == WANTED


@pytest.mark.parametrize("before", [WANTED, None])
def test_a_routing_that_was_written_and_not_synced_is_not_what_the_next_start_serves(
    tmp_path: Path, before: dict[str, Desired] | None
) -> None:
    refusing = False

    def write(path: Path, data: bytes) -> None:
        write_synced(path, data)
        if refusing:  # as when the folder cannot be synced after the file has its name
            raise OSError(5, "Input/output error")

    file = RoutingFile(tmp_path, "staging", write)
    if before is not None:
        file.save(before)
    refusing = True
    with pytest.raises(OSError, match="Input/output"):
        file.save({"toy": Desired(sequence=9, champion=C, since=SINCE)})
    assert file.load() == (before or {})
    refusing = False
    file.save({"toy": Desired(sequence=9, champion=C, since=SINCE)})
    assert file.load()["toy"].sequence == 9


def test_a_routing_that_cannot_be_put_back_is_said_with_what_to_do(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def write(path: Path, data: bytes) -> None:
        write_synced(path, data)
        (tmp_path / ".routing.json.tmp").mkdir(exist_ok=True)  # from now on nothing can be written
        raise OSError(5, "Input/output error")

    owner = RoutingFile(tmp_path, "staging")
    owner.save(WANTED)
    owner.close()
    with pytest.raises(OSError, match="Input/output"):
        RoutingFile(tmp_path, "staging", write).save({})
    (said,) = (each for each in caplog.records if each.levelname == "CRITICAL")
    assert "a restart would serve it" in said.getMessage()
