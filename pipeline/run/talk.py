"""The conversation about one row: its requests go out, its replies come in, its entries stay."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from random import Random

from pipeline.errors import SynthError
from pipeline.recipe import Step
from pipeline.run.context import Context
from pipeline.run.window import Demand
from pipeline.stage import NOT_ASKED, Conversation, Drop, LLMStage, Reply, Request, Row, RowStage
from pipeline.teacher.asker import Settled
from pipeline.teacher.call import Call

Answered = list[tuple[Request, dict[str, str]]]
"""The requests of a conversation, each with what a row's column `requests` says of it."""


class Talk:
    """One row's conversation: while it goes on, and what came of it."""

    def __init__(self, context: Context, step: Step, slot: int, row: Row, demand: Demand) -> None:
        """Nothing is asked before `start`; `demand` is told what is wanted from then on."""
        assert isinstance(step.stage, RowStage)
        self.slot = slot
        self.row = row
        self.answered: Answered = []
        self.unasked: Drop | None = None
        self.masking = context.masking
        self._context = context
        self._demand = demand
        self._asker = context.asker_of(step)
        self._step = step
        self._open: Sequence[Request] = ()
        self._seen: Counter[bytes] | None = None
        rng = Random(f"{context.prepared.recipe.settings.seed}:{step.name}:{row['row_id']}")
        if isinstance(step.stage, LLMStage):
            self._work = _one_request(step.stage, row, step, rng)
        else:
            self._seen = Counter()
            self._work = step.stage.work(row, step.config, rng)
        self._entries: list[Row | Drop] = []
        self._failure: Exception | None = None
        self._wanted = 0

    def start(self) -> Talk | asyncio.Task[Talk]:
        """Go as far as the journal goes, at once; the rest is a task that asks."""
        calls = self._go_on(None)
        while calls is not None:
            settled = [self._known(call) for call in calls]
            known = [one for one in settled if one is not None]
            if len(known) < len(calls):
                self._demand.change(max(len(calls), 1))
                return asyncio.create_task(self._ask(calls))
            calls = self._go_on(known)
        return self

    async def _ask(self, calls: list[Call] | None) -> Talk:
        while calls is not None:
            self._wanted = max(len(calls), 1)
            asked = (self._settle(call) for call in calls)
            settled = await asyncio.gather(*asked, return_exceptions=True)  # none is left behind
            for one in settled:
                if isinstance(one, BaseException):
                    raise one
            calls = self._go_on([one for one in settled if isinstance(one, Settled)])
            self._demand.change(-1 if calls is None else max(len(calls), 1) - 1)
        return self

    async def _settle(self, call: Call) -> Settled:
        """Ask; all but the last of those asked at once leave room for another's as they come."""
        settled = await self._asker.ask(call)
        self._wanted -= 1
        if self._wanted:
            self._demand.change(-1)
        return settled

    def entries(self) -> list[Row | Drop]:
        """What came of it; raises what the stage's own code raised."""
        if self._failure is not None:
            raise self._failure
        return self._entries

    def _known(self, call: Call) -> Settled | None:
        known = self._asker.settled(call)
        if known is None and self._context.prepared.is_replay:
            name = self._asker.teacher.name
            return Settled(None, call.key(), name, NOT_ASKED, "no reply is recorded")
        return known

    def _go_on(self, settled: list[Settled] | None) -> list[Call] | None:
        """Hand replies to the stage: what it asks next, or null where it is through."""
        try:
            self._open = (
                next(self._work) if settled is None else self._work.send(self._take(settled))
            )
        except StopIteration as end:
            self._entries = end.value
        except (SynthError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 - the guard counts it when the row is committed
            self._failure = error
        else:
            return [self._call(request) for request in self._open]
        return None

    def _call(self, request: Request) -> Call:
        if self._seen is None:
            return self._context.call(self._step, self.slot, request)
        row_id = self.row["row_id"]
        return self._context.call_of_row(self._step, self.slot, request, row_id, self._seen)

    def _take(self, settled: list[Settled]) -> list[Reply | Drop]:
        """Note who answered; what the stage is given in place of each request."""
        found: list[Reply | Drop] = []
        for request, one in zip(self._open, settled, strict=True):
            found.append(one.reply or Drop(one.outcome, one.detail))
            if one.outcome == NOT_ASKED:
                self.unasked = Drop(one.outcome, one.detail)
            else:
                column = self._context.request_column(self._step, request.template, one)
                self.answered.append((request, column))
        return found


def _one_request(stage: LLMStage, row: Row, step: Step, rng: Random) -> Conversation:
    """A stage that asks once, as a conversation."""
    (found,) = yield [stage.ask(row, step.config, rng)]
    return [found] if isinstance(found, Drop) else stage.read(found, row, step.config)
