"""Tells people through apprise addresses (mail, chat, webhook), within a bound, and without ever stopping a release.

An address often holds a password or a token: it appears in no log line, error or representation. Apprise and urllib3
log addresses, so what they say during a delivery is dropped.
"""

from __future__ import annotations

import logging
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apprise import Apprise

_log = logging.getLogger(__name__)
_TALKATIVE = ("apprise", "urllib3.connectionpool")
_TIMEOUT_S = 15.0  # ours: a mail server that takes longer will not take it


class AppriseNotifier:
    """Implements `ports.Notifier`.

    Args:
        addresses: Apprise addresses, e.g. "mailto://user:password@example.org" or "json://localhost:9999/hook".
        timeout_s: After this, what was not delivered counts as not delivered.
    """

    def __init__(self, addresses: Sequence[str], *, timeout_s: float = _TIMEOUT_S) -> None:
        self._addresses = tuple(addresses)
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"AppriseNotifier({len(self._addresses)} addresses)"

    def notify(self, title: str, body: str) -> bool:
        """Send one message to every address at once; False when none took it in time."""
        deliveries = [_Delivery(receiver, title, body) for receiver in self._receivers()]
        for delivery in deliveries:
            delivery.start()
        deadline = time.monotonic() + self._timeout_s
        for delivery in deliveries:
            delivery.join(max(0.0, deadline - time.monotonic()))
        taken, wanted = sum(delivery.taken for delivery in deliveries), len(self._addresses)
        if taken < wanted:
            _log.warning("%d of %d addresses did not take the message %r", wanted - taken, wanted, title)
        return taken > 0

    def _receivers(self) -> list[Apprise]:
        """Read the addresses; one that apprise does not understand has no receiver."""
        if not self._addresses:
            return []
        with _silence(), warnings.catch_warnings():
            # apprise loads its plugins with the first address, and one imports a module that Python deprecates
            warnings.simplefilter("ignore", DeprecationWarning)
            from apprise import Apprise

            found = []
            for address in self._addresses:
                receiver = Apprise()
                with suppress(Exception):  # a plugin may raise anything at an address it does not like
                    if receiver.add(address):
                        found.append(receiver)
            return found


class _Delivery(threading.Thread):
    """One message to one address; a daemon, so that a hung address does not keep the process."""

    def __init__(self, receiver: Apprise, title: str, body: str) -> None:
        super().__init__(name="lockgate-notify", daemon=True)
        self._receiver, self._title, self._body = receiver, title, body
        self.taken = False

    def run(self) -> None:
        try:
            with _silence():
                self.taken = bool(self._receiver.notify(title=self._title, body=self._body))
        except Exception as broken:  # noqa: BLE001 - a plugin may raise anything; telling people never stops a release
            _log.warning("a notification was not delivered: %s", type(broken).__name__)  # its text may hold the address


@contextmanager
def _silence() -> Iterator[None]:
    """Drop what this thread makes the talkative libraries log."""
    thread = threading.get_ident()

    def others(record: logging.LogRecord) -> bool:
        return record.thread != thread

    loggers = [logging.getLogger(name) for name in _TALKATIVE]
    for logger in loggers:
        logger.addFilter(others)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(others)
