"""Labels: on the disk before the caller is told, or refused whole with the field named."""

import asyncio
import errno
import json
import os
import threading
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jsonschema
import msgspec
import orjson
import pytest

from lockgate.serving.http.handling import Request
from lockgate.serving.log import labels
from lockgate.serving.log.labels import LABELS_AT_MOST, Label, LabelLog, StoredLabel
from lockgate.serving.log.segments import lines, segments, taken
from lockgate.serving.protocols import labels as http_labels
from lockgate.serving.protocols.labels import parse
from lockgate.serving.protocols.openapi import document
from lockgate.serving.protocols.openapi_schemas import SCHEMAS
from lockgate.serving.refusals import Reason, RequestRefused

JSON, NDJSON = "application/json", "application/x-ndjson"


def stored(folder: Path) -> list[StoredLabel]:
    return [msgspec.json.decode(line, type=StoredLabel) for path in segments(folder) for line in lines(path)]


def test_labels_are_on_the_disk_when_the_caller_is_told(tmp_path: Path) -> None:
    when = datetime(2026, 1, 2, tzinfo=UTC)

    async def tell() -> list[StoredLabel]:
        log = LabelLog(tmp_path / "labels", worker=2)
        await log.add([Label("p-1", "yes", 3, when), Label("p-2", 1.5)])
        seen = stored(tmp_path / "labels")
        assert log.accepted == 2
        log.close()
        return seen

    first, second = asyncio.run(tell())
    assert (first.prediction_id, first.row, first.label, first.label_time) == ("p-1", 3, "yes", when)
    assert (second.label, second.label_time) == (1.5, second.received)


class SlowDisk(LabelLog):
    """Counts what goes to the disk together."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.groups: list[int] = []

    def _write(self, group: bytes) -> None:
        self.groups.append(group.count(b"\n"))
        super()._write(group)


def test_callers_that_come_while_the_disk_syncs_share_the_next_sync(tmp_path: Path) -> None:
    async def tell() -> list[int]:
        log = SlowDisk(tmp_path)
        await asyncio.gather(*(log.add([Label(f"p-{number}", 1)]) for number in range(100)))
        log.close()
        return log.groups

    groups = asyncio.run(tell())
    assert sum(groups) == len(stored(tmp_path)) == 100
    assert len(groups) <= 2


def test_a_full_disk_refuses_the_labels_and_keeps_nothing_of_them(tmp_path: Path) -> None:
    full = True

    def opener(path: Path) -> int:
        path.touch()
        return os.open("/dev/full" if full else path, os.O_WRONLY | os.O_APPEND)

    async def tell() -> None:
        nonlocal full
        log = LabelLog(tmp_path, opener=opener)
        with pytest.raises(OSError):  # noqa: PT011 - the kernel's, of whichever number
            await log.add([Label("p-1", 1)])
        assert (log.accepted, log.errors) == (0, 1)
        log.close()
        full = False
        log = LabelLog(tmp_path, opener=opener)
        await log.add([Label("p-2", 1)])
        log.close()

    asyncio.run(tell())
    assert [each.prediction_id for each in stored(tmp_path)] == ["p-2"]


class NoSync(LabelLog):
    """A disk that takes writes and fails to sync the first of them."""

    failed = False

    def _write(self, group: bytes) -> None:
        super()._write(group)
        if not self.failed:
            self.failed = True
            raise OSError(errno.EIO, "the disk is gone")


def test_every_caller_of_a_group_is_told_that_it_failed_and_the_next_group_is_taken(tmp_path: Path) -> None:
    async def tell() -> None:
        log = NoSync(tmp_path)
        told = await asyncio.gather(*(log.add([Label("p-1", 1)]) for _ in range(3)), return_exceptions=True)
        assert [type(each) for each in told] == [OSError] * 3
        await log.add([Label("p-2", 1)])
        log.close()

    asyncio.run(tell())


def test_a_disk_that_stands_still_is_waited_for_so_long_and_what_it_takes_later_is_kept(tmp_path: Path) -> None:
    class Patience(LabelLog):
        within_s = 0.05

    held = threading.Event()

    async def tell() -> int:
        log = Patience(tmp_path)
        log._disk.submit(held.wait)
        with pytest.raises(RequestRefused, match=r"within 0\.05 s and may yet: send the same again") as refused:
            await log.add([Label("p-1", 1)])
        assert refused.value.reason is Reason.OVERLOADED
        log.within_s = 60.0
        held.set()
        await log.add([Label("p-1", 1)])
        log.close()
        return log.accepted

    assert asyncio.run(tell()) == 2
    assert [each.prediction_id for each in stored(tmp_path)] == ["p-1", "p-1"]  # which the archive counts as one


def test_too_many_that_wait_for_the_disk_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labels, "QUEUE_BYTES", 300)

    async def tell() -> list[object]:
        log = LabelLog(tmp_path)
        told = await asyncio.gather(*(log.add([Label("p-1", 1)]) for _ in range(5)), return_exceptions=True)
        log.close()
        return list(told)

    told = asyncio.run(tell())
    refused = [each for each in told if isinstance(each, RequestRefused)]
    assert {each.reason for each in refused} == {Reason.OVERLOADED}
    assert len(stored(tmp_path)) == told.count(None) == 5 - len(refused)


def test_a_segment_of_labels_is_given_up_at_its_age_without_a_further_label(tmp_path: Path) -> None:
    async def tell() -> None:
        log = LabelLog(tmp_path, segment_age_s=0.01)
        await log.add([Label("p-1", 1)])
        (segment,) = segments(tmp_path)
        async with asyncio.timeout(60):
            while True:
                with taken(segment) as got:
                    if got:
                        break
                await asyncio.sleep(0.002)
        await log.add([Label("p-2", 1)])
        log.close()

    asyncio.run(tell())
    assert len(segments(tmp_path)) == 2


def test_labels_are_read_from_an_object_or_from_lines() -> None:
    wanted = [Label("p-1", "yes", 1, datetime(2026, 1, 2, tzinfo=UTC)), Label("p-2", value := True)]
    told: list[dict[str, Any]] = [
        {"prediction_id": "p-1", "label": "yes", "row": 1, "time": "2026-01-02T00:00:00Z"},
        {"prediction_id": "p-2", "label": value},
    ]
    assert parse(orjson.dumps({"labels": told}), JSON) == wanted
    assert parse(b"\n\n".join(map(orjson.dumps, told)) + b"\r\n", NDJSON) == wanted


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `labels`"),
        (b'{"labels": []}', "length >= 1"),
        (b'{"labels": [{"label": 1}]}', "prediction_id"),
        (b'{"labels": [{"prediction_id": "a"}]}', "missing required field `label`"),
        (b'{"labels": [{"prediction_id": "", "label": 1}]}', "$.labels[0].prediction_id"),
        (b'{"labels": [{"prediction_id": "a", "label": null}]}', "$.labels[0].label"),
        (b'{"labels": [{"prediction_id": "a", "label": [1]}]}', "$.labels[0].label"),
        (b'{"labels": [{"prediction_id": "a", "label": 1e999}]}', "$.labels[0].label"),
        (b'{"labels": [{"prediction_id": "a", "label": 1, "row": -1}]}', "$.labels[0].row"),
        (b'{"labels": [{"prediction_id": "a", "label": 1, "time": "2026-01-02T00:00:00"}]}', "timezone"),
        (b'{"labels": [{"prediction_id": "a", "label": 1, "time": "0001-01-01T00:00:00+14:00"}]}', "labels[0].time"),
        (b'{"labels": [{"prediction_id": "a", "label": 1, "lable": 1}]}', "unknown field `lable`"),
        (b'{"labels": [{"prediction_id": "a", "label": "\xff"}]}', "form is"),
        (b"[" * 100_000, "form is"),
    ],
)
def test_a_wrong_label_is_refused_by_its_place(body: bytes, said: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        parse(body, JSON)
    assert refused.value.reason is Reason.MALFORMED
    assert said in refused.value.message


def test_a_wrong_line_is_refused_by_its_number() -> None:
    with pytest.raises(RequestRefused, match="line 3: "):
        parse(b'{"prediction_id": "a", "label": 1}\n\n{"prediction_id": 1}', NDJSON)
    with pytest.raises(RequestRefused, match="no label in it"):
        parse(b"\n", NDJSON)


@pytest.mark.parametrize(
    ("changes", "taken"),
    [
        ({}, True),
        ({"prediction_id": "x" * 128}, True),
        ({"prediction_id": "x" * 129}, False),
        ({"prediction_id": ""}, False),
        ({"label": "x" * 256}, True),
        ({"label": "x" * 257}, False),
        ({"label": ""}, False),
        ({"label": None}, False),
        ({"label": 2**53}, True),
        ({"label": -(2**53) - 1}, False),
        ({"label": 0.5}, True),
        ({"row": 2**31 - 1}, True),
        ({"row": 2**31}, False),
        ({"row": -1}, False),
        ({"time": None}, True),
        ({"more": 1}, False),
    ],
)
def test_the_api_document_bounds_labels_as_the_server_does(changes: dict[str, Any], taken: bool) -> None:
    body = {"labels": [{"prediction_id": "p", "label": "yes", **changes}]}
    assert jsonschema.Draft202012Validator(SCHEMAS["Labels"]).is_valid(body) == taken
    if taken:
        assert len(parse(json.dumps(body).encode(), JSON)) == 1
    else:
        with pytest.raises(RequestRefused):
            parse(json.dumps(body).encode(), JSON)


def test_the_api_document_names_the_form_of_lines_and_the_most_labels() -> None:
    (operation,) = document(http_labels.ROUTES)["paths"]["/labels"].values()
    assert set(operation["requestBody"]["content"]) == {JSON, NDJSON}
    assert SCHEMAS["Labels"]["properties"]["labels"]["maxItems"] == LABELS_AT_MOST


def test_more_labels_than_are_taken_and_other_media_are_refused() -> None:
    line = b'{"prediction_id": "a", "label": 1}\n'
    assert len(parse(line * LABELS_AT_MOST, NDJSON)) == LABELS_AT_MOST
    with pytest.raises(RequestRefused, match="at most 10000") as many:
        parse(line * (LABELS_AT_MOST + 1), NDJSON)
    assert many.value.reason is Reason.TOO_MANY_ROWS
    with pytest.raises(RequestRefused, match="x-ndjson") as media:
        parse(line, "text/csv")
    assert media.value.reason is Reason.UNSUPPORTED_MEDIA


def test_the_token_is_asked_for_before_anything_is_read() -> None:
    class Refused(Exception):
        pass

    def authorize(header: str | None, what: str) -> None:
        assert (header, what) == ("Bearer x", "labels")
        raise Refused

    request = Request({}, b"", {b"authorization": b"Bearer x"}, b"not JSON", 0.0)
    with pytest.raises(Refused):
        asyncio.run(http_labels.labels(SimpleNamespace(authorize=authorize), request))  # type: ignore[arg-type]
