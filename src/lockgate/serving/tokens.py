"""Tokens: the admin's, which may change routing, force an arm or bring labels; and one that brings feedback alone."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
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


def check_apart(tokens: Mapping[str, Path], others: Mapping[str, Path]) -> None:
    """Refuse a token that is held twice: whoever has it for one thing would have it for the other.

    Args:
        tokens: The files that hold one, by the option that names each.
        others: The other files of the server, likewise; no token may be in one of them.

    Raises:
        ConfigError: Two are one file, or two hold the same token; or a token cannot be read, see `read_token`.
    """
    seen: dict[bytes, str] = {}
    files = {**others}
    for option, path in tokens.items():
        token = read_token(path, option.removeprefix("--").removesuffix("-token-file"))
        for other, its in files.items():
            if its.exists() and its.samefile(path):
                raise ConfigError(f"{option} and {other} are one file, {path}; give each a file of its own")
        if token in seen:
            raise ConfigError(f"{option} and {seen[token]} hold the same token; make another: openssl rand -hex 32")
        seen[token], files[option] = option, path


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
