"""Keyed hashes of values that may be joined but not read."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import struct
import threading
from pathlib import Path
from typing import Final

from lockgate.serving.disk import sync

_KEY_BYTES: Final = 32
_FLOAT32: Final = struct.Struct("<f")
_HASH_BYTES: Final = 16  # 2^64 distinct values before two are likely to share a hash


class KeyedHash:
    """Replaces values so that equal ones stay equal, and nobody without the key can tell or guess them.

    BLAKE2b of 128 bits, keyed (RFC 7693, 2.5). A number is hashed as float32, which is what the model sees of it, so
    that it does not matter how a caller wrote it.
    """

    def __init__(self, key_file: Path) -> None:
        """Take the file that holds the key; it is made, for its owner only, when the first value is hashed."""
        self._file = key_file
        self._keyed: hashlib.blake2b | None = None

    def __call__(self, value: object) -> str | None:
        """Return a value's hash, 32 hexadecimal digits; None for null.

        Raises:
            OSError: The key can neither be read nor made.
        """
        text = _canonical(value)
        if text is None:
            return None
        keyed = self.open().copy()
        keyed.update(text.encode())
        return keyed.hexdigest()

    def open(self) -> hashlib.blake2b:
        """Return the keyed hash of nothing; the key is read, or made, once.

        Raises:
            OSError: The key can neither be read nor made.
        """
        if self._keyed is None:
            self._keyed = hashlib.blake2b(key=self._key(), digest_size=_HASH_BYTES)
        return self._keyed

    def _key(self) -> bytes:
        """Return the key; of several that make it at once, one wins and all use that one."""
        try:
            return self._read()
        except FileNotFoundError:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            new = self._file.with_name(f".{self._file.name}.{os.getpid()}-{threading.get_ident()}")
            try:
                self._make(new)
            finally:
                new.unlink(missing_ok=True)
            return self._read()

    def _make(self, new: Path) -> None:
        """Make a key, on the disk before it is named and named before it is used: hashes of a lost one join nothing."""
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(os.urandom(_KEY_BYTES).hex().encode())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, self._file)
        sync(self._file.parent)

    def _read(self) -> bytes:
        """Return the file's key; one that is cut short, or empty, would hide nothing."""
        held = self._file.read_bytes()
        with contextlib.suppress(ValueError):
            key = bytes.fromhex(held.decode("ascii"))
            if len(key) == _KEY_BYTES:
                return key
        problem = f"it holds no key of {_KEY_BYTES} bytes; put the right one back, or remove it"
        raise OSError(errno.EINVAL, problem, str(self._file))


def _canonical(value: object) -> str | None:
    if value is None or isinstance(value, str):
        return value
    try:
        (number,) = _FLOAT32.unpack(_FLOAT32.pack(value))
    except OverflowError:
        return repr(value)
    if number != number:  # noqa: PLR0124 - NaN is null
        return None
    return str(int(number)) if number.is_integer() else repr(number)
