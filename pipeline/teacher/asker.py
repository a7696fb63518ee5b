"""What every slot asks and how it ended: by the journal where it says so, else by buying a reply.

No slot whose reply is known is asked again, in this process or a later one.
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.stage import Reply
from pipeline.teacher.buyer import Buyer, content, how
from pipeline.teacher.call import Answer, BadReply, Call
from pipeline.teacher.journal import INTENT, REPLY, Record
from pipeline.teacher.journal_reader import JournalReader

HIDDEN = "what came is not shown, as replies are masked: the journal has it"
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
    """Settles the slots of all stages of a run.

    `old` is the journal of another run whose replies are taken over, copied, instead of asking.
    """

    def __init__(
        self,
        buyer: Buyer,
        *,
        old: JournalReader | None = None,
        hide: Callable[[Reply], Reply] | None = None,
    ) -> None:
        """`buyer` is asked for what no journal holds.

        What a reply says leaves the journal only as `hide` gives it; of one that is no answer, and
        may be cut off anywhere, only its outcome.
        """
        self._hide = hide
        self.buyer = buyer
        self.teacher = buyer.teacher
        self.journal = buyer.journal
        self._old = old
        self._drawn: dict[bytes, list[int]] = {}

    async def let_go(self, tasks: Sequence[asyncio.Task[Settled]]) -> None:
        """Send no slot of `tasks` that has not been sent; keep the replies to those that have."""
        self._drawn.clear()
        await self.buyer.let_go(tasks)

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
            settled = self._read(call, record, content(call, record))
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
            settled = self._read(call, record, content(call, record))
            if settled is not None:
                return call, settled
        return None

    async def ask(self, call: Call) -> Settled:
        """Settle a numbered call: from the journal, else by asking until there is an answer.

        Raises `TeacherError` where the teacher refuses for good, `BudgetError` where a cap is
        reached, and `InterruptedRunError` where the teacher stays away or the run is told to end.
        """
        while True:
            record = self._known(call)
            if record is None:
                record, found = await self.buyer.buy(call, call.key())
            else:
                found = content(call, record)
            self._drawn.pop(call.key(), None)
            settled = self._read(call, record, found)
            if settled is not None:
                return settled
            call = dataclasses.replace(call, attempt=call.attempt + 1)

    def _known(self, call: Call) -> Record | None:
        """The reply to a call in this journal or the old one, noted for this slot."""
        key = call.key()
        record = self.journal.reply(key)
        if record is not None:
            if call.slot not in self.journal.slots_of(key, call.stage):
                self._copy(INTENT, call, how(call))
            return record
        record = None if self._old is None else self._old.reply(key)
        if record is not None:
            self._copy(INTENT, call, how(call))
            self._copy(REPLY, call, record.note, record.raw)
        return record

    def _copy(self, kind: str, call: Call, note: dict[str, Any], raw: bytes = b"") -> None:
        """Note for this slot what was bought for another one, or by another run."""
        note = {**note, "copied": True}
        self.journal.append(kind, call.key(), call.stage, call.slot, note, raw)

    def _read(self, call: Call, record: Record, found: Answer | BadReply) -> Settled | None:
        """What a reply settles; None where the slot is to be asked once more."""
        model = self.teacher.name
        if isinstance(found, Answer):
            reply = found.reply if call.read_as is None else call.read_as(found.reply)
            reply = reply if self._hide is None else self._hide(reply)
            return Settled(reply, record.key, model)
        if call.attempt + 1 < self.buyer.settings.attempts and found.outcome not in FINAL:
            return None
        detail = found.detail[:300] if self._hide is None else HIDDEN
        return Settled(None, record.key, model, found.outcome, detail)
