"""Buys replies: each request under the pace and the caps, with its two records and its bill.

Where requests wait for one another, for a place among those that are open or for room under a cap,
the lowest slot leaves first: what was begun first is whole first, and little is half done where a
run ends early.

One send is two records: an intent, durable before the request leaves, and a reply or a failure once
it is over. An intent without either is a request that was in flight when the process died. A reply
makes room for the next request as it comes, so that one commit takes its record and that request's
intent, in this order; it is used once it is durable.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

from pipeline.errors import InterruptedRunError, SynthError, TeacherError
from pipeline.teacher.call import (
    Answer,
    BadReply,
    Call,
    Received,
    Teacher,
    Unanswered,
    read_envelope,
)
from pipeline.teacher.journal import FAILURE, INTENT, REPLY, Journal, Record
from pipeline.teacher.ledger import Ledger, Spend, billed_at_most, worst_case
from pipeline.teacher.pace import Pace
from pipeline.teacher.settings import TeacherSettings
from pipeline.teacher.waiting_line import OrderedSemaphore

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0
HELD_BACK = "held_back"
"""What a request is called that was written down, and the run ended before it left."""

Bought = tuple[Record, Answer | BadReply]
"""A reply as it was journalled, and what it holds."""
Kept = tuple[Bought, "asyncio.Future[None]"]
"""A reply, and what is done once it is durable."""


class Buyer:
    """Buys from one teacher through one journal and one ledger.

    `bought` counts what was asked in this process, by stage: `STAGE.requests`,
    `STAGE.input_tokens`, `STAGE.output_tokens`; `answered_as` has other names by which the
    server's replies called their model.
    """

    def __init__(
        self,
        teacher: Teacher,
        journal: Journal,
        ledger: Ledger,
        settings: TeacherSettings,
        *,
        concurrency: int,
    ) -> None:
        """`concurrency` is how many requests are open at most."""
        self.teacher = teacher
        self.journal = journal
        self.ledger = ledger
        self.settings = settings
        self.bought: Counter[str] = Counter()
        self.answered_as: set[str] = set()
        self._free = OrderedSemaphore(concurrency)
        self._failing_since: float | None = None
        self._stop = asyncio.Event()
        self._stopped_by: SynthError | None = None
        self._pace = Pace(concurrency, stop=self._stop)
        self._sending: set[asyncio.Task[Any]] = set()

    def stop(self, reason: SynthError, *, grace_s: float | None = None) -> None:
        """Send nothing more; what is in flight has `grace_s` seconds to come back."""
        if self._stopped_by is None:
            self._stopped_by = reason
        self._stop.set()
        grace_s = self.settings.grace_s if grace_s is None else grace_s
        asyncio.get_running_loop().call_later(grace_s, self._cut)

    def _cut(self) -> None:
        for task in self._sending:
            task.cancel()

    async def let_go(self, tasks: Sequence[asyncio.Task[Any]]) -> None:
        """Send nothing for `tasks` that has not been sent; keep the replies to what has."""
        if not tasks:
            return
        was_stopped = self._stop.is_set()
        self._stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not was_stopped and self._stopped_by is None:
            self._stop.clear()

    async def buy(self, call: Call, key: bytes) -> Bought:
        """Send a call until a reply comes, and journal it."""
        try:
            async with self._free.taken(call.slot):
                bought, durable = await self._answered(call, key)
            await durable
        except SynthError as error:
            if not self._stop.is_set():
                self.stop(error)
            raise
        return bought

    async def _answered(self, call: Call, key: bytes) -> Kept:
        failing_since: float | None = None
        backoff_s = 0.0
        while True:
            await self._pace.leave(is_retry=backoff_s > 0)
            if self._stop.is_set():
                message = "nothing more is sent for this stage."
                raise self._stopped_by or InterruptedRunError(message)
            found = await self._send_once(call, key)
            if not isinstance(found, Unanswered):
                return found
            if found.outcome == HELD_BACK:
                continue
            failing_since = failing_since or time.monotonic()
            self._give_up_after(failing_since, found)
            if found.outcome == "rate_limited":
                continue  # the pace knows; a busy server is not an ill one
            backoff_s = min(max(backoff_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
            await self._pace.sleep(random.uniform(0, backoff_s))  # full jitter

    async def _send_once(self, call: Call, key: bytes) -> Kept | Unanswered:
        """One send with its two records and its place in the ledger."""
        model = self.teacher.name
        n_bytes, n_messages = billed_at_most(call)
        worst = worst_case(n_bytes, n_messages, call.body.get(call.limit_name))
        await self.ledger.reserve(model, worst, call.slot)
        note = {
            "model": model,
            "worst": [worst.input_tokens, worst.output_tokens],
            **how(call),
        }
        actual: Spend | None = None
        billed = sent = False
        try:
            noted = self._note(INTENT, call, key, note)
            await noted
            await self._pace.wait_out_pause()  # one may have begun while the disk was waited for
            if self._stop.is_set():
                raise Unanswered(HELD_BACK, "the run ended before it was sent", is_sent=False)
            billed = sent = True
            received = await self._send(call)
            kept = self._keep(call, key, received, worst)
            (_, found), _ = kept
            if found.input_tokens is not None and found.output_tokens is not None:
                actual = Spend(found.input_tokens, found.output_tokens)
        except Unanswered as error:
            billed, sent = error.is_billed, error.is_sent
            failure: dict[str, Any] = {
                "model": model,
                "outcome": error.outcome,
                "detail": error.detail[:300],
            }
            if not sent:
                failure["sent"] = False
                self.bought[f"{call.stage}.requests"] -= error.outcome != HELD_BACK
            if billed:
                failure["worst"] = [worst.input_tokens, worst.output_tokens]
            failed = self._note(FAILURE, call, key, failure)
            if not sent:
                await failed  # the books of a stage that ends now must not count it
            if error.outcome == "rate_limited" or error.wait_s:
                self._pace.limited(error.wait_s)
            return error
        except SynthError as error:
            billed = False
            failure = {"model": model, "outcome": type(error).__name__, "detail": str(error)[:300]}
            self._note(FAILURE, call, key, failure)
            raise
        finally:
            self.ledger.settle(model, worst, actual, billed=billed, sent=sent)
        return kept

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

    def _keep(self, call: Call, key: bytes, received: Received, worst: Spend) -> Kept:
        """Journal a reply as it came, before anything is made of it."""
        self._failing_since = None
        self._pace.answered()
        note: dict[str, Any] = {"model": self.teacher.name, "status": received.status}
        if received.outcome:
            note["outcome"] = received.outcome
        record = Record(0, REPLY, key, call.stage, call.slot, note, received.raw)
        found = content(call, record)
        note["input_tokens"], note["output_tokens"] = found.input_tokens, found.output_tokens
        if found.input_tokens is None:
            note["worst"] = [worst.input_tokens, worst.output_tokens]
        if isinstance(found, Answer) and found.model not in ("", self.teacher.name):
            note["answered_as"] = found.model[:200]
            self.answered_as.add(found.model[:200])
        self.bought[f"{call.stage}.input_tokens"] += found.input_tokens or 0
        self.bought[f"{call.stage}.output_tokens"] += found.output_tokens or 0
        durable = self.journal.append(REPLY, key, call.stage, call.slot, note, received.raw)
        self._check_bill(found, worst)
        return (record, found), durable

    def _check_bill(self, found: Answer | BadReply, worst: Spend) -> None:
        """Send nothing more under a cap to a server that bills more than was allowed."""
        n_in, n_out = found.input_tokens or 0, found.output_tokens or 0
        is_over = n_in > worst.input_tokens or n_out > worst.output_tokens
        if is_over and self.ledger.budget.is_capped:
            self.stop(
                TeacherError(
                    f"{self.teacher.name} bills {n_in} + {n_out} tokens where a request allowed "
                    f"{worst.input_tokens} + {worst.output_tokens}: no cap can hold."
                )
            )

    def _give_up_after(self, slot_failing_since: float, error: Unanswered) -> None:
        """End the run once the teacher, or this slot, has brought nothing for the outage limit."""
        now = time.monotonic()
        self._failing_since = self._failing_since or now
        for since, whom in ((self._failing_since, "the teacher"), (slot_failing_since, "one slot")):
            if now - since >= self.settings.outage_limit_s:
                raise InterruptedRunError(
                    f"{self.teacher.name}: {whom} has had no answer for {now - since:.0f} s "
                    f"({error}). Start the same command again once it answers."
                )

    def _note(
        self, kind: str, call: Call, key: bytes, note: dict[str, Any]
    ) -> asyncio.Future[None]:
        return self.journal.append(kind, key, call.stage, call.slot, note)


def how(call: Call) -> dict[str, Any]:
    """How a request came to be, for the journal: enough to read its reply again without drawing."""
    return {
        "template": call.template,
        "shown": list(call.shown),
        "sample": call.sample,
        "attempt": call.attempt,
    }


def content(call: Call, record: Record) -> Answer | BadReply:
    """What a journalled reply holds."""
    if outcome := record.note.get("outcome"):
        return BadReply(str(outcome), "")
    if int(record.note["status"]) >= 400:
        return BadReply("bad_request", record.raw.decode(errors="replace"))
    return read_envelope(call.kind, record.raw)
