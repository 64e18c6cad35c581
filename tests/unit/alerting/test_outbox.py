"""Messages reach a real webhook at least once, with one id, whatever it or this machine does in between."""

from __future__ import annotations

import doctest
import json
import logging
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from lockgate.adapters import notifier, silent_addresses
from lockgate.adapters.notifier import AppriseChannel
from lockgate.adapters.outbox import GIVE_UP, FileOutbox
from lockgate.adapters.silent_addresses import LONGEST_PAUSE_S
from lockgate.core.alerting.messages import Message
from lockgate.serving.disk import alone
from tests.fakes import FakeClock
from tests.unit.alerting import receiving
from tests.unit.alerting.receiving import Receiver, message

SECRET = "t0ps3cr3t"
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    made = Receiver()
    yield made
    made.down()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def outbox_to(folder: Path, clock: FakeClock, *addresses: str, kept: int = 1000) -> FileOutbox:
    return FileOutbox(folder / "outbox", addresses, clock, kept=kept)


def settle(outbox: FileOutbox) -> list[str]:
    done = [each.id for each in outbox.delivered()]
    for each in done:
        outbox.settle(each)
    return done


# -- a real webhook ----------------------------------------------------------------------------------------------------


def test_a_message_arrives_with_its_idempotency_key(tmp_path: Path, clock: FakeClock, receiver: Receiver) -> None:
    outbox = outbox_to(tmp_path, clock, receiver.address("?format=text"))
    assert outbox.put(message())
    assert outbox.deliver() == 1
    (got,) = receiver.got
    assert (got["title"], got["message"]) == ("alert 1", "it is bad")
    assert got["header"] == got["idempotency_key"] == "toy:loss#1"
    assert settle(outbox) == ["toy:loss#1"]


def test_a_webhook_that_is_down_for_an_hour_loses_nothing_and_gets_nothing_twice(
    tmp_path: Path, clock: FakeClock, receiver: Receiver
) -> None:
    outbox = outbox_to(tmp_path, clock, receiver.address())
    receiver.down()
    for minute in range(60):
        if minute % 10 == 0:
            outbox.put(message(1 + minute // 10))
        outbox.deliver()
        clock.advance(60)
    (silent,) = outbox.silent()
    assert 10 <= silent.failures <= 20  # and not 60 tries
    receiver.up()
    clock.advance(LONGEST_PAUSE_S)
    for _ in range(3):
        outbox.deliver()
    assert sorted(receiver.taken) == [f"toy:loss#{n}" for n in range(1, 7)]
    assert outbox.silent() == ()
    assert len(settle(outbox)) == 6
    assert outbox.count() == 0


def test_a_webhook_that_answers_500_then_recovers(tmp_path: Path, clock: FakeClock, receiver: Receiver) -> None:
    outbox = outbox_to(tmp_path, clock, receiver.address())
    receiver.answer = 500
    outbox.put(message(1))
    outbox.put(message(2))
    assert outbox.deliver() == 0
    receiver.answer = 200
    assert outbox.deliver() == 0  # not before its pause is over
    clock.advance(5)
    assert outbox.deliver() == 2
    assert receiver.taken == ["toy:loss#1", "toy:loss#2"]


def test_a_webhook_that_is_slow_holds_up_no_longer_than_allowed_and_gets_the_same_key_again(
    tmp_path: Path, clock: FakeClock, receiver: Receiver
) -> None:
    def waiting(seconds: float) -> FileOutbox:
        return FileOutbox(
            tmp_path,
            [receiver.address()],
            clock,
            channel=lambda where, key: AppriseChannel(where, key, timeout_s=seconds),
        )

    receiver.hold()
    impatient = waiting(0.2)
    impatient.put(message())
    assert impatient.deliver() == 0
    receiver.release()
    clock.advance(5)
    assert waiting(30.0).deliver() == 1  # of a busy machine nothing is asked
    assert receiver.heard(2) == ["toy:loss#1"] * 2


def test_of_two_addresses_each_gets_it_once_and_the_one_that_was_down_later(
    tmp_path: Path, clock: FakeClock, receiver: Receiver
) -> None:
    other = Receiver()
    other.down()
    outbox = outbox_to(tmp_path, clock, other.address("/other"), receiver.address())
    outbox.put(message())
    assert outbox.deliver() == 1
    assert settle(outbox) == []
    other.up()
    try:
        for _ in range(3):
            clock.advance(LONGEST_PAUSE_S)
            outbox.deliver()
        assert receiver.taken == other.taken == ["toy:loss#1"]
        assert settle(outbox) == ["toy:loss#1"]
    finally:
        other.down()


def test_killed_between_sending_and_recording_sends_the_same_key_again(
    tmp_path: Path, clock: FakeClock, receiver: Receiver
) -> None:
    outbox = outbox_to(tmp_path, clock, receiver.address())
    outbox.put(message())
    run = [sys.executable, receiving.__file__, str(tmp_path / "outbox"), receiver.address()]
    path = os.pathsep.join((str(ROOT), str(ROOT / "src")))
    killed = subprocess.run(run, env={**os.environ, "PYTHONPATH": path}, check=False)
    assert killed.returncode == -9
    assert receiver.taken == ["toy:loss#1"]
    assert settle(outbox) == []
    assert outbox.deliver() == 1
    assert receiver.taken == ["toy:loss#1"] * 2
    assert settle(outbox) == ["toy:loss#1"]
    assert outbox.deliver() == 0


def test_one_event_put_four_times_is_sent_once_before_and_after_it_was_delivered(
    tmp_path: Path, clock: FakeClock, receiver: Receiver
) -> None:
    outbox = outbox_to(tmp_path, clock, receiver.address())
    for _ in range(2):
        assert outbox.put(message())
    outbox.deliver()
    assert outbox.put(message())
    settle(outbox)
    assert outbox_to(tmp_path, clock, receiver.address()).put(message())
    outbox.deliver()
    assert receiver.taken == ["toy:loss#1"]


def test_no_file_and_no_log_line_holds_an_address(
    tmp_path: Path, clock: FakeClock, receiver: Receiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    outbox = outbox_to(tmp_path, clock, receiver.address(f"/{SECRET}"), f"{SECRET}://x", SECRET)
    outbox.put(message())
    receiver.answer = 500
    outbox.deliver()
    receiver.answer = 200
    clock.advance(5)
    outbox.deliver()
    files = [path for path in (tmp_path / "outbox").rglob("*") if path.is_file()]
    assert len(files) >= 3
    assert all(SECRET not in path.read_text() for path in files)
    assert SECRET not in caplog.text + repr(outbox.channels) + repr(outbox.silent())
    assert "does not take messages" in caplog.text
    assert stat.S_IMODE((tmp_path / "outbox").stat().st_mode) == 0o700


# -- bounds, with addresses that cost nothing --------------------------------------------------------------------------


@dataclass
class Address:
    """Takes everything but what it is told to refuse."""

    name: str
    refuses: set[str] = field(default_factory=set)
    deaf: bool = False
    got: list[str] = field(default_factory=list)

    def send(self, message: Message) -> bool:
        if self.deaf or message.id in self.refuses:
            return False
        self.got.append(message.id)
        return True


def boxed(folder: Path, clock: FakeClock, *addresses: Address, kept: int = 1000) -> FileOutbox:
    known = {each.name: each for each in addresses}
    return FileOutbox(folder, list(known), clock, channel=lambda address, _key: known[address], kept=kept)


def test_without_an_address_nothing_is_taken_and_nothing_is_made(tmp_path: Path, clock: FakeClock) -> None:
    outbox = boxed(tmp_path / "outbox", clock)
    assert not outbox.put(message())
    assert (outbox.deliver(), outbox.delivered(), outbox.silent()) == (0, (), ())
    assert not (tmp_path / "outbox").exists()


def test_a_full_outbox_keeps_the_oldest_and_takes_new_ones_when_there_is_room(tmp_path: Path, clock: FakeClock) -> None:
    address = Address("a", deaf=True)
    outbox = boxed(tmp_path, clock, address, kept=3)
    assert [outbox.put(message(n)) for n in range(1, 6)] == [True, True, True, False, False]
    address.deaf = False
    outbox.deliver()
    assert settle(outbox) == ["toy:loss#1", "toy:loss#2", "toy:loss#3"]
    assert outbox.put(message(4))


def test_a_full_outbox_gives_up_what_one_address_took_before_it_turns_anything_away(
    tmp_path: Path, clock: FakeClock
) -> None:
    good, dead = Address("good"), Address("dead", deaf=True)
    outbox = boxed(tmp_path, clock, good, dead, kept=10)
    for n in range(1, 11):
        outbox.put(message(n))
    outbox.deliver()
    (given_up,) = outbox.delivered()
    assert (given_up.id, given_up.to, given_up.missed) == ("toy:loss#1", ("good",), ("dead",))
    outbox.settle(given_up.id)
    assert outbox.put(message(11))


def test_a_dead_address_is_given_up_after_a_week_if_another_took_the_message(tmp_path: Path, clock: FakeClock) -> None:
    good, dead = Address("good"), Address("dead", deaf=True)
    outbox = boxed(tmp_path, clock, good, dead)
    outbox.put(message())
    outbox.deliver()
    assert outbox.delivered() == ()
    clock.time += GIVE_UP + timedelta(seconds=2)
    assert [each.missed for each in outbox.delivered()] == [("dead",)]
    alone = boxed(tmp_path / "alone", clock, Address("only", deaf=True))
    alone.put(message())
    alone.deliver()
    assert alone.delivered() == ()  # nobody was told: it stays


def test_a_message_that_an_address_refuses_does_not_keep_the_others_from_it(tmp_path: Path, clock: FakeClock) -> None:
    address = Address("a", refuses={"toy:loss#1"})
    outbox = boxed(tmp_path, clock, address)
    for n in (1, 2, 3):
        outbox.put(message(n))
    for _ in range(7):
        outbox.deliver()
        clock.advance(LONGEST_PAUSE_S)
    assert address.got == ["toy:loss#2", "toy:loss#3"]


def test_a_file_that_is_no_message_is_put_aside_and_stops_nothing(tmp_path: Path, clock: FakeClock) -> None:
    address = Address("a")
    outbox = boxed(tmp_path, clock, address)
    outbox.put(message())
    (tmp_path / "waiting" / "00000000-half.json").write_text(json.dumps({"message": {"id": "x"}})[:12])
    outbox.deliver()
    assert address.got == ["toy:loss#1"]
    assert (tmp_path / "waiting" / "00000000-half.json.broken").exists()


def test_a_broken_account_of_silent_addresses_means_that_all_are_tried(tmp_path: Path, clock: FakeClock) -> None:
    address = Address("a", deaf=True)
    outbox = boxed(tmp_path, clock, address)
    outbox.put(message())
    outbox.deliver()
    (tmp_path / "addresses.json").write_text('{"a": 1}')
    address.deaf = False
    assert outbox.deliver() == 1


def test_of_two_processes_one_delivers(tmp_path: Path, clock: FakeClock) -> None:
    address = Address("a")
    outbox = boxed(tmp_path, clock, address)
    outbox.put(message())
    with alone(tmp_path / "deliver.lock") as mine:
        assert mine
        assert outbox.deliver() == 0
    assert outbox.deliver() == 1


def test_the_examples_hold() -> None:
    assert [doctest.testmod(module).failed for module in (notifier, silent_addresses)] == [0, 0]
