"""Tells people through apprise addresses (mail, chat, webhook), within a bound, and without ever stopping a release.

An address often holds a password or a token: it appears in no log line, error or representation. Apprise and urllib3
log addresses, so what they say during a delivery is dropped.
"""

from __future__ import annotations

import hashlib
import logging
import re
import threading
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING
from urllib.parse import quote

from lockgate.core.alerting.messages import Message

if TYPE_CHECKING:
    from apprise import Apprise

_log = logging.getLogger(__name__)
_TALKATIVE = ("apprise", "urllib3.connectionpool")
_TIMEOUT_S = 15.0  # ours: a mail server that takes longer will not take it
_WEBHOOKS = ("json", "jsons", "form", "forms", "xml", "xmls")
_SCHEMA = re.compile(r"([a-z][a-z0-9+]{0,15})://")
_CHATS = ("discord", "gchat", "matrix", "matrixs", "mattermost", "mmost", "msteams", "rocket", "rockets", "slack")
_KINDS = frozenset(
    (*_WEBHOOKS, *_CHATS, "http", "https", "mailto", "mailtos", "ntfy", "opsgenie", "pagerduty", "tgram")
)
"""Schemas that an address is named after. Any other word in that place may be a secret that slipped there."""


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
        return [receiver for address in self._addresses if (receiver := _receiver(address)) is not None]


class AppriseChannel:
    """One address, by a name that tells nothing of it.

    Args:
        address: An apprise address.
        key: Secret under which the address is hashed for its name, so that a name proves no guess of a password.
        timeout_s: After this, a message counts as not taken. A receiver that answers later gets it again, with the
            same idempotency key.
    """

    def __init__(self, address: str, key: bytes, *, timeout_s: float = _TIMEOUT_S) -> None:
        schema = _schema(address)
        hashed = hashlib.blake2b(address.encode(), key=key, digest_size=4).hexdigest()
        self.name = f"{schema if schema in _KINDS else 'address'}-{hashed}"
        self._address = address
        self._timeout_s = timeout_s

    def __repr__(self) -> str:
        return f"AppriseChannel({self.name})"

    def send(self, message: Message) -> bool:
        """Send one message; tells whether the address took it in time. Never raises."""
        receiver = _receiver(_with_key(self._address, message.id))
        if receiver is None:
            return False
        delivery = _Delivery(receiver, message.title, message.body)
        delivery.start()
        delivery.join(self._timeout_s)
        return delivery.taken


def _with_key(address: str, key: str) -> str:
    """Return a webhook's address with a header that carries the idempotency key; another's as it is.

    >>> _with_key("json://localhost:9999/hook", "toy:loss#1")
    'json://localhost:9999/hook?+Idempotency-Key=toy%3Aloss%231&:idempotency_key=toy%3Aloss%231'
    >>> _with_key("mailto://somebody@example.org", "toy:loss#1")
    'mailto://somebody@example.org'
    """
    if _schema(address) not in _WEBHOOKS:
        return address
    value = quote(key, safe="")
    return f"{address}{'&' if '?' in address else '?'}+Idempotency-Key={value}&:idempotency_key={value}"


def _schema(address: str) -> str:
    found = _SCHEMA.match(address.lower())
    return found.group(1) if found else ""


def _receiver(address: str) -> Apprise | None:
    """Read an address; None for one that apprise does not understand."""
    with _silence(), warnings.catch_warnings():
        # apprise loads its plugins with the first address, and one imports a module that Python deprecates
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import Apprise

        receiver = Apprise()
        with suppress(Exception):  # a plugin may raise anything at an address it does not like
            return receiver if receiver.add(address) else None
    return None


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
