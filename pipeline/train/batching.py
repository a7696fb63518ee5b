"""Calls that wait together, answered in one batch by a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from pipeline.errors import TeacherError
from pipeline.teacher.call import Received

Item = TypeVar("Item")


class Batches(Generic[Item]):
    """A queue before `answer`, which takes a batch and gives a reply's body for each of it."""

    def __init__(
        self, answer: Callable[[list[Item]], Sequence[bytes]], *, most: int, cannot: str
    ) -> None:
        """At most `most` are taken at once; `cannot` begins what is said where a batch fails."""
        self._answer = answer
        self._most = most
        self._cannot = cannot
        self._waiting: list[tuple[Item, asyncio.Future[Received]]] = []
        self._worker: asyncio.Task[None] | None = None

    async def ask(self, item: Item) -> Received:
        """The reply to one, which is answered with those that wait beside it.

        Raises `TeacherError` where its batch cannot be answered, by too little memory, say.
        """
        future: asyncio.Future[Received] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._worker is None or self._worker.done():
            self._worker = asyncio.create_task(self._work())
        return await future

    async def finish(self) -> None:
        """Wait until nothing waits."""
        if self._worker is not None:
            await self._worker

    async def _work(self) -> None:
        await asyncio.sleep(0)  # calls of the same turn of the loop come along
        while self._waiting:
            batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
            asked = [(item, future) for item, future in batch if not future.done()]
            if asked:
                await self._settle(asked)

    async def _settle(self, asked: Sequence[tuple[Item, asyncio.Future[Received]]]) -> None:
        items = [item for item, _ in asked]
        work = asyncio.ensure_future(asyncio.to_thread(self._answer, items))
        await asyncio.wait([work])
        failure = work.exception()  # whatever it is, nobody is left waiting
        replies = work.result() if failure is None else [b""] * len(asked)
        for (_, future), raw in zip(asked, replies, strict=True):
            if future.done():  # cancelled meanwhile
                continue
            if failure is None:
                future.set_result(Received(200, raw))
            else:
                future.set_exception(self._told(failure, len(asked)))

    def _told(self, failure: BaseException, number: int) -> BaseException:
        if not isinstance(failure, (RuntimeError, ValueError, TypeError)):
            return failure
        said = f"{self._cannot} a batch of {number}: {first_line(failure)}."
        error = TeacherError(said)
        error.__cause__ = failure
        return error


def first_line(error: BaseException) -> str:
    """What a library's error is and says, shortened, without its last full stop."""
    return f"{type(error).__name__}: {error}".splitlines()[0][:300].rstrip(".")
