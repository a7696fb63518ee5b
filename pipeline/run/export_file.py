"""Write the kept rows of a run as one file: Parquet, JSON Lines or CSV.

The file appears whole or not at all. Columns are those of the stage; a list is JSON in a CSV cell,
a null is empty there, and no cell is a formula. Texts that look like numbers stay as they are in
CSV: a spreadsheet may show "007" as 7, and rounds long numbers. Parquet and JSON Lines are exact.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import outside, store
from pipeline.errors import RecipeError
from pipeline.inspect import Run, open_run
from pipeline.review.cells import MARK, is_run
from pipeline.schema import arrow_schema
from pipeline.stage import Row

LINE_BREAKS = str.maketrans({mark: f"\\u{ord(mark):04x}" for mark in "\x85\u2028\u2029"})


def write(run: Path, form: str, out: Path | None = None, stage: str | None = None) -> Path:
    """Write the kept rows of `stage`, null the last with rows, to `out`, null RUN/export.FORM.

    Gives the file's path. Raises `RecipeError` for an unknown form, `DamagedError` where a shard
    cannot be read and `StorageError` where the file cannot be written.
    """
    if form not in WRITERS:
        raise RecipeError(f"--format {form}: the formats are {', '.join(WRITERS)}.")
    found = open_run(run)
    name = found.stage(stage).name
    target = out if out is not None else run / f"export.{form}"
    outside.check_file(target)
    inside = target.resolve().parent == run.resolve()
    if inside and (not target.name.startswith("export.") or target.parent.name == "stages"):
        raise RecipeError(
            f"--out {target} is inside the run: name a file elsewhere, or export.{form}."
        )
    if not inside:
        outside.refuse_inside(target)
    with outside.replacing(target) as file:
        WRITERS[form](file, found, name)
    return target


def _parquet(file: IO[bytes], run: Run, stage: str) -> None:
    schema = arrow_schema(run.stage(stage).columns)
    with pq.ParquetWriter(
        file, schema, compression="zstd", compression_level=3, write_page_checksum=True
    ) as out:
        for table in _tables(run, stage):
            out.write_table(table, row_group_size=store.ROW_GROUP)


def _jsonl(file: IO[bytes], run: Run, stage: str) -> None:
    for row in _rows(run, stage):
        file.write(json_line(row))


def json_line(row: Row) -> bytes:
    """A row as a line of JSON that nobody takes for two, `str.splitlines` neither."""
    return json.dumps(row, ensure_ascii=False).translate(LINE_BREAKS).encode() + b"\n"


def _csv(file: IO[bytes], run: Run, stage: str) -> None:
    text = io.TextIOWrapper(file, encoding="utf-8", newline="", write_through=True)
    out = csv.writer(text)
    out.writerow(run.stage(stage).columns)
    for row in _rows(run, stage):
        out.writerow(cell(value) for value in row.values())
    text.detach()


def cell(value: object) -> str:
    """One CSV cell: text that a spreadsheet would run as a formula gets an apostrophe before it.

    >>> cell("=1+1"), cell("1+1"), cell(["a"]), cell(None), cell(True), cell(-0.5)
    ("'=1+1", '1+1', '["a"]', '', 'true', '-0.5')
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    return MARK + value if is_run(value) else value


def _rows(run: Run, stage: str) -> Iterator[Row]:
    for table in _tables(run, stage):
        yield from table.to_pylist()


def _tables(run: Run, stage: str) -> Iterator[pa.Table]:
    """The kept rows, a few thousand at a time, page checksums verified."""
    for path in run.shards(stage, "kept"):
        with store.opened(path) as file:
            for batch in file.iter_batches(batch_size=store.ROW_GROUP):
                yield pa.Table.from_batches([batch])


Writer = Callable[[IO[bytes], Run, str], None]
WRITERS: dict[str, Writer] = {"parquet": _parquet, "jsonl": _jsonl, "csv": _csv}
