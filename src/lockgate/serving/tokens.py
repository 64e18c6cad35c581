"""Tokens: the admin's, which may change routing, force an arm or bring labels; and one that brings feedback alone."""

from __future__ import annotations

import hmac
from pathlib import Path

from lockgate.errors import ConfigError
from lockgate.serving.private_files import check_private
from lockgate.serving.refusals import Reason, refuse


def read_token(path: Path, whose: str = "admin") -> bytes:
    """Read a token: the admin's, or the one of that name.

    Raises:
        ConfigError: There is no such file, or it is empty, or others may read it: the port would be open to all.
    """
    try:
        token = path.read_bytes().strip()
    except OSError as broken:
        raise ConfigError(f"{whose} token file {path}: {broken.strerror}; give a file that holds the token") from broken
    if not token:
        raise ConfigError(f"{whose} token file {path} is empty; it must hold the token that callers are asked for")
    check_private(path, f"{whose} token file")
    return token


def check_bearer(token: bytes, header: str | None, what: str, *, narrower: bytes | None = None) -> None:
    """Refuse a request without this token; compared in constant time.

    Args:
        token: What is wanted: the admin's.
        header: The request's `Authorization`.
        what: What needs it, for the message.
        narrower: A token that will do as well, for this alone; None: there is none.

    Raises:
        RequestRefused: The header is absent or another.
    """
    scheme, _, given = (header or "").partition(" ")  # the scheme in any case: RFC 9110, 11.1
    told = given.strip().encode("latin-1", "replace")
    right = hmac.compare_digest(told, token)
    if narrower is not None:
        right |= hmac.compare_digest(told, narrower)
    if not right or scheme.lower() != "bearer":
        wanted = "admin token" if narrower is None else f"{what} token or admin token"
        raise refuse(Reason.UNAUTHORIZED, f"{what} needs 'Authorization: Bearer <{wanted}>'")
