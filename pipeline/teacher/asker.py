"""The journal between every stage and every teacher: ask once, keep the reply, never pay twice."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InterruptedRunError, SynthError
from pipeline.stage import Reply
from pipeline.teacher.call import (
    TOO_LARGE,
    Answer,
    BadReply,
    Call,
    Received,
    Teacher,
    Unanswered,
    read_envelope,
)
from pipeline.teacher.journal import FAILURE, INTENT, REPLY, Journal, Record

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0


@dataclass(frozen=True, slots=True)
class Settled:
    """How a slot ended: a reply, or the name of what came instead, and the keys of its requests."""

    reply: Reply | None
    key: bytes
    model: str
    outcome: str = ""
    detail: str = ""


class Asker:
    """Asks one teacher through one journal, at most `concurrency` requests at a time.

    `old` is the journal of another run whose replies are taken over, copied, instead of asking.
    `bought` counts what was asked in this process, by stage: `STAGE.requests`, `STAGE.tokens`.
    """

    def __init__(
        self,
        teacher: Teacher,
        journal: Journal,
        *,
        concurrency: int,
        attempts: int,
        outage_limit_s: float,
        grace_s: float,
        old: Journal | None = None,
    ) -> None:
        """`attempts` is how often one slot is asked when its replies cannot be used."""
        self.teacher = teacher
        self.journal = journal
        self.bought: Counter[str] = Counter()
        self._attempts = attempts
        self._outage_limit_s = outage_limit_s
        self._grace_s = grace_s
        self._free = asyncio.Semaphore(concurrency)
        self._old = old
        self._resume_at = 0.0
        self._failing_since: float | None = None
        self._stop = asyncio.Event()
        self._stopped_by: SynthError | None = None
        self._sending: set[asyncio.Task[Any]] = set()
        self._noted: dict[tuple[bytes, int], asyncio.Future[None]] = {}

    def stop(self, reason: SynthError, *, grace_s: float | None = None) -> None:
        """Send nothing more; what is in flight has `grace_s` seconds to come back."""
        if self._stopped_by is None:
            self._stopped_by = reason
        self._stop.set()
        grace_s = self._grace_s if grace_s is None else grace_s
        asyncio.get_running_loop().call_later(grace_s, self._cut)

    def raise_if_stopped(self) -> None:
        """Raise what the asker was stopped by, if it was."""
        if self._stopped_by is not None:
            raise self._stopped_by

    def _cut(self) -> None:
        for task in self._sending:
            task.cancel()

    async def let_go(self, tasks: Sequence[asyncio.Task[Settled]]) -> None:
        """Send no slot of `tasks` that has not been sent; keep the replies to those that have."""
        if not tasks:
            return
        was_stopped = self._stop.is_set()
        self._stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not was_stopped and self._stopped_by is None:
            self._stop.clear()

    def number(self, call: Call) -> Call:
        """Give the call its sample number: how many earlier slots of its stage ask the same.

        Its intent is noted here and now, so that slots number each other in their order and two that
        ask the same never take each other's reply or buy one twice.
        """
        while any(slot < call.slot for slot in self.journal.intents(call.key(), call.stage)):
            call = dataclasses.replace(call, sample=call.sample + 1)
        key = call.key()
        noted = self._note_intent(call, key)
        if noted is not None:
            self._noted[key, call.slot] = noted
        return call

    def settled(self, call: Call) -> Settled | None:
        """What the journal says about a numbered call, without waiting; None if it is to be asked."""
        while True:
            key = call.key()
            record = self.journal.reply(key) or self._take_over(key, call)
            if record is None:
                return None
            self._noted.pop((key, call.slot), None)
            self._note_intent(call, key)
            settled = self._read(call, record)
            if settled is not None:
                return settled
            call = dataclasses.replace(call, attempt=call.attempt + 1)

    async def ask(self, call: Call) -> Settled:
        """Settle a numbered call: from the journal, else by asking until there is an answer.

        Raises `TeacherError` where the teacher refuses for good and `InterruptedRunError` where it
        stays away or the run is told to end.
        """
        while True:
            key = call.key()
            record = self.journal.reply(key) or self._take_over(key, call)
            if record is None:
                record = await self._buy(call, key)
            settled = self._read(call, record)
            if settled is not None:
                return settled
            call = dataclasses.replace(call, attempt=call.attempt + 1)

    def _read(self, call: Call, record: Record) -> Settled | None:
        """What a reply settles; None where the slot is to be asked once more."""
        status = int(record.note["status"])
        if status >= 400:
            name = "too_large" if status == TOO_LARGE else "bad_request"
            found: Answer | BadReply = BadReply(name, record.raw.decode(errors="replace"))
        else:
            found = read_envelope(call.kind, record.raw)
        if isinstance(found, Answer):
            return Settled(found.reply, record.key, self.teacher.name)
        last = call.attempt + 1 >= self._attempts
        final = last or found.outcome in ("bad_request", "refusal", "content_filter")
        if not final:
            return None
        return Settled(None, record.key, self.teacher.name, found.outcome, found.detail[:300])

    def _take_over(self, key: bytes, call: Call) -> Record | None:
        record = None if self._old is None else self._old.reply(key)
        if record is not None:
            note = record.note | {"copied": True}
            self._note_intent(call, key)
            self.journal.append(REPLY, key, call.stage, call.slot, note, record.raw)
        return record

    def _note_intent(self, call: Call, key: bytes) -> asyncio.Future[None] | None:
        if call.slot in self.journal.intents(key, call.stage):
            return None
        note = {"template": call.template, "shown": list(call.shown), "sample": call.sample}
        return self.journal.append(INTENT, key, call.stage, call.slot, note)

    async def _buy(self, call: Call, key: bytes) -> Record:
        noted = self._noted.pop((key, call.slot), None) or self._note_intent(call, key)
        if noted is not None:
            await noted
        async with self._free:
            backoff_s = FIRST_BACKOFF_S
            while True:
                await self._wait_for_leave()
                try:
                    received = await self._send(call)
                except Unanswered as error:
                    wait_s = self._note_failure(call, key, error, backoff_s)
                    await self._pause(wait_s)
                    backoff_s = min(backoff_s * 2, LONGEST_BACKOFF_S)
                except SynthError as error:
                    self.stop(error)
                    raise
                else:
                    return await self._keep(call, key, received)

    async def _send(self, call: Call) -> Received:
        task = asyncio.current_task()
        assert task is not None
        self._sending.add(task)
        self.bought[f"{call.stage}.requests"] += 1
        try:
            return await self.teacher.send(call)
        except asyncio.CancelledError as error:
            if self._stopped_by is None:
                raise
            raise Unanswered("cut", "the run ended before the reply came") from error
        finally:
            self._sending.discard(task)

    async def _wait_for_leave(self) -> None:
        """Wait out a pause that the server asked for; raise once the run is to send nothing more."""
        while (wait_s := self._resume_at - time.monotonic()) > 0 and not self._stop.is_set():
            await self._pause(wait_s + random.uniform(0, min(1.0, wait_s)))
        if self._stop.is_set():
            raise self._stopped_by or InterruptedRunError("nothing more is sent for this stage.")

    async def _pause(self, wait_s: float) -> None:
        """Sleep, but not past the moment at which the run is told to stop."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), wait_s)

    def _note_failure(self, call: Call, key: bytes, error: Unanswered, backoff_s: float) -> float:
        """Journal a request without reply; gives the seconds to wait before the next try."""
        now = time.monotonic()
        note = {"model": self.teacher.name, "outcome": error.outcome, "detail": error.detail[:300]}
        self.journal.append(FAILURE, key, call.stage, call.slot, note)
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self._outage_limit_s:
            self.stop(
                InterruptedRunError(
                    f"{self.teacher.name} has not answered for {now - self._failing_since:.0f} s "
                    f"({error}). Start the same command again once it does."
                )
            )
        if error.wait_s is not None:
            self._resume_at = max(self._resume_at, now + error.wait_s)
        return random.uniform(0, backoff_s)  # full jitter; no row depends on it

    async def _keep(self, call: Call, key: bytes, received: Received) -> Record:
        self._failing_since = None
        note: dict[str, Any] = {"model": self.teacher.name, "status": received.status}
        found = read_envelope(call.kind, received.raw)
        note["input_tokens"], note["output_tokens"] = found.input_tokens, found.output_tokens
        if isinstance(found, Answer) and found.model not in ("", self.teacher.name):
            note["answered_as"] = found.model[:200]
        self.bought[f"{call.stage}.tokens"] += (found.input_tokens or 0) + (
            found.output_tokens or 0
        )
        await self.journal.append(REPLY, key, call.stage, call.slot, note, received.raw)
        return Record(0, REPLY, key, call.stage, call.slot, note, received.raw)
