"""When the next request may leave: pauses the server asked for, its rate, and how ill it is.

The rate is found by trial. A 429 sets it a little under what was just answered; quiet time raises
it again: quickly up to near the rate that was refused, slowly past it, and quickly once it is well
past, since then the server bears more than before. After a pause requests come back spread out, not
all at once. Retries have a budget of their own, so that a server that fails every request is asked
now and then and not hammered: one retry for ten requests, and one every two seconds at least.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque

RECENT_S = 5.0
"""Over how many seconds the rate of answers is measured, at most."""
BACK_OFF = 0.9
"""The share of the measured rate that is tried after a 429."""
NEAR = 0.9, 1.1
"""Between these shares of the refused rate the rate is raised slowly."""
SLOW_GROWTH, QUICK_GROWTH = 1.015, 1.3
"""By how much the rate is raised a second."""
LEAST_SHARE = 0.8
"""The rate is never taken for less than this share of itself, however little was answered."""
ENOUGH = 20
"""How many answers make a measured rate one to go by."""
RAMP_S = 1.0
"""How long requests are spread out after a pause: a quarter of the concurrency, at most."""
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
        self._refused_rate = 0.0
        self._next_at = 0.0
        self._grown_at = 0.0
        self._limited_at = -1.0
        self._answered: deque[float] = deque()
        self._retries = RETRIES_AT_FIRST
        self._retries_at = time.monotonic()

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
        self._grow(now)
        if now < self._next_at:
            return self._next_at - now
        gap_s = 0.0 if self._rate is None else 1 / self._rate
        if now < self._resume_at + RAMP_S:
            gap_s = max(gap_s, RAMP_S / max(self._concurrency / 5, 1))
        self._next_at = max(self._next_at, now - 0.05) + random.uniform(0.8, 1.2) * gap_s
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
        if self._rate is None:
            return
        low, high = (share * self._refused_rate for share in NEAR)
        factor = SLOW_GROWTH if low <= self._rate <= high else QUICK_GROWTH
        self._rate *= factor ** min(max(now - self._grown_at, 0.0), 1.0)
        self._grown_at = max(now, self._grown_at)
        if self._rate > 4 * max(self._measured(now), self._concurrency):
            self._rate = None

    def _measured(self, now: float) -> float:
        """Answers a second, of late."""
        while self._answered and self._answered[0] < now - RECENT_S:
            self._answered.popleft()
        if not self._answered:
            return 0.0
        return len(self._answered) / max(now - self._answered[0], 0.5)

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
        measured = self._measured(now)
        if len(self._answered) < ENOUGH:  # too little to go by: a guess, soon corrected
            self._rate = max(measured, min(self._rate or self._concurrency, self._concurrency) / 4)
            self._refused_rate = 4 * self._rate
            return
        # what was answered of late lags behind a rate that has just been raised
        refused = measured if self._rate is None else max(measured, self._rate * LEAST_SHARE)
        self._refused_rate = refused
        self._rate = max(refused * BACK_OFF, 0.2)

    def _pause(self, now: float, wait_s: float) -> None:
        """Let nothing leave for `wait_s`, then come back spread out."""
        if now + wait_s > self._resume_at:
            self._resume_at = now + wait_s + random.uniform(0.0, 0.3)
            self._next_at = self._grown_at = self._resume_at

    async def sleep(self, wait_s: float) -> None:
        """Sleep, but not past the moment at which the run is told to stop."""
        try:
            await asyncio.wait_for(self._stop.wait(), wait_s)
        except TimeoutError:
            return
