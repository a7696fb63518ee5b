"""Drop rows whose vector points almost the same way as that of a row kept before.

The vectors are those of `embed`, or any column `embedding` of lists of one length
(`filters.semantic_duplicates`). A row without a vector is kept.
"""

from __future__ import annotations

from typing import Annotated

import polars as pl
from pydantic import Field

from filters.semantic_duplicates import semantic_duplicates
from pipeline.errors import InputError
from pipeline.stage import DECISION, FilterStage, StageConfig

COLUMNS = ("row_id", "embedding")


class Config(StageConfig):
    """Settings of `semantic`: the cosine from which two rows say the same."""

    threshold: Annotated[float, Field(gt=-1, le=1), DECISION] = 0.95


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row. Raises `InputError` where the vectors are not all of one length."""
    lengths = frame["embedding"].list.len().drop_nulls().unique().sort().to_list()
    if len(lengths) > 1:
        raise InputError(
            f"the column 'embedding' holds vectors of {', '.join(map(str, lengths))} numbers, "
            "which cannot be compared: take them all from one model, or set embed.length."
        )
    return semantic_duplicates(frame["row_id"], frame["embedding"], threshold=config.threshold)


def reads(config: Config) -> tuple[str, ...]:
    """The vectors, and what the rows are called."""
    return COLUMNS


STAGE = FilterStage(
    name="semantic",
    version=1,
    summary="drop rows that say the same as another, by their vectors",
    config=Config,
    judge=judge,
    reads=reads,
)
