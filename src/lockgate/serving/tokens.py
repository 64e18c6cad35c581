"""The admin token: what may change routing, force an arm or bring labels."""

from __future__ import annotations

import hmac
from pathlib import Path

from lockgate.errors import ConfigError
from lockgate.serving.refusals import Reason, refuse


def read_token(path: Path) -> bytes:
    """Read the admin token.

    Raises:
        ConfigError: There is no such file, or it is empty: an admin port without a token would be open to all.
    """
    try:
        token = path.read_bytes().strip()
    except OSError as broken:
        raise ConfigError(f"admin token file {path}: {broken.strerror}; give a file that holds the token") from broken
    if not token:
        raise ConfigError(f"admin token file {path} is empty; the admin port needs a token")
    return token


def check_bearer(token: bytes, header: str | None, what: str) -> None:
    """Refuse a request without this token; compared in constant time.

    Args:
        token: What is wanted.
        header: The request's `Authorization`.
        what: What needs it, for the message.

    Raises:
        RequestRefused: The header is absent or another.
    """
    scheme, _, given = (header or "").partition(" ")  # the scheme in any case: RFC 9110, 11.1
    right = hmac.compare_digest(given.strip().encode("latin-1", "replace"), token)
    if not right or scheme.lower() != "bearer":
        raise refuse(Reason.UNAUTHORIZED, f"{what} needs 'Authorization: Bearer <admin token>'")
