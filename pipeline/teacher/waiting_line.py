"""So many at a time; of those who wait, the one with the lowest place is next."""

from __future__ import annotations

import asyncio
import heapq
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class WaitingLine:
    """Who waits, by place; equal places in the order in which they came."""

    def __init__(self) -> None:
        """Nobody waits."""
        self._waiting: list[tuple[int, int, asyncio.Future[None]]] = []
        self._ticket = itertools.count()

    def ticket(self) -> int:
        """What tells those of one place apart; whoever waits again keeps his own."""
        return next(self._ticket)

    def has_lower(self, place: int) -> bool:
        """Whether somebody with a lower place waits."""
        return bool(self._waiting) and self._waiting[0][0] < place

    async def wait(self, place: int, ticket: int) -> None:
        """Return once this one is let go on."""
        turn = asyncio.get_running_loop().create_future()
        heapq.heappush(self._waiting, (place, ticket, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.next()  # nobody loses a turn to one that is gone
            raise

    def next(self) -> bool:
        """Let the first go on; false where nobody waits."""
        while self._waiting:
            *_, turn = heapq.heappop(self._waiting)
            if not turn.done():
                turn.set_result(None)
                return True
        return False


class OrderedSemaphore:
    """A semaphore that lets in by place."""

    def __init__(self, most: int) -> None:
        """`most` are in at once."""
        self._free = most
        self._line = WaitingLine()

    @asynccontextmanager
    async def taken(self, place: int) -> AsyncIterator[None]:
        """Wait for a turn and hold it."""
        if self._free:
            self._free -= 1
        else:
            await self._line.wait(place, self._line.ticket())
        try:
            yield
        finally:
            if not self._line.next():
                self._free += 1
