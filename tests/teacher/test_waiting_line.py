"""Who waits is served by place: for one of so many turns, and for room under a cap."""

import asyncio
from collections.abc import Callable, Coroutine
from random import Random

import pytest

from pipeline.errors import BudgetError
from pipeline.teacher.ledger import Ledger, Spend
from pipeline.teacher.settings import Budget
from pipeline.teacher.waiting_line import OrderedSemaphore


def served(places: list[int], most: int = 1) -> list[int]:
    """In which order those get a turn who come while others have all of them."""
    order: list[int] = []

    async def one(semaphore: OrderedSemaphore, place: int) -> None:
        async with semaphore.taken(place):
            order.append(place)
            await asyncio.sleep(0)

    async def run() -> None:
        semaphore = OrderedSemaphore(most)
        async with asyncio.TaskGroup() as group:
            for _ in range(most):
                group.create_task(one(semaphore, -1))
            for place in places:
                group.create_task(one(semaphore, place))

    asyncio.run(run())
    return order[most:]


def test_the_lowest_place_is_next_whoever_came_first() -> None:
    assert served([5, 3, 9, 1, 3]) == [1, 3, 3, 5, 9]
    places = [Random(1).randrange(50) for _ in range(200)]
    assert served(places) == sorted(places)


@pytest.mark.parametrize("most", [1, 3, 16])
def test_no_more_are_in_at_once_than_may_be_and_none_is_left_behind(most: int) -> None:
    inside, highest, through = 0, 0, 0

    async def one(semaphore: OrderedSemaphore, place: int) -> None:
        nonlocal inside, highest, through
        async with semaphore.taken(place):
            inside += 1
            highest = max(highest, inside)
            try:
                await asyncio.sleep(Random(place).random() / 1000)
            finally:
                inside -= 1
        through += 1

    async def run() -> None:
        semaphore = OrderedSemaphore(most)
        tasks = [asyncio.create_task(one(semaphore, place)) for place in range(200)]
        await asyncio.sleep(0.002)
        for task in tasks[50::7]:
            task.cancel()
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert through + sum(isinstance(e, asyncio.CancelledError) for e in ended) == 200

    asyncio.run(run())
    assert (inside, highest) == (0, most)


def test_one_that_is_cancelled_with_its_turn_in_hand_gives_it_on() -> None:
    async def run() -> None:
        semaphore, order = OrderedSemaphore(1), []

        async def one(place: int) -> None:
            async with semaphore.taken(place):
                order.append(place)

        async with semaphore.taken(0):
            first, second = (asyncio.create_task(one(place)) for place in (1, 2))
            await asyncio.sleep(0)
        first.cancel()  # it was let in, and has not run since
        await asyncio.wait_for(second, 5)
        assert order == [2]

    asyncio.run(run())


def with_cap(tokens: int, work: Callable[[Ledger], Coroutine[None, None, None]]) -> None:
    async def run() -> None:
        await asyncio.wait_for(work(Ledger(Budget(tokens=tokens), {})), 5)

    asyncio.run(run())


def test_room_under_a_cap_goes_to_the_lowest_place_and_none_overtakes_it() -> None:
    async def work(ledger: Ledger) -> None:
        order: list[int] = []

        async def one(place: int, tokens: int) -> None:
            worst = Spend(tokens)
            await ledger.reserve("model", worst, place)
            order.append(place)
            await asyncio.sleep(0)
            ledger.settle("model", worst, Spend(1))

        await ledger.reserve("model", Spend(90))
        tasks = [asyncio.create_task(one(*given)) for given in ((7, 5), (4, 80), (2, 60), (9, 5))]
        await asyncio.sleep(0)
        assert order == [7], "there was room for it, and nobody waited"
        await asyncio.sleep(0)
        assert order == [7], "9 is small enough, and has come after others"
        ledger.settle("model", Spend(90), Spend(1))
        await asyncio.gather(*tasks)
        assert order == [7, 2, 4, 9]

    with_cap(100, work)


def test_all_that_wait_are_told_that_the_cap_is_reached() -> None:
    async def work(ledger: Ledger) -> None:
        await ledger.reserve("model", Spend(60))
        asked = [ledger.reserve("model", Spend(50), place) for place in (3, 1, 2)]
        tasks = [asyncio.create_task(one) for one in asked]
        await asyncio.sleep(0)
        ledger.settle("model", Spend(60), Spend(60))
        ended = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in ended] == [BudgetError] * 3

    with_cap(100, work)
