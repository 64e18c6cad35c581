"""A real PostgreSQL server for tests: Debian's programs, a folder and a socket of its own, always ended."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.ports import free_port

_OWNER = "postgres"  # the server refuses to run as root; Debian's package brings this user
_WAIT = ("--wait", "--timeout", "170")  # ours: by itself it gives up after 60 s, which a disk that stalls may take
NOT_HERE = "no PostgreSQL here (`apt-get install postgresql` brings it), so the ledger was not tried on it"


@lru_cache(maxsize=1)
def postgres_programs() -> Path | None:
    """Return the folder of the newest installed server's programs; None where there is none that could be run."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    on_path = shutil.which("initdb")
    if os.geteuid() == 0 and _OWNER not in {each.pw_name for each in pwd.getpwall()}:
        return None
    return found[-1].parent if found else Path(on_path).resolve().parent if on_path else None


@contextmanager
def running_postgres(programs: Path) -> Iterator[str]:
    """Make a cluster, start its server on a socket alone, give its URL, end it and drop all."""
    with TemporaryDirectory(prefix="lockgate-pg-") as name:  # a socket's path has room for a hundred characters
        folder, port = Path(name), free_port()
        if os.geteuid() == 0:
            shutil.chown(folder, _OWNER)
        data = ["--pgdata", str(folder / "data")]
        _run(programs, "initdb", [*data, "--username", _OWNER, "--auth", "trust", "--no-sync", "--encoding", "UTF8"])
        options = f"-c listen_addresses='' -c port={port} -c unix_socket_directories={folder} -c fsync=off"
        _run(programs, "pg_ctl", [*data, *_WAIT, "--log", str(folder / "log"), "--options", options, "start"])
        try:
            yield f"postgresql+psycopg2://{_OWNER}@/postgres?host={folder}&port={port}"
        finally:
            _run(programs, "pg_ctl", [*data, *_WAIT, "--mode", "immediate", "stop"])


def _run(programs: Path, program: str, arguments: Sequence[str]) -> None:
    user = _OWNER if os.geteuid() == 0 else None
    done = subprocess.run(
        [programs / program, *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=180,
        user=user,
        extra_groups=None if user is None else [],
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
    )
    assert done.returncode == 0, f"{program} failed: {done.stdout}{done.stderr}"
