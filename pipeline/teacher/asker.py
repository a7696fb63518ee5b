"""The journal between every stage and every teacher: ask once, keep the reply, never pay twice.

One send is two records: an intent, durable before the request leaves, and a reply or a failure once
it is over. An intent without either is a request that was in flight when the process died.
"""

from __future__ import annotations

import asyncio
import dataclasses
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.errors import InterruptedRunError, SynthError, TeacherError
from pipeline.stage import Reply
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
from pipeline.teacher.journal_reader import JournalReader
from pipeline.teacher.ledger import Ledger, Spend, worst_case
from pipeline.teacher.pace import Pace
from pipeline.teacher.settings import TeacherSettings

FIRST_BACKOFF_S = 0.5
LONGEST_BACKOFF_S = 60.0
FINAL = ("bad_request", "refusal", "content_filter", "purged")
"""Outcomes that asking again does not change."""


@dataclass(frozen=True, slots=True)
class Settled:
    """How a slot ended: a reply, or the name of what came instead, and the key of its request."""

    reply: Reply | None
    key: bytes
    model: str
    outcome: str = ""
    detail: str = ""


class Asker:
    """Asks one teacher through one journal and one ledger.

    `old` is the journal of another run whose replies are taken over, copied, instead of asking.
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
        old: JournalReader | None = None,
    ) -> None:
        """`concurrency` is how many requests are open at most."""
        self.teacher = teacher
        self.journal = journal
        self.ledger = ledger
        self.bought: Counter[str] = Counter()
        self.answered_as: set[str] = set()
        self._settings = settings
        self._free = asyncio.Semaphore(concurrency)
        self._old = old
        self._failing_since: float | None = None
        self._stop = asyncio.Event()
        self._stopped_by: SynthError | None = None
        self._pace = Pace(concurrency, stop=self._stop)
        self._sending: set[asyncio.Task[Any]] = set()
        self._drawn: dict[bytes, list[int]] = {}

    def stop(self, reason: SynthError, *, grace_s: float | None = None) -> None:
        """Send nothing more; what is in flight has `grace_s` seconds to come back."""
        if self._stopped_by is None:
            self._stopped_by = reason
        self._stop.set()
        grace_s = self._settings.grace_s if grace_s is None else grace_s
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
        self._drawn.clear()
        if not tasks:
            return
        was_stopped = self._stop.is_set()
        self._stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        if not was_stopped and self._stopped_by is None:
            self._stop.clear()

    def number(self, call: Call) -> Call:
        """Give the call its sample number: how many earlier slots of its stage ask the same."""
        while any(slot < call.slot for slot in self._slots_of(call)):
            call = dataclasses.replace(call, sample=call.sample + 1)
        self._drawn.setdefault(call.key(), []).append(call.slot)  # until its intent is noted
        return call

    def _slots_of(self, call: Call) -> list[int]:
        key = call.key()
        return self.journal.slots_of(key, call.stage) + self._drawn.get(key, [])

    def settled(self, call: Call) -> Settled | None:
        """What the journal says about a numbered call, at once; None if it is to be asked."""
        while True:
            record = self._known(call)
            if record is None:
                return None
            self._drawn.pop(call.key(), None)
            settled = self._read(call, record)
            if settled is not None:
                return settled
            call = dataclasses.replace(call, attempt=call.attempt + 1)

    def recorded(self, stage: str, slot: int, kind: str) -> tuple[Call, Settled] | None:
        """How a slot was asked and settled, by the journal alone; None where no reply settles it.

        The request is not built again: what it showed stands in the journal, so that a reply can be
        read afresh by other code without another pool changing what was asked.
        """
        for intent in self.journal.asked_in(stage, slot):
            record = self.journal.reply(intent.key)
            if record is None:
                continue
            note = intent.note
            call = Call(
                stage=stage,
                slot=slot,
                kind=kind,
                body={},
                content=b"",
                template=note["template"],
                values={},
                shown=tuple(note["shown"]),
                sample=note["sample"],
                attempt=note["attempt"],
            )
            settled = self._read(call, record)
            if settled is not None:
                return call, settled
        return None

    async def ask(self, call: Call) -> Settled:
        """Settle a numbered call: from the journal, else by asking until there is an answer.

        Raises `TeacherError` where the teacher refuses for good, `BudgetError` where a cap is
        reached, and `InterruptedRunError` where the teacher stays away or the run is told to end.
        """
        while True:
            record = self._known(call) or await self._buy(call, call.key())
            settled = self._read(call, record)
            if settled is not None:
                return settled
            call = dataclasses.replace(call, attempt=call.attempt + 1)

    def _known(self, call: Call) -> Record | None:
        """The reply to a call in this journal or the old one, noted for this slot."""
        key = call.key()
        record = self.journal.reply(key)
        if record is not None:
            if call.slot not in self.journal.slots_of(key, call.stage):
                self._note(INTENT, call, key, {"copied": True, **_how(call)})
            return record
        record = None if self._old is None else self._old.reply(key)
        if record is not None:
            note = {**record.note, "copied": True}
            self._note(INTENT, call, key, {"copied": True, **_how(call)})
            self.journal.append(REPLY, key, call.stage, call.slot, note, record.raw)
        return record

    def _note(
        self, kind: str, call: Call, key: bytes, note: dict[str, Any]
    ) -> asyncio.Future[None]:
        return self.journal.append(kind, key, call.stage, call.slot, note)

    def _read(self, call: Call, record: Record) -> Settled | None:
        """What a reply settles; None where the slot is to be asked once more."""
        found = _content(call, record)
        model = self.teacher.name
        if isinstance(found, Answer):
            return Settled(found.reply, record.key, model)
        if call.attempt + 1 < self._settings.attempts and found.outcome not in FINAL:
            return None
        return Settled(None, record.key, model, found.outcome, found.detail[:300])

    async def _buy(self, call: Call, key: bytes) -> Record:
        """Send a call until a reply comes, and journal it."""
        failing_since: float | None = None
        backoff_s = 0.0
        async with self._free:
            try:
                while True:
                    await self._pace.leave(is_retry=backoff_s > 0)
                    if self._stop.is_set():
                        message = "nothing more is sent for this stage."
                        raise self._stopped_by or InterruptedRunError(message)
                    found = await self._send_once(call, key)
                    if isinstance(found, Record):
                        return found
                    failing_since = failing_since or time.monotonic()
                    self._give_up_after(failing_since, found)
                    if found.outcome == "rate_limited":
                        continue  # the pace knows; a busy server is not an ill one
                    backoff_s = min(max(backoff_s * 2, FIRST_BACKOFF_S), LONGEST_BACKOFF_S)
                    await self._pace.sleep(random.uniform(0, backoff_s))  # full jitter
            except SynthError as error:
                if not self._stop.is_set():
                    self.stop(error)
                raise

    async def _send_once(self, call: Call, key: bytes) -> Record | Unanswered:
        """One send with its two records and its place in the ledger."""
        model = self.teacher.name
        worst = worst_case(
            len(call.content), len(call.body.get("messages", ())), call.body.get(call.limit_name)
        )
        await self.ledger.reserve(model, worst)
        note = {
            "model": model,
            "worst": [worst.input_tokens, worst.output_tokens],
            **_how(call),
        }
        actual: Spend | None = None
        billed = False
        try:
            noted = self._note(INTENT, call, key, note)
            self._drawn.pop(key, None)
            await noted
            billed = True
            received = await self._send(call)
            record = await self._keep(call, key, received, worst)
            n_in, n_out = record.note["input_tokens"], record.note["output_tokens"]
            actual = None if n_in is None else Spend(n_in, n_out)
        except Unanswered as error:
            billed = error.is_billed
            failure: dict[str, Any] = {
                "model": model,
                "outcome": error.outcome,
                "detail": error.detail[:300],
            }
            if billed:
                failure["worst"] = [worst.input_tokens, worst.output_tokens]
            self._note(FAILURE, call, key, failure)
            if error.outcome == "rate_limited" or error.wait_s:
                self._pace.limited(error.wait_s)
            return error
        except SynthError as error:
            billed = False
            failure = {"model": model, "outcome": type(error).__name__, "detail": str(error)[:300]}
            self._note(FAILURE, call, key, failure)
            raise
        finally:
            self.ledger.settle(model, worst, actual, billed=billed)
        return record

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

    async def _keep(self, call: Call, key: bytes, received: Received, worst: Spend) -> Record:
        """Journal a reply as it came, before anything is made of it."""
        self._failing_since = None
        self._pace.answered()
        note: dict[str, Any] = {"model": self.teacher.name, "status": received.status}
        if received.outcome:
            note["outcome"] = received.outcome
        record = Record(0, REPLY, key, call.stage, call.slot, note, received.raw)
        found = _content(call, record)
        note["input_tokens"], note["output_tokens"] = found.input_tokens, found.output_tokens
        if found.input_tokens is None:
            note["worst"] = [worst.input_tokens, worst.output_tokens]
        if isinstance(found, Answer) and found.model not in ("", self.teacher.name):
            note["answered_as"] = found.model[:200]
            self.answered_as.add(found.model[:200])
        self.bought[f"{call.stage}.input_tokens"] += found.input_tokens or 0
        self.bought[f"{call.stage}.output_tokens"] += found.output_tokens or 0
        await self.journal.append(REPLY, key, call.stage, call.slot, note, received.raw)
        self._check_bill(found, worst)
        return record

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
            if now - since >= self._settings.outage_limit_s:
                raise InterruptedRunError(
                    f"{self.teacher.name}: {whom} has had no answer for {now - since:.0f} s "
                    f"({error}). Start the same command again once it answers."
                )


def _how(call: Call) -> dict[str, Any]:
    """How a request came to be, for the journal: enough to read its reply again without drawing."""
    return {
        "template": call.template,
        "shown": list(call.shown),
        "sample": call.sample,
        "attempt": call.attempt,
    }


def _content(call: Call, record: Record) -> Answer | BadReply:
    """What a journalled reply holds."""
    if outcome := record.note.get("outcome"):
        return BadReply(str(outcome), "")
    if int(record.note["status"]) >= 400:
        return BadReply("bad_request", record.raw.decode(errors="replace"))
    return read_envelope(call.kind, record.raw)
