"""What a replay runs: a copy of the program with one spec, without schedules, on ports of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lockgate.adapters.replay_project import make_project, read_yaml, replay_settings
from lockgate.adapters.stack import inherited, plan_stack
from lockgate.bootstrap import Services
from lockgate.config import load_settings
from lockgate.core.ids import ModelName
from lockgate.errors import BadInput, ConfigError
from lockgate.line.replay_policies import Wanted, plan_replay
from tests.unit.replay.test_virtual_clock import MARCH

CHECKOUT = Path(__file__).parents[3]
FLIGHTS = ModelName("flight-delays")


def services(home: Path) -> Services:
    return Services(load_settings({"LOCKGATE_HOME": str(home), "LOCKGATE_PROJECT": str(CHECKOUT)}))


def test_the_copy_holds_one_spec_and_no_schedule(tmp_path: Path) -> None:
    make_project(CHECKOUT, FLIGHTS, {"model": {"name": "flight-delays"}}, tmp_path / "project")
    assert [each.name for each in (tmp_path / "project" / "deployments").glob("*.yaml")] == ["flight-delays.yaml"]
    told: Any = yaml.safe_load((tmp_path / "project" / "prefect.yaml").read_text())
    releases = [each["name"] for each in told["deployments"] if each["entrypoint"].endswith(":release_model")]
    assert releases == ["flight-delays"]
    assert not any("schedules" in each for each in told["deployments"])
    assert (tmp_path / "project" / "src" / "lockgate" / "__init__.py").is_file()


def test_a_project_that_is_there_stays_what_the_replay_began_with(tmp_path: Path) -> None:
    (tmp_path / "project").mkdir()
    make_project(CHECKOUT, FLIGHTS, {}, tmp_path / "project")
    assert list((tmp_path / "project").iterdir()) == []


def test_a_model_without_a_deployment_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no deployment of release_model named other"):
        make_project(CHECKOUT, ModelName("other"), {}, tmp_path / "project")
    assert not (tmp_path / "project").exists()


def test_a_replays_settings_share_no_port_address_or_record_with_the_installation(tmp_path: Path) -> None:
    source = services(tmp_path / "real").settings
    own = replay_settings(source, tmp_path / "replay", MARCH)
    assert not set(own.ports.values()) & set(source.ports.values())
    assert len(set(own.ports.values())) == len(source.ports)
    assert (own.notify, own.home) == ((), tmp_path / "replay" / "home")
    assert str(own.home) in own.ledger_url


def test_a_replays_stack_has_all_but_the_board(tmp_path: Path) -> None:
    source = services(tmp_path / "real").settings
    own = replay_settings(source, tmp_path / "replay", MARCH)
    names = [{each.name for each in plan_stack(settings).processes} for settings in (source, own)]
    assert names[0] - names[1] == {"board"}
    assert names[1] <= names[0]


def test_a_replay_that_is_a_flow_run_itself_hands_nothing_of_that_run_to_its_stack() -> None:
    assert "PREFECT__FLOW_RUN_ID" not in inherited({"PREFECT__FLOW_RUN_ID": "f", "PATH": "/bin"})


def wanted(tmp_path: Path, text: str | None = None, **given: Any) -> Wanted:
    over: tuple[Path, ...] = ()
    if text is not None:
        (tmp_path / "cautious.yaml").write_text(text)
        over = (tmp_path / "cautious.yaml",)
    months = {"since": "2013-03", "until": "2013-05"} | given
    return Wanted(model=FLIGHTS, over=over, output=tmp_path / "out", **months)


def test_a_policy_is_laid_over_the_spec_and_replayed_after_it(tmp_path: Path) -> None:
    rollout = "rollout: {steps: [{set_weight: 0.2, bake_s: 900}], max_duration_s: 3600}"
    text = f"retraining: {{cooldown_s: 3456000, automation: full}}\n{rollout}\n"
    asked, (as_it_is, cautious) = plan_replay(services(tmp_path), wanted(tmp_path, text))
    assert asked.months.before == ("2013-01", "2013-02")
    assert (as_it_is.name, cautious.name) == ("as specified", "cautious")
    assert (as_it_is.spec.retraining.cooldown_s, cautious.spec.retraining.cooldown_s) == (0.0, 3456000.0)
    assert {each.spec.approval.mode.value for each in (as_it_is, cautious)} == {"when_all_pass"}
    assert "rollout.steps.1.bake_s" in {each.what for each in cautious.shortened}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("retrainin: {cooldown_s: 1}", "retrainin"),
        ("data: {label: other}", "section data says what the model is"),
        ("- a list", "must hold sections"),
        ("a: [", "not YAML"),
    ],
)
def test_a_policy_that_is_none_is_refused(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises((BadInput, ConfigError), match=said):
        plan_replay(services(tmp_path), wanted(tmp_path, text))


@pytest.mark.parametrize("name", ["as specified.yaml", "as-specified.yaml"])
def test_two_policies_of_one_name_or_folder_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("retraining: {cooldown_s: 1}")
    given = Wanted(model=FLIGHTS, since="2013-03", until="2013-03", over=(tmp_path / name,))
    with pytest.raises(BadInput, match="called alike"):
        plan_replay(services(tmp_path), given)


def test_a_policy_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--policy: there is no file .*gone\.yaml"):
        read_yaml(tmp_path / "gone.yaml", "--policy")


@pytest.mark.parametrize(
    ("approval", "people"),
    [
        ("{mode: human}", 1),
        ("{mode: human, four_eyes: true}", 2),
        ("{mode: when_all_pass}", 0),
    ],
)
def test_how_many_people_a_release_would_take_is_read_before_nobody_is_asked(
    tmp_path: Path, approval: str, people: int
) -> None:
    _, policies = plan_replay(services(tmp_path), wanted(tmp_path, f"approval: {approval}"))
    assert policies[1].people_each == people
    assert policies[1].spec.approval.mode.value == "when_all_pass"


def test_what_a_replay_does_beside_the_spec_is_named_with_what_it_shortens(tmp_path: Path) -> None:
    _, (policy,) = plan_replay(services(tmp_path), wanted(tmp_path))
    named = {each.what for each in policy.shortened}
    assert {"a month's clients", "a month's waits", "a busy machine", "retraining.schedule"} <= named
