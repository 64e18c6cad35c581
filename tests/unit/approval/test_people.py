"""People and their tokens: shown once, kept as hashes, refused when wrong, revoked, edited or gone."""

from __future__ import annotations

import json
import multiprocessing
import stat
from pathlib import Path

import pytest

from lockgate.adapters.approvers import Approvers, token_file
from lockgate.adapters.stack import inherited
from lockgate.config import approver_token
from lockgate.core.approval_people import PEOPLE, Role, person_at
from lockgate.core.ids import is_model_name
from lockgate.core.ledger import Event
from lockgate.errors import BadInput, ConfigError
from lockgate.stages.audit_approval import audit_people
from tests.fakes import FakeClock, FakeLedger
from tests.unit.approval.people import RELEASE, TOY, Waiting, settings_in


@pytest.fixture
def approvers(tmp_path: Path) -> Approvers:
    clock = FakeClock()
    made = Approvers(settings_in(tmp_path), FakeLedger(clock), clock)
    made.add("root", Role.ADMIN, by="login ada")
    return made


def test_a_token_names_its_person_and_lies_nowhere(approvers: Approvers, tmp_path: Path) -> None:
    token = approvers.add("maria", Role.APPROVER, by="root")
    assert (approvers.who(token).name, approvers.who(token).role) == ("maria", Role.APPROVER)
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert token.encode() not in held
    assert token not in str(approvers._ledger.rows(PEOPLE))


def test_what_holds_the_hashes_is_readable_by_its_owner_alone(approvers: Approvers) -> None:
    for path in (approvers._settings.approvers_file, approvers._settings.approval_key):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        path.chmod(0o644)
        with pytest.raises(ConfigError, match="chmod 600"):
            approvers.who("lockgate-x")
        path.chmod(0o600)


@pytest.mark.parametrize("token", ["", "lockgate-", "lockgate-" + "A" * 43, "é\ud7ff"])
def test_a_wrong_token_is_nobodys(approvers: Approvers, token: str) -> None:
    with pytest.raises(BadInput, match="not that of anybody"):
        approvers.who(token)


def test_a_revoked_persons_token_is_nobodys_and_their_next_one_is_theirs(approvers: Approvers) -> None:
    before = approvers.add("maria", Role.APPROVER, by="root")
    approvers.revoke("maria", by="root")
    with pytest.raises(BadInput):
        approvers.who(before)
    after = approvers.add("maria", Role.VIEWER, by="root")
    assert approvers.who(after).role is Role.VIEWER
    with pytest.raises(BadInput):
        approvers.who(before)


def test_a_hash_put_back_after_its_person_was_revoked_lets_nobody_in(approvers: Approvers) -> None:
    path = approvers._settings.approvers_file
    token = approvers.add("maria", Role.APPROVER, by="root")
    kept = path.read_bytes()
    approvers.revoke("maria", by="root")
    path.write_bytes(kept)
    with pytest.raises(BadInput, match="maria was revoked"):
        approvers.who(token)


def test_somebody_elses_hash_under_a_name_lets_nobody_in(approvers: Approvers) -> None:
    path, token = approvers._settings.approvers_file, approvers.add("vic", Role.VIEWER, by="root")
    approvers.add("maria", Role.APPROVER, by="root")
    held = json.loads(path.read_bytes())
    held["tokens"]["maria"] = held["tokens"].pop("vic")
    path.write_text(json.dumps(held))
    with pytest.raises(ConfigError, match="does not hold what the ledger has on record"):
        approvers.who(token)


@pytest.mark.parametrize("what", ["approvers_file", "approval_key"])
def test_a_file_that_is_gone_opens_nothing(approvers: Approvers, what: str) -> None:
    getattr(approvers._settings, what).unlink()
    assert approvers.exist
    with pytest.raises(ConfigError, match="is gone"):
        approvers.who("lockgate-x")


def test_a_name_without_a_row_after_a_crash_in_between_lets_nobody_in_and_may_be_added_again(tmp_path: Path) -> None:
    ledger = FakeLedger()
    approvers = Approvers(settings_in(tmp_path), ledger, FakeClock())

    def die(_: Event) -> None:
        raise KeyboardInterrupt

    ledger.before_append = die
    with pytest.raises(KeyboardInterrupt):
        approvers.add("root", Role.ADMIN, by="login ada")
    ledger.before_append = None
    assert not approvers.exist
    assert approvers.who(approvers.add("root", Role.ADMIN, by="login ada")).role is Role.ADMIN


@pytest.mark.parametrize(
    ("name", "role", "says"),
    [
        ("a b", Role.VIEWER, "is no name"),
        ("ma:ria", Role.VIEWER, "is no name"),
        ("Landing", Role.ADMIN, "stands for a part"),
        ("ROOT", Role.ADMIN, "is there already"),
    ],
)
def test_a_person_who_cannot_be_told_apart_is_not_added(approvers: Approvers, name: str, role: Role, says: str) -> None:
    with pytest.raises(BadInput, match=says):
        approvers.add(name, role, by="root")
    assert len(approvers.people()) == 1


def test_nobody_locks_everybody_out(tmp_path: Path) -> None:
    approvers = Approvers(settings_in(tmp_path), FakeLedger(), FakeClock())
    with pytest.raises(BadInput, match="first person must be an admin"):
        approvers.add("maria", Role.APPROVER, by="login ada")
    assert not approvers.exist
    approvers.add("root", Role.ADMIN, by="login ada")
    with pytest.raises(BadInput, match="only admin"):
        approvers.revoke("root", by="root")


def _add(folder: Path, name: str) -> None:
    from lockgate.adapters.sql_ledger import SqlLedger

    settings = settings_in(folder)
    with SqlLedger(settings.ledger_url, FakeClock(), None) as ledger:
        Approvers(settings, ledger, FakeClock()).add(name, Role.ADMIN, by="login ada")


def test_people_added_at_once_are_all_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockgate.adapters.sql_ledger import SqlLedger

    monkeypatch.setattr("lockgate.adapters.ledger_database._BUSY_S", 240.0)  # a disk may stall while others wait
    monkeypatch.setattr("lockgate.adapters.approvers._LOCKED_WITHIN_S", 240.0)
    forked = multiprocessing.get_context("fork")
    names = [f"admin{number}" for number in range(4)]
    processes = [forked.Process(target=_add, args=(tmp_path, name)) for name in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * len(names)
    settings = settings_in(tmp_path)
    with SqlLedger(settings.ledger_url, FakeClock(), None) as ledger:
        assert sorted(each.name for each in Approvers(settings, ledger, FakeClock()).people()) == names
    assert sorted(json.loads(settings.approvers_file.read_bytes())["tokens"]) == names


def test_the_token_comes_from_a_file_of_ones_own_or_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "maria.token"
    with token_file(path) as write:
        write("lockgate-abc")
    assert approver_token({"LOCKGATE_APPROVER_TOKEN_FILE": str(path), "LOCKGATE_APPROVER_TOKEN": "x"}) == "lockgate-abc"
    assert approver_token({"LOCKGATE_APPROVER_TOKEN": " lockgate-abc\n"}) == "lockgate-abc"
    assert approver_token({}) is None
    path.chmod(0o640)
    with pytest.raises(ConfigError, match="can be read by others"):
        approver_token({"LOCKGATE_APPROVER_TOKEN_FILE": str(path)})
    with pytest.raises(ConfigError, match="not there"):
        approver_token({"LOCKGATE_APPROVER_TOKEN_FILE": str(tmp_path / "none")})


def test_a_token_file_is_never_written_over_and_gone_when_no_token_was_made(tmp_path: Path) -> None:
    path = tmp_path / "maria.token"
    with pytest.raises(BadInput, match="refused"), token_file(path):
        raise BadInput("refused")
    assert not path.exists()
    path.write_text("mine")
    with pytest.raises(BadInput, match="exists"), token_file(path):
        pass
    assert path.read_text() == "mine"
    with pytest.raises(BadInput, match="cannot be written"), token_file(path / "beneath a file"):
        pass


def test_the_stack_does_not_inherit_the_token_of_who_starts_it() -> None:
    given = {"LOCKGATE_APPROVER_TOKEN": "lockgate-x", "LOCKGATE_APPROVER_TOKEN_FILE": "f", "LOCKGATE_HOME": "h"}
    assert set(given) & set(inherited(given)) == {"LOCKGATE_HOME"}


def test_each_role_may_what_those_before_it_may() -> None:
    allowed = [(role, [needed for needed in Role if role.allows(needed)]) for role in Role]
    assert [len(each) for _, each in allowed] == [1, 2, 3, 4]


def test_no_model_can_have_the_name_of_the_chain_of_people() -> None:
    assert not is_model_name(PEOPLE)


def test_the_auditor_knows_who_was_there_when(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path)
    waiting.give(waiting.answer(waiting.code("maria")))
    people = waiting.ledger.rows(PEOPLE)
    assert list(audit_people(waiting.rows(), people)) == []
    waiting.clock.advance(60)
    waiting.approvers.revoke("maria", by="root")
    assert list(audit_people(waiting.rows(), waiting.ledger.rows(PEOPLE))) == [], "she could, when she did"
    without = [row for row in people if row.payload.get("name") != "maria"]
    assert ["who had not been added" in each.message for each in audit_people(waiting.rows(), without)] == [True]
    waiting.clock.advance(60)
    for who in ("maria", "otto"):
        facts = {"approver": who, "authenticated": True, "code": who}
        waiting.ledger.append(TOY, Event.APPROVAL_GIVEN, facts, release=RELEASE)
    found = [each.message for each in audit_people(waiting.rows(), waiting.ledger.rows(PEOPLE))]
    assert ["maria decided" in found[0], "was operator" in found[1]] == [True, True]
    assert person_at(people, "maria", waiting.clock.now()) is not None
