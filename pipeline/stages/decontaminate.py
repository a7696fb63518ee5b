"""Drop rows that hold the prompts of benchmarks, which a model trained on them would know by heart.

`benchmarks` names a Parquet or JSON Lines file with the columns `benchmark` and `text` (and `item`,
if wanted), a row a prompt. A dropped row says which item it met and the words that they share
(`filters.decontaminate`).
"""

from __future__ import annotations

from typing import Annotated

import polars as pl
from pydantic import Field, field_validator

from filters.decontaminate import decontaminate, read_benchmarks
from pipeline.errors import RecipeError
from pipeline.stage import DECISION, OPERATIONAL, FilterStage, StageConfig

COLUMNS = ("instruction", "input", "output")


class Config(StageConfig):
    """Settings of `decontaminate`: the prompts, and how many words in a row are too many."""

    benchmarks: Annotated[str, OPERATIONAL] = ""  # its content is identity
    ngram: Annotated[int, Field(ge=4, le=100), DECISION] = 13
    short_ngram: Annotated[int, Field(ge=4, le=100), DECISION] = 8

    @field_validator("benchmarks")
    @classmethod
    def _can_be_read(cls, path: str) -> str:
        try:
            read_benchmarks(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        return path


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row; `ref` is "benchmark:item"."""
    return decontaminate(
        *(frame[name] for name in COLUMNS),
        benchmarks=read_benchmarks(config.benchmarks),
        ngram=config.ngram,
        short_ngram=config.short_ngram,
    )


def reads(config: Config) -> tuple[str, ...]:
    """The texts in which prompts are looked for."""
    return COLUMNS


def files(config: Config) -> tuple[str, ...]:
    """The benchmarks' file. Raises `RecipeError` where none is named."""
    if not config.benchmarks:
        raise RecipeError("decontaminate needs prompts: --set decontaminate.benchmarks=FILE.")
    return (config.benchmarks,)


STAGE = FilterStage(
    name="decontaminate",
    version=1,
    summary="drop rows that hold the prompts of benchmarks",
    config=Config,
    judge=judge,
    reads=reads,
    files=files,
)
