"""When the next request may leave: pauses the server asked for, its rate, and how ill it is.

The rate is found by additive trial: a 429 sets it to a little under what was just answered, quiet
time raises it again, slowly at first. After a pause requests come back spread out, not all at once.
Retries have a budget of their own, so that a server that fails every request is asked now and then
and not hammered: one retry for every ten requests of the last minutes, and one every two seconds at
least.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

RECENT_S = 5.0
"""Over how many seconds the rate of answers is measured."""
BACK_OFF = 0.9
"""The share of the measured rate that is tried after a 429."""
GROWTH, QUICK_GROWTH = 1.01, 1.06
"""By how much the rate grows a second, and once it has been quiet for `QUIET_S`."""
QUIET_S = 10.0
RETRIES_AT_FIRST = 20.0
RETRY_SHARE = 0.1
RETRY_EVERY_S = 2.0


class Pace:
    """Lets requests leave one by one. Not for two event loops at once."""

    def __init__(self, concurrency: int, *, stop: asyncio.Event) -> None:
        """`concurrency` is how many requests are open at most; `stop` ends every wait."""
        self._concurrency = concurrency
        self._stop = stop
        self._resume_at = 0.0
        self._rate: float | None = None
        self._next_at = 0.0
        self._grown_at = 0.0
        self._limited_at = -QUIET_S
        self._answered: deque[float] = deque()
        self._retries = RETRIES_AT_FIRST
        self._retries_at = time.monotonic()
        self._is_ill = False

    async def leave(self, *, is_retry: bool) -> None:
        """Return once a request may leave, or once the run is to stop."""
        while not self._stop.is_set():
            wait_s = self._wait_s(time.monotonic(), is_retry=is_retry)
            if wait_s <= 0:
                return
            await self.sleep(wait_s)

    def _wait_s(self, now: float, *, is_retry: bool) -> float:
        """Seconds to wait from `now`; 0 where a request leaves now, which is then counted."""
        if now < self._resume_at:
            return self._resume_at - now
        if is_retry:
            self._refill(now)
            if self._retries < 1:
                return random.uniform(0.5, 1.0) * RETRY_EVERY_S
        if self._rate is not None:
            self._grow(now)
        if self._rate is not None:
            if now < self._next_at:
                return self._next_at - now
            self._next_at = max(self._next_at, now - 0.05) + random.uniform(0.8, 1.2) / self._rate
        if is_retry:
            self._retries -= 1
        else:
            self._retries = min(self._retries + RETRY_SHARE, RETRIES_AT_FIRST)
        return 0.0

    def _refill(self, now: float) -> None:
        gained = (now - self._retries_at) / RETRY_EVERY_S
        self._retries = min(self._retries + gained, RETRIES_AT_FIRST)
        self._retries_at = now

    def _grow(self, now: float) -> None:
        """Raise the rate for the time that passed; forget it once it no longer binds."""
        assert self._rate is not None
        factor = QUICK_GROWTH if now - self._limited_at > QUIET_S else GROWTH
        self._rate *= factor ** min(now - self._grown_at, 5.0)
        self._grown_at = now
        if self._rate > 4 * max(self._measured(now), self._concurrency):
            self._rate = None

    def _measured(self, now: float) -> float:
        """Answers a second, of late."""
        while self._answered and self._answered[0] < now - RECENT_S:
            self._answered.popleft()
        return len(self._answered) / RECENT_S

    def answered(self) -> None:
        """A whole reply came."""
        now = time.monotonic()
        self._answered.append(now)
        if len(self._answered) > 100_000:
            self._answered.popleft()
        self._retries = min(self._retries + 2, RETRIES_AT_FIRST)

    def limited(self, wait_s: float | None) -> None:
        """A 429 came; `wait_s` is the pause that it asks for, if it does."""
        now = time.monotonic()
        if wait_s:
            self._pause(now, wait_s)
        if now - self._limited_at < 1.0:
            return  # one burst of refusals is one sign
        self._limited_at = self._grown_at = now
        measured = max(self._measured(now), 0.5)
        known = self._rate if self._rate is not None else float("inf")
        self._rate = max(min(known, measured) * BACK_OFF, 0.2)

    def _pause(self, now: float, wait_s: float) -> None:
        """Let nothing leave for `wait_s`, then a quarter of the concurrency in the first second."""
        until = now + wait_s
        if until <= self._resume_at:
            return
        self._resume_at = until + random.uniform(0.0, 0.3)
        first_second = max(self._concurrency / 5, 1.0)
        self._rate = min(self._rate or first_second, first_second)
        self._next_at = self._resume_at
        self._grown_at = until

    async def sleep(self, wait_s: float) -> None:
        """Sleep, but not past the moment at which the run is told to stop."""
        try:
            await asyncio.wait_for(self._stop.wait(), wait_s)
        except TimeoutError:
            return
