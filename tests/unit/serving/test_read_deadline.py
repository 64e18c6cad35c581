"""A read that takes too long is ended, and whoever else ends it is not taken for that."""

from __future__ import annotations

import asyncio
import time

import pytest

from lockgate.serving.http.read_deadline import ReadDeadline


async def never() -> None:
    await asyncio.Event().wait()


def test_a_read_that_takes_too_long_ends_by_itself() -> None:
    with pytest.raises(TimeoutError):
        asyncio.run(ReadDeadline(0.01).read(never(), time.perf_counter()))


def test_a_task_that_is_cancelled_as_its_read_is_found_late_stays_cancelled() -> None:
    async def cancelled() -> bool:
        deadline = ReadDeadline(60.0)
        task = asyncio.ensure_future(deadline.read(never(), time.perf_counter() - 120.0))
        await asyncio.sleep(0)  # it reads
        deadline._sweep()  # finds it late, in the same turn as
        task.cancel()
        await asyncio.wait([task])
        return task.cancelled()

    assert asyncio.run(cancelled())
