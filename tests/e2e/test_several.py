"""Two challengers beside one champion on a live stack: all three answer, nobody is failed, one is promoted.

Both are releases of the model itself: rolled out alone, each ends inconclusive at once and waits for the other.
"""

from __future__ import annotations

import time

import pytest

from lockgate.core.ledger import Event, LedgerRow
from tests.e2e.polling import Poller, polling
from tests.e2e.stack import Stack, await_it

pytestmark = [pytest.mark.e2e, pytest.mark.soak, pytest.mark.timeout(900)]
MODEL = "toy-several"
CHAMPION, FIRST, SECOND = (f"{MODEL}-{number:04d}" for number in (1, 2, 3))


@pytest.fixture(scope="module")
def waiting(stack: Stack) -> str:
    """A champion, and two releases that wait to be compared with it; returns the champion's bundle."""
    for release, outcome in ((CHAMPION, "promoted"), (FIRST, "inconclusive"), (SECOND, "inconclusive")):
        stack.land(MODEL)
        assert stack.await_end(release).payload["outcome"] == outcome
    return str(stack.state(MODEL).champion)


def ended_of(stack: Stack, release: str, after: int) -> LedgerRow:
    """Wait for the end of a release's rollout beside the other."""
    return await_it(
        lambda: next((r for r in stack.rows(MODEL, Event.ROLLOUT_ENDED, release=release) if r.seq > after), None),
        300.0,
        lambda: f"the rollout of {release} did not end\n{stack.story(MODEL)}",
    )


def bundle_of(stack: Stack, release: str) -> str:
    (row,) = stack.rows(MODEL, Event.BUNDLE, release=release)
    return str(row.payload["bundle"])


def seen_from(seen: Poller, since: float) -> set[str]:
    return {who for at, who in zip(seen.asked_at, seen.answers, strict=True) if at > since}


def test_two_challengers_are_compared_at_once_and_the_better_of_those_that_pass_is_promoted(
    stack: Stack, waiting: str
) -> None:
    before = stack.last_seq(MODEL)
    with polling(stack, MODEL) as seen:
        said = stack.cli("rollout", "start", FIRST, "--beside", SECOND, "--json")
        assert said.code == 0, said.err
        stack.await_row(MODEL, Event.ROLLOUT_LOOK, after=before)
        started = time.time()
        three = {waiting, bundle_of(stack, FIRST), bundle_of(stack, SECOND)}
        await_it(lambda: seen_from(seen, started) == three, 30.0, lambda: f"{seen_from(seen, started)}, not {three}")
        ends = {release: ended_of(stack, release, before) for release in (FIRST, SECOND)}
        time.sleep(2.0)
    assert seen.failures == []
    verdicts = {release: row.payload["verdict"] for release, row in ends.items()}
    assert sorted(map(str, verdicts.values())) == ["inconclusive", "promote"], verdicts
    (winner,) = (release for release, verdict in verdicts.items() if verdict == "promote")
    (other,) = {FIRST, SECOND} - {winner}
    assert winner in str(ends[other].payload["reason"])
    assert str(stack.state(MODEL).champion) == bundle_of(stack, winner) == seen.answers[-1]
    stack.check(MODEL)
    said = stack.cli("verify", "--model", MODEL, "--json")
    assert (said.code, said.json["findings"]) == (0, [])
