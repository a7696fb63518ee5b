"""Drop rows that repeat an earlier row: the same instruction, input and output."""

from __future__ import annotations

from typing import Annotated

import polars as pl

from filters.exact import exact
from pipeline.stage import DECISION, FilterStage, StageConfig

COLUMNS = ("row_id", "instruction", "input", "output")


class Config(StageConfig):
    """Settings of `dedup`: whether capitals count, and whether the output does."""

    ignore_case: Annotated[bool, DECISION] = False
    compare_output: Annotated[bool, DECISION] = True


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row; the first of equal rows is kept and named as `ref` by the others."""
    return exact(
        *(frame[name] for name in COLUMNS),
        compare_output=config.compare_output,
        ignore_case=config.ignore_case,
    )


def reads(config: Config) -> tuple[str, ...]:
    """The columns that are compared."""
    return COLUMNS


STAGE = FilterStage(
    name="dedup",
    version=1,
    summary="drop rows that repeat an earlier row",
    config=Config,
    judge=judge,
    reads=reads,
)
