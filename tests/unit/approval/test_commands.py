"""Who acts at a terminal: a token once people were added, a name before; and every refusal is on record."""

from __future__ import annotations

import json
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from lockgate.adapters.approval_form import form_of
from lockgate.adapters.approvers import Approvers
from lockgate.adapters.sql_ledger import SqlLedger
from lockgate.bootstrap import SystemClock
from lockgate.cli.app import app
from lockgate.cli.release_commands import answer_form
from lockgate.cli.roles import require_role
from lockgate.config import Settings, load_settings
from lockgate.core.approval_code import Bound
from lockgate.core.approval_people import PEOPLE as CHAIN
from lockgate.core.approval_people import Role
from lockgate.core.ids import Digest, Json, ModelName, ReleaseId
from lockgate.core.ledger import Event, LedgerRow
from lockgate.errors import BadInput
from tests.unit.approval.people import PEOPLE, Waiting

ROOT = Path(__file__).resolve().parents[3]
MODEL = ModelName("flight-delays")


class Machine:
    """One installation, and its command line."""

    def __init__(self, folder: Path) -> None:
        specs = folder / "project" / "deployments"
        specs.mkdir(parents=True)
        (specs / "flight-delays.yaml").write_bytes((ROOT / "deployments" / "flight-delays.yaml").read_bytes())
        self.folder = folder
        self.env = {"LOCKGATE_PROJECT": str(specs.parent), "LOCKGATE_HOME": str(folder / "home")}
        self.settings: Settings = load_settings(self.env)
        self.ledger = SqlLedger(self.settings.ledger_url, SystemClock(), None)
        self.approvers = Approvers(self.settings, self.ledger, SystemClock())

    def run(self, *words: str, token: str | None = None) -> Result:
        given = {"LOCKGATE_APPROVER_TOKEN": token, "LOCKGATE_APPROVER_TOKEN_FILE": None}
        return CliRunner().invoke(app, list(words), env={**self.env, **given})

    def add(self, name: str, role: str, token: str | None = None) -> str:
        said = self.run("approver", "add", name, "--role", role, "--json", token=token)
        assert said.exit_code == 0, said.stderr
        return str(json.loads(said.stdout)["token"])

    def refusals(self, model: ModelName = MODEL) -> tuple[LedgerRow, ...]:
        return self.ledger.rows(model, events=(Event.REFUSED,))


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path)
    yield made
    made.ledger.close()


@pytest.fixture
def tokens(machine: Machine) -> dict[str, str]:
    return {name: machine.approvers.add(name, role, by="root") for name, role in PEOPLE.items()}


def test_a_token_is_shown_once_or_written_to_a_file_of_its_own(machine: Machine) -> None:
    root = machine.add("root", "admin")
    path = machine.folder / "maria.token"
    said = machine.run("approver", "add", "maria", "--role", "approver", "--output", str(path), token=root)
    assert said.exit_code == 0, said.stderr
    token = path.read_text().strip()
    assert token not in said.stdout + said.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert machine.approvers.who(token).name == "maria"
    listed = machine.run("approver", "list", "--json")
    assert [each["name"] for each in json.loads(listed.stdout)["people"]] == ["root", "maria"]
    assert token not in listed.stdout


@pytest.mark.parametrize("who", [None, "maria", "otto", "vic"])
def test_only_an_admin_adds_and_revokes(machine: Machine, tokens: dict[str, str], who: str | None) -> None:
    token = None if who is None else tokens[who]
    for words in (("approver", "add", "eve", "--role", "admin"), ("approver", "revoke", "maria")):
        said = machine.run(*words, token=token)
        assert said.exit_code == 2
        assert "role admin" in said.stderr
    assert len(machine.refusals(CHAIN)) == 2
    assert [each.name for each in machine.approvers.people()] == list(PEOPLE)


def test_a_revoked_admin_adds_nobody(machine: Machine, tokens: dict[str, str]) -> None:
    second = machine.add("zoe", "admin", tokens["root"])
    assert machine.run("approver", "revoke", "zoe", token=tokens["root"]).exit_code == 0
    assert machine.run("approver", "add", "eve", "--role", "admin", token=second).exit_code == 2


@pytest.mark.parametrize(
    ("who", "claimed", "says"),
    [
        (None, None, "needs the token of a person with the role operator"),
        ("vic", None, "vic is viewer"),
        ("wrong", None, "not that of anybody"),
        ("otto", "maria", "the token is that of otto"),
    ],
)
def test_who_may_not_roll_back_does_not_and_it_is_on_record(
    machine: Machine, tokens: dict[str, str], who: str | None, claimed: str | None, says: str
) -> None:
    token = None if who is None else tokens.get(who, "lockgate-wrong")
    claims = [] if claimed is None else ["--as", claimed]
    said = machine.run("rollback", "--model", MODEL, "--reason", "bad", *claims, token=token)
    assert said.exit_code == 2
    (row,) = machine.refusals()
    assert says in " ".join(said.stderr.split())
    assert (row.payload["what"], says in str(row.payload["reason"])) == ("to roll flight-delays back", True)
    assert row.actor == (who if who in tokens else row.actor)
    assert row.actor in tokens or row.actor.startswith("login ")
    assert "lockgate-wrong" not in str(row) + said.stderr


@pytest.mark.parametrize(("who", "says"), [(None, "needs the token of a person"), ("vic", "vic is viewer")])
def test_who_may_not_control_production_plants_no_fault_in_it(
    machine: Machine, tokens: dict[str, str], who: str | None, says: str
) -> None:
    said = machine.run("drill", "--model", MODEL, token=None if who is None else tokens[who])
    assert said.exit_code == 2
    assert says in " ".join(said.stderr.split())
    (row,) = machine.refusals()
    assert row.payload["what"] == "to drill flight-delays"


@pytest.mark.parametrize("name", ["otto", "maria", "root"])
def test_an_operator_and_whoever_may_more_may_control(
    machine: Machine, tokens: dict[str, str], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LOCKGATE_APPROVER_TOKEN", tokens[name])
    services: Any = SimpleNamespace(approvers=machine.approvers, ledger=machine.ledger)
    assert require_role(services, "operator", what="abort it", model=MODEL) == name
    assert require_role(services, Role.OPERATOR, what="abort it", model=MODEL, claimed=name) == name


def test_before_anybody_is_added_a_name_is_believed(machine: Machine) -> None:
    services: Any = SimpleNamespace(approvers=machine.approvers, ledger=machine.ledger)
    assert require_role(services, "admin", what="abort it", model=MODEL, claimed="anybody") == "anybody"
    with pytest.raises(BadInput):
        Approvers(machine.settings, machine.ledger, SystemClock()).who("lockgate-x")
    assert "approvers are not authenticated" in machine.run("approver", "list").stdout
    assert machine.refusals() == ()


def test_an_override_takes_two_tokens(machine: Machine, tokens: dict[str, str]) -> None:
    from datetime import UTC, datetime, timedelta

    until = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"
    ask = ("override", MODEL, "--gate", "drift", "--until", until, "--reason", "a new airport")
    confirm = ("override", MODEL, "--gate", "drift", "--confirm")
    assert machine.run(*ask, token=tokens["otto"]).exit_code == 2
    assert machine.run(*ask, token=tokens["maria"]).exit_code == 0
    assert "somebody else confirms" in machine.run(*confirm, token=tokens["maria"]).stderr
    assert "no gate of flight-delays is overridden" in machine.run("override", MODEL).stdout
    assert "GATE DRIFT IS OVERRIDDEN" in machine.run(*confirm, token=tokens["grace"]).stdout
    assert "GATE DRIFT IS OVERRIDDEN" in machine.run("override", MODEL).stdout
    assert (
        "never overridden" in machine.run("override", MODEL, "--gate", "parity", *ask[4:], token=tokens["maria"]).stderr
    )
    withdrawn = machine.run("override", MODEL, "--gate", "drift", "--withdraw", token=tokens["maria"])
    assert withdrawn.exit_code == 0, withdrawn.stderr
    assert json.loads(machine.run("override", MODEL, "--json").stdout)["overrides"] == []
    assert [row.actor for row in machine.refusals()] == ["otto", "maria", "maria"]


def test_nobody_overrides_a_gate_where_people_cannot_be_told_apart(machine: Machine) -> None:
    said = machine.run("override", MODEL, "--gate", "drift", "--until", "2999-01-01", "--reason", "r")
    assert said.exit_code == 2
    assert "two people who can be told apart" in said.stderr
    assert len(machine.refusals()) == 1


RELEASE = ReleaseId("flight-delays-0001")


def ask(machine: Machine, *, authenticated: bool) -> None:
    """Write a release that waits for its approval."""
    opened: dict[str, Json] = {"run": "run-1", "reason": "new data", "started_by": "landing", "spec": "s", "code": "c"}
    machine.ledger.append(MODEL, Event.RELEASE_OPENED, opened, release=RELEASE)
    question: dict[str, Json] = {"dossier": "d" * 64, "blessing": "b", "champion": None, "run": "run-1"}
    more: dict[str, Json] = {"expires_at": "2999-01-01T00:00:00+00:00", "authenticated": authenticated, "needed": 1}
    machine.ledger.append(MODEL, Event.APPROVAL_ASKED, question | more, release=RELEASE)


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_token_is_exchanged_for_a_code_and_never_leaves_the_terminal(
    machine: Machine, tokens: dict[str, str], decision: str
) -> None:
    ask(machine, authenticated=True)
    said = machine.run(decision, RELEASE, "--print-code", token=tokens["maria"])
    assert said.exit_code == 0, said.stderr
    bound = Bound(release=RELEASE, dossier=Digest("d" * 64), decision=decision)
    assert machine.approvers.identify(said.stdout, bound).approver == "maria"
    assert tokens["maria"] not in said.stdout + said.stderr + str(machine.ledger.rows(MODEL))


@pytest.mark.parametrize(("who", "says"), [("otto", "otto is operator"), (None, "needs the token")])
def test_who_may_not_decide_gets_no_code(machine: Machine, tokens: dict[str, str], who: str | None, says: str) -> None:
    ask(machine, authenticated=True)
    said = machine.run("approve", RELEASE, "--print-code", token=None if who is None else tokens[who])
    assert (said.exit_code, said.stdout, says in said.stderr) == (2, "", True)
    assert machine.refusals()[0].payload["what"] == f"to approve {RELEASE}"


def test_a_question_from_before_people_were_added_takes_no_code(machine: Machine, tokens: dict[str, str]) -> None:
    ask(machine, authenticated=False)
    assert machine.run("approve", RELEASE, "--print-code", token=tokens["maria"]).exit_code == 5


def test_without_people_there_is_no_code_to_print(machine: Machine) -> None:
    ask(machine, authenticated=False)
    assert "asks for a name and no code" in machine.run("approve", RELEASE, "--print-code").stderr


FORMS: dict[str, Callable[[Waiting], dict[str, Any]]] = {
    "code": lambda waiting: answer_form("approve", {"code": waiting.code("maria")}, "fine", ("a", "b")),
    "approver": lambda _: answer_form("approve", "maria", "fine", ("a", "b")),
}


@pytest.mark.parametrize("people", [True, False])
def test_the_form_asks_for_a_code_where_people_have_tokens_and_for_a_name_elsewhere(
    tmp_path: Path, people: bool
) -> None:
    waiting = Waiting(tmp_path, people=people)
    form = form_of(waiting.question)
    asked = "code" if people else "approver"
    assert set(FORMS) & set(form.model_fields) == {asked}
    assert form(**FORMS[asked](waiting)).model_dump()["decision"] == "approve"
    assert "lockgate-" not in json.dumps(form.model_json_schema()), "no token is ever asked for"


def test_what_a_person_typed_is_never_shown_in_a_traceback(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path)
    code = waiting.code("maria")
    assert code not in repr(waiting.answer(code))
