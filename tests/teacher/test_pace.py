"""The pace on a clock that runs ahead: minutes of a limited server in a blink."""

import asyncio
import math
import random
import selectors
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest

from pipeline.teacher.pace import Pace

Rate = Callable[[float], float]


class _NoWait(selectors.SelectSelector):
    """Instead of waiting for a socket it moves the clock."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> list[Any]:
        assert timeout is not None, "everybody waits for ever"
        self.now += timeout
        return []


class _QuickLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._ahead = _NoWait()
        super().__init__(self._ahead)

    def time(self) -> float:
        return self._ahead.now


def run(work: Coroutine[Any, Any, Any]) -> Any:
    """Run to the end on a clock that does not wait."""
    loop = _QuickLoop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.close()


def now() -> float:
    return asyncio.get_running_loop().time()


@dataclass
class Limited:
    """A token bucket that fills at `rate`(seconds) and holds a second's worth."""

    rate: Rate
    says: str | None  # how it says how long to wait: None, "seconds" (whole ones) or "ms"
    latency_s: float = 0.1
    let_in: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)

    async def work(self, concurrency: int, seconds: float) -> None:
        """Ask with `concurrency` workers, each again and again, for so many seconds."""
        self.stop = asyncio.Event()
        self.pace = Pace(concurrency, stop=self.stop)
        self.began = self.filled = now()
        self.level = self.rate(0)
        self.ends = self.began + seconds
        await asyncio.gather(*(self._ask_on() for _ in range(concurrency)))

    async def _ask_on(self) -> None:
        is_retry = False
        while now() < self.ends:
            await self.pace.leave(is_retry=is_retry)
            await asyncio.sleep(0.01)
            wait_s = self._wait_s()
            is_retry = wait_s > 0
            if not is_retry:
                await asyncio.sleep(self.latency_s)
                self.pace.answered()
                continue
            waits = {None: None, "ms": wait_s, "seconds": float(math.ceil(wait_s))}
            self.pace.limited(waits[self.says])
            await self.pace.sleep(random.uniform(0, 0.5))

    def _wait_s(self) -> float:
        at = now() - self.began
        rate = self.rate(at)
        self.level = min(max(1.0, rate), self.level + (now() - self.filled) * rate)
        self.filled = now()
        if self.level < 1:
            self.refused.append(at)
            return (1 - self.level) / rate
        self.level -= 1
        self.let_in.append(at)
        return 0.0

    def share(self, start: float, end: float) -> tuple[float, float]:
        """Of what could pass from `start` to `end`, what did; and the share of refusals."""
        passed = sum(start <= at < end for at in self.let_in)
        refused = sum(start <= at < end for at in self.refused)
        return passed / (self.rate(start) * (end - start)), refused / (passed + refused)


@pytest.mark.parametrize("concurrency", [8, 32, 256])
@pytest.mark.parametrize("rate", [5, 20, 60])
@pytest.mark.parametrize(("says", "at_least"), [(None, 0.95), ("ms", 0.93), ("seconds", 0.82)])
def test_after_a_minute_a_limited_server_is_used_to_the_full_and_hardly_refuses(
    concurrency: int, rate: float, says: str | None, at_least: float
) -> None:
    """Where whole seconds are said, each refusal costs that pause and the slow second after it."""
    random.seed(f"{concurrency} {rate}")
    server = Limited(lambda at: rate, says, latency_s=min(0.1, 0.5 * concurrency / rate))
    run(server.work(concurrency, 180))
    passed, refused = server.share(60, 180)
    assert passed >= at_least
    assert refused <= 0.02


@pytest.mark.parametrize("says", [None, "ms", "seconds"])
@pytest.mark.parametrize("change", [0.5, 2.0])
def test_a_minute_after_the_limit_has_changed_the_pace_is_that_of_the_new_one(
    says: str | None, change: float
) -> None:
    random.seed(7)
    server = Limited(lambda at: 20 if at < 60 else 20 * change, says)
    run(server.work(32, 180))
    passed, refused = server.share(120, 180)
    assert passed >= (0.85 if says == "seconds" else 0.95)
    assert refused <= 0.02


def test_replies_that_take_long_do_not_slow_the_pace() -> None:
    random.seed(1)
    server = Limited(lambda at: 10, "ms", latency_s=12.0)
    run(server.work(256, 180))
    assert server.share(60, 168)[0] >= 0.9


def test_nothing_leaves_in_a_pause_and_a_quarter_at_most_in_the_second_after_it() -> None:
    async def work() -> list[float]:
        pace = Pace(40, stop=asyncio.Event())
        left = []

        async def ask() -> None:
            await pace.leave(is_retry=False)
            left.append(now() - began)

        pace.limited(30.0)
        began = now()
        await asyncio.gather(*(ask() for _ in range(40)))
        return left

    left = run(work())
    assert 30 <= min(left) <= 30.3
    assert len([at for at in left if at < min(left) + 1]) <= 10


def test_a_pause_is_not_shortened_by_a_later_refusal() -> None:
    async def work() -> float:
        pace = Pace(4, stop=asyncio.Event())
        began = now()
        pace.limited(20.0)
        pace.limited(1.0)
        await pace.leave(is_retry=True)
        return now() - began

    assert run(work()) >= 20


def test_retries_of_a_server_that_never_answers_run_dry() -> None:
    async def work() -> list[float]:
        pace = Pace(64, stop=asyncio.Event())
        began = now()
        left = []

        async def retry() -> None:
            while now() < began + 600:
                await pace.leave(is_retry=True)
                left.append(now() - began)

        await asyncio.gather(*(retry() for _ in range(64)))
        return left

    left = run(work())
    assert len([at for at in left if at < 60]) <= 20 + 30 + 1
    assert len([at for at in left if 60 <= at < 600]) <= 540 / 2 + 1


def test_who_waits_leaves_in_the_order_in_which_he_came_and_new_ones_pass_waiting_retries() -> None:
    async def work() -> list[str]:
        pace = Pace(8, stop=asyncio.Event())
        left: list[str] = []

        async def ask(name: str, is_retry: bool) -> None:
            await pace.leave(is_retry=is_retry)
            left.append(name)

        for _ in range(20):
            await pace.leave(is_retry=True)  # the budget is spent
        retries = [asyncio.create_task(ask(f"retry {n}", True)) for n in range(3)]
        await asyncio.sleep(0.01)
        await asyncio.gather(*(ask(f"new {n}", False) for n in range(5)))
        await asyncio.gather(*retries)
        return left

    assert run(work()) == [f"new {n}" for n in range(5)] + [f"retry {n}" for n in range(3)]


def test_to_stop_ends_every_wait_and_takes_no_turn() -> None:
    async def work() -> tuple[float, float]:
        stop = asyncio.Event()
        pace = Pace(8, stop=stop)
        pace.limited(500.0)
        began = now()
        tasks = [asyncio.create_task(pace.leave(is_retry=n % 2 == 0)) for n in range(50)]
        await asyncio.sleep(3)
        stop.set()
        await asyncio.gather(*tasks)
        stopped = now() - began
        stop.clear()
        await pace.leave(is_retry=False)
        return stopped, now() - began

    stopped, went_on = run(work())
    assert stopped < 3.1
    assert went_on < 500.4, "those who sent nothing took their turn"
