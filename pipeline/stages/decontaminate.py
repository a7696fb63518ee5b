"""Drop rows that hold the prompts of benchmarks, which a model trained on them would know by heart.

`benchmarks` names a Parquet or JSON Lines file with the columns `benchmark` and `text` (and `item`,
if wanted), a row a prompt. A dropped row says which item it met and the words that they share
(`filters.decontaminate`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, field_validator

from filters.decontaminate import Benchmarks, read_benchmarks
from pipeline.stage import DECISION, OPERATIONAL, FilterStage, Parts, StageConfig

COLUMNS = ("instruction", "input", "output")


class Config(StageConfig):
    """Settings of `decontaminate`: the prompts, and how many words in a row are too many.

    Without `benchmarks` nothing is looked for, so that a recipe can hold the stage for whoever has
    prompts; the stage alone is refused without them.
    """

    benchmarks: Annotated[str | None, OPERATIONAL] = None  # its content is identity
    ngram: Annotated[int, Field(ge=4, le=100), DECISION] = 13
    short_ngram: Annotated[int, Field(ge=4, le=100), DECISION] = 8

    @field_validator("benchmarks")
    @classmethod
    def _can_be_read(cls, path: str | None) -> str | None:
        if path is None:
            return None
        try:
            read_benchmarks(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            raise ValueError(f"{path} cannot be read: {error}") from error
        return path


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row; `ref` is "benchmark:item". Without prompts every row is kept."""
    return _judge(iter([frame]), config, small=None)


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows."""
    return _judge(parts(), config, small=False)


def _judge(frames: Iterator[pl.DataFrame], config: Config, *, small: bool | None) -> pl.DataFrame:
    if config.benchmarks is None:
        null = pl.repeat(None, pl.len(), dtype=pl.String)
        return pl.concat(frame.select(reason=null, detail=null, ref=null) for frame in frames)
    prompts = read_benchmarks(config.benchmarks)
    index = Benchmarks(prompts, ngram=config.ngram, short_ngram=config.short_ngram)
    return pl.concat(
        index.find(*(frame[name] for name in COLUMNS), small=small) for frame in frames
    )


def reads(config: Config) -> tuple[str, ...]:
    """The texts in which prompts are looked for."""
    return COLUMNS


def files(config: Config) -> tuple[str, ...]:
    """The benchmarks' file, if one is named."""
    return () if config.benchmarks is None else (config.benchmarks,)


STAGE = FilterStage(
    name="decontaminate",
    version=1,
    summary="drop rows that hold the prompts of benchmarks",
    config=Config,
    judge=judge,
    reads=reads,
    judge_parts=judge_parts,
    files=files,
)
