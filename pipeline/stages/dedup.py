"""Drop rows that repeat another: exactly, then nearly.

Exact duplicates are those of `filters.exact`; near-duplicates are found by MinHash and each pair is
checked exactly (`filters.near_duplicates`). Of equal rows the first stays; of a cluster the row
with the best `rating`, where rows were rated, then that with the longest output, then the first. A
conversation is compared whole: its answers with the output, all else that is said with the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import polars as pl
from pydantic import Field, model_validator

from filters.exact import exact, repeated, row_keys
from filters.near_duplicates import Settings as NearSettings
from filters.near_duplicates import judge_shards, near_duplicates, sign_frames
from pipeline.stage import DECISION, FilterStage, Parts, StageConfig
from pipeline.stages.all_turns import with_all_turns, with_turns_told_apart

COLUMNS = ("row_id", "instruction", "input", "output")
Text = Literal["instruction", "input", "output"]


class Config(StageConfig):
    """Settings of `dedup`.

    Exact: whether capitals count, and whether the output does. Near: whether it is looked at, the
    Jaccard similarity of runs of `ngram` tokens from which rows are alike, the texts that are
    compared, and how hard is searched (bands of rows are chosen from the threshold if null).
    """

    ignore_case: Annotated[bool, DECISION] = False
    compare_output: Annotated[bool, DECISION] = True
    near: Annotated[bool, DECISION] = True
    threshold: Annotated[float, Field(gt=0, le=1), DECISION] = 0.8
    ngram: Annotated[int, Field(ge=1, le=50), DECISION] = 5
    columns: Annotated[tuple[Text, ...], Field(min_length=1), DECISION] = (
        "instruction",
        "input",
        "output",
    )
    permutations: Annotated[int, Field(ge=1, le=4096), DECISION] = 128
    bands: Annotated[int | None, Field(ge=1), DECISION] = None
    rows: Annotated[int | None, Field(ge=1), DECISION] = None

    @model_validator(mode="after")
    def _fits(self) -> Config:
        assert self.near_settings
        return self

    @property
    def near_settings(self) -> NearSettings:
        """How near-duplicates are looked up."""
        return NearSettings(
            self.threshold,
            self.permutations,
            self.bands,
            self.rows,
            self.ngram,
            columns=self.columns,
        )


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row: the first of equal rows is kept, then one of each cluster of near ones."""
    apart = with_turns_told_apart(frame)
    found = exact(
        *(apart[name] for name in COLUMNS),
        compare_output=config.compare_output,
        ignore_case=config.ignore_case,
    )
    if not config.near:
        return found
    alive = found["reason"].is_null()
    left = with_all_turns(frame.filter(alive))
    near = near_duplicates(
        *(left[name] for name in COLUMNS),
        threshold=config.threshold,
        permutations=config.permutations,
        bands=config.bands,
        rows=config.rows,
        ngram=config.ngram,
        columns=config.columns,
        rating=left["rating"] if "rating" in left.columns else None,
    )
    return _merged(found, alive, near)


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows: what is compared of each lies in `scratch`."""
    ids, keys, names = [], [], set[str]()
    for part in parts():
        apart = with_turns_told_apart(part)
        key = row_keys(
            *(apart[name] for name in COLUMNS[1:]),
            compare_output=config.compare_output,
            ignore_case=config.ignore_case,
        )
        keys.append(key)
        ids.append(part["row_id"])
        names.update(part.columns)
    found = repeated(pl.concat(ids), pl.concat(keys))
    if not config.near:
        return found
    alive = found["reason"].is_null()
    signed, judged = scratch / "signed.parquet", scratch / "judged.parquet"
    rating = "rating" if "rating" in names else None
    sign_frames(_those(parts(), alive), signed, config.near_settings, rating=rating)
    judge_shards([signed], [judged])
    return _merged(found, alive, pl.read_parquet(judged))


def _those(frames: Iterator[pl.DataFrame], alive: pl.Series) -> Iterator[pl.DataFrame]:
    """The rows that are left with all their turns, of one frame after the other."""
    first = 0
    for frame in frames:
        yield with_all_turns(frame.filter(alive.slice(first, frame.height)))
        first += frame.height


def _merged(found: pl.DataFrame, alive: pl.Series, near: pl.DataFrame) -> pl.DataFrame:
    """The verdicts `found`, and `near` for the rows that were left."""
    at = pl.Series("at", range(found.height))
    both = (
        found.with_columns(at).filter(~alive),
        near.select(found.columns).with_columns(at.filter(alive)),
    )
    return pl.concat(both).sort("at").drop("at")


def reads(config: Config) -> tuple[str, ...]:
    """The columns that are compared."""
    return COLUMNS


STAGE = FilterStage(
    name="dedup",
    version=1,
    summary="drop rows that repeat another, exactly or nearly",
    config=Config,
    judge=judge,
    reads=reads,
    may_read=("rating", "messages"),
    judge_parts=judge_parts,
)
