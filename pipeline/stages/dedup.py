"""Drop rows that repeat another: exactly, then nearly.

Exact duplicates are those of `filters.exact`; near-duplicates are found by MinHash and each pair is
checked exactly (`filters.near_duplicates`). Of equal rows the first stays; of a cluster the row
with the best `rating`, where rows were rated, then that with the longest output, then the first.
"""

from __future__ import annotations

from typing import Annotated, Literal

import polars as pl
from pydantic import Field, model_validator

from filters.exact import exact
from filters.near_duplicates import Settings as NearSettings
from filters.near_duplicates import near_duplicates
from pipeline.stage import DECISION, FilterStage, StageConfig

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
        NearSettings(self.threshold, self.permutations, self.bands, self.rows, self.ngram)
        return self


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row: the first of equal rows is kept, then one of each cluster of near ones."""
    found = exact(
        *(frame[name] for name in COLUMNS),
        compare_output=config.compare_output,
        ignore_case=config.ignore_case,
    )
    if not config.near:
        return found
    alive = found["reason"].is_null()
    left = frame.filter(alive)
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
    at = pl.Series("at", range(frame.height))
    both = (
        found.select("reason", "detail", "ref").with_columns(at).filter(~alive),
        near.select("reason", "detail", "ref").with_columns(at.filter(alive)),
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
    may_read=("rating",),
)
