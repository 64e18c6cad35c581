"""A costly thing is made once for a crowd, and nobody gets one that is older than the question."""

import asyncio

import pytest

from lockgate.serving.watch.single_flight import SingleFlight


class Maker:
    """Makes numbers, when it is let."""

    def __init__(self) -> None:
        self.made = 0
        self.go_on = asyncio.Event()

    async def make(self) -> int:
        self.made += 1
        number = self.made
        await self.go_on.wait()
        return number


def test_a_crowd_costs_two_makings_and_no_answer_is_older_than_its_question() -> None:
    async def crowd() -> None:
        flight, maker = SingleFlight[int](), Maker()
        first = asyncio.ensure_future(flight.get(maker.make))
        await asyncio.sleep(0)  # its making has begun
        late = [asyncio.ensure_future(flight.get(maker.make)) for _ in range(100)]
        await asyncio.sleep(0)
        maker.go_on.set()
        assert await first == 1
        assert await asyncio.gather(*late) == [2] * 100
        assert await flight.get(maker.make) == 3

    asyncio.run(crowd())


def test_a_making_that_fails_fails_for_the_one_who_asked_and_the_next_one_makes_again() -> None:
    async def broken() -> int:
        raise ZeroDivisionError

    async def fail_and_go_on() -> None:
        flight, maker = SingleFlight[int](), Maker()
        maker.go_on.set()
        with pytest.raises(ZeroDivisionError):
            await flight.get(broken)
        assert await flight.get(maker.make) == 1

    asyncio.run(fail_and_go_on())


def test_somebody_who_goes_away_does_not_hold_up_the_others() -> None:
    async def leave() -> None:
        flight, maker = SingleFlight[int](), Maker()
        first = asyncio.ensure_future(flight.get(maker.make))
        second = asyncio.ensure_future(flight.get(maker.make))
        await asyncio.sleep(0)
        first.cancel()
        maker.go_on.set()
        assert await second == 2

    asyncio.run(leave())
