"""A limit of time that does not count the time in which this process could not look.

A stopped process, or one whose event loop was held up, finds its timers due and replies on its
sockets at once. With `asyncio.timeout` the timer wins: what has come is thrown away, is asked again
and paid twice.
"""

from __future__ import annotations

import asyncio
from types import TracebackType

LATE_S = 0.02
"""A timer that comes later than this was held up."""


class TimeLimit:
    """Raise `TimeoutError` from an `async with` that takes longer; use it once.

    Where its timer comes late, it waits on for as long as it was late, in all at most for the limit
    once more.
    """

    def __init__(self, seconds: float) -> None:
        """Begin nothing yet."""
        self._seconds = self._more = seconds
        self._timeout = asyncio.timeout(None)

    async def __aenter__(self) -> None:
        """Begin to count."""
        await self._timeout.__aenter__()
        self._begin(self._seconds)

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Count no longer."""
        self._timer.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def _begin(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time() + seconds
        self._timer = loop.call_at(due, self._is_due, due)

    def _is_due(self, due: float) -> None:
        now = asyncio.get_running_loop().time()
        late = min(now - due, self._more)
        if late > LATE_S:
            self._more -= late
            self._begin(late)
        else:
            self._timeout.reschedule(now)
