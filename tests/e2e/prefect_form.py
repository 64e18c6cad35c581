"""The form of a suspended run in the Prefect UI, filled in and submitted as a person does it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from lockgate.errors import TransientError
from tests.browser import Browser
from tests.e2e.stack import STALLED_S, Stack

FOOTER = ".p-modal__footer button"
TRIES = 4
SUBMITTED_WITHIN_S = 45.0
# Prefect's server answers 503 when its SQLite was written to between its own read and write ("database is locked"). Its
# page then says no more than this, and keeps the form open as it was filled in. A refusal comes with its reason.
BUSY = "Failed to resume flow run"
ACCEPTED = "Flow run resumed"
# What the page said of the answer: nothing yet (null), or its messages; an empty list when the form has closed.
# The first 5xx of any call also brings up a message that stays and tells nothing of the answer.
_SAID = """
(() => {
  if (!document.querySelector('.p-modal__card')) return {said: []};
  const said = [...document.querySelectorAll('.p-toast__message')].map((e) => e.innerText.trim())
    .filter((each) => each && !each.startsWith('Oops.'));
  return said.length ? {said} : null;
})()
"""
_QUIET = f"!({_SAID} || {{said: []}}).said.length"


def run_page(stack: Stack, run: str) -> str:
    """Return the address of a run's page."""
    return f"{stack.settings.url('prefect')}/runs/flow-run/{run}"


def answer(stack: Stack, browser: Browser, run: str, fill: Callable[[], None]) -> None:
    """Fill in the form and press Submit until the run goes on, as a person does."""
    since = stack.prefect.wait(run, lambda state: state.name == "Suspended", within_s=STALLED_S).since
    for _ in range(TRIES):
        browser.open(run_page(stack, run))
        browser.click("Resume")
        fill()
        submit(browser)
        # Now and then the page takes an answer for accepted that its server did not keep.
        with contextlib.suppress(TransientError):
            stack.prefect.wait(run, lambda state: state.since > since, within_s=STALLED_S)
            return
    pytest.fail(f"the form was filled in and taken {TRIES} times, and the run is still suspended")


def submit(browser: Browser) -> None:
    """Press Submit until the page takes the answer; once more only where its server was busy, or nothing was said."""
    heard: list[str] = []
    for _ in range(TRIES):
        browser.click("Submit", kinds=FOOTER)
        said = _said(browser)
        if said == [] or ACCEPTED in (said or ()):
            return
        refused = [each for each in said or () if each != BUSY]
        assert not refused, f"the answer was refused: {refused}"
        heard += said or ["nothing"]
        browser.wait(_QUIET, what="the end of the page's message")
    pytest.fail(f"Submit was pressed {TRIES} times, and the page said {heard}:\n{browser.text()[-3000:]}")


def _said(browser: Browser) -> list[str] | None:
    try:
        told = browser.wait(_SAID, within_s=SUBMITTED_WITHIN_S)
    except AssertionError:
        return None
    return list(told["said"])
