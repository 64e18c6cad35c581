"""Approvers' tokens: made, kept as hashes, recognised; and the one-time codes they are exchanged for.

    approvers.json    name -> hash of the token, mode 600, written whole or not at all
    the ledger        who was added and revoked, with the fingerprint of that hash (`core/approval_people.py`)
    keys/approval.key the secret of both, 32 random bytes, mode 600

A person counts when file and ledger agree: an edited file lets nobody in, and neither does one that is gone.

Tokens are hashed by keyed BLAKE2b (RFC 7693), not by a slow function like scrypt: slowness protects what people choose,
and a token is 256 random bits, which nobody guesses at any speed. The key makes a stolen file useless on its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import secrets
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from lockgate.adapters.durable_files import room_for, written_aside
from lockgate.config import Settings
from lockgate.core.approval_code import CODE_S, Bound, Claim, make_code, read_code
from lockgate.core.approval_people import PEOPLE, Person, Role, read_people, refuse_new, refuse_revoking
from lockgate.core.ids import Digest, digest_bytes
from lockgate.core.ledger import Event
from lockgate.errors import BadInput, ConfigError, TransientError
from lockgate.ports import Clock, Ledger
from lockgate.serving.disk import alone, sync

_KEY_BYTES = 32
_PREFIX = "lockgate-"  # so that scanners for secrets can know one by its form
_LOCKED_WITHIN_S = 5.0
_EVENTS = (Event.PERSON_ADDED, Event.PERSON_REVOKED)


class Approvers:
    """The people of one installation.

    Args:
        settings: Where file and key lie.
        ledger: Who is on record.
        clock: Dates codes.
    """

    def __init__(self, settings: Settings, ledger: Ledger, clock: Clock) -> None:
        self._settings = settings
        self._ledger = ledger
        self._clock = clock

    @property
    def exist(self) -> bool:
        """Whether anybody was ever added: then nobody acts without a token, not even when all were revoked since."""
        return bool(self._ledger.rows(PEOPLE, events=(Event.PERSON_ADDED,)))

    def people(self) -> tuple[Person, ...]:
        """Return everybody on record, those who were revoked included."""
        return read_people(self._ledger.rows(PEOPLE, events=_EVENTS))

    def add(self, name: str, role: Role, *, by: str) -> str:
        """Add a person and return their token, which is kept nowhere.

        Raises:
            BadInput: The name or the role is not allowed.
            TransientError: Another process changes the people, or the disk is full.
        """
        with self._alone():
            refuse_new(self.people(), name, role)
            token = _PREFIX + secrets.token_urlsafe(_KEY_BYTES)
            hashed = _hash(self._key(), token)
            # the file first: a hash without its row lets nobody in
            self._write(self._hashes() | {name: hashed})
            payload = {"name": name, "role": role.value, "fingerprint": digest_bytes(hashed.encode())}
            self._ledger.append(PEOPLE, Event.PERSON_ADDED, payload, actor=by)
        return token

    def revoke(self, name: str, *, by: str) -> None:
        """Revoke a person; from the row on their token and every code of theirs are worth nothing.

        Raises:
            BadInput: There is no such person, or they are the only admin.
            TransientError: Another process changes the people.
        """
        with self._alone():
            refuse_revoking(self.people(), name)
            self._ledger.append(PEOPLE, Event.PERSON_REVOKED, {"name": name}, actor=by)
            self._write({each: hashed for each, hashed in self._hashes().items() if each != name})

    def who(self, token: str) -> Person:
        """Return whose token this is.

        Raises:
            BadInput: Nobody's who may still act. The message does not repeat it.
            ConfigError: File and ledger do not agree.
        """
        hashed, found = _hash(self._key(), token), None
        for name, kept in self._hashes().items():  # every one, so that time does not tell which
            if hmac.compare_digest(kept.encode(), hashed.encode()):
                found = name
        if found is None:
            raise BadInput("the token is not that of anybody who was added and not revoked; ask an admin for a new one")
        return self._current(found, fingerprint=digest_bytes(hashed.encode()))

    def code(self, person: Person, bound: Bound) -> tuple[str, Claim]:
        """Return a one-time code of a person, and what it says."""
        now = self._clock.now().replace(microsecond=0)
        claim = Claim(approver=person.name, expires_at=now + timedelta(seconds=CODE_S), id=secrets.token_hex(8))
        return make_code(self._key(), bound, claim), claim

    def identify(self, text: str, bound: Bound) -> Claim:
        """Return what a code says, if whoever made it may decide now.

        Raises:
            BadInput: It is not genuine, or made for something else, or its person was revoked since or may not decide.
            ConfigError: File and ledger do not agree.
        """
        claim = read_code(self._key(), text, bound)
        person = self._current(claim.approver, fingerprint=None)
        made = claim.expires_at - timedelta(seconds=CODE_S)  # whole seconds
        if made < person.added_at.replace(microsecond=0):
            raise BadInput(f"the code was made before {person.name} was added, by a token that was revoked since")
        if not person.role.allows(Role.APPROVER):
            raise BadInput(f"{person.name} is {person.role}; to decide needs the role {Role.APPROVER}")
        return claim

    def _current(self, name: str, *, fingerprint: Digest | None) -> Person:
        found = next((each for each in self.people() if each.name == name), None)
        if found is None:
            raise ConfigError(
                f"{self._settings.approvers_file} names {name}, whom the ledger does not know; restore it from a backup"
            )
        if found.revoked_at is not None:
            raise BadInput(f"{name} was revoked at {found.revoked_at.isoformat()}; ask an admin")
        kept = self._hashes().get(name)
        on_file = None if kept is None else digest_bytes(kept.encode())
        if on_file != found.fingerprint or (fingerprint is not None and fingerprint != found.fingerprint):
            raise ConfigError(
                f"{self._settings.approvers_file} does not hold what the ledger has on record for {name}; restore it "
                "from a backup, or have an admin revoke and add them again"
            )
        return found

    def _hashes(self) -> dict[str, str]:
        path = self._settings.approvers_file
        if not path.exists():
            if self.exist:
                raise ConfigError(f"{path} is gone, and the ledger knows people; restore it from a backup")
            return {}
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
        try:
            held = json.loads(path.read_bytes())["tokens"]
            return {str(name): str(hashed) for name, hashed in held.items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as broken:
            raise ConfigError(f"{path} cannot be read: {broken!r}; restore it from a backup") from broken

    def _write(self, hashes: dict[str, str]) -> None:
        content = {"schema_version": 1, "hash": "blake2b, keyed with keys/approval.key", "tokens": hashes}
        path = self._settings.approvers_file
        partial = _aside(path, json.dumps(content, indent=1, sort_keys=True).encode())
        partial.replace(path)
        sync(path.parent)

    def _key(self) -> bytes:
        path = self._settings.approval_key
        if not path.exists():
            if self.exist:
                raise ConfigError(f"{path} is gone, so no token can be recognised; restore it from a backup")
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            partial = _aside(path, secrets.token_bytes(_KEY_BYTES))
            with contextlib.suppress(FileExistsError):
                os.link(partial, path)  # unlike a rename it never replaces a key that is there
            partial.unlink()
            sync(path.parent)
        if path.stat().st_mode & 0o077:
            raise ConfigError(f"{path} can be read by others; run: chmod 600 {path}")
        key = path.read_bytes()
        if len(key) != _KEY_BYTES:
            raise ConfigError(f"{path} holds {len(key)} bytes, not {_KEY_BYTES}; restore it from a backup")
        return key

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        self._settings.home.mkdir(parents=True, exist_ok=True)
        deadline = time.monotonic() + _LOCKED_WITHIN_S
        while True:
            with alone(self._settings.home / ".approvers.lock") as only:
                if only:
                    yield
                    return
            if time.monotonic() > deadline:
                raise TransientError("another process adds or revokes a person; try again")
            time.sleep(0.05)


@contextlib.contextmanager
def token_file(path: Path) -> Iterator[Callable[[str], None]]:
    """Open a new file of mode 600 for one token, before the token is made; it is gone again if none was.

    Raises:
        BadInput: There is a file already, or none can be there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as there:
        told = "exists; name a file that does not" if path.exists() else "cannot be written: its folder is a file"
        raise BadInput(f"{path} {told}") from there
    except OSError as refused:
        raise BadInput(f"{path} cannot be written: {refused.strerror}; name another file") from refused
    try:
        with os.fdopen(handle, "w") as file:
            yield lambda token: print(token, file=file)
    except BaseException:
        path.unlink()
        raise


def _hash(key: bytes, token: str) -> str:
    given = token.encode(errors="replace")
    return hashlib.blake2b(given, key=key, digest_size=32, person=b"lockgate token 1").hexdigest()


def _aside(path: Path, content: bytes) -> Path:
    """Write a file beside where it belongs, mode 600 from its first byte."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with room_for(path.name, path.parent):
        return written_aside(path, content)
