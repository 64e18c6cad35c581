"""The page of a replay: whole in itself, with everything that was measured and shortened, and nothing from outside."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from lockgate.adapters.replay_report import report_html, write_report
from lockgate.line.replay_policies import result_page
from lockgate.line.replaying import replay
from tests.unit.replay.fake_ground import FakeGround
from tests.unit.replay.test_replaying import asked, policy, quiet


def result(folder: Path, *grounds: FakeGround) -> dict[str, Any]:
    policies = [policy(ground, name) for ground, name in zip(grounds, ("as specified", "<b>bold"), strict=False)]
    return replay(asked(folder), policies, quiet)


def test_the_page_tells_months_figures_and_what_was_shortened(tmp_path: Path) -> None:
    ground = FakeGround(quality={"feb": 0.3, "mar": 0.8}, outcomes={"apr": "blocked"})
    page = report_html(result(tmp_path, ground))
    for told in (
        "fit-feb",
        "fit-apr blocked by champion",
        "approval.mode",
        "oracle",
        "not monitored",
    ):
        assert told in page, told
    assert page.count("<svg") == 3
    assert "The policies side by side" not in page


def test_the_page_says_at_its_top_what_the_policy_is_held_to_and_names_curves_that_are_one(tmp_path: Path) -> None:
    told = result(tmp_path, FakeGround(quality={"feb": 0.3, "mar": 0.8, "apr": 0.8}))
    page = report_html(told)
    assert page.index("What it is held to") < page.index("<figure>")
    assert [each["held"] for each in told["policies"][0]["aims"]] == ["fail", "pass", "not measured"]
    for verdict in ("fail", "pass", "not measured"):
        assert f'class="held {verdict}">{verdict}' in page
    assert "served and always and monthly" in page
    assert "took the same fit in every month" in page
    assert "6 of 220" in page


def test_two_policies_stand_side_by_side(tmp_path: Path) -> None:
    page = report_html(result(tmp_path, FakeGround(), FakeGround(outcomes={"mar": "held back"})))
    assert "The policies side by side" in page
    assert "<b>bold" not in page, "a name is text"


def test_the_page_needs_nothing_from_outside_and_is_well_formed(tmp_path: Path) -> None:
    told = result(tmp_path, FakeGround())
    page = write_report(told, tmp_path).read_text()
    assert re.findall(r'(?:src|href)="(?!#)[^"]*"', page) == []
    assert "NaN" not in page
    _Balanced().feed(page)


def test_the_page_can_be_made_again_from_the_json(tmp_path: Path) -> None:
    told = result(tmp_path, FakeGround())
    assert report_html(json.loads((tmp_path / "out" / "replay.json").read_text())) == report_html(told)


def test_a_reader_of_the_orchestrators_page_finds_months_and_report(tmp_path: Path) -> None:
    page = result_page(result(tmp_path, FakeGround()), tmp_path / "replay.html")
    assert "| mar | fit-feb |" in page
    assert "replay.html" in page


class _Balanced(HTMLParser):
    """Fails at a closing tag that closes nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag not in ("meta", "br", "path", "use", "rect"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del tag, attrs

    def handle_endtag(self, tag: str) -> None:
        if tag not in ("path", "use", "rect"):
            assert self.open.pop() == tag
