"""When the next request may leave: pauses the server asked for, its rate, and how ill it is.

Nobody says what a server can bear, so its rate is found by trial. A refusal (429) sets it to a
little under what was just let in; from there it rises along a cubic curve, as in TCP's CUBIC
(RFC 9438): quickly back, slowly around the rate that was refused, ever quicker beyond it. After a
pause requests come back spread out: in the first second a fifth of those that may be open.

Retries have a budget of their own, so that a server that fails every request is asked now and then
and not hammered: one retry every two seconds, one for ten new requests and two for an answer, of
which 20 can be saved up.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable

RECENT_S = 5.0
"""Over how many seconds the rate of what was let in is measured."""
DIP = 0.1
"""By what share the rate falls below that."""
SPANS_S = (5.0, 30.0)
"""The curve's scale at first and at most, doubled by every refusal: what was refused is tried again
after 0.46, twice that after 1.46 of it."""
SLOWEST = 0.2
"""Requests a second that are tried whatever was refused."""
SAVED_RETRIES = 20.0
RETRY_EVERY_S = 2.0


class Pace:
    """Lets requests leave one by one. Not for two event loops at once."""

    def __init__(self, concurrency: int, *, stop: asyncio.Event) -> None:
        """`concurrency` is how many requests are open at most; `stop` ends every wait."""
        self._concurrency = concurrency
        self._stop = stop
        self._turn = asyncio.Lock()  # those who wait leave in the order in which they came
        self._retry_turn = asyncio.Lock()
        self._began = _now()
        self._resume_at = self._next_at = self._crowded_until = self._began
        self._refused: float | None = None  # requests a second; null where nothing binds
        self._refused_at = self._began - RECENT_S
        self._span_s = SPANS_S[0]
        self._left: deque[float] = deque()
        self._turned_away: deque[float] = deque()
        self._retries = SAVED_RETRIES
        self._retries_at = self._began

    async def leave(self, *, is_retry: bool) -> None:
        """Return once a request may leave, or once the run is to stop."""
        if is_retry:
            async with self._retry_turn:
                await self._wait(self._until_retry)
                self._retries -= 1
        else:
            self._save_retries(0.1)
        await self._take_turn()

    async def wait_out_pause(self) -> None:
        """Wait once more where a pause has begun since the request was let leave."""
        while not self._stop.is_set() and self._resume_at > _now():
            await self._take_turn()

    async def _take_turn(self) -> None:
        async with self._turn:
            await self._wait(self._until_free)
            if self._stop.is_set():
                return  # nothing is sent
            self._left.append(_now())
            if (rate := self._rate()) is not None:
                self._next_at = max(self._next_at, _now() - 0.05) + random.uniform(0.8, 1.2) / rate

    async def _wait(self, until: Callable[[], float]) -> None:
        while not self._stop.is_set() and (wait_s := until()) > 0:
            await self.sleep(wait_s)

    def _until_retry(self) -> float:
        now = _now()
        self._save_retries((now - self._retries_at) / RETRY_EVERY_S)
        self._retries_at = now
        return 0.0 if self._retries >= 1 else random.uniform(0.5, 1.0) * RETRY_EVERY_S

    def _save_retries(self, n: float) -> None:
        self._retries = min(self._retries + n, SAVED_RETRIES)

    def _until_free(self) -> float:
        next_at = self._resume_at if self._rate() is None else max(self._resume_at, self._next_at)
        return next_at - _now()

    def _rate(self) -> float | None:
        """Requests a second that may leave; null where any number may."""
        now = _now()
        rate = self._tried(now)
        if rate is not None and rate > 4 * max(self._let_in(now), self._concurrency):
            self._refused = rate = None  # it has not bound for long
        if now < self._crowded_until:
            at_first = max(self._concurrency / 5, 1.0)
            rate = at_first if rate is None else min(rate, at_first)
        return rate

    def _tried(self, now: float) -> float | None:
        """The rate that the curve has come to."""
        if self._refused is None:
            return None
        x: float = max(now - self._refused_at, 0.0) / self._span_s - DIP ** (1 / 3)
        return max(self._refused * (1 + x * x * x), SLOWEST)

    def _let_in(self, now: float) -> float:
        """Requests a second, of late, that left and were not refused."""
        for times in (self._left, self._turned_away):
            while times and times[0] < now - RECENT_S:
                times.popleft()
        n = len(self._left) - len(self._turned_away)
        return max(n, 0) / min(max(now - self._began, 1.0), RECENT_S)

    def answered(self) -> None:
        """A whole reply came."""
        self._save_retries(2)

    def limited(self, wait_s: float | None) -> None:
        """The server refused for its load; `wait_s` is the pause that it asks for, if it does."""
        now = _now()
        tried = self._tried(now)
        if wait_s and now + wait_s > self._resume_at:
            self._resume_at = self._next_at = (
                now + wait_s + min(0.1 * wait_s, random.uniform(0, 0.3))
            )
            self._crowded_until = self._resume_at + min(wait_s, 1.0)
        self._turned_away.append(now)
        let_in = max(self._let_in(now), 1.0 if tried is None else SLOWEST)  # little is known yet
        if self._refused is not None and now < self._refused_at + 1.0:
            self._refused = min(self._refused, let_in)  # one burst of refusals is one sign
            return
        self._refused = let_in if tried is None else min(tried, let_in)
        self._refused_at = max(now, self._resume_at)
        self._span_s = min(2 * self._span_s, SPANS_S[1])

    async def sleep(self, wait_s: float) -> None:
        """Sleep, but not past the moment at which the run is told to stop."""
        try:
            await asyncio.wait_for(self._stop.wait(), wait_s)
        except TimeoutError:
            return


def _now() -> float:
    """The loop's monotonic clock, which a test can run ahead."""
    return asyncio.get_running_loop().time()
