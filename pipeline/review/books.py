"""Verdicts as a run keeps them: Parquet in `reviews/`, each file listed with its SHA-256.

Nobody's marks are ever changed: a sheet that is read again, or another of the same person, is a
file more, and of what one person said of a row the newest file counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path

import polars as pl
import pyarrow as pa
from pydantic import BaseModel

from pipeline import manifest, store
from pipeline.durable import make_folder
from pipeline.errors import DamagedError
from pipeline.inspect import Run
from pipeline.manifest import FileEntry
from pipeline.review.sheet import Mark
from pipeline.schema import VERDICT_COLUMNS

FOLDER = "reviews"
LIST = "reviews/reviews.json"
SCHEMA = pa.schema(
    [("row_id", pa.string()), ("stage", pa.string()), ("is_kept", pa.bool_()),
     *((name, pa.string()) for name in ("kind", "verdict", "reviewer", "time", "note", "texts"))]
)  # fmt: skip
"""A row is what one person said of one row; `texts` stands for the texts that were shown."""


class Read(FileEntry):
    """One sheet that was read: its file in the run, and the SHA-256 of the sheet."""

    sheet: str


class Books(BaseModel):
    """All sheets that were read, in their order."""

    format: int = 1
    files: list[Read] = []


def books(run: Path) -> Books:
    """What a run has of people's verdicts. Raises `DamagedError` where the list is not whole."""
    path = run / LIST
    if not path.is_file():
        return Books()
    try:
        return Books.model_validate_json(path.read_bytes())
    except ValueError as error:
        raise DamagedError(f"{path} is damaged: {str(error)[:300]}") from error


def add(run: Path, marks: list[Mark], sheet: bytes) -> bool:
    """Put the marks of a sheet into the run; false where that very sheet was read before."""
    there = books(run)
    digest = hashlib.sha256(sheet).hexdigest()
    if any(one.sheet == digest for one in there.files):
        return False
    make_folder(run / FOLDER)
    number = max((int(Path(one.path).stem) for one in there.files), default=0) + 1
    name = f"{number:06d}.parquet"
    table = pa.Table.from_pylist([asdict(mark) for mark in marks], SCHEMA)
    entry = store.write_shard(table, run / FOLDER / name, run)
    listed = Read.model_validate(entry.model_dump() | {"path": f"{FOLDER}/{name}", "sheet": digest})
    manifest.replace(run / LIST, there.model_copy(update={"files": [*there.files, listed]}))
    return True


def marks(run: Path) -> pl.DataFrame:
    """What people said: a row for each person and row, the newest sheet counts; in no order.

    Raises `DamagedError` where a file cannot be read.
    """
    paths = [run / entry.path for entry in books(run).files]
    if missing := [path for path in paths if not path.is_file()]:
        raise DamagedError(f"{missing[0]} is listed in {LIST} and is not there.")
    empty = pl.from_arrow(SCHEMA.empty_table())
    assert isinstance(empty, pl.DataFrame)
    whole = pl.concat([empty, *(store.read_frame([path]) for path in paths)])
    return whole.unique(["kind", "row_id", "reviewer"], keep="last", maintain_order=True)


def verdicts(run: Path) -> pl.DataFrame:
    """Of every row that was marked one line: `row_id` and the columns of the schema.

    `verdict` is what most people said who were sure, "unsure" where none were, or as many said the
    one as the other; `reviewer` has all their names, `verdict_time` is that of the last.
    """
    of_rows = marks(run).filter(pl.col("kind") == "row")
    good = (pl.col("verdict") == "good").sum()
    bad = (pl.col("verdict") == "bad").sum()
    return (
        of_rows.sort("row_id", "reviewer")
        .group_by("row_id", maintain_order=True)
        .agg(
            pl.when(good > bad)
            .then(pl.lit("good"))
            .when(bad > good)
            .then(pl.lit("bad"))
            .otherwise(pl.lit("unsure"))
            .alias("verdict"),
            pl.col("reviewer").str.join(", "),
            pl.col("time").max().alias("verdict_time"),
        )
        .select("row_id", *VERDICT_COLUMNS)
    )


def digest(run: Path) -> str | None:
    """What stands for all verdicts of a run; null where there are none."""
    files = books(run).files
    whole = "".join(entry.sha256 for entry in files)
    return hashlib.sha256(whole.encode()).hexdigest() if files else None


def without(run: Run, wanted: Collection[str], ahead: Path) -> list[str]:
    """Write the books anew without what was said of some rows, into `ahead`; gives their paths."""
    there = books(run.path)
    written: list[str] = []
    files: list[Read] = []
    for entry in there.files:
        with store.opened(run.path / entry.path) as file:
            table = file.read()
        keep = [row_id not in wanted for row_id in table["row_id"].to_pylist()]
        if all(keep):
            files.append(entry)
            continue
        (ahead / FOLDER).mkdir(parents=True, exist_ok=True)
        new = store.write_shard(table.filter(pa.array(keep)), ahead / entry.path, run.path)
        files.append(entry.model_copy(update=new.model_dump() | {"path": entry.path}))
        written.append(entry.path)
    if written:
        manifest.replace(ahead / LIST, there.model_copy(update={"files": files}))
        written.append(LIST)
    return written
