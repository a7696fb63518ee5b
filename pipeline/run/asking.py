"""Run a stage that asks a teacher once for every row; rows are committed in their order."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterator
from random import Random

from pipeline import store
from pipeline.recipe import Step
from pipeline.run.context import Context
from pipeline.run.guard import Guard
from pipeline.stage import Drop, LLMStage, Row
from pipeline.store import StageFolder
from pipeline.teacher.asker import Settled
from pipeline.teacher.call import Call

NOT_ASKED = "not_asked"
"""Why a replay drops a row to which the journal holds no reply."""
Open = tuple[Row, Call, "Settled | asyncio.Task[Settled]"]


async def run_llm_stage(context: Context, index: int, step: Step) -> None:
    """Ask for every row of the stage before that has no answer yet."""
    assert isinstance(step.stage, LLMStage)
    assert context.asker is not None
    folder = context.open_stage(index, step)
    total = context.input_rows()
    if folder.state.dropped_by_reason.get(NOT_ASKED) and not context.prepared.is_replay:
        folder.begin_anew()  # what has a reply is read from the journal, only the rest is asked
    if folder.state.complete and folder.next_slot >= total:
        context.done.append(folder.state)
        return
    folder.state.complete = False
    rows = store.read_rows(context.input_shards(), start=folder.next_slot)
    ahead = 4 * context.prepared.recipe.settings.teacher.concurrency
    open_slots: deque[Open] = deque()
    guard = Guard(step.name)
    slots = _draw(context, step, rows, folder.next_slot)
    try:
        while True:
            while len(open_slots) < ahead and (drawn := next(slots, None)) is not None:
                open_slots.append(drawn)
            if not open_slots:
                break
            row, call, settled = open_slots[0]
            if isinstance(settled, asyncio.Task):
                settled = await settled
            elif call.slot % 16 == 0:
                await asyncio.sleep(0)  # replaying must not shut signals and commits out
            open_slots.popleft()
            _commit(context, step, folder, guard, row, call, settled)
            context.tell(folder, total, folder.next_slot)
    finally:
        tasks = [found for _, _, found in open_slots if isinstance(found, asyncio.Task)]
        await context.asker.let_go(tasks)
    folder.flush(journal=context.journal.committed)
    if step.stage.measure is not None:
        kept = store.read_frame(store.shards(folder.path, folder.state))
        folder.state.measures = step.stage.measure(kept)
    context.seal(folder, total, total)


def _draw(context: Context, step: Step, rows: Iterator[Row], slot: int) -> Iterator[Open]:
    stage, asker = step.stage, context.asker
    assert isinstance(stage, LLMStage)
    assert asker is not None
    seed = context.prepared.recipe.settings.seed
    for number, row in enumerate(rows, start=slot):
        rng = Random(f"{seed}:{step.name}:{row['row_id']}")
        call = context.call(step, number, stage.ask(row, step.config, rng))
        known = asker.settled(call)
        if known is None and context.prepared.is_replay:
            known = Settled(None, call.key(), asker.teacher.name, NOT_ASKED, "no reply is recorded")
        yield row, call, known or asyncio.create_task(asker.ask(call))


def _commit(
    context: Context,
    step: Step,
    folder: StageFolder,
    guard: Guard,
    row: Row,
    call: Call,
    settled: Settled,
) -> None:
    stage = step.stage
    assert isinstance(stage, LLMStage)
    if settled.reply is None:
        entries: list[Row | Drop] = [Drop(settled.outcome, settled.detail)]
    else:
        reply = settled.reply
        read = guard.call("error_read", lambda: stage.read(reply, row, step.config))
        entries = [read] if isinstance(read, Drop) else read
    asked = (row.get("requests") or []) + [context.request_column(step, call, settled)]
    kept, dropped = [], []
    for number, entry in enumerate(entries):
        made: Row = {"requests": asked}
        if stage.makes_rows:
            made |= {
                "row_id": f"{step.name}-{call.slot:06d}-{number:02d}",
                "parent_id": row["row_id"],
                "teacher": settled.model,
            }
        if isinstance(entry, Drop):
            dropped.append(row | made | entry.row | entry.columns())
        else:
            kept.append(row | made | entry)
    folder.add(kept, dropped, journal=context.journal.committed)
