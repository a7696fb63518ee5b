"""What counts as time in which nothing came."""

import asyncio
import time

import pytest

from pipeline.teacher.time_limit import TimeLimit


def test_what_takes_longer_ends_in_time() -> None:
    async def wait() -> float:
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            async with TimeLimit(0.1):
                await asyncio.sleep(60)
        return time.monotonic() - began

    assert asyncio.run(wait()) >= 0.1


def test_what_is_in_time_is_left_alone() -> None:
    async def wait() -> str:
        async with TimeLimit(0.05):
            found = await asyncio.sleep(0, "found")
        await asyncio.sleep(0.1)
        return found

    assert asyncio.run(wait()) == "found"


def test_time_in_which_the_loop_was_held_up_does_not_count() -> None:
    async def wait() -> str:
        loop = asyncio.get_running_loop()
        loop.call_soon(time.sleep, 0.5)
        async with TimeLimit(0.1):
            return await asyncio.sleep(0.2, "found")

    assert asyncio.run(wait()) == "found"


def test_after_a_long_stop_the_limit_begins_once_more_and_no_longer() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        loop.call_soon(time.sleep, 1.0)
        with pytest.raises(TimeoutError):
            async with TimeLimit(0.2):
                await asyncio.sleep(60)
        return loop.time() - began

    assert 1.2 <= asyncio.run(wait()) < 30


def test_a_loop_that_is_always_late_makes_no_limit_endless() -> None:
    async def wait() -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()

        def be_late() -> None:
            time.sleep(0.1)
            loop.call_soon(be_late)

        loop.call_soon(be_late)
        with pytest.raises(TimeoutError):
            async with TimeLimit(0.3):
                await asyncio.sleep(60)
        return loop.time() - began

    assert asyncio.run(wait()) < 30


def test_a_cancellation_is_no_timeout() -> None:
    async def wait() -> None:
        async with TimeLimit(60):
            await asyncio.sleep(60)

    async def cancelled() -> None:
        task = asyncio.ensure_future(wait())
        await asyncio.sleep(0)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
