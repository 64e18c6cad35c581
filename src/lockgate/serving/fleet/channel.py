"""One end of a socketpair: messages as JSON lines of bounded length."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

from lockgate.errors import LockgateError
from lockgate.serving.fleet.messages import LINE_BYTES, Message

UNREAD_BYTES: Final = 4 * LINE_BYTES  # a reader that is so far behind does not read any more

Incoming = TypeVar("Incoming")


class ChannelBroken(LockgateError):
    """The other end is gone, does not read, or speaks something else."""


class Channel(Generic[Incoming]):
    """One end; sends and receives on one event loop."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, decode: Callable[[bytes], Incoming]
    ) -> None:
        self._reader, self._writer, self._decode = reader, writer, decode
        self._encode: Final = msgspec.json.Encoder().encode

    @classmethod
    async def open(cls, end: socket.socket, incoming: Any) -> Channel[Incoming]:  # noqa: ANN401 - a union type is no `type`
        """Take one end of a socketpair.

        Args:
            end: Becomes the channel's.
            incoming: What messages from the other end may be.
        """
        reader, writer = await asyncio.open_unix_connection(sock=end, limit=LINE_BYTES)
        return cls(reader, writer, msgspec.json.Decoder(incoming).decode)

    def send(self, message: Message) -> None:
        """Send a message; does not wait.

        Raises:
            ChannelBroken: The other end is gone, or does not read any more.
        """
        transport = self._writer.transport
        if transport.is_closing():
            raise ChannelBroken("the other end of the channel is gone")
        line = self._encode(message)
        if len(line) >= LINE_BYTES or transport.get_write_buffer_size() > UNREAD_BYTES:
            raise ChannelBroken(f"a message of {len(line)} bytes cannot be sent: too long, or nobody reads")
        self._writer.write(line + b"\n")

    async def receive(self) -> Incoming | None:
        """Return the next message; None when the other end is closed, or its process gone.

        Raises:
            ChannelBroken: What came is no message.
        """
        try:
            line = await self._reader.readuntil(b"\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        except asyncio.LimitOverrunError as long:
            raise ChannelBroken(f"a message is longer than {LINE_BYTES} bytes") from long
        try:
            return self._decode(line)
        except (msgspec.MsgspecError, UnicodeDecodeError) as wrong:
            raise ChannelBroken(f"no message: {wrong}") from wrong

    def close(self) -> None:
        """Close this end; the other end sees it."""
        self._writer.close()
