"""The page: valid, self-contained, small, safe whatever names hold, and the same words for who cannot see."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from dataclasses import replace
from datetime import timedelta
from html.parser import HTMLParser

import pytest

from lockgate.adapters.board_page import board_html, policy
from lockgate.adapters.board_plots import Flag, Line, plot
from lockgate.adapters.board_view import facts, figures
from lockgate.core.board import Alarm, BoardContent, Lamp, Light, ModelBoard, UnderWay
from lockgate.core.board_course import SHOWN_DAYS, Course, course_of
from lockgate.core.board_drift import profile_of
from lockgate.core.board_windows import part_of
from lockgate.core.ids import ModelName, ReleaseId
from tests.unit.board.scene import FIRST_DAY, PROFILE, A, summary

VOID = {"meta", "br"}
HOSTILE = "<script>alert(1)</script>\"&'{{ 7 * 7 }}"
SELF_CLOSED = {"line", "path", "rect"}


class Walk(HTMLParser):
    """Walks a page as a browser does, strictly: what is opened is closed, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.tags: list[str] = []
        self.attributes: list[tuple[str, str, str]] = []
        self.unnamed: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._seen(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in SELF_CLOSED, f"<{tag}/> closes nothing in HTML"
        self._seen(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag

    def _seen(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        named = {name: value or "" for name, value in attrs}
        assert len(named) == len(attrs), f"<{tag}> says something twice: {attrs}"
        self.attributes += [(tag, name, value) for name, value in named.items()]
        self.ids += [named["id"]] if "id" in named else []
        if named.get("role") == "img" and tag != "svg" and not named.get("aria-label"):
            self.unnamed.append(tag)


def walk(page: str) -> Walk:
    found = Walk()
    found.feed(page)
    found.close()
    assert found.open == []
    return found


@pytest.fixture(params=[True, False], ids=["served", "a file"])
def live(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_it_is_valid_html_with_every_id_once(content: BoardContent, live: bool) -> None:
    found = walk(board_html(content, live=live))
    assert len(found.ids) == len(set(found.ids))
    assert found.unnamed == []
    assert found.tags.count("h1") == 1


def test_it_loads_nothing_and_leads_nowhere(content: BoardContent, live: bool) -> None:
    page = board_html(content, live=live)
    found = walk(page)
    assert [value for _, name, value in found.attributes if name in ("src", "href") and value[:1] != "#"] == []
    assert not re.search(r"(https?:)?//[a-z0-9]|url\(|@import|data:", page, re.IGNORECASE)
    assert {"link", "img", "iframe", "object", "base", "form"} & set(found.tags) == set()


def test_a_file_has_no_script_and_a_served_page_the_one_that_its_policy_names(content: BoardContent) -> None:
    assert "script" not in walk(board_html(content, live=False)).tags
    page = board_html(content, live=True)
    for tag in ("style", "script"):
        (held,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(held.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy(live=True)
    assert "unsafe" not in policy(live=True)


def test_nothing_is_styled_or_handled_in_an_attribute_which_the_policy_would_forbid(content: BoardContent) -> None:
    found = walk(board_html(content, live=True))
    assert [each for each in found.attributes if each[1] == "style" or each[1].startswith("on")] == []


def hostile(content: BoardContent) -> BoardContent:
    model = replace(
        content.models[0],
        model=ModelName(HOSTILE),
        about=HOSTILE,
        under_way=UnderWay(release=ReleaseId(HOSTILE), says=HOSTILE, why=HOSTILE, commands=((HOSTILE, HOSTILE),)),
        lamps=(Lamp(name=HOSTILE, light=Light.BAD, says=HOSTILE, next=HOSTILE),),
        alarms=(
            Alarm(
                name=HOSTILE, state="open", reason=HOSTILE, owner=HOSTILE, opened=content.at, count=1, next=HOSTILE,
            ),
        ),
        marks=tuple(replace(mark, release=HOSTILE, kind=HOSTILE) for mark in content.models[0].marks),
        feedback={HOSTILE: 3},
    )  # fmt: skip
    assert model.course is not None
    worst = ((HOSTILE, 0.4),)
    return replace(content, home=HOSTILE, models=(replace(model, course=replace(model.course, worst=worst)),))


def test_names_are_words_whatever_they_hold(content: BoardContent, live: bool) -> None:
    page = board_html(hostile(content), live=live)
    assert walk(page).tags.count("script") == int(live)
    assert "alert(1)</script>" not in page
    assert "49" not in re.findall(r"\{\{ 7 \* 7 \}\}|49", page)
    assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10


def test_ten_models_with_a_year_each_stay_a_small_page(content: BoardContent) -> None:
    days = [
        summary("flights", A, FIRST_DAY + timedelta(days=at), 90_000 + 997 * (at * at % 31), at / 366)
        for at in range(SHOWN_DAYS)
    ]
    course = course_of([part_of(day) for day in days], lambda _: profile_of(PROFILE), least_rows=200)
    marks = tuple(
        replace(content.models[0].marks[0], at=content.models[0].marks[0].at + timedelta(days=at))
        for at in range(360)[::30]
    )
    models = tuple(
        replace(content.models[0], model=ModelName(f"model-{at}"), course=course, marks=marks) for at in range(10)
    )
    assert len(board_html(replace(content, models=models), live=True).encode()) < 300_000


def test_every_plot_says_in_words_what_it_shows(content: BoardContent) -> None:
    drawn = figures(content.models[0])
    assert [figure.title for figure in drawn] == ["Quality", "Ranking", "Drift", "Traffic", "Latency"]
    for figure in drawn:
        assert f"<title>{figure.title}" in figure.svg
        assert all(key.last in figure.svg for key in figure.keys)


def test_a_model_without_a_day_says_how_to_get_one(content: BoardContent) -> None:
    page = board_html(replace(content, models=(replace(content.models[0], course=None),)), live=False)
    assert "lockgate monitor flights" in page
    assert "<figure" not in page


def test_no_model_says_how_to_begin(content: BoardContent) -> None:
    assert "lockgate demo" in board_html(replace(content, models=()), live=False)


def test_models_that_have_nothing_to_show_are_only_listed(content: BoardContent) -> None:
    fresh = ModelBoard(model=ModelName("fresh"))
    page = board_html(replace(content, models=(*content.models, fresh)), live=False)
    assert 'id="fresh"' not in page
    assert "lockgate release --model fresh" in page


def test_figures_have_units(content: BoardContent) -> None:
    told = {fact.name: fact.value for fact in facts(content.models[0])}
    assert told["ML Test Score"] == "0 of 7"
    assert told["Failed changes"] == "0%"
    assert re.fullmatch(r"[\d.]+ (s|min|h|d)", told["Lead time"])


# -- plots -------------------------------------------------------------------------------------------------------------

DAYS = tuple((FIRST_DAY + timedelta(days=at)).isoformat() for at in range(4))


def drawn(*values: float | None, look: str = "ours", limit: float | None = None, flags: tuple[Flag, ...] = ()) -> str:
    days = tuple((FIRST_DAY + timedelta(days=at)).isoformat() for at in range(len(values)))
    return plot(days, (Line(look=look, values=values),), flags, title="a curve", limit=limit, zero=True)


def test_a_gap_in_the_values_is_a_gap_in_the_curve() -> None:
    assert drawn(1.0, 2.0, 3.0, 4.0).count("M") == 1
    assert drawn(1.0, 2.0, None, 4.0).count("M") == 2


def test_a_curve_ends_where_its_last_value_is() -> None:
    (path,) = re.findall(r'class="ours" d="([^"]+)"', drawn(0.0, 5.0, 2.0, 10.0))
    steps = [int(each) for each in re.findall(r"-?\d+", path)]
    x, y = sum(steps[0::2]), sum(steps[1::2])
    assert (x, y) == (875, round(200 * (1 - 10 / 10.6)))


def test_no_value_is_no_drawing_and_a_lone_value_is_seen() -> None:
    assert drawn(None, None) == ""
    assert "h3" in drawn(None, 2.0, None)


def test_a_constant_has_a_scale() -> None:
    assert "NaN" not in drawn(3.0, 3.0)
    assert "a curve" in plot(
        DAYS[:2], (Line(look="ours", values=(0.0, 0.0)),), (), title="a curve", limit=None, zero=False
    )


def test_a_near_limit_is_drawn_and_a_far_one_would_press_the_curve_flat() -> None:
    assert 'class="limit"' in drawn(1.0, 2.0, limit=3.0)
    assert 'class="limit"' not in drawn(1.0, 2.0, limit=250.0)


def test_releases_are_lines_and_those_outside_the_days_are_not() -> None:
    inside = Flag(day=FIRST_DAY + timedelta(days=1), label="3", back=False)
    outside = replace(inside, day=FIRST_DAY - timedelta(days=9))
    page = drawn(1.0, 2.0, 3.0, flags=(outside, inside))
    assert 'class="flag" d="M500 0v200"' in page
    assert re.findall(r'<text class="flag[^>]*>([^<]*)', page) == ["3"]


def test_releases_close_together_are_named_once() -> None:
    flags = tuple(Flag(day=FIRST_DAY + timedelta(days=at), label=str(at), back=at == 2) for at in range(3))
    page = drawn(*([1.0] * 100), flags=flags)
    assert 'class="flag" d="M5 0v200M15 0v200"' in page
    assert 'class="flag back" d="M25 0v200"' in page
    assert page.count('<text class="flag') == 1


def test_a_failed_request_is_seen_however_few_there_are() -> None:
    page = plot(
        DAYS, (Line(look="area", values=(1e6,) * 4), Line(look="bad", values=(0.0, 1.0, 0.0, 0.0))), (), title="t",
        limit=None, zero=True,
    )  # fmt: skip
    assert re.search(r'class="bad" d="M375 200V194"', page)


def test_a_course_whose_curves_are_empty_has_no_figures(content: BoardContent) -> None:
    none = (None,)
    empty = Course(
        days=DAYS[:1], requests=(0,), failed=(0,), p50_ms=none, p99_ms=none, loss=none, expected_loss=none, auc=none,
        drift=none, score_drift=none,
    )  # fmt: skip
    assert [figure.title for figure in figures(replace(content.models[0], course=empty))] == ["Traffic"]


@pytest.mark.parametrize(
    ("says", "commands"),
    [
        ("lockgate alert ack toy:loss:origin=EWR", ["lockgate alert ack toy:loss:origin=EWR"]),
        ("look: lockgate at 2026-03-01T14:05; then wait", ["lockgate at 2026-03-01T14:05"]),
        (
            "lockgate alert silence toy:loss --reason 'known: a; b'",
            ["lockgate alert silence toy:loss --reason 'known: a; b'"],
        ),
        ('lockgate approve R --reason "it is; yes": then wait', ['lockgate approve R --reason "it is; yes"']),
        ("lockgate status: it says the model's state", ["lockgate status"]),
        ("lockgate verify; lockgate status", ["lockgate verify", "lockgate status"]),
        ("see what lockgate says: nothing", []),
    ],
)
def test_a_command_is_drawn_whole_whatever_colons_and_quotes_it_has(
    content: BoardContent, says: str, commands: list[str]
) -> None:
    need = Lamp(name="loss", light=Light.BAD, says="it rose", next=says)
    page = board_html(replace(content, lamps=(need,)), live=False)
    drawn = [html.unescape(each) for each in re.findall(r'<code class="do">(.*?)</code>', page)]
    assert [each for each in drawn if each in says] == commands
