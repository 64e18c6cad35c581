"""Every command: what its help teaches, how it ends, what it prints where."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import lockgate
from lockgate import errors
from lockgate.cli.app import COMMANDS, GROUPS, app
from lockgate.cli.options import Yes
from lockgate.cli.surface import OUTCOME_EXIT, Surface, command
from lockgate.core.ledger import Outcome
from lockgate.errors import ApprovalVoid, BadInput, LockgateError, NotBlessed, NotRunning

NAMES = [name for panel in COMMANDS.values() for name in panel]
IN_GROUPS = [f"{group} {name}" for group, (_, _, commands) in GROUPS.items() for name in commands]
# Not pydantic: Typer itself reads arguments with it.
HEAVY = {
    "pandas", "numpy", "mlflow", "sklearn", "scipy", "xgboost", "great_expectations", "onnx", "onnxruntime",
    "matplotlib", "prefect", "sqlalchemy", "httpx", "fastapi", "deltalake", "pyarrow", "cryptography",
}  # fmt: skip


def run(body: Callable[..., int | None], *arguments: str, env: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run one command of this body; returns exit code, stdout and stderr."""
    own = typer.Typer()
    own.command("toy")(command("toy", body))
    result = CliRunner().invoke(own, list(arguments), env=env)
    return result.exit_code, result.stdout, result.stderr


def raises(error: BaseException) -> Callable[[Surface], None]:
    def body(surface: Surface) -> None:  # noqa: ARG001 - a command takes its surface
        raise error

    return body


@pytest.mark.parametrize("name", [*NAMES, *IN_GROUPS])
def test_every_help_ends_well_and_teaches_with_an_example(name: str) -> None:
    result = CliRunner().invoke(app, [*name.split(), "--help"])
    assert result.exit_code == 0
    assert f"Example: lockgate {name}" in " ".join(result.stdout.split())
    assert "--json" in result.stdout


def test_the_help_names_every_command() -> None:
    told = CliRunner().invoke(app, ["--help"]).stdout
    assert [name for name in (*NAMES, *GROUPS) if name not in told] == []


def test_an_unknown_option_is_bad_input() -> None:
    assert CliRunner().invoke(app, ["status", "--nonsense"]).exit_code == 2


ERRORS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, LockgateError)]


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_ends_with_its_exit_code_a_sentence_and_no_traceback(kind: type[LockgateError]) -> None:
    code, out, err = run(raises(kind("the port is taken; set the variable")))
    assert code == kind.exit_code
    assert "the port is taken; set the variable" in err
    assert "Traceback" not in err
    assert out == ""


def test_the_exit_codes_are_those_that_scripts_rely_on() -> None:
    assert BadInput.exit_code == 2
    assert NotBlessed.exit_code == 3
    assert ApprovalVoid.exit_code == 5
    assert NotRunning.exit_code == 7


def test_every_outcome_of_a_release_has_an_exit_code() -> None:
    assert {outcome: OUTCOME_EXIT[outcome] for outcome in Outcome} == {
        Outcome.PROMOTED: 0,
        Outcome.BLOCKED: 3,
        Outcome.INCONCLUSIVE: 6,
        Outcome.REJECTED: 4,
        Outcome.EXPIRED: 5,
        Outcome.SUPERSEDED: 5,
        Outcome.ROLLED_BACK: 3,
        Outcome.FAILED: 1,
    }


def test_a_defect_ends_with_1_and_says_where_to_look() -> None:
    code, _, err = run(raises(KeyError("x")))
    assert code == 1
    assert "--debug" in err
    assert "Traceback" not in err


def test_debug_shows_the_traceback() -> None:
    _, _, err = run(raises(BadInput("wrong")), "--debug")
    assert "Traceback" in err


def test_an_interrupt_ends_as_a_shell_expects() -> None:
    assert run(raises(KeyboardInterrupt()))[0] == 130


def test_json_is_one_versioned_object_on_stdout_and_all_else_is_on_stderr() -> None:
    def body(surface: Surface) -> None:
        surface.say("working")
        surface.text("for people")
        surface.table("for people", ("a", "b"), [(1, 2)])
        surface.result({"answer": 42})

    code, out, err = run(body, "--json")
    assert code == 0
    assert json.loads(out) == {"schema": "lockgate.toy/1", "answer": 42}
    assert err == "working\n"


def test_without_json_people_get_words_and_no_object() -> None:
    def body(surface: Surface) -> None:
        surface.table("Gates", ("gate", "verdict"), [("drift", "PASS")])
        surface.result({"answer": 42})

    _, out, _ = run(body)
    assert "drift" in out
    assert "42" not in out


def test_an_error_under_json_is_an_object_too() -> None:
    code, out, _ = run(raises(BadInput("no such port", port=1)), "--json")
    assert code == 2
    assert json.loads(out) == {
        "schema": "lockgate.error/1",
        "command": "toy",
        "error": "BadInput",
        "message": "no such port",
        "exit_code": 2,
        "data": {"port": 1},
    }


@pytest.mark.parametrize(
    ("env", "arguments", "said"),
    [
        ({"YES": "1"}, [], True),
        ({"YES": ""}, [], False),
        ({"YES": "0"}, [], False),
        ({}, ["--yes"], True),
        ({}, [], False),
    ],
)
def test_yes_is_an_option_and_a_variable(env: dict[str, str], arguments: list[str], said: bool) -> None:
    heard: list[bool] = []

    def body(surface: Surface, yes: Yes = False) -> None:  # noqa: ARG001 - a command takes its surface
        heard.append(yes)

    code, _, _ = run(body, *arguments, env=env)
    assert code == 0
    assert heard == [said]


@pytest.mark.integration
@pytest.mark.parametrize("arguments", [["--help"], ["release", "--help"], ["up", "--help"]])
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    code = f"""
import sys
from lockgate.cli import main
try:
    main({arguments!r})
except SystemExit as ended:
    assert ended.code == 0, ended.code
print("imported:", *sorted({{name.partition(".")[0] for name in sys.modules}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": str(Path(lockgate.__file__).parents[1])},
    )
    imported = set(done.stdout.rpartition("imported:")[2].split())
    assert "typer" in imported
    assert imported & HEAVY == set()
    assert imported & {"flows", "tasks"} == set()


def test_serve_hands_its_options_to_the_server_as_they_are() -> None:
    result = CliRunner().invoke(app, ["serve", "--json", "--environment", "sandbox", "--port", "1"])
    assert result.exit_code == 2
    assert "--bundles" in result.stdout  # said by the server's own parser, which misses the rest
    assert "--environment" not in result.stdout.partition("required:")[2]


def test_serve_tells_a_program_why_it_does_not_start() -> None:
    result = CliRunner().invoke(app, ["serve", "--json", "--environment", "moon"])
    said = json.loads(result.stdout)
    assert (result.exit_code, said["exit_code"], said["error"]) == (2, 2, "BadInput")
    assert "'production'" in said["message"]
