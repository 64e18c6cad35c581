"""Feedback: what people say of an answer, by prediction id; on the disk before they are told that it was taken.

Nothing is looked up here, and nothing is joined: it is little, and its readers do that. Who said it is kept as a hash
under the server's own key, which tells people apart and names nobody; comments go nowhere but into these files.

    <state>/feedback/<UTC time of opening>-w<worker>-<number>.jsonl     see `synced_log`

A line is {"prediction_id", "row", "verdict", "comment", "who", "time", "received"}.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final, Literal, get_args

import msgspec

from lockgate.serving import virtual_time
from lockgate.serving.log.keyed_hash import KeyedHash
from lockgate.serving.log.segments import lines, open_for_appending, segments
from lockgate.serving.log.synced_log import ID_LENGTH, LARGEST_ROW, SEGMENT_BYTES, SyncedLog

QUEUE_BYTES = 2 << 20  # of lines that wait for the disk
SEGMENT_AGE_S = 3600.0  # ours: few files a day, and what is kept of them is judged by the day
FEEDBACK_AT_MOST: Final = 1_000  # of one request
COMMENT_LENGTH: Final = 500
WHO_LENGTH: Final = 64
_SLACK_S: Final = 60.0  # a file's time is of another clock than the lines', and coarser

Verdict = Literal["wrong", "right", "harmful"]
VERDICTS: Final[tuple[str, ...]] = get_args(Verdict)
_Comment = Annotated[str, msgspec.Meta(max_length=COMMENT_LENGTH)]
_Who = Annotated[str, msgspec.Meta(max_length=WHO_LENGTH)]


class Feedback(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody says of one row's answer.

    Attributes:
        prediction_id: The id that the answer carried.
        verdict: What it was.
        row: Which row of the request, from 0.
        comment: In their words.
        who: Tells them apart from others; the newest word of each counts.
        time: When it was said; None: now.
    """

    prediction_id: Annotated[str, msgspec.Meta(min_length=1, max_length=ID_LENGTH)]
    verdict: Verdict
    row: Annotated[int, msgspec.Meta(ge=0, le=LARGEST_ROW)] = 0
    comment: _Comment | None = None
    who: _Who | None = None
    time: Annotated[datetime, msgspec.Meta(tz=True)] | None = None


class StoredFeedback(msgspec.Struct, frozen=True):
    """Feedback as it lies on the disk.

    Attributes:
        prediction_id: The id that the answer carried.
        row: Which row of the request.
        verdict: What it was.
        comment: In their words; None: there are none.
        who: A hash of who said it; None: they did not say.
        time: When it was said.
        received: When the server was told.
    """

    prediction_id: str
    row: int
    verdict: Verdict
    comment: str | None
    who: str | None
    time: datetime
    received: datetime


_DECODER = msgspec.json.Decoder(StoredFeedback)


class FeedbackLog(SyncedLog):
    """The feedback that one process takes; used on its event loop.

    Attributes:
        by_verdict: How much of it the disk holds.
    """

    def __init__(
        self,
        folder: Path,
        *,
        worker: int = 0,
        segment_bytes: int = SEGMENT_BYTES,
        segment_age_s: float = SEGMENT_AGE_S,
        opener: Callable[[Path], int] = open_for_appending,
    ) -> None:
        """Name the folder; the key of hashes lies beside it. See `SyncedLog`."""
        super().__init__(
            folder,
            what="feedback",
            queue_bytes=QUEUE_BYTES,
            segment_age_s=segment_age_s,
            worker=worker,
            segment_bytes=segment_bytes,
            opener=opener,
        )
        self.by_verdict: Final[Counter[str]] = Counter(dict.fromkeys(VERDICTS, 0))
        self._keyed = KeyedHash(folder.parent / "prediction-log.key")

    async def add(self, said: Sequence[Feedback]) -> None:
        """Keep feedback; when this returns, it survives a power cut.

        Raises:
            RequestRefused: Too much waits for the disk; or it took too long, and may keep it yet.
            OSError: The disk did not take it; none of it was kept.
        """
        now = virtual_time.now()
        data = b"".join(msgspec.json.encode(self._stored(each, now)) + b"\n" for each in said)
        await self.keep(data, len(said))
        self.by_verdict.update(each.verdict for each in said)

    def _stored(self, said: Feedback, now: datetime) -> StoredFeedback:
        name, comment = (said.who or "").strip(), (said.comment or "").strip()
        who = self._keyed(f"feedback of {name}") if name else None  # equal to no hash of a column
        return StoredFeedback(said.prediction_id, said.row, said.verdict, comment or None, who, said.time or now, now)


def feedback_folder(state: Path) -> Path:
    """Return the folder of a server's state that holds its feedback."""
    return state / "feedback"


def read_segments(state: Path, *, since: datetime | None = None) -> Iterator[StoredFeedback | None]:
    """Return what people said, segment by segment; None for a line that is no feedback, half lines left out.

    Args:
        state: The server's state folder.
        since: Only what was received from then on; segments that were closed for good before are not opened.
    """
    for path in segments(feedback_folder(state)):
        if since is not None and _last_written(path) < since.timestamp() - _SLACK_S:
            continue
        for line in lines(path):
            said = _read(line)
            if said is None or since is None or said.received >= since:
                yield said


def _last_written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:  # removed meanwhile
        return 0.0


def _read(line: bytes) -> StoredFeedback | None:
    try:
        return _DECODER.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None
