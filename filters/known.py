"""Rows that another data set has: what was trained on before, or is kept for testing.

Rows are compared as `filters.exact` compares them, by the keys that it makes.
"""

from __future__ import annotations

from functools import lru_cache, partial
from pathlib import Path

import polars as pl

from filters.exact import row_keys

TEXTS = ("instruction", "input", "output")
SUFFIXES = (".parquet", ".jsonl", ".ndjson")


def known(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    against: str | None = None,
    compare_output: bool = True,
    ignore_case: bool = False,
) -> pl.DataFrame:
    """Drop rows that the data set `against` has; without one every row is kept.

    It is a Parquet or JSON Lines file, or a folder of them, with columns `instruction`, `output`
    and perhaps `input` (a null and a missing one are empty) and `row_id`. Runs of whitespace count
    as one space; without `compare_output` rows are the same by instruction and input. Returns one
    row an entry, in order: `reason` (String, null where the row is kept), `detail` (null), `ref`
    (String: the `row_id` of the first such row there, or its number from 0) and `similarity`
    (Float64, 1 where a row is dropped). Raises `ValueError` for a data set that cannot be read.
    """
    none = pl.lit(None, pl.String)
    if against is None:
        empty = pl.DataFrame({"row": instruction})
        similarity = pl.lit(None, pl.Float64)
        nothing = pl.repeat(None, pl.len(), dtype=pl.String)
        return empty.select(reason=nothing, detail=none, ref=none, similarity=similarity)
    keys_of = partial(row_keys, compare_output=compare_output, ignore_case=ignore_case)
    mine = pl.DataFrame({"key": keys_of(instruction, input, output)})
    theirs = read_rows(against)
    keys = theirs.select("ref").with_columns(key=keys_of(*(theirs[name] for name in TEXTS)))
    first = keys.unique("key", keep="first", maintain_order=True)
    both = mine.join(first, on="key", how="left", maintain_order="left")
    met = pl.when(pl.col("ref").is_not_null())
    return both.select(
        reason=met.then(pl.lit("known_row")), detail=none, ref="ref", similarity=met.then(1.0)
    )


def read_rows(path: str) -> pl.DataFrame:
    """The texts of a data set and `ref`, what each row is called; raises `ValueError`."""
    found = [Path(one) for one in files_of(path)]
    if not found:
        raise ValueError(f"{path} holds no Parquet or JSON Lines file")
    return _read(tuple((str(one), one.stat().st_mtime_ns if one.exists() else 0) for one in found))


def files_of(path: str) -> list[str]:
    """The files of a data set: itself, or those in a folder, in the order of their names."""
    place = Path(path)
    if not place.is_dir():
        return [path]
    return sorted(str(one) for one in place.rglob("*") if one.suffix in SUFFIXES and one.is_file())


@lru_cache(maxsize=1)
def _read(files: tuple[tuple[str, int], ...]) -> pl.DataFrame:
    parts = []
    for name, _ in files:
        try:
            part = pl.read_parquet(name) if name.endswith(".parquet") else pl.read_ndjson(name)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ValueError(f"{name} cannot be read: {error}") from error
        if missing := {"instruction", "output"} - set(part.columns):
            raise ValueError(f"{name} has no column {', '.join(sorted(missing))}")
        if "input" not in part.columns:
            part = part.with_columns(input=pl.lit(None, pl.String))
        if "row_id" not in part.columns:
            part = part.with_columns(row_id=pl.lit(None, pl.String))
        parts.append(part.select(pl.col(*TEXTS, "row_id").cast(pl.String)))
    rows = pl.concat(parts).with_row_index("number")
    return rows.with_columns(ref=pl.coalesce("row_id", pl.col("number").cast(pl.String)))
