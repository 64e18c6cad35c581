"""The board in a real browser: light and dark, on a desk and on a phone, as a file and served, and left alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lockgate.adapters.board_page import board_html, policy
from lockgate.adapters.board_server import BoardServer, Kept, Made
from lockgate.core.board import BoardContent
from tests.browser import NAMES, Browser, installed
from tests.unit.board.conftest import content, lived  # noqa: F401 - fixtures

PROGRAM = installed()
WIDTHS = {"desk": 1280, "phone": 360}
pytestmark = [
    pytest.mark.integration,
    pytest.mark.chromium,
    pytest.mark.timeout(300),
    pytest.mark.skipif(
        PROGRAM is None,
        reason=f"NOT TESTED: the board in a browser. No browser here; install one of {', '.join(NAMES)}",
    ),
]
COMPLAINTS = (
    "window.complaints = []; addEventListener('securitypolicyviolation', (e) => complaints.push(e.violatedDirective))"
)


@contextmanager
def browsing(profile: Path, width: int) -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM, profile, width=width) as browser:
        browser.call("Page.addScriptToEvaluateOnNewDocument", source=COMPLAINTS)
        yield browser


@contextmanager
def serving(page: str) -> Iterator[tuple[str, BoardServer]]:
    made = Made(page=page.encode(), content=b"{}")
    with BoardServer("127.0.0.1", 0, Kept(lambda: made), policy(live=True)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/", server
        finally:
            server.shutdown()
            thread.join()


def show(browser: Browser, url: str) -> None:
    browser.evaluate("window.before = true")  # what was shown until now stays for a moment, and is not what was opened
    browser.open(url)
    browser.wait("!window.before && document.readyState === 'complete' && !!document.getElementById('board')")


@pytest.mark.parametrize("place", WIDTHS)
def test_it_fits_its_screen_in_light_and_in_dark(tmp_path: Path, content: BoardContent, place: str) -> None:  # noqa: F811
    file = tmp_path / "board.html"
    file.write_text(board_html(content, live=False))
    papers = []
    with browsing(tmp_path / "profile", WIDTHS[place]) as browser:
        for scheme in ("light", "dark"):
            browser.prefer(scheme)
            show(browser, file.as_uri())
            width = browser.evaluate("document.documentElement.scrollWidth")
            assert width <= WIDTHS[place], f"{width} pixels wide"
            assert browser.evaluate("complaints") == []
            papers.append(browser.evaluate("getComputedStyle(document.body).backgroundColor"))
            drawn = browser.evaluate(
                "[...document.querySelectorAll('.drawing > svg[role=img]')].map((e) => e.getBoundingClientRect().width)"
            )
            assert len(drawn) == 5
            assert min(drawn) > 200
        columns = browser.evaluate(
            "getComputedStyle(document.querySelector('.plots')).gridTemplateColumns.split(' ').length"
        )
    assert papers[0] != papers[1]
    assert columns == (3 if place == "desk" else 1)


def test_a_served_page_brings_itself_up_to_date_keeps_what_is_open_and_says_when_nobody_answers(
    tmp_path: Path,
    content: BoardContent,  # noqa: F811
) -> None:
    page = board_html(content, live=True)
    with browsing(tmp_path / "profile", 800) as browser:
        with serving(page) as (url, server):
            show(browser, url)
            browser.evaluate("document.querySelector('details').open = true")
            changed = page.replace("2 things need somebody now", "3 things need somebody now")
            server.kept = Kept(lambda: Made(page=changed.encode(), content=b"{}"))
            browser.evaluate("again()")
            browser.see("3 things need somebody now")
            assert browser.evaluate("document.title").startswith("3 things")
            assert browser.evaluate("document.querySelector('details').open") is True
            assert "does not answer any more" not in browser.text()
            assert browser.evaluate("complaints") == []
        browser.evaluate("again()")
        browser.see("The board does not answer any more; what you see is of 2013-05-01")
