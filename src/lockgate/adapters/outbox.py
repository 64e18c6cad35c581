"""Messages on their way to people, as files; each goes to every address at least once, with one id.

    <home>/outbox/                 mode 700
        waiting/TIME-ID.json       a message, which addresses took it and when, how often each did not
        done/TIME-ID.json          the last ones that nothing more is done about, so that none is taken in again
        addresses.json             which addresses do not answer, since when, and when each is tried again
        address.key                the secret under which an address's name is made; no file holds an address

Bounded: at most `KEPT` messages wait. When it is full the oldest are kept and new ones are not taken; those stay in the
ledger and are handed over again when there is room. First, though, the oldest that at least one address took give way.

An address that does not take a message is tried again after 5 s, then after twice as long each time, at most 5 min. A
receipt is written before the next message is sent: what an address took and is on file it never gets again. A crash
between the two sends once more, with the same id.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Protocol

from lockgate.adapters.durable_files import write_whole
from lockgate.adapters.notifier import AppriseChannel
from lockgate.adapters.silent_addresses import Silent, SilentAddresses
from lockgate.core.alerting.messages import Message
from lockgate.core.ids import digest_bytes, to_json
from lockgate.core.records import read_record
from lockgate.errors import IntegrityError
from lockgate.ports import Clock, Delivered
from lockgate.serving.disk import alone

KEPT = 1000
"""So many messages wait at most. Ours: alerts come in tens; 1,000 small files are read in a blink."""
GIVE_UP = timedelta(days=7)
"""What another address took is kept no longer for one that is silent. Ours: after a week the address is wrong."""
PASS_S = 10.0
"""One pass begins no sending after this. Ours: whoever delivers has other things to do."""
_IN_ORDER = 5  # after so many failures a message lets others go first: it may be the message, and not the address

_log = logging.getLogger(__name__)


class Channel(Protocol):
    """One address."""

    name: str

    def send(self, message: Message) -> bool:
        """Send one message; tells whether it was taken. Never raises."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Letter:
    """One message's file.

    Attributes:
        message: What is sent.
        taken: When each address took it.
        failed: How often each did not.
    """

    message: Message
    taken: Mapping[str, datetime] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)


class FileOutbox:
    """Implements `ports.Outbox`; safe to use from several processes at once.

    Args:
        folder: Where the messages lie.
        addresses: Apprise addresses.
        clock: Dates receipts.
        channel: Makes the channel of an address, from the address and the secret of its name.
        kept: How many messages wait at most.
    """

    def __init__(
        self,
        folder: Path,
        addresses: Sequence[str],
        clock: Clock,
        *,
        channel: Callable[[str, bytes], Channel] = AppriseChannel,
        kept: int = KEPT,
    ) -> None:
        self._folder = folder
        self._addresses = tuple(addresses)
        self._channel = channel
        self._clock = clock
        self._kept = kept
        self._account = SilentAddresses(folder / "addresses.json", clock)

    @cached_property
    def channels(self) -> tuple[Channel, ...]:
        """The addresses messages go to."""
        if not self._addresses:
            return ()
        key = self._key()
        made = {each.name: each for each in (self._channel(address, key) for address in self._addresses)}
        return tuple(made.values())

    # -- in and out ----------------------------------------------------------------------------------------------------

    def put(self, message: Message) -> bool:
        """Take a message, once an id; False when no address is set or there is no room."""
        if not self.channels:
            return False
        name = _file_name(message)
        with self._changing():
            if (self._waiting / name).exists() or (self._done / name).exists():
                return True
            if len(self._names()) >= self._kept:
                _log.warning("the outbox is full: %r stays in the ledger until there is room", message.id)
                return False
            self._write(Letter(message=message))
        return True

    def delivered(self) -> tuple[Delivered, ...]:
        """Return the messages that nothing more is done about and that were not settled."""
        if not self.channels:
            return ()
        letters = list(self._letters())
        spare = len(letters) - self._kept * 9 // 10 if len(letters) >= self._kept else 0
        done: list[Delivered] = []
        for letter in letters:  # oldest first
            missed = tuple(each.name for each in self.channels if each.name not in letter.taken)
            old = self._clock.now() - letter.message.at > GIVE_UP
            if not missed or (letter.taken and (old or len(done) < spare)):
                message, to = letter.message, tuple(sorted(letter.taken))
                done.append(Delivered(id=message.id, model=message.model, to=to, missed=missed))
        return tuple(done)

    def settle(self, message: str) -> None:
        """Forget a delivered message; its id stays known for a while."""
        with self._changing():
            for path in self._waiting.glob(f"*-{_short(message)}.json"):
                self._done.mkdir(exist_ok=True)
                path.rename(self._done / path.name)
            done = sorted(each.name for each in self._done.glob("*.json")) if self._done.is_dir() else []
            for name in done[: -self._kept]:
                (self._done / name).unlink(missing_ok=True)

    # -- delivery ------------------------------------------------------------------------------------------------------

    def deliver(self) -> int:
        """Send what waits to every address that is due; returns how many messages were taken.

        Of several processes one delivers; the others return at once.
        """
        if not self._names() or not self.channels:
            return 0
        with alone(self._folder / "deliver.lock") as mine:
            end = time.monotonic() + PASS_S
            return sum(self._drain(each, end) for each in self.channels) if mine else 0

    def _drain(self, channel: Channel, end: float) -> int:
        if not self._account.due(channel.name):
            return 0
        wanted = [each for each in self._letters() if channel.name not in each.taken]
        taken = 0
        for letter in sorted(wanted, key=lambda each: each.failed.get(channel.name, 0) >= _IN_ORDER):
            if time.monotonic() > end:
                break
            if not channel.send(letter.message):
                tried = letter.failed.get(channel.name, 0) + 1
                self._write(replace(letter, failed={**letter.failed, channel.name: tried}))
                self._account.note_silence(channel.name)
                break
            self._write(replace(letter, taken={**letter.taken, channel.name: self._clock.now()}))
            self._account.note_answer(channel.name)
            taken += 1
        return taken

    # -- what there is -------------------------------------------------------------------------------------------------

    def count(self) -> int:
        """Return how many messages wait."""
        return len(self._names())

    def silent(self) -> tuple[Silent, ...]:
        """Return the addresses that do not answer."""
        known = self._account.read() if self.channels else {}
        return tuple(known[each.name] for each in self.channels if each.name in known)

    @property
    def _waiting(self) -> Path:
        return self._folder / "waiting"

    @property
    def _done(self) -> Path:
        return self._folder / "done"

    def _names(self) -> list[str]:
        return sorted(each.name for each in self._waiting.glob("*.json")) if self._waiting.is_dir() else []

    def _letters(self) -> Iterator[Letter]:
        """Yield what waits, oldest first; a file that is no message is put aside, and said."""
        for name in self._names():
            path = self._waiting / name
            try:
                yield read_record(Letter, json.loads(path.read_text(encoding="utf-8")))
            except FileNotFoundError:
                continue  # settled meanwhile
            except (ValueError, IntegrityError):
                _log.warning("%s is no message; it is put aside as %s.broken", path, name)
                path.rename(path.with_name(f"{name}.broken"))

    def _write(self, letter: Letter) -> None:
        write_whole(self._waiting / _file_name(letter.message), json.dumps(to_json(letter), indent=1))

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let one process at a time add or settle messages."""
        self._made_folder()
        handle = os.open(self._folder / "change.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _made_folder(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def _key(self) -> bytes:
        """Return the secret of the addresses' names, made when it is first asked for."""
        path = self._folder / "address.key"
        with self._changing():
            if not path.is_file():
                write_whole(path, secrets.token_hex(32))
                path.chmod(0o600)
            return path.read_bytes()[:64]


def _file_name(message: Message) -> str:
    return f"{message.at:%Y%m%dT%H%M%S%f}-{_short(message.id)}.json"


def _short(message: str) -> str:
    return digest_bytes(message.encode())[:16]
