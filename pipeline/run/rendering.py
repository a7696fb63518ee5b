"""Run a stage that renders rows into others; rows are committed in their order."""

from __future__ import annotations

from functools import partial
from typing import Any

import pyarrow as pa

from pipeline import store
from pipeline.recipe import Step
from pipeline.run.aside import aside
from pipeline.run.asking import namesake
from pipeline.run.context import Context
from pipeline.run.events import Message
from pipeline.run.guard import Guard
from pipeline.run.judging import open_computed, recut
from pipeline.stage import Drop, RenderStage, Row, columns_read
from pipeline.store import StageFolder

NO_ROW = "error_render"


def run_render_stage(context: Context, index: int, step: Step) -> None:
    """Render all rows of the stage before.

    What becomes of a row depends on all of them: a part that an earlier process published is left
    as it is, and where the input has changed, the stage begins anew.
    """
    stage, config = step.stage, step.config
    assert isinstance(stage, RenderStage)
    folder = open_computed(context, index, step)
    total = context.input_rows()
    if folder.state.complete:
        context.done.append(folder.state)
        return
    shards = context.input_shards()
    if stage.is_idle(config):
        _pass_on(context, folder)
        context.seal(folder, total, total)
        return
    if not folder.state.parts:
        folder.state.namesake = namesake(step.name, shards)
    columns = columns_read(stage, config)
    columns += tuple(name for name in stage.may_read if name in context.input_columns())
    columns = tuple(dict.fromkeys(columns))
    seed = context.prepared.recipe.settings.seed
    parts = partial(store.read_frames, shards, columns)
    plan = aside(lambda: stage.plan(parts, config, seed, context.prepared.formats), context.ending)
    for said in stage.said(plan):
        context.listener(Message(f"{step.name}: {said}"))
    guard = Guard(step.name)
    first = folder.next_slot
    for place, row in enumerate(store.read_rows(shards, start=first), start=first):
        act = partial(stage.render, place, row, plan)
        entries = guard.call(NO_ROW, act)
        if isinstance(entries, Drop):
            entries = [Drop(entries.reason, entries.detail, row={"row_id": row["row_id"]})]
        kept, dropped = split(row, entries, f"{folder.state.ids_begin_with}-{place:06d}")
        folder.add(kept, dropped, journal=0)
        context.tell(folder, total, folder.next_slot)
    folder.flush(journal=0)
    if stage.measure is not None:
        rows_kept = store.read_frame(store.shards(folder.path, folder.state), stage.measured)
        folder.state.measures = stage.measure(rows_kept, config)
    context.seal(folder, total, total)


def _pass_on(context: Context, folder: StageFolder) -> None:
    """Publish all rows as they are, from where the published shards end."""
    schema, of_dropped = folder.schemas
    none = of_dropped.empty_table()
    at = 0
    for table in recut(context.input_shards(), context.prepared.recipe.settings.shard_rows):
        at += table.num_rows
        if at <= folder.next_slot:
            continue
        columns = [
            table[field.name]
            if field.name in table.column_names
            else pa.array([_nothing(field.type)] * table.num_rows, field.type)
            for field in schema
        ]
        kept = pa.table(columns, schema=schema).combine_chunks()
        folder.publish_tables(kept, none, next_slot=at, journal=0)
        context.tell(folder, context.input_rows(), at)


def _nothing(kind: pa.DataType) -> list[Any] | None:
    return [] if pa.types.is_list(kind) else None


def split(row: Row, entries: list[Row | Drop], id_begins: str) -> tuple[list[Row], list[Row]]:
    """The kept and the dropped rows that were made of a row; new ones have it for their parent."""
    kept: list[dict[str, Any]] = []
    dropped: list[dict[str, Any]] = []
    new = 0
    for entry in entries:
        columns = entry.row if isinstance(entry, Drop) else entry
        made = row | columns
        if "row_id" not in columns:
            made |= {"row_id": f"{id_begins}-{new:02d}", "parent_id": row["row_id"]}
            new += 1
        if isinstance(entry, Drop):
            dropped.append(made | entry.columns())
        else:
            kept.append(made)
    return kept, dropped
