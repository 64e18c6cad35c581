"""What a person gets wrong at the command line: one sentence, an exit code, and never a traceback."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from tests.e2e.toy_project import HUMAN, make_project, rows, spec
from tests.ports import free_ports

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
BAD_INPUT, NOT_RUNNING = 2, 7


@dataclass
class Checkout:
    """A project and a home that nothing runs in."""

    root: Path

    def __post_init__(self) -> None:
        make_project(self.root / "project")

    def cli(self, *arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("LOCKGATE_")}
        project = self.root / "project"
        ours = {"LOCKGATE_HOME": str(self.root / "home"), "LOCKGATE_PROJECT": str(project), **environ}
        done = subprocess.run(
            [sys.executable, "-m", "lockgate.cli", *arguments],
            env={**kept, "PYTHONPATH": os.pathsep.join((str(project / "src"), str(project))), **ours},
            cwd=project,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=180,
            check=False,
        )
        assert "Traceback" not in done.stdout + done.stderr
        assert "defect of Lockgate" not in done.stdout + done.stderr
        return done

    def break_spec(self, path: str, value: object) -> None:
        """Set one value of the toy's spec, by its dotted path."""
        content = spec("toy", dict(HUMAN))
        section = content
        *above, last = path.split(".")
        for name in above:
            section = section[name]
        section[last] = value
        (self.root / "project" / "deployments" / "toy.yaml").write_text(yaml.safe_dump(content))


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path)


WRONG_SPECS = [
    ("data.labell", "y", "labell"),
    ("split.holdout_days", "many", "holdout_days"),
    ("approval.timeout_s", -1, "timeout_s"),
    ("gates.qality", {}, "qality"),
    ("training.family", "catboost", "catboost"),
    ("data.forbidden", ["a"], "forbidden"),
    ("data.numeric", ["a", "y"], "label"),
]


@pytest.mark.parametrize(("path", "value", "says"), WRONG_SPECS, ids=[path for path, _, _ in WRONG_SPECS])
def test_a_wrong_spec_is_refused_by_name_before_anything_is_landed_or_started(
    checkout: Checkout, path: str, value: object, says: str
) -> None:
    checkout.break_spec(path, value)
    batch = checkout.root / "rows.parquet"
    rows(0, 1).to_parquet(batch, index=False)
    for arguments in (("land", str(batch), "--model", "toy"), ("release", "--model", "toy")):
        said = checkout.cli(*arguments)
        assert said.returncode == BAD_INPUT, said.stderr
        assert says in said.stderr
    assert not (checkout.root / "home" / "landing").exists()


def test_with_json_the_refusal_is_one_object_on_stdout(checkout: Checkout) -> None:
    checkout.break_spec("data.labell", "y")
    said = checkout.cli("release", "--model", "toy", "--json")
    told = json.loads(said.stdout)
    assert (told["error"], told["exit_code"], said.returncode) == ("ConfigError", BAD_INPUT, BAD_INPUT)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("land", "nowhere.parquet", "--model", "toy"), "nowhere.parquet"),
        (("land", "nowhere.parquet", "--model", "tor"), "tor"),
        (("approve", "toy-0001", "--yes"), "toy-0001"),
        (("explain", "toy-0007"), "toy-0007"),
        (("at", "yesterday"), "yesterday"),
        (("rollback", "toy", "--reason", "x"), "no earlier champion"),
    ],
    ids=lambda each: " ".join(each) if isinstance(each, tuple) else "",
)
def test_a_wrong_argument_is_refused_by_name(checkout: Checkout, arguments: tuple[str, ...], says: str) -> None:
    said = checkout.cli(*arguments)
    assert said.returncode == BAD_INPUT, said.stderr
    assert says in said.stderr


def test_an_empty_file_is_not_landed(checkout: Checkout) -> None:
    empty = checkout.root / "empty.parquet"
    empty.touch()
    said = checkout.cli("land", str(empty), "--model", "toy")
    assert said.returncode == BAD_INPUT
    assert "empty" in said.stderr


def test_a_taken_port_is_named_with_its_variable_and_nothing_is_started(checkout: Checkout) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        said = checkout.cli("up", LOCKGATE_MLFLOW_PORT=port, **_free("PREFECT", "PRODUCTION", "STAGING"))
    assert said.returncode == BAD_INPUT, said.stderr
    assert port in said.stderr
    assert "LOCKGATE_MLFLOW_PORT" in said.stderr
    assert checkout.cli("status", "--json").returncode == NOT_RUNNING


def _free(*names: str) -> dict[str, str]:
    every = [f"{name}{part}" for name in names for part in ("", "_ADMIN") if name != "PREFECT" or not part]
    return {f"LOCKGATE_{name}_PORT": str(port) for name, port in zip(every, free_ports(len(every)), strict=True)}


def test_a_release_without_a_stack_says_what_to_start(checkout: Checkout) -> None:
    said = checkout.cli("release", "--model", "toy", **_free("PREFECT"))
    assert said.returncode == NOT_RUNNING, said.stderr
    assert "lockgate up" in said.stderr
