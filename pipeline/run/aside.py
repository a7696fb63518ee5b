"""Compute in a thread, or wait for others, so that nothing long keeps the run from ending."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine
from typing import TypeVar

from pipeline.errors import StorageError
from pipeline.signals import Ending

LOOK_EVERY_S = 0.1

T = TypeVar("T")


def aside(compute: Callable[[], T], ending: Ending) -> T:
    """What `compute` gives or raises.

    Raises `InterruptedRunError` once a signal has come: what the thread is at is then nobody's, and
    ends with the process. Raises `StorageError` where the thread ends without either, as it does
    where there is no memory left to keep the error in.
    """
    given: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            given.append(compute())
        except BaseException as error:  # noqa: BLE001 - raised again, where it is waited for
            raised.append(error)

    thread = threading.Thread(target=work, name="compute", daemon=True)
    thread.start()
    while thread.is_alive():
        thread.join(LOOK_EVERY_S)
        ending.check()
    if raised:
        raise raised[0]
    if not given:
        raise StorageError(
            "a computation ended without a word, as it does where there is no memory left. Nothing "
            "that was received is lost; start the same command again where it may have more."
        )
    return given[0]


async def unless_told(ending: Ending, act: Coroutine[object, object, None]) -> None:
    """Do `act`, and end in its midst where a signal comes."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(act)
    ending.on_signal(lambda at_once: call_in(loop, task.cancel))
    try:
        await task
    except asyncio.CancelledError:
        ending.check()
        raise


def call_in(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    """Have a loop call `act` from another thread."""
    with contextlib.suppress(RuntimeError):  # the loop is closed: the run is over
        loop.call_soon_threadsafe(act)
