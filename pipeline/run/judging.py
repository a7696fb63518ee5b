"""Run the stages that ask nobody: judge rows by their columns, render them."""

from __future__ import annotations

import functools
import itertools
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa

from pipeline import store
from pipeline.manifest import FileEntry
from pipeline.recipe import Step
from pipeline.run.apart import judge_apart
from pipeline.run.aside import aside
from pipeline.run.context import Context
from pipeline.run.events import Message
from pipeline.run.guard import Guard
from pipeline.run.sets import check_left
from pipeline.schema import COLUMNS
from pipeline.stage import ExportStage, FilterStage, Row, columns_read, columns_written
from pipeline.stages import export, mix, toxicity
from pipeline.stages import filter as filter_stage
from pipeline.store import StageFolder

EXPORT_ROWS = 50_000
LARGE = 16 << 20
"""Bytes of shards up to which the rows are read whole: a few times as much in memory."""


def run_filter_stage(context: Context, index: int, step: Step) -> None:
    """Judge all rows of the stage before and split them.

    Computed from its whole input, so a part that an earlier process published is left as it is;
    where the input has changed (a raised target), the stage begins anew.
    """
    assert isinstance(step.stage, FilterStage)
    folder = open_computed(context, index, step)
    total = context.input_rows()
    if folder.state.complete:
        context.done.append(folder.state)
        return
    shards = context.input_shards()
    if said := step.stage.said(total, step.config):
        context.listener(Message(f"{step.name}: {said}"))
    if isinstance(step.config, mix.Config):
        check_left(context.run, context.done, step.config)
    verdicts = _verdicts(context, step, shards)
    size = context.prepared.recipe.settings.shard_rows
    for number, table in enumerate(recut(shards, size)):
        if number < len(folder.state.parts):
            continue
        first = number * size
        found = verdicts.slice(first, table.num_rows)
        written = columns_written(step.stage, step.config)
        kept, dropped = _split(_written(table, found, written), found, folder)
        folder.publish_tables(kept, dropped, next_slot=first + table.num_rows, journal=0)
        context.tell(folder, total, folder.next_slot)
    if step.stage.measure is not None and folder.state.parts:
        columns = tuple(
            dict.fromkeys(
                (*columns_read(step.stage, step.config), *columns_written(step.stage, step.config))
            )
        )
        kept = store.read_frame(store.shards(folder.path, folder.state), columns)
        folder.state.measures = step.stage.measure(kept, step.config)
    context.seal(folder, total, total)


def open_computed(context: Context, index: int, step: Step) -> StageFolder:
    """A stage computed from its whole input; it begins anew where that has changed."""
    folder = context.open_stage(index, step)
    if folder.state.input_digest != context.input_digest():
        folder.state.input_digest = context.input_digest()
        folder.begin_anew()
    return folder


def _verdicts(context: Context, step: Step, shards: list[Path]) -> pl.DataFrame:
    """One verdict a row. A user's own code is run in a process of its own, ours in a thread."""
    assert isinstance(step.stage, FilterStage)
    stage, config = step.stage, step.config
    if isinstance(config, filter_stage.Config) and filter_stage.files(config):
        return judge_apart(step.name, config, shards, context.run / ".staging", context.ending)

    columns = columns_read(stage, config)
    columns += tuple(name for name in stage.may_read if name in context.input_columns())
    columns = tuple(dict.fromkeys(columns))
    guard = Guard(step.name)
    given: dict[str, Any] = {}
    if stage.classifier is not None:
        from pipeline.train.classifier import load_classifier

        where = Path(stage.classifier(config))
        given["classify"] = load_classifier(where, toxicity.classes_of(where))

    def judge() -> pl.DataFrame:
        found = None
        if stage.judge_parts and sum(path.stat().st_size for path in shards) > LARGE:
            found = guard.judge_parts(functools.partial(in_parts, stage.judge_parts))
        if found is None:
            frame = store.read_frame(shards, columns)
            found = guard.judge(frame, lambda part: stage.judge(part, config, **given))
        return found

    def in_parts(judge_parts: Callable[..., pl.DataFrame]) -> pl.DataFrame:
        staging = context.run / ".staging"
        staging.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(dir=staging) as scratch:
            parts = functools.partial(store.read_frames, shards, columns)
            return judge_parts(parts, config, Path(scratch), **given)

    return aside(judge, context.ending)


def recut(shards: Sequence[Path], size: int) -> Iterator[pa.Table]:
    """The rows of shards as tables of exactly `size` rows, and one with the rest."""
    held: list[pa.Table] = []
    rows = 0
    for path in shards:
        with store.opened(path) as file:
            for batch in file.iter_batches(batch_size=16_384):
                held.append(pa.Table.from_batches([batch]))
                rows += batch.num_rows
                while rows >= size:
                    table = pa.concat_tables(held)
                    yield table.slice(0, size)
                    held, rows = [table.slice(size)], rows - size
    if rows:
        yield pa.concat_tables(held)


def _written(table: pa.Table, verdicts: pl.DataFrame, names: Sequence[str]) -> pa.Table:
    """The rows with the columns that the stage writes, in place of what they had of them."""
    for name in names:
        values = verdicts[name].to_arrow().cast(COLUMNS[name].type)
        if name in table.column_names:
            table = table.drop_columns([name])
        table = table.append_column(name, values)
    return table


def _split(
    table: pa.Table, verdicts: pl.DataFrame, folder: StageFolder
) -> tuple[pa.Table, pa.Table]:
    keep = verdicts["reason"].is_null()
    kept_schema, dropped_schema = folder.schemas
    kept = table.filter(pa.array(keep.to_list())).select(kept_schema.names).cast(kept_schema)
    gone = table.filter(pa.array((~keep).to_list())).select(kept_schema.names)
    said = verdicts.filter(~keep)
    for name in folder.state.drop_columns:
        column = name.removeprefix("drop_")
        values = said[column].to_list() if column in said.columns else [None] * said.height
        gone = gone.append_column(name, pa.array(values, COLUMNS[name].type))
    dropped = gone.select(dropped_schema.names).cast(dropped_schema)
    return kept.combine_chunks(), dropped.combine_chunks()


def run_export_stage(context: Context, index: int, step: Step) -> list[FileEntry]:
    """Write `data/` from the kept rows of the stage before; gives the files that are in it."""
    assert isinstance(step.stage, ExportStage)
    assert isinstance(step.config, export.Config)
    folder = open_computed(context, index, step)
    total = context.input_rows()
    seed = context.prepared.recipe.settings.seed
    entries = []
    there = context.input_columns()
    reads = (*step.stage.reads, *(name for name in export.READ_TOO if name in there))
    for form, schema in export.schemas(there, step.config).items():
        target = context.run / "data" / form
        target.mkdir(parents=True, exist_ok=True)
        for side in ("train", "validation"):
            rows = (
                found
                for row in _until_told(context, reads)
                if export.split(row["root_id"] or row["row_id"], seed, step.config) == side
                for found in export.renderings(row, form, step.config, seed)
            )
            for number, batch in enumerate(_batched(rows)):
                context.ending.check()
                table = pa.Table.from_pylist(batch, schema)
                path = target / f"{side}-{number:05d}.parquet"
                entry = store.write_shard(table, path, context.run)
                entries.append(entry.model_copy(update={"path": f"data/{form}/{path.name}"}))
    listed = {entry.path for entry in entries}
    for path in sorted((context.run / "data").glob("*/*.parquet")):
        if path.relative_to(context.run).as_posix() not in listed:
            path.unlink()
    folder.state.exported = total
    context.seal(folder, total, total)
    return entries


def _until_told(context: Context, columns: Sequence[str]) -> Iterator[Row]:
    """The rows to export, for as long as nobody tells the run to end."""
    for row in store.read_rows(context.input_shards(), columns):
        context.ending.check()
        yield row


def _batched(rows: Iterator[dict[str, object]]) -> Iterator[list[dict[str, object]]]:
    """Lists of at most `EXPORT_ROWS`; none without rows, for `datasets` loads no empty split."""
    while batch := list(itertools.islice(rows, EXPORT_ROWS)):
        yield batch
