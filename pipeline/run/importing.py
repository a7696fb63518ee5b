"""Run the stage that takes rows in, from a run's shards or from files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.recipe import Step
from pipeline.run.context import Context
from pipeline.run.events import Message
from pipeline.run.inputs.columns import Batch
from pipeline.run.inputs.text import too_large
from pipeline.run.judging import recut
from pipeline.run.sets import renamed, renamed_table
from pipeline.run.source import Source
from pipeline.stage import Drop, Row
from pipeline.stages.read_input import TEXTS, Config, Reading, row_of
from pipeline.store import StageFolder
from pipeline.terminal import shorten

PART_BYTES = 2**24
"""A part ends where its rows have this many characters, however few they are."""


def run_import_stage(context: Context, index: int, step: Step) -> None:
    """Take the rows of the source in, from where the published shards end."""
    source = context.prepared.source
    assert source is not None
    folder = context.open_stage(index, step)
    folder.enter = context.masking.table
    if folder.state.complete and folder.next_slot >= source.total:
        context.done.append(folder.state)
        return
    if source.left_out and folder.next_slot == 0:
        context.listener(Message(_said_of(source.left_out)))
    folder.state.complete = False
    first = 0
    for name, one in source.parts:
        span = Span(name, first, min(first + one.n_rows, source.total), source.total)
        first += one.n_rows
        if span.first < span.end > folder.next_slot:
            take = _take_shards if one.shards else _take_columns if one.is_columns else _take_rows
            take(context, folder, one, span)
            if span.end < source.total:
                folder.flush(journal=0)
    context.seal(folder, source.total, source.total)


@dataclass(frozen=True, slots=True)
class Span:
    """Which of all rows are those of one data set, from `first` up to `end` of `total`."""

    name: str | None
    first: int
    end: int
    total: int


def _said_of(left_out: Sequence[str]) -> str:
    """What is said of fields that are not taken in."""
    shown = ", ".join(shorten(name, 40) for name in left_out[:12])
    more = f" and {len(left_out) - 12} more" if len(left_out) > 12 else ""
    return f"Not taken in: the fields {shown}{more} (import.columns says what a field is)."


def _take_shards(context: Context, folder: StageFolder, source: Source, span: Span) -> None:
    """Rows of a run go on as they are, or under the name of their set."""
    size = context.prepared.recipe.settings.shard_rows
    schema, of_dropped = folder.schemas
    none = of_dropped.empty_table()
    at = span.first
    for table in recut(source.shards, size):
        table = table.slice(0, span.end - at)
        at += table.num_rows
        if at > folder.next_slot and table.num_rows:
            kept = table.slice(max(folder.next_slot - at + table.num_rows, 0))
            kept = context.masking.with_column(source.with_verdicts(kept))
            kept = renamed_table(kept, span.name, schema)
            folder.publish_tables(kept, none, next_slot=at, journal=0)
            context.tell(folder, span.total, at)


def _take_rows(context: Context, folder: StageFolder, source: Source, span: Span) -> None:
    """Rows as they are read, one by one."""
    held = 0
    read = source.entries(folder.next_slot - span.first)
    for number, found in enumerate(read, start=folder.next_slot):
        if number >= span.end:
            return
        entries = found if span.name is None else [_renamed(entry, span.name) for entry in found]
        kept = [entry for entry in entries if not isinstance(entry, Drop)]
        dropped = [entry.row | entry.columns() for entry in entries if isinstance(entry, Drop)]
        held += sum(_length(row) for row in (*kept, *dropped))
        n_parts = len(folder.state.parts)
        folder.add(kept, dropped, journal=0)
        if len(folder.state.parts) > n_parts:
            held = 0
        elif held > PART_BYTES:
            folder.publish(journal=0)
            held = 0
        context.tell(folder, span.total, folder.next_slot)


def _renamed(entry: Row | Drop, name: str) -> Row | Drop:
    """A row, or what there is of a dropped one, of the set of that name."""
    if isinstance(entry, Drop):
        return replace(entry, row=renamed(entry.row, name))
    return renamed(entry, name)


def _length(row: Row) -> int:
    """The characters of a row's texts."""
    turns = row.get("messages") or ()
    texts = [row.get(name) for name in (*TEXTS, "reference")] + [turn["content"] for turn in turns]
    texts += [answer["text"] for answer in row.get("answers") or ()]
    texts += [row.get("reasoning"), *(field["text"] for field in row.get("fields") or ())]
    vector = row.get("embedding")
    n_numbers = 0 if vector is None else len(vector)
    return 4 * n_numbers + sum(len(text) for text in texts if isinstance(text, str))


def _take_columns(context: Context, folder: StageFolder, source: Source, span: Span) -> None:
    """Texts of Parquet and Arrow files, as columns: no row is ever a dict."""
    size = context.prepared.recipe.settings.shard_rows
    held: list[Batch] = []
    rows = n_bytes = 0
    left = span.end - folder.next_slot
    for found in source.batches(folder.next_slot - span.first):
        batch = found.slice(0, left)
        left -= batch.rows
        while batch.rows:
            over = np.flatnonzero(n_bytes + np.cumsum(batch.sizes) > PART_BYTES)
            cut = min(size - rows, int(over[0]) + 1 if len(over) else batch.rows, batch.rows)
            held.append(batch.slice(0, cut))
            rows, n_bytes = rows + cut, n_bytes + int(batch.sizes[:cut].sum())
            batch = batch.slice(cut)
            if rows == size or n_bytes > PART_BYTES:
                _publish(context, folder, source, span, held)
                held, rows, n_bytes = [], 0, 0
    if held:
        _publish(context, folder, source, span, held)


def _publish(
    context: Context, folder: StageFolder, source: Source, span: Span, held: list[Batch]
) -> None:
    assert source.how is not None
    first = folder.next_slot - span.first
    batch = Batch.joined(held)
    try:
        batch.columns.validate(full=True)
        kept, dropped = flat_rows(first, batch, source.how, source.config, folder.schemas)
    except pa.ArrowInvalid:  # a text is not Unicode: its row alone is dropped
        entries = [
            entry
            for number, record in enumerate(batch.records(source.config), start=first)
            for entry in source.read(number, record)
        ]
        rows = [entry for entry in entries if not isinstance(entry, Drop)]
        drops = [entry.row | entry.columns() for entry in entries if isinstance(entry, Drop)]
        of_kept, of_dropped = folder.schemas
        kept = pa.Table.from_pylist(rows, of_kept)
        dropped = pa.Table.from_pylist(drops, of_dropped)
    of_kept, of_dropped = folder.schemas
    folder.publish_tables(
        renamed_table(kept, span.name, of_kept),
        renamed_table(dropped, span.name, of_dropped),
        next_slot=folder.next_slot + batch.rows,
        journal=0,
    )
    context.tell(folder, span.total, folder.next_slot)


def flat_rows(
    first: int, batch: Batch, how: Reading, config: Config, schemas: tuple[pa.Schema, pa.Schema]
) -> tuple[pa.Table, pa.Table]:
    """What `read` gives for rows of texts alone, all at once: kept, and dropped."""
    schema, of_dropped = schemas
    fields = how.shape.fields
    texts = {name: batch.columns[fields[name]] for name in TEXTS if name in fields}
    row_ids = pa.array([row_of(first + at, 0, how)["row_id"] for at in range(batch.rows)])
    found = texts | {
        **({"reference": batch.columns[fields["reference"]]} if "reference" in fields else {}),
        "row_id": row_ids,
        "root_id": row_ids,
        "origin": pa.repeat("import", batch.rows),
        "source": _said(batch, fields.get("source"), how.source),
        "license": _said(batch, fields.get("license"), how.license),
    }
    columns = [
        found[name] if name in found else pa.nulls(batch.rows, kind)
        for name, kind in zip(schema.names, schema.types, strict=True)
    ]
    whole = pa.table([_one(column) for column in columns], schema=schema)
    drops = [
        too_large(size, config).columns()
        if size > config.row_bytes
        else None
        if (text or "").strip()
        else Drop("empty_instruction").columns()
        for text, size in zip(texts["instruction"].to_pylist(), batch.sizes.tolist(), strict=True)
    ]
    is_kept = pa.array([drop is None for drop in drops])
    dropped = whole.filter(pc.invert(is_kept))
    for field in list(of_dropped)[len(schema) :]:
        values = [drop[field.name] for drop in drops if drop is not None]
        dropped = dropped.append_column(field.name, pa.array(values, field.type))
    return whole.filter(is_kept).combine_chunks(), dropped.cast(of_dropped).combine_chunks()


def _one(column: pa.Array | pa.ChunkedArray) -> pa.Array:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _said(batch: Batch, name: str | None, fallback: str | None) -> pa.Array:
    """What the rows say themselves, else what is said of all."""
    of_all = pa.scalar(fallback, pa.string())
    if name is None:
        return pa.repeat(of_all, batch.rows)
    own = [
        text if text is not None and text.strip() else None
        for text in batch.columns[name].to_pylist()
    ]
    return (
        pc.fill_null(pa.array(own, pa.string()), of_all) if fallback else pa.array(own, pa.string())
    )
