"""Where a reader of a server's logs stands: JSON text, kept by whoever reads, so that another process reads on.

    predictions, labels   each segment that was there, and how far it was read
    streams               by process of the server (what stands before the dash of its prediction ids): its last time
    kpis                  by file

Lines of one process are in the order of their times. So a process's last time says which of its rows in the archive
were read already, however the archive has put its files together.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

import msgspec

from lockgate.errors import BadInput

SLACK_S: Final = 5.0  # ours: ten times what a line may wait in a server's memory
_OPENED: Final = "%Y%m%dT%H%M%S.%fZ"


class Held(msgspec.Struct):
    """A segment.

    Attributes:
        offset: Bytes that were read.
        size: Bytes that it was seen to have.
        time: Of the last line that was read, seconds since the epoch; of before its opening where none was.
        lines: Lines that were read, or were there before the reading began.
        stream: Whose it is; empty while no line was read.
        done: Whether it is closed and was read to its end.
        left: Whether it has left the folder and is read on all the same.
    """

    offset: int = 0
    size: int = 0
    time: float = 0.0
    lines: int = 0
    stream: str = ""
    done: bool = False
    left: bool = False


class Part(msgspec.Struct):
    """The segments of one folder.

    Attributes:
        held: By name.
        gone: What was seen to leave the folder: segments of predictions, lines of labels.
        base: What the archive had taken of these before; it has taken more than `base` and `gone` where something
            came and went unseen.
        low: Rows of the archive from this time on are to be caught up with, seconds since the epoch; None: none are.
        owed: Streams of segments that left with bytes unread, with the time of the last line that was read.
    """

    held: dict[str, Held] = msgspec.field(default_factory=dict)
    gone: int = 0
    base: int = 0
    low: float | None = None
    owed: list[tuple[str, float]] = msgspec.field(default_factory=list)

    def catch_up(self, low: float) -> None:
        """Want the archive's rows from a time on."""
        self.low = low if self.low is None else min(self.low, low)

    def missed(self, taken: int) -> bool:
        """Tell whether the archive has taken something that was never seen, and reckon with it from now on."""
        missed = taken - self.base - self.gone > 0
        if missed:
            self.base = taken - self.gone
        return missed


class Stream(msgspec.Struct):
    """One process's lines.

    Attributes:
        read: Time of the last one that was read, seconds since the epoch.
        caught: Up to which time they were read from the archive; a segment that holds these has nothing new in them.
    """

    read: float = 0.0
    caught: float = 0.0


class Cursor(msgspec.Struct):
    """Where a reader stands.

    Attributes:
        began: When reading began; nothing older is read, seconds since the epoch.
        listed: When the folders were looked at last, likewise.
        predictions: One model's segments.
        labels: The server's segments of labels.
        streams: By process.
        kpis: Inode and bytes that were read, by file.
        version: Of this form.
    """

    began: float
    listed: float
    predictions: Part = msgspec.field(default_factory=Part)
    labels: Part = msgspec.field(default_factory=Part)
    streams: dict[str, Stream] = msgspec.field(default_factory=dict)
    kpis: dict[str, tuple[int, int]] = msgspec.field(default_factory=dict)
    version: int = 1

    def stream(self, name: str) -> Stream:
        """Return a process's stream, new where it was not met before."""
        found = self.streams.get(name)
        if found is None:
            found = self.streams[name] = Stream()
        return found

    def forget_before(self, time: float) -> None:
        """Forget processes that have logged nothing since; no row of theirs is looked for any more."""
        self.streams = {name: each for name, each in self.streams.items() if each.read >= time}

    def text(self) -> str:
        """Return it as JSON."""
        return msgspec.json.encode(self).decode()


def read_cursor(text: str) -> Cursor:
    """Read a cursor back.

    Raises:
        BadInput: It is none.
    """
    try:
        cursor = msgspec.json.decode(text, type=Cursor)
    except (msgspec.MsgspecError, UnicodeError) as broken:
        raise BadInput(f"{text[:80]!r} is no cursor of a traffic log: {broken}; begin again at its end") from broken
    if cursor.version != 1:
        raise BadInput(f"a traffic log's cursor of version {cursor.version} cannot be read; begin again at its end")
    return cursor


def stream_of(prediction_id: str) -> str:
    """Return which process of a server made a prediction id."""
    return prediction_id.rpartition("-")[0]


def before(name: str) -> float:
    """Return a time before all lines of a segment, by its name, seconds since the epoch; 0 where that does not say."""
    try:
        return datetime.strptime(name.partition("-")[0], _OPENED).replace(tzinfo=UTC).timestamp() - SLACK_S
    except ValueError:
        return 0.0


def worker_of(name: str) -> str:
    """Return which worker wrote a segment, by its name."""
    return name.split("-")[1] if name.count("-") > 1 else ""
