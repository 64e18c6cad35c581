"""The approval and Retry as a person does them: in a real browser, in the Prefect UI, on a real stack."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from lockgate.core.ledger import Event
from tests.browser import NAMES, Browser, installed
from tests.e2e.prefect_form import FOOTER, answer, run_page
from tests.e2e.stack import RELEASED_WITHIN_S, Stack
from tests.e2e.test_retry import without_signing_key

PROGRAM = installed()
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.chromium,
    pytest.mark.timeout(1200),
    pytest.mark.skipif(
        PROGRAM is None,
        reason=f"NOT TESTED: the form and Retry in the Prefect UI. No browser here; install one of {', '.join(NAMES)}",
    ),
]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Browser]:
    assert PROGRAM is not None
    with Browser(PROGRAM, tmp_path / "profile") as started:
        yield started


def test_an_approver_who_forgets_the_checklist_is_asked_again_with_the_reason_and_then_promotes(
    stack: Stack, browser: Browser
) -> None:
    stack.land("toy-form")
    asked = stack.await_question("toy-form-0001")
    run = str(asked.payload["run"])

    def forgetful() -> None:
        browser.see("toy-form-0001 asks to take over production")
        browser.see("Read the dossier")
        browser.choose("approve")
        browser.fill("Approver", "ada")

    def careful() -> None:
        browser.see("Your last answer did not count")
        browser.see("I read the dossier")
        browser.choose("approve")
        browser.fill("Approver", "ada")
        browser.fill("Reason", "the dossier is convincing")
        browser.press_field("I read the dossier")
        browser.press_field("I know how to roll back")

    answer(stack, browser, run, forgetful)
    stack.prefect.wait(run, lambda state: state.name == "Suspended", within_s=RELEASED_WITHIN_S)
    assert stack.rows("toy-form", Event.APPROVAL_GIVEN) == ()
    answer(stack, browser, run, careful)
    browser.see("Promoted", within_s=RELEASED_WITHIN_S)

    given = stack.rows("toy-form", Event.APPROVAL_GIVEN)[0]
    assert (given.actor, given.payload["reason"]) == ("ada", "the dossier is convincing")
    assert given.payload["checklist"] == ["I read the dossier", "I know how to roll back"]
    assert stack.await_end("toy-form-0001").payload["outcome"] == "promoted"
    assert stack.ask("toy-form").headers["x-lockgate-release-digest"] == stack.state("toy-form").champion


@pytest.mark.soak
def test_the_retry_button_reruns_the_stage_that_failed_and_none_before_it(stack: Stack, browser: Browser) -> None:
    with without_signing_key(stack):
        stack.land("toy-press")
        opened = stack.await_open("toy-press", after=0)
        run = str(opened.payload["run"])
        failed = stack.await_end(str(opened.release))
        stack.await_state(run, "Failed")
        browser.open(run_page(stack, run))
        browser.see("signing key")

    browser.click("Retry")
    browser.click("Retry", kinds=FOOTER)
    browser.see("Promoted", within_s=RELEASED_WITHIN_S)

    ended = stack.await_end(str(opened.release), after=failed.seq)
    assert ended.payload["outcome"] == "promoted"
    judged = Counter(str(row.payload["gate"]) for row in stack.rows("toy-press", Event.VERDICT))
    assert set(judged.values()) == {1}, f"a stage was measured twice: {judged}"
