"""The plan of the stack: what each process is told, and what no process may be told."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.adapters.prefect_worker import job_template
from lockgate.adapters.process_log import ProcessLog
from lockgate.adapters.stack import inherited, plan_stack, stack_environment
from lockgate.adapters.stack_state import Plan, read_plan, read_status, write_plan
from lockgate.config import PORTS, Settings, load_settings

SECRETS = {"LOCKGATE_NOTIFY": "mailto://user:hunter2@mail", "LOCKGATE_LEDGER_URL": "postgresql://u:hunter2@db/l"}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    ports = {f"LOCKGATE_{name.upper()}_PORT": str(20_000 + number) for number, name in enumerate(PORTS)}
    return load_settings(
        {"LOCKGATE_HOME": str(tmp_path / "home"), "LOCKGATE_PROJECT": str(tmp_path), **ports, **SECRETS}
    )


def test_every_port_belongs_to_one_process_and_names_its_variable(settings: Settings) -> None:
    held = {variable: port for each in plan_stack(settings).processes for variable, port in each.ports.items()}
    assert held == {f"LOCKGATE_{name.upper()}_PORT": settings.ports[name] for name in PORTS}


def test_no_secret_is_in_a_command_or_an_environment_that_is_written_down(settings: Settings, tmp_path: Path) -> None:
    write_plan(tmp_path, plan_stack(settings))
    assert "hunter2" not in (tmp_path / "plan.json").read_text()
    assert "hunter2" not in str(stack_environment(settings))


def test_everything_listens_on_the_given_host_only(settings: Settings) -> None:
    told = [
        each.argv[each.argv.index("--host") + 1] for each in plan_stack(settings).processes if "--host" in each.argv
    ]
    assert told == [settings.host] * 4


def test_the_servers_know_where_the_specs_lie_so_that_labels_are_late_by_what_they_declare(settings: Settings) -> None:
    settings.spec_file("toy").parent.mkdir()
    told = {each.name: each.argv for each in plan_stack(settings).processes}
    for name in ("production", "staging"):
        assert told[name][told[name].index("--specs") + 1] == str(settings.spec_file("toy").parent)


def test_every_telemetry_is_off(settings: Settings) -> None:
    told = stack_environment(settings)
    assert told["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert told["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert told["DO_NOT_TRACK"] == "1"
    assert told["GX_ANALYTICS_ENABLED"] == "false"


def test_all_state_is_under_the_home(settings: Settings) -> None:
    told = stack_environment(settings)
    home = str(settings.home)
    assert told["PREFECT_HOME"].startswith(home)
    assert told["PREFECT_RESULTS_LOCAL_STORAGE_PATH"].startswith(home)
    mlflow = next(each for each in plan_stack(settings).processes if each.name == "mlflow")
    assert mlflow.argv[-1].startswith(home)


def test_bytecode_is_kept_whatever_the_shell_says(settings: Settings) -> None:
    assert stack_environment(settings)["PYTHONDONTWRITEBYTECODE"] == ""


def test_the_settings_read_back_from_the_environment_are_the_same(settings: Settings) -> None:
    again = load_settings({**stack_environment(settings), **SECRETS})
    assert again == settings


def test_a_profile_of_the_shell_does_not_reach_prefect_and_no_proxy_stands_before_loopback() -> None:
    given = inherited({"PREFECT_PROFILE": "cloud", "PATH": "/bin", "NO_PROXY": "intranet", "HTTP_PROXY": "http://p"})
    assert "PREFECT_PROFILE" not in given
    assert given["PATH"] == "/bin"
    assert given["NO_PROXY"].split(",") == ["intranet", "127.0.0.1", "localhost", "::1"]


def test_the_worker_and_the_watcher_follow_prefect(settings: Settings) -> None:
    after = {each.name: each.after for each in plan_stack(settings).processes}
    assert after == {
        "prefect": (),
        "mlflow": (),
        "production": (),
        "staging": (),
        "worker": ("prefect",),
        "watcher": ("prefect",),
        "board": (),
    }


def test_a_plan_reads_back_as_it_was_written(settings: Settings, tmp_path: Path) -> None:
    plan = plan_stack(settings)
    write_plan(tmp_path, plan)
    assert read_plan(tmp_path) == plan
    assert read_plan(tmp_path).digest == plan.digest


def test_other_ports_are_another_plan(settings: Settings) -> None:
    plan = plan_stack(settings)
    assert Plan(processes=plan.processes[1:], logs=plan.logs).digest != plan.digest


@pytest.mark.parametrize("content", ["", "{", "[]", '{"supervisor": 1}'])
def test_a_status_that_no_supervisor_wrote_is_none(content: str, tmp_path: Path) -> None:
    (tmp_path / "status.json").write_text(content)
    assert read_status(tmp_path) is None


def test_runs_start_by_the_given_command_in_the_given_folder() -> None:
    template = job_template(command="python -m prefect.engine", working_dir="/srv/project", env={"A": "1"})
    variables = template["variables"]
    assert isinstance(variables, dict)
    properties = variables["properties"]
    assert isinstance(properties, dict)
    defaults = {name: each.get("default") for name, each in properties.items() if isinstance(each, dict)}
    assert defaults["command"] == "python -m prefect.engine"
    assert defaults["working_dir"] == "/srv/project"
    assert defaults["env"] == {"A": "1"}


def test_a_log_that_grew_too_long_is_cut_while_a_process_goes_on_writing_to_it(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "toy.log", limit_bytes=100, backups=2)
    with log.open() as writer:
        for number in range(4):
            writer.write(f"{number}".encode() * 101)
            writer.flush()
            log.rotate()
        writer.write(b"after")
        writer.flush()
    assert log.path.read_bytes() == b"after"
    assert sorted(each.name for each in tmp_path.iterdir()) == ["toy.log", "toy.log.1", "toy.log.2"]
    assert (tmp_path / "toy.log.1").read_bytes() == b"3" * 101
    assert (tmp_path / "toy.log.2").read_bytes() == b"2" * 101


def test_a_short_log_is_left_as_it_is(tmp_path: Path) -> None:
    log = ProcessLog(tmp_path / "toy.log", limit_bytes=100)
    log.note("lockgate starts toy")
    log.rotate()
    assert "lockgate starts toy" in log.tail(1)
    assert [each.name for each in tmp_path.iterdir()] == ["toy.log"]


def test_the_tail_of_a_log_that_is_not_there_is_empty(tmp_path: Path) -> None:
    assert ProcessLog(tmp_path / "none.log").tail(5) == ""
