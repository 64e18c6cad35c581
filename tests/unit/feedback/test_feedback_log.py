"""What people said, joined to the answers it is about: counted once, by the newest word, and never by a wrong id."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from lockgate.adapters.feedback_log import read_feedback
from lockgate.core.ids import ModelName
from lockgate.core.monitoring.feedback import COMMENTS_AT_MOST, FeedbackSummary, shown
from lockgate.errors import TransientError
from lockgate.serving.log.archive_run import Archive
from lockgate.serving.log.archive_status import Kept
from lockgate.serving.log.feedback import Feedback, FeedbackLog, feedback_folder
from lockgate.serving.log.prediction_log import PredictionLog, Record
from lockgate.serving.log.segments import segments
from tests.bundles import contract

TOY, OTHER = ModelName("toy"), ModelName("other")
NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
OLD, NEW = "a" * 64, "b" * 64


def predict(state: Path, *ids: str, model: str = "toy", hours: float = 0, rows: int = 1, **more: Any) -> None:
    """Log answers, one id each, into one closed segment."""
    log = PredictionLog(state / "predictions", worker=len(segments(state / "predictions" / model)))
    for number, prediction_id in enumerate(ids):
        facts: dict[str, Any] = {
            "time": (NOON + timedelta(hours=hours, seconds=number)).timestamp(),
            "prediction_id": prediction_id,
            "model": model,
            "digest": OLD,
            "arm": "champion",
            "entity": None,
            "rows": rows,
            "inputs": {"amount": [1.5] * rows, "colour": ["red"] * rows},
            "outputs": {"probability": [0.1] * rows, "label": ["no"] * rows},
            "flags": (),
            "latency_us": 87,
            "contract": contract(model),
        }
        log.append(Record(**facts | more))
    log.close()


def say(state: Path, *said: Feedback) -> None:
    """Tell the server, each word by itself."""

    async def tell() -> None:
        log = FeedbackLog(feedback_folder(state))
        for each in said:
            await log.add([each])
        await log.aclose()

    asyncio.run(tell())


def write(state: Path, received: datetime, *said: dict[str, Any]) -> None:
    """Put words into a closed segment, told at a certain time."""
    folder = feedback_folder(state)
    folder.mkdir(exist_ok=True)
    facts = {"row": 0, "comment": None, "who": None, "time": received.isoformat(), "received": received.isoformat()}
    number = len(segments(folder)) + 1
    path = folder / f"{received:%Y%m%dT%H%M%S.%fZ}-w0-{number:06d}.jsonl"
    path.write_text("".join(f"{json.dumps(facts | each)}\n" for each in said))


def archive(state: Path) -> None:
    Archive(state, Kept(days=0, max_bytes=0)).run()


def counts(found: FeedbackSummary) -> tuple[int, ...]:
    return tuple(found.verdicts.values())


@pytest.fixture(params=[False, True], ids=["segments", "archive"])
def archived(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.mark.parametrize("place", ["segments", "archive", "both"])
def test_words_meet_their_answers_by_arm_and_bundle_wherever_these_lie(tmp_path: Path, place: str) -> None:
    predict(tmp_path, "p-1", "p-2")
    if place == "both":
        archive(tmp_path)
    predict(tmp_path, "p-3", "p-4", "p-5", arm="challenger", digest=NEW)
    if place == "archive":
        archive(tmp_path)
    say(
        tmp_path,
        Feedback("p-1", "wrong", comment="it was late"),
        Feedback("p-2", "right"),
        Feedback("p-4", "harmful", comment="cost me a day"),
    )
    found = read_feedback(tmp_path, TOY)
    assert counts(found) == (1, 1, 1)
    assert found.by_arm == {
        "challenger": {"wrong": 0, "right": 0, "harmful": 1}, "champion": {"wrong": 1, "right": 1, "harmful": 0},
    }  # fmt: skip
    assert {name: sum(each.values()) for name, each in found.by_bundle.items()} == {OLD: 2, NEW: 1}
    assert (found.said, found.rows, found.predictions, found.share_fraction) == (3, 3, 5, 0.6)
    assert (found.unknown, found.of_others, found.broken, found.replaced) == (0, 0, 0, 0)
    newest, older = found.comments
    assert (newest.text, newest.arm, newest.digest, newest.prediction_id) == (
        "cost me a day", "challenger", NEW, "p-4",
    )  # fmt: skip
    assert older.text == "it was late"


def test_the_newest_word_of_a_person_on_a_row_holds(tmp_path: Path) -> None:
    predict(tmp_path, "p-1", rows=2)
    say(
        tmp_path,
        Feedback("p-1", "wrong", 0, who="ann", comment="first"),
        Feedback("p-1", "wrong", 0, who="bob"),
        Feedback("p-1", "wrong", 1, who="ann"),
        Feedback("p-1", "right", 0, who="ann", comment="on second thoughts"),
        Feedback("p-1", "right", 0, who="ann", comment="on second thoughts"),  # sent twice
    )
    found = read_feedback(tmp_path, TOY)
    assert counts(found) == (2, 1, 0)
    assert (found.replaced, found.rows, found.contradicted) == (2, 2, 1)
    assert [each.text for each in found.comments] == ["on second thoughts"]


def test_the_newest_is_what_came_last_whichever_worker_wrote_it_and_whatever_its_caller_says(tmp_path: Path) -> None:
    predict(tmp_path, "p-1")
    tomorrow = (NOON + timedelta(days=1)).isoformat()
    write(tmp_path, NOON + timedelta(minutes=1), {"prediction_id": "p-1", "verdict": "right"})
    write(tmp_path, NOON, {"prediction_id": "p-1", "verdict": "harmful", "time": tomorrow})  # a clock that is ahead
    assert counts(read_feedback(tmp_path, TOY)) == (0, 1, 0)


def test_unknown_ids_and_rows_are_counted_and_blame_nobody(tmp_path: Path, archived: bool) -> None:
    predict(tmp_path, "p-1")
    predict(tmp_path, "o-1", model="other")
    if archived:
        archive(tmp_path)
    say(
        tmp_path,
        Feedback("p-1", "right"),
        Feedback("p-1", "wrong", 1),  # the request had one row
        Feedback("nobody", "wrong"),
        Feedback("o-1", "harmful"),
    )
    found = read_feedback(tmp_path, TOY)
    assert (counts(found), found.unknown, found.of_others) == ((0, 1, 0), 2, 1)
    other = read_feedback(tmp_path, OTHER)
    assert (counts(other), other.unknown, other.of_others) == ((0, 0, 1), 2, 1)
    none = read_feedback(tmp_path, ModelName("third"))
    assert (counts(none), none.unknown, none.of_others, none.share_fraction) == ((0, 0, 0), 2, 2, None)


def test_what_callers_were_not_told_is_neither_counted_nor_blamed(tmp_path: Path, archived: bool) -> None:
    predict(tmp_path, "p-1", "p-2")
    predict(tmp_path, "p-1", kind="shadow", arm="shadow", digest=NEW, inputs=None)
    predict(tmp_path, "f-1", kind="failed", outputs={})
    predict(tmp_path, "c-1", kind="forced", arm="challenger", digest=NEW)
    if archived:
        archive(tmp_path)
    say(tmp_path, *(Feedback(each, "wrong") for each in ("p-1", "f-1", "c-1")))
    found = read_feedback(tmp_path, TOY)
    assert {arm: each["wrong"] for arm, each in found.by_arm.items()} == {"champion": 1, "challenger": 1}
    assert (found.unknown, found.predictions, found.share_fraction) == (1, 2, 0.5)


def test_a_window_holds_what_was_told_in_it_and_the_share_is_of_its_answers(tmp_path: Path, archived: bool) -> None:
    predict(tmp_path, "old-1", "old-2", hours=-48)
    predict(tmp_path, "p-1", "p-2", "p-3", "p-4")
    predict(tmp_path, "late-1", hours=48)
    if archived:
        archive(tmp_path)
    write(tmp_path, NOON - timedelta(hours=47), {"prediction_id": "old-1", "verdict": "wrong"})
    write(
        tmp_path,
        NOON + timedelta(hours=1),
        {"prediction_id": "old-2", "verdict": "wrong"},  # an answer from before, told of in the window
        {"prediction_id": "p-1", "verdict": "right"},
    )
    write(tmp_path, NOON + timedelta(hours=49), {"prediction_id": "late-1", "verdict": "harmful"})
    since, until = NOON - timedelta(hours=1), NOON + timedelta(hours=2)
    found = read_feedback(tmp_path, TOY, since, until=until)
    assert (counts(found), found.predictions, found.share_fraction) == ((1, 1, 0), 4, 0.25)
    assert (found.since, found.until) == (since, until)
    assert counts(read_feedback(tmp_path, TOY)) == (2, 1, 1)
    assert read_feedback(tmp_path, TOY).predictions == 7


def test_of_one_bundle_only_what_it_answered_is_told(tmp_path: Path, archived: bool) -> None:
    predict(tmp_path, "p-1", "p-2")
    predict(tmp_path, "p-3", arm="challenger", digest=NEW)
    if archived:
        archive(tmp_path)
    say(tmp_path, Feedback("p-1", "right", comment="good"), Feedback("p-3", "wrong", comment="bad"))
    found = read_feedback(tmp_path, TOY, bundle=OLD)
    assert (counts(found), found.of_others, found.unknown) == ((0, 1, 0), 1, 0)
    assert (found.predictions, found.share_fraction) == (2, 0.5)
    assert [each.text for each in found.comments] == ["good"]


def test_broken_and_half_lines_cost_nothing_else(tmp_path: Path) -> None:
    predict(tmp_path, "p-1", "p-2")
    say(tmp_path, Feedback("p-1", "right"))
    for folder in (feedback_folder(tmp_path), tmp_path / "predictions" / "toy"):
        with segments(folder)[0].open("ab") as file:
            file.write(b'nonsense\n{"prediction_id":"p-2","ro')
    found = read_feedback(tmp_path, TOY)
    assert (counts(found), found.broken, found.predictions) == ((0, 1, 0), 1, 2)


def test_the_newest_comments_are_kept_and_no_more(tmp_path: Path) -> None:
    predict(tmp_path, "p-1")
    for number in range(COMMENTS_AT_MOST + 5):
        told = {"prediction_id": "p-1", "verdict": "wrong", "comment": f"number {number}", "who": str(number)}
        write(tmp_path, NOON + timedelta(minutes=number), told)
    comments = read_feedback(tmp_path, TOY).comments
    assert [each.text for each in comments] == [f"number {number}" for number in range(24, 4, -1)]


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("two\nlines\tand \u202eback", "two lines and back"),
        ("\x1b[31mred", "[31mred"),
        ("call +49 30 1234567 or ann.lee@example.co.uk", "call [phone number] or [e-mail address]"),
        ("card 4111 1111 1111 1111, from 93.184.216.34", "card [card number], from [IP address]"),
        ("flight UA1545 was 47 minutes late", "flight UA1545 was 47 minutes late"),
        ("<b>bold</b> [red]", "<b>bold</b> [red]"),
    ],
)
def test_a_comment_is_shown_without_control_characters_and_personal_data(said: str, told: str) -> None:
    assert shown(said) == told


def test_nothing_is_said_where_there_is_nothing_and_a_log_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    assert read_feedback(tmp_path / "none", TOY).said == 0
    say(tmp_path, Feedback("p-1", "right"))
    (tmp_path / "predictions").mkdir()
    (tmp_path / "predictions" / "toy").mkdir()
    (tmp_path / "predictions" / "toy" / "20260102T000000.000000Z-w0-000001.jsonl").mkdir()  # a folder for a file
    with pytest.raises(TransientError, match="cannot be read now"):
        read_feedback(tmp_path, TOY)


def test_the_archives_run_keeps_feedback_as_long_as_predictions(tmp_path: Path) -> None:
    now = datetime.now(UTC)
    for days in (10, 3, 1):
        write(tmp_path, now - timedelta(days=days), {"prediction_id": f"p-{days}", "verdict": "wrong"})
    nameless = feedback_folder(tmp_path) / ".20260102T000000.000000Z-w0-000001.jsonl"
    nameless.touch()  # its writer was killed before it had named it
    Archive(tmp_path, Kept(days=5)).run()
    assert read_feedback(tmp_path, TOY).unknown == 2
    assert not nameless.exists()
    Archive(tmp_path, Kept(days=0, max_bytes=0)).run()
    assert read_feedback(tmp_path, TOY).unknown == 2
    Archive(tmp_path, Kept(days=0, max_bytes=1)).run()
    assert read_feedback(tmp_path, TOY).unknown == 0


def test_reading_again_gives_the_same(tmp_path: Path) -> None:
    predict(tmp_path, "p-1", "p-2")
    say(tmp_path, Feedback("p-1", "right", comment="good"))
    before = read_feedback(tmp_path, TOY)
    archive(tmp_path)
    assert read_feedback(tmp_path, TOY) == before
