"""The access log: one JSON line an answer, whole lines in bounded pieces, and nobody waits for it."""

import json
import select
import threading
from typing import Any

from lockgate.serving.http.access_log import AccessLog, Entry

TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
TOLD = (
    (b"x-lockgate-model", b"toy"),
    (b"x-lockgate-release-digest", b"d" * 64),
    (b"x-lockgate-arm", b"champion"),
    (b"x-lockgate-prediction-id", b"p-1"),
)


class Sink:
    """Takes what is written."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.full = False
        self.open = threading.Event()
        self.open.set()
        self.entered = threading.Event()

    def __call__(self, piece: bytes) -> None:
        self.entered.set()
        assert self.open.wait(120)
        if self.full:
            raise OSError(28, "No space left on device")
        self.pieces.append(piece)

    @property
    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in b"".join(self.pieces).splitlines()]


def entry(**given: Any) -> Entry:
    fields: dict[str, Any] = {
        "time": 1_767_312_000.25,
        "method": "POST",
        "path": b"/v2/models/toy/infer",
        "asked": {},
        "status": 200,
        "told": TOLD,
        "size": 123,
        "rows": 2,
        "seconds": 0.000321,
    }
    return Entry(**fields | given)


def written(*entries: Entry) -> list[dict[str, Any]]:
    sink = Sink()
    log = AccessLog(sink)
    for each in entries:
        log.note(each)
    log.close(60.0)
    return sink.lines


def test_a_line_says_who_asked_what_and_what_answered() -> None:
    asked = {b"x-request-id": b"mine-1", b"traceparent": TRACE}
    assert written(entry(asked=asked)) == [
        {
            "time": "2026-01-02T00:00:00.250000+00:00",
            "event": "access",
            "request_id": "mine-1",
            "prediction_id": "p-1",
            "method": "POST",
            "path": "/v2/models/toy/infer",
            "status": 200,
            "arm": "champion",
            "digest": "d" * 64,
            "rows": 2,
            "latency_us": 321,
            "bytes": 123,
            "trace_id": "0af7651916cd43dd8448eb211c80319c",
        }
    ]


def test_without_a_callers_id_the_predictions_is_the_requests() -> None:
    (line,) = written(entry())
    assert line["request_id"] == line["prediction_id"] == "p-1"
    assert line["trace_id"] is None


def test_what_is_no_prediction_has_no_arm_and_an_error_has_the_id_it_was_answered_with() -> None:
    (line,) = written(entry(status=500, told=((b"x-request-id", b"e1"),), rows=None))
    assert (line["request_id"], line["prediction_id"], line["arm"], line["rows"]) == ("e1", None, None, None)


def test_a_caller_cannot_write_lines_of_its_own() -> None:
    asked = {b"x-request-id": b'a"}\n{"event": "access"', b"traceparent": b"00-\n"}
    (line,) = written(entry(asked=asked, path=b'/x%0a\n"\xff', told=()))
    assert line["request_id"] is None
    assert line["trace_id"] is None
    assert line["path"] == '/x%0a\n"ÿ'


def test_a_path_is_cut() -> None:
    (line,) = written(entry(path=b"/" + b"a" * 60_000))
    assert len(line["path"]) == 256


def test_lines_are_written_whole_in_pieces_that_a_pipe_takes_whole() -> None:
    sink = Sink()
    log = AccessLog(sink)
    for number in range(100):
        log.note(entry(rows=number))
    log.close(60.0)
    assert [line["rows"] for line in sink.lines] == list(range(100))
    assert len(sink.pieces) > 5
    assert all(len(piece) <= select.PIPE_BUF and piece.endswith(b"\n") for piece in sink.pieces)
    assert (log.written, log.dropped) == (100, 0)


def test_while_nobody_reads_the_memory_is_bounded_and_what_is_dropped_is_counted() -> None:
    sink = Sink()
    sink.open.clear()
    log = AccessLog(sink, flush_s=0.001, queue=10)
    log.note(entry())
    assert sink.entered.wait(60)  # the writer hangs in its first piece
    for _ in range(30):
        log.note(entry())
    assert log.dropped == 20
    sink.open.set()
    log.close(60.0)
    assert log.written == len(sink.lines) == 11


def test_an_end_does_not_wait_for_a_reader_that_takes_nothing() -> None:
    sink = Sink()
    sink.open.clear()
    log = AccessLog(sink, flush_s=0.001)
    log.note(entry())
    assert sink.entered.wait(60)
    log.close(0.01)
    assert sink.lines == []
    sink.open.set()


def test_a_full_disk_is_counted_and_writing_goes_on_afterwards() -> None:
    sink = Sink()
    sink.full = True
    log = AccessLog(sink, flush_s=0.001)
    log.note(entry())
    assert sink.entered.wait(60)
    pause = threading.Event()
    while not log.dropped:
        assert not pause.wait(0.001)
    sink.full = False
    log.note(entry())
    log.close(60.0)
    assert (log.written, log.dropped) == (1, 1)
