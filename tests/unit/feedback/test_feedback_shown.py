"""Where people read what was said: the command and the dossier's section."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from lockgate.adapters.dossier import DossierFacts, dossier_html
from lockgate.adapters.dossier_blocks import Table
from lockgate.adapters.dossier_sections.feedback import COMMENTS, feedback
from lockgate.bootstrap import Services
from lockgate.cli.app import app
from lockgate.config import load_settings
from lockgate.core.ids import Digest, ModelName, ReleaseId, to_json
from lockgate.core.monitoring.feedback import (
    Answered,
    FeedbackSummary,
    Gathered,
    Said,
    summarise_feedback,
)
from lockgate.core.records import read_record
from lockgate.line.dossier import FEEDBACK_WINDOW, feedback_before
from lockgate.line.model_line import Line

NOON = datetime(2026, 1, 2, 12, tzinfo=UTC)
MODEL = ModelName("flight-delays")


def summary(verdicts: str = "wrong right harmful wrong", *, comment: str | None = "late <again>") -> FeedbackSummary:
    names = verdicts.split()
    said = [
        Said(key=(f"p-{n}", 0), verdict=verdict, comment=comment, time=NOON, received=NOON + timedelta(minutes=n))
        for n, verdict in enumerate(names)
    ]
    answers = {each.key: Answered(arm="champion", digest="b" * 64, time=NOON) for each in said}
    return summarise_feedback(Gathered(model=MODEL, since=NOON, said=said, answers=answers, predictions=200))


def test_a_summary_is_read_back_from_its_json() -> None:
    found = summary()
    assert read_record(FeedbackSummary, json.loads(json.dumps(to_json(found)))) == found


# -- dossier ---------------------------------------------------------------------------------------------------------


def test_the_section_tells_verdicts_and_the_newest_comments() -> None:
    (section,) = feedback(summary("wrong right harmful wrong right wrong wrong"))
    assert section.measured
    assert "4 wrong, 2 right, 1 harmful since 02 January 2026: 7 verdicts on 7 answers." in section.lead[0]
    assert "no sample" in section.lead[1]
    assert section.lead[2] == "Something was said of 3.50% of 200 answers."
    verdicts, comments = section.blocks
    assert isinstance(verdicts, Table)
    assert verdicts.rows == (("champion", "4", "2", "1"),)
    assert isinstance(comments, Table)
    assert len(comments.rows) == COMMENTS
    assert comments.rows[0] == ("2026-01-02 12:00", "wrong", "late <again>", "p-6, row 0")


def test_there_is_no_section_where_nobody_said_anything_and_why_where_it_cannot_be_read() -> None:
    assert feedback(None) == feedback(FeedbackSummary(model=MODEL)) == ()
    (section,) = feedback("the logs cannot be read now")
    assert not section.measured
    assert section.lead == ("Not measured: the logs cannot be read now",)


def test_without_comments_there_is_no_table_of_them() -> None:
    (section,) = feedback(summary(comment=None))
    assert len(section.blocks) == 1


class Page(HTMLParser):
    """What of a page is text, and which elements it has."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text, self.tags = "", set[str]()
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.text += data


def page(told: FeedbackSummary | str | None) -> Page:
    facts = DossierFacts(
        release=ReleaseId("flight-delays-0002"),
        spec=Services(load_settings()).spec(MODEL),
        as_of=NOON,
        bundle=Digest("c" * 64),
        champion=Digest("b" * 64),
        reports=(),
        required=(),
        feedback=told,
    )
    return Page(dossier_html(facts))


def test_the_page_shows_what_people_said_as_text_and_stays_the_same_where_nobody_did() -> None:
    shown = page(summary(comment="<img src=x> {{ 7 * 7 }} too late"))
    assert "What people say of the champion" in shown.text
    assert "<img src=x> {{ 7 * 7 }} too late" in shown.text
    silent = page(None)
    assert shown.tags - silent.tags <= {"table", "caption", "thead", "tbody", "tr", "th", "td"}
    assert "What people say" not in silent.text
    assert page(FeedbackSummary(model=MODEL)).text == silent.text


def test_the_dossier_is_told_of_the_champion_alone_and_of_nothing_after_the_verdict(state: Path) -> None:
    services = Services(load_settings())
    line, champion, now = Line(services=services, spec=services.spec(MODEL)), Digest("d" * 64), datetime.now(UTC)
    fill(state, ago=timedelta(hours=1))
    for bundle, until, said in (
        (champion, now, 1),
        (Digest("e" * 64), now, 0),
        (champion, now - timedelta(hours=2), 0),
        (champion, now + FEEDBACK_WINDOW, 0),
    ):
        found = feedback_before(line, bundle, until)
        assert isinstance(found, FeedbackSummary)
        assert found.said == said
    assert feedback_before(line, None, now) is None
    assert feedback_before(line, champion, None) is None
    next((state / "predictions" / MODEL).iterdir()).unlink()
    (state / "predictions" / MODEL / "20260102T000000.000000Z-w0-000001.jsonl").mkdir()
    assert "cannot be read now" in str(feedback_before(line, champion, now))


# -- command ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("LOCKGATE_HOME", str(tmp_path))
    return load_settings().serving("production")


def run(*arguments: str) -> tuple[int, dict[str, Any]]:
    result = CliRunner().invoke(app, ["feedback", *arguments, "--json"])
    return result.exit_code, json.loads(result.stdout)


def fill(state: Path, *, ago: timedelta = timedelta(0)) -> None:
    now = datetime.now(UTC) - ago
    facts: dict[str, Any] = {"rows": 1, "kind": "live", "inputs": {}, "outputs": {}, "latency_us": 1}
    answer = {"time": now.isoformat(), "prediction_id": "p-1", "digest": "d" * 64, "arm": "champion"}
    said = {"prediction_id": "p-1", "row": 0, "verdict": "wrong", "comment": "too \x1b[2J late", "who": None}
    for place, line in (
        (f"predictions/{MODEL}", facts | answer),
        ("feedback", {**said, "time": now.isoformat(), "received": now.isoformat()}),
    ):
        (state / place).mkdir(parents=True)
        (state / place / f"{now:%Y%m%dT%H%M%S.%fZ}-w0-000001.jsonl").write_text(json.dumps(line) + "\n")


def test_the_command_lists_what_was_said(state: Path) -> None:
    fill(state)
    code, told = run(MODEL)
    assert code == 0
    assert (told["schema"], told["model"], told["environment"]) == ("lockgate.feedback/1", MODEL, "production")
    assert (told["said"], told["verdicts"], told["share_fraction"]) == (1, {"wrong": 1, "right": 0, "harmful": 0}, 1.0)
    assert told["by_bundle"] == {"d" * 64: told["verdicts"]}
    shown = CliRunner().invoke(app, ["feedback", MODEL]).stdout
    assert "1 verdicts on 1 answers, 100.00% of those given" in shown
    assert "too [2J late" in shown
    assert "\x1b[2J" not in shown


def test_the_command_says_when_there_is_nothing_and_reads_no_further_back_than_asked(state: Path) -> None:
    assert "nobody has said anything" in CliRunner().invoke(app, ["feedback", MODEL]).stdout
    fill(state, ago=timedelta(days=3))
    assert run(MODEL, "--days", "2")[1]["said"] == 0
    assert run(MODEL, "--days", "4")[1]["said"] == 1
    assert run(MODEL, "--environment", "staging")[1]["said"] == 0


@pytest.mark.parametrize("wrong", [("nobody",), (MODEL, "--environment", "moon")])
@pytest.mark.usefixtures("state")
def test_the_command_refuses_what_there_is_not(wrong: tuple[str, ...]) -> None:
    code, told = run(*wrong)
    assert (code, told["error"]) == (2, "BadInput")
