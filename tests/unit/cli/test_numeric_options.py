"""A number that an option cannot mean is a usage error of every command, before anything is begun."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from typer.testing import CliRunner

from lockgate.cli.app import COMMANDS, GROUPS, app
from lockgate.core.simulation_faults import parse_faults
from lockgate.errors import BadInput

BODIES: dict[str, Callable[..., Any]] = {
    **{name: body for panel in COMMANDS.values() for name, body in panel.items()},
    **{f"{word} {name}": body for word, (_, _, bodies) in GROUPS.items() for name, body in bodies.items()},
}
IMPOSSIBLE = ("nan", "inf", "-1", str(10**30), "")


def is_number(hint: Any) -> bool:
    return hint in (int, float) or any(is_number(each) for each in get_args(hint))


def options() -> Iterator[tuple[str, str]]:
    """Yield every command with each of its options that takes a number."""
    for name, body in BODIES.items():
        plain, marked = get_type_hints(body), get_type_hints(body, include_extras=True)
        for parameter in inspect.signature(body).parameters:
            if is_number(plain.get(parameter)):
                told = get_args(marked[parameter])[-1]
                flags = [told.default, *told.param_decls] if isinstance(told.default, str) else list(told.param_decls)
                yield name, next(flag for flag in flags if str(flag).startswith("--"))


OPTIONS = tuple(options())


def needed(name: str) -> list[str]:
    """Return values for the arguments that a command cannot do without."""
    given = inspect.signature(BODIES[name]).parameters.values()
    bare = [each for each in list(given)[1:] if each.default is inspect.Parameter.empty]
    return ["toy-0001" for _ in bare]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "deployments").mkdir()
    monkeypatch.setenv("LOCKGATE_PROJECT", str(tmp_path))
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path / "home"))


def test_the_walk_meets_the_options_of_every_kind() -> None:
    assert {
        ("windows", "--time"),
        ("windows", "--rolling"),
        ("release", "--timeout"),
        ("simulate", "--rate"),
        ("rollout plan", "--hours"),
        ("score", "--limit"),
    } <= set(OPTIONS)
    assert len(OPTIONS) >= 20


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_an_impossible_number_is_a_usage_error_that_names_the_option(name: str, option: str) -> None:
    for value in IMPOSSIBLE:
        done = CliRunner().invoke(app, [*name.split(), *needed(name), f"{option}={value}"], env={"COLUMNS": "400"})
        told = done.stdout + done.stderr
        assert done.exit_code == 2, (value, told[-500:], done.exception)
        assert isinstance(done.exception, SystemExit), value
        assert option in told, (value, told[-500:])
        assert "Traceback" not in told
        assert "defect of Lockgate" not in told


@pytest.mark.parametrize("value", ["nan", "inf", "-1", "1e308", ""])
def test_an_impossible_number_of_a_fault_is_refused(value: str) -> None:
    for fault in (
        f"skew=a*{value}",
        f"late_labels={value}",
        f"wrong_labels={value}",
        f"burst={value}",
        f"stop@{value}+1",
    ):
        if fault in ("skew=a*-1", "stop@1e308+1"):
            continue  # a sign that is turned round is a fault that happens; one that never comes is none
        with pytest.raises(BadInput):
            parse_faults(fault)
