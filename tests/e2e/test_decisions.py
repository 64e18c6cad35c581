"""How a waiting release ends when nobody approves it: superseded, rejected, expired; and what a late answer meets."""

from __future__ import annotations

import pytest

from lockgate.core.ledger import Event
from tests.e2e.stack import Stack

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(600)]


def run_of(stack: Stack, release: str) -> str:
    model = release.rpartition("-")[0]
    return str(stack.rows(model, Event.RELEASE_OPENED, release=release)[0].payload["run"])


@pytest.fixture(scope="module")
def superseded(stack: Stack) -> str:
    """A release that waited when a newer batch landed; the newer one waits now."""
    stack.land("toy-waits")
    stack.await_question("toy-waits-0001")
    stack.land("toy-waits")
    stack.await_end("toy-waits-0001")
    stack.await_question("toy-waits-0002")
    return "toy-waits-0001"


def test_a_newer_batch_supersedes_a_release_that_waits(stack: Stack, superseded: str) -> None:
    assert stack.await_end(superseded).payload["outcome"] == "superseded"
    assert stack.await_state(run_of(stack, superseded), "Superseded", "Failed", "Crashed") == "Superseded"
    said = stack.approve(superseded)
    assert said.code == 5, said.err
    assert "superseded" in said.err
    assert stack.rows("toy-waits", Event.APPROVAL_GIVEN) == ()


@pytest.mark.usefixtures("superseded")
def test_a_rejected_release_ends_in_a_state_of_that_name_and_production_keeps_what_it_served(stack: Stack) -> None:
    release = "toy-waits-0002"
    said = stack.cli("reject", release, "--as", "ada", "--reason", "worse for x")
    assert said.code == 0, said.err
    ended = stack.await_end(release)
    assert ended.payload["outcome"] == "rejected"
    assert "worse for x" in str(ended.payload["reason"])
    assert stack.await_state(run_of(stack, release), "Rejected", "Failed", "Crashed") == "Rejected"
    assert stack.approve(release).code == 2
    assert stack.state("toy-waits").champion is None
    stack.check("toy-waits")


def test_nobody_decides_and_the_release_expires(stack: Stack) -> None:
    stack.land("toy-late")
    ended = stack.await_end("toy-late-0001")
    assert (ended.payload["outcome"], ended.actor) == ("expired", "reaper")
    assert stack.await_state(run_of(stack, "toy-late-0001"), "Expired", "Failed", "Crashed") == "Expired"
    said = stack.approve("toy-late-0001")
    assert said.code == 5, said.err
    assert stack.rows("toy-late", Event.APPROVAL_GIVEN, Event.TRAFFIC_INTENDED)[1:] == ()
