"""A server that cannot start says why, in one line, and ends with code 2."""

import json
import socket
from pathlib import Path

import pytest

from tests.server_process import ENDS_WITHIN_S, World, serving, spawn

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def test_a_taken_port_ends_the_start_with_code_2_and_a_clear_line(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for option in ("--port", "--admin-port"):
            process = spawn([*world.options(), option, str(port)])
            _, log = process.communicate(timeout=ENDS_WITHIN_S)
            assert process.returncode == 2
            assert json.loads(log)["message"] == (
                f"port {port} on 127.0.0.1 is taken by another process: end that one, or give another {option}"
            )


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("--admin-token-file", "empty", "is empty"),
        ("--admin-token-file", "none", "No such file"),
        ("--feedback-token-file", "empty", "feedback token file"),
        ("--feedback-token-file", "none", "No such file"),
        ("--public-key", "empty", "public key"),
        ("--bundles", "none", "is not a folder"),
    ],
)
def test_a_wrong_option_ends_the_start_with_code_2(tmp_path: Path, option: str, value: str, said: str) -> None:
    world = World(tmp_path / "world")
    (world.root / "empty").write_text(" \n")
    process = spawn([*world.options(), option, str(world.root / value)])
    _, log = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 2
    assert said in json.loads(log)["message"]


def test_an_unknown_option_is_refused_in_one_line(tmp_path: Path) -> None:
    process = spawn([*World(tmp_path / "world").options(), "--prot", "1"])
    _, log = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 2
    assert "there is no option '--prot', did you mean --port?" in log
    assert log.count("\n") == 1


def test_a_second_server_on_the_same_state_folder_does_not_start(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    with serving(world):
        process = spawn(world.options())
        _, log = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 2
    assert "owned by another server" in json.loads(log)["message"]


def test_a_damaged_routing_file_keeps_the_server_from_guessing(tmp_path: Path) -> None:
    world = World(tmp_path / "world")
    world.state.mkdir()
    (world.state / "routing.json").write_text("{")
    process = spawn(world.options())
    _, log = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 1
    assert "is not what this server wrote" in json.loads(log)["message"]


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_bound_on_memory_that_no_server_keeps_within_ends_the_start_with_code_2(tmp_path: Path, workers: str) -> None:
    world = World(tmp_path / "world")
    process = spawn(world.options("--max-memory-mb", "1", "--workers", workers))
    said = process.communicate(timeout=ENDS_WITHIN_S)[1]
    assert process.returncode == 2
    assert said.count("--max-memory-mb 1: a server uses") == 1
    assert "no restart would help" in said
    assert '"ready"' not in said


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_token_that_is_held_twice_ends_the_start_with_code_2(tmp_path: Path, workers: str) -> None:
    world = World(tmp_path / "world")
    process = spawn(world.options("--feedback-token-file", str(world.root / "token"), "--workers", workers))
    said = process.communicate(timeout=ENDS_WITHIN_S)[1]
    assert (process.returncode, said.count("are one file")) == (2, 1)
