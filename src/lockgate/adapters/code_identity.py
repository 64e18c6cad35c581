"""Which program this is: a digest of its source and of its lock, with the git commit as a label where there is one.

A release is bound to it: what resumes after an approval must be the program that judged. Source and lock decide, not
the commit, so that a commit to the docs voids no approval and an edited file without a commit does.
"""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lockgate.core.ids import Digest, digest_bytes, digest_of
from lockgate.errors import ConfigError

_FOLDERS = ("src", "flows", "tasks", "deployments")
_FILES = ("prefect.yaml",)
_LOCK = "requirements.lock"
_GIT_TIMEOUT_S = 5.0  # ours: git answers in 10 ms; a repository on a hung disk must not hang a release


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeIdentity:
    """The program of one checkout.

    Attributes:
        commit: The git commit; None outside a repository, or without git.
        dirty: Whether the checkout differs from the commit; False when there is none.
        tree: sha256 over the relative path and content of every source file.
        lock: sha256 of `requirements.lock`.
    """

    commit: str | None
    dirty: bool
    tree: Digest
    lock: Digest

    @property
    def digest(self) -> Digest:
        """What releases are bound to: source and lock together."""
        return digest_of({"tree": self.tree, "lock": self.lock})


def code_identity(project: Path) -> CodeIdentity:
    """Return the identity of the program in a checkout.

    Raises:
        ConfigError: There is no source in this folder.
    """
    commit = _git(project, "rev-parse", "HEAD")
    changed = _git(project, "status", "--porcelain", "--", *_FOLDERS, *_FILES, _LOCK) if commit else None
    lock = project / _LOCK
    return CodeIdentity(
        commit=commit,
        dirty=bool(changed),
        tree=_tree(project),
        lock=digest_bytes(lock.read_bytes() if lock.is_file() else b""),
    )


def program_digest(project: Path) -> Digest:
    """Return `CodeIdentity.digest` of a checkout as it is on disk now, without asking git.

    Raises:
        ConfigError: There is no source in this folder.
    """
    lock = project / _LOCK
    locked = digest_bytes(lock.read_bytes() if lock.is_file() else b"")
    return digest_of({"tree": _tree(project), "lock": locked})


def _tree(project: Path) -> Digest:
    hashed, files = hashlib.sha256(), 0
    for path in sorted(_sources(project), key=lambda found: found.relative_to(project).as_posix()):
        name, content = path.relative_to(project).as_posix().encode(), path.read_bytes()
        # Lengths first: no two trees give the same bytes.
        hashed.update(b"%d %d " % (len(name), len(content)) + name + content)
        files += 1
    if not files:
        raise ConfigError(f"{project} holds no source in {', '.join(_FOLDERS)}; set LOCKGATE_PROJECT to the checkout")
    return Digest(hashed.hexdigest())


def _sources(project: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from (path for path in (project / folder).rglob("*.py") if path.is_file())
    yield from (path for name in _FILES if (path := project / name).is_file())


def _git(project: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(project), *arguments],
            capture_output=True,
            check=False,
            text=True,
            timeout=_GIT_TIMEOUT_S,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
