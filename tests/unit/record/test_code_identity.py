from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from lockgate.adapters.code_identity import code_identity
from lockgate.errors import ConfigError


@pytest.fixture
def project(tmp_path: Path) -> Path:
    for name in ("src/lockgate/a.py", "flows/b.py", "tasks/c.py", "deployments/flights/d.py", "prefect.yaml"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"# {name}\n")
    (tmp_path / "requirements.lock").write_text("numpy==2.5.0\n")
    return tmp_path


def _git(project: Path, *arguments: str) -> None:
    author = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(["git", "-C", str(project), *author, *arguments], check=True, capture_output=True)


def test_without_git_the_source_still_has_an_identity(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    identity = code_identity(project)
    assert (identity.commit, identity.dirty) == (None, False)
    assert identity == code_identity(project)


@pytest.mark.parametrize(
    "name",
    ["src/lockgate/a.py", "flows/b.py", "tasks/c.py", "deployments/flights/d.py", "prefect.yaml", "requirements.lock"],
)
def test_one_changed_byte_of_source_or_lock_is_another_program(project: Path, name: str) -> None:
    before = code_identity(project)
    (project / name).write_text((project / name).read_text() + " ")
    assert code_identity(project).digest != before.digest


def test_a_renamed_and_an_added_file_are_another_program(project: Path) -> None:
    before = code_identity(project)
    (project / "flows/b.py").rename(project / "flows/e.py")
    renamed = code_identity(project)
    (project / "tasks/f.py").write_text("")
    assert len({before.digest, renamed.digest, code_identity(project).digest}) == 3


def test_docs_bytecode_and_state_are_not_the_program(project: Path) -> None:
    before = code_identity(project)
    for name in ("docs/x.md", "src/lockgate/__pycache__/a.cpython-311.pyc", ".lockgate/ledger.db", "tests/t.py"):
        (project / name).parent.mkdir(parents=True, exist_ok=True)
        (project / name).write_text("x")
    assert code_identity(project) == before


def test_a_commit_is_a_label_and_an_edit_after_it_is_dirty(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lockgate.adapters.code_identity._GIT_TIMEOUT_S", 60.0)  # a disk may take its time
    before = code_identity(project)
    _git(project, "init", "-q")
    _git(project, "add", ".")
    _git(project, "commit", "-qm", "first")
    committed = code_identity(project)
    assert committed.commit is not None
    assert (committed.dirty, committed.digest) == (False, before.digest)
    (project / "flows/b.py").write_text("# edited\n")
    edited = code_identity(project)
    assert (edited.commit, edited.dirty) == (committed.commit, True)
    assert edited.digest != committed.digest


def test_a_folder_without_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="LOCKGATE_PROJECT"):
        code_identity(tmp_path)
