"""What is asked ahead, and comes back in the order in which it was drawn."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from typing import Any, Generic, TypeVar

from pipeline.teacher.asker import Asker

Drawn = TypeVar("Drawn")
Found = TypeVar("Found")

AT_ONCE = 16
"""After so many that were known already, signals and commits get their turn."""


class Demand:
    """How many requests are wanted by what was begun, and whether that is enough.

    A conversation that is between two requests wants one. Once `most` are wanted, it is enough
    until fewer than `least` are: several are begun at once, which costs less than one by one.
    """

    def __init__(self, least: int, most: int) -> None:
        """Nothing was begun."""
        self.fell = asyncio.Event()
        self.is_met = False
        self._least, self._most = least, most
        self._wanted = 0

    def change(self, by: int) -> None:
        """Note that so many more, or fewer, are wanted."""
        self._wanted += by
        self.is_met = self._wanted >= (self._least if self.is_met else self._most)
        if by < 0 and not self.is_met:
            self.fell.set()


class Window(Generic[Drawn, Found]):
    """What is drawn, in order, each with what it came to; use it with `async with`, `async for`.

    It was known when it was drawn, or its task gives it. Up to `ahead` are drawn before the first
    is through; the next is drawn once what came before it was worked on, and with a `demand` not
    before that is no longer met, and then at once. At the end no task is left: what was not sent is
    let go, and what was in flight is waited for.
    """

    def __init__(
        self,
        drawn: Iterator[tuple[Drawn, Found | asyncio.Task[Found]]],
        ahead: int,
        asker: Asker,
        demand: Demand | None = None,
    ) -> None:
        """Nothing is drawn yet."""
        self._drawn = drawn
        self._ahead = ahead
        self._asker = asker
        self._demand = demand
        self._open: deque[tuple[Drawn, Found | asyncio.Task[Found]]] = deque()
        self._known = 0

    async def __aenter__(self) -> Window[Drawn, Found]:
        """Give itself."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Let go of what is open."""
        tasks: list[asyncio.Task[Any]] = [
            found for _, found in self._open if isinstance(found, asyncio.Task)
        ]
        await self._asker.let_go(tasks)

    def __aiter__(self) -> Window[Drawn, Found]:
        """Give itself."""
        return self

    async def __anext__(self) -> tuple[Drawn, Found]:
        """The next in order."""
        self._draw()
        if not self._open:
            raise StopAsyncIteration
        what, found = self._open[0]
        if isinstance(found, asyncio.Task):
            found = await self._through(found)
        else:
            self._known += 1
            if self._known % AT_ONCE == 0:
                await asyncio.sleep(0)
        self._open.popleft()
        return what, found

    def _draw(self) -> None:
        """Draw as many as may be open."""
        while len(self._open) < self._ahead and not (self._demand and self._demand.is_met):
            if (one := next(self._drawn, None)) is None:
                return
            self._open.append(one)

    async def _through(self, task: asyncio.Task[Found]) -> Found:
        """What a task gives; meanwhile others are drawn as the demand falls."""
        if self._demand is not None:
            fell = self._demand.fell
            task.add_done_callback(lambda _: fell.set())
            while not task.done():
                fell.clear()
                self._draw()
                await fell.wait()
        return await task
