"""Files that hold a secret: refused where more people can read them than hold it.

The rule is PostgreSQL's for its server key (`ssl_key_file`): what belongs to the server's own user is for that user
alone; what another one (root, a secret mounted into a container) hands to it may be read by the group, never by all.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from lockgate.errors import ConfigError

OWN: Final = 0o600
HANDED: Final = 0o640


def widest_mode(owner: int, user: int) -> int:
    """Return the widest mode that a secret's file may have, by the ids of its owner and of the server's user."""
    return OWN if owner == user != 0 else HANDED


def check_private(path: Path, what: str) -> None:
    """Refuse a secret's file that others may read or change.

    Args:
        path: The file.
        what: What it is, for the message.

    Raises:
        ConfigError: It is open to others; says what to do.
        OSError: It cannot be looked at.
    """
    found, user = path.stat(), os.geteuid()
    mode, widest = stat.S_IMODE(found.st_mode), widest_mode(found.st_uid, user)
    if mode & 0o077 & ~widest:
        better = OWN if found.st_uid == user else HANDED
        raise ConfigError(
            f"{what} {path} is open to others (mode {mode:03o}, at most {widest:o}): whoever has an account here could "
            f"use it; run: chmod {better:o} {path}, and make a new one if others are here",
            path=str(path),
            mode=f"{mode:03o}",
        )
