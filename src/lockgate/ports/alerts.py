"""Where messages wait until people's addresses took them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from lockgate.core.alerting.messages import Message
from lockgate.core.ids import ModelName


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivered:
    """A message that nothing more is done about.

    Attributes:
        id: Its id.
        model: Whose record it comes from.
        to: The addresses that took it, by their names in the outbox.
        missed: Those that were given up.
    """

    id: str
    model: ModelName
    to: tuple[str, ...]
    missed: tuple[str, ...] = ()


class Outbox(Protocol):
    """Messages on their way: at least once to every address, and with the same id each time."""

    def put(self, message: Message) -> bool:
        """Take a message, once an id; False when it is not taken now: no address is set, or there is no room."""
        ...

    def delivered(self) -> Sequence[Delivered]:
        """Return the messages that nothing more is done about and that were not settled."""
        ...

    def settle(self, message: str) -> None:
        """Forget a delivered message; its id stays known for a while, so that it is not taken again."""
        ...
