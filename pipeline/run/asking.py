"""Run a stage that asks a teacher about every row; rows are committed in their order.

Conversations go on beside each other, few more of them than it takes to want as many requests as
may be open, and the earlier ones go first: where a run ends early, few rows are half done. Each
depends on its own row alone, and so do the numbers of its requests, so that neither timing nor
concurrency nor a kill reaches a row.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline import store
from pipeline.recipe import Step
from pipeline.run.context import Context
from pipeline.run.guard import Guard
from pipeline.run.row_stall import RowStall
from pipeline.run.talk import Talk
from pipeline.run.window import Demand, Window
from pipeline.stage import NOT_ASKED, ChainStage, Drop, Request, Row, RowStage
from pipeline.store import StageFolder

AHEAD = 32
"""So many conversations a request that may be open: those that are through, and wait for a slower
one before them to be committed, count too. One reply can take many times as long as another, and
while it is waited for the server is to have its fill."""
MOST_AHEAD = 8192
"""Of those not more than so many, for their memory, or than `LEAST_AHEAD` a request."""
LEAST_AHEAD = 4
SPARE = (8, 4)
"""For so many requests that may be open one more is wanted, at least and at most: it waits, and
takes the place of a reply as that comes, and not once that is durable."""


async def run_row_stage(context: Context, index: int, step: Step) -> None:
    """Ask about every row of the stage before that is not through yet."""
    assert isinstance(step.stage, RowStage)
    folder = context.open_stage(index, step)
    total = context.input_rows()
    is_gap = folder.state.dropped_by_reason.get(NOT_ASKED) and not context.prepared.is_replay
    if is_gap or not _is_same_input(context, folder, step):
        folder.begin_anew()  # what has a reply is read from the journal, only the rest is asked
    folder.state.input_digest = context.input_so_far()
    if folder.state.complete and folder.next_slot >= total:
        context.done.append(folder.state)
        return
    stall = RowStall(context, step, folder)
    stall.raise_if_still_stalled()
    folder.state.complete, folder.state.stopped = False, None
    if step.stage.makes_rows and not folder.state.parts:
        folder.state.namesake = namesake(step.name, context.input_shards())
    rows = store.read_rows(context.input_shards(), start=folder.next_slot)
    concurrency = context.prepared.model_of(step).concurrency
    demand = Demand(*(concurrency + math.ceil(concurrency / share) for share in SPARE))
    drawn = (
        (slot, Talk(context, step, slot, row, demand).start())
        for slot, row in enumerate(rows, start=folder.next_slot)
    )
    guard, asker = Guard(step.name), context.asker_of(step)
    async with Window(drawn, _ahead(concurrency), asker, demand) as window:
        async for _, talk in window:
            kept, dropped = _split(talk, step, guard, folder.state.ids_begin_with)
            folder.add(kept, dropped, journal=context.journal.committed)
            context.tell(folder, total, folder.next_slot)
            stall.note(talk.row, kept, dropped)
    folder.flush(journal=context.journal.committed)
    if step.stage.measure is not None:
        wanted = step.stage.measured if isinstance(step.stage, ChainStage) else None
        rows_kept = store.read_frame(store.shards(folder.path, folder.state), wanted)
        folder.state.measures = step.stage.measure(rows_kept)
    context.seal(folder, total, total)


def _ahead(concurrency: int) -> int:
    """How many conversations may have begun before the first of them is through.

    >>> [_ahead(concurrency) for concurrency in (1, 64, 1024, 4096)]
    [32, 2048, 8192, 16384]
    """
    return max(min(AHEAD * concurrency, MOST_AHEAD), LEAST_AHEAD * concurrency)


def _is_same_input(context: Context, folder: StageFolder, step: Step) -> bool:
    """Whether the rows that were worked on still stand first in the stage before.

    Where the model learns from the rows that it measures, they must be all there are: with more of
    them it is another model, and measures of two models in one column could not be compared.
    """
    before = folder.state.input_digest
    if before is None or ":" not in before:
        return True
    if context.prepared.model_of(step).uri.scheme == "tiny":
        return before == context.input_so_far()
    return before == context.input_so_far(int(before.partition(":")[0]))


def namesake(name: str, shards: Sequence[Path]) -> str | None:
    """`NAME.2`, or the next that is free, where rows come in that a stage of this name has made."""
    ids = store.read_frame(shards, ["row_id"])["row_id"]
    names = itertools.chain([name], (f"{name}.{n}" for n in itertools.count(2)))
    free = next(one for one in names if not ids.str.starts_with(f"{one}-").any())
    return None if free == name else free


def _split(
    talk: Talk, step: Step, guard: Guard, ids_begin_with: str
) -> tuple[list[Row], list[Row]]:
    """The kept and the dropped rows of a conversation, named and with their requests."""
    assert isinstance(step.stage, RowStage)
    found = guard.call("error_read", talk.entries)
    entries = _with_unasked([found] if isinstance(found, Drop) else found, talk, step)
    given = [entry.row if isinstance(entry, Drop) else entry for entry in entries]
    ids = _ids(given, talk, step, ids_begin_with)
    kept, dropped = [], []
    for row_id, columns, entry in zip(ids, given, entries, strict=True):
        row = talk.row | columns | {"row_id": row_id, "requests": _requests(talk, columns)}
        if row_id != talk.row["row_id"]:
            parent = columns.get("parent_id", talk.row["row_id"])
            row["parent_id"] = ids[parent] if isinstance(parent, int) else parent
        if talk.answered and "teacher" in step.stage.writes and "row_id" not in columns:
            row["teacher"] = talk.answered[-1][1]["model"]
        row = talk.masking.marked(row)
        if isinstance(entry, Drop):
            met = ids[entry.ref] if isinstance(entry.ref, int) else None
            dropped.append(row | entry.columns(met))
        else:
            kept.append(row)
    return kept, dropped


def _with_unasked(entries: list[Row | Drop], talk: Talk, step: Step) -> list[Row | Drop]:
    """The entries, among them a drop that says so where the journal lacks a reply."""
    assert isinstance(step.stage, RowStage)
    is_said = any(isinstance(one, Drop) and one.reason == NOT_ASKED for one in entries)
    if talk.unasked is None or is_said:
        return entries
    return [*entries, talk.unasked] if step.stage.makes_rows else [talk.unasked]


def _ids(entries: list[Row], talk: Talk, step: Step, ids_begin_with: str) -> list[str]:
    """The id of each entry: that of its row, or stage, slot and a number among the new ones."""
    assert isinstance(step.stage, RowStage)
    if not step.stage.makes_rows:
        return [talk.row["row_id"]] * len(entries)
    ids, new = [], 0
    for columns in entries:
        if "row_id" in columns:
            ids.append(str(columns["row_id"]))
        else:
            ids.append(f"{ids_begin_with}-{talk.slot:06d}-{new:02d}")
            new += 1
    return ids


def _requests(talk: Talk, columns: Row) -> list[dict[str, Any]]:
    """The row's earlier requests and those of the conversation that made this entry of it."""
    made_by: list[Request] | None = columns.get("requests")
    return (talk.row.get("requests") or []) + [
        column
        for request, column in talk.answered
        if made_by is None or any(request is one for one in made_by)
    ]
