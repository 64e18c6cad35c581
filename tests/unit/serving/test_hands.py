"""Threads that take work from an event loop: every result arrives, none is left behind."""

import asyncio
import threading

import pytest

from lockgate.serving.hands import Hands


def test_results_and_failures_come_back_to_whoever_asked() -> None:
    async def ask() -> None:
        hands = Hands(2, "hand")
        found = await asyncio.gather(*(hands.run(divmod, number, 7) for number in range(50)))
        assert found == [divmod(number, 7) for number in range(50)]
        with pytest.raises(ZeroDivisionError):
            await hands.run(divmod, 1, 0)
        hands.close()
        with pytest.raises(RuntimeError, match="no work is taken any more"):
            hands.run(divmod, 1, 1)

    asyncio.run(ask())


def test_two_at_once_run_beside_each_other_and_no_third_thread_is_made() -> None:
    async def ask() -> None:
        hands = Hands(2, "hand")
        both = threading.Barrier(2)
        await asyncio.gather(*(hands.run(both.wait, 60) for _ in range(2)))
        names = await asyncio.gather(*(hands.run(lambda: threading.current_thread().name) for _ in range(20)))
        assert set(names) <= {"hand_0", "hand_1"}
        hands.close()

    asyncio.run(ask())


def test_who_went_away_costs_nobody_else_an_answer() -> None:
    async def ask() -> None:
        hands = Hands(1, "hand")
        held, ran = threading.Event(), []
        first = hands.run(held.wait, 60)
        gone = hands.run(ran.append, "gone")
        kept = hands.run(ran.append, "kept")
        gone.cancel()
        first.cancel()
        held.set()
        await kept
        assert ran == ["kept"]
        hands.close()

    asyncio.run(ask())


def test_closing_waits_for_what_was_taken_though_the_loop_has_ended() -> None:
    held, done = threading.Event(), threading.Event()

    def work() -> None:
        held.wait(60)
        done.set()

    async def ask() -> Hands:
        hands = Hands(1, "hand")
        hands.run(work)
        return hands

    hands = asyncio.run(ask())
    held.set()
    hands.close()
    assert done.is_set()
