"""Drop rows that hold the prompts of benchmarks, which a model trained on them would know by heart.

`benchmarks` names a Parquet or JSON Lines file with the columns `benchmark` and `text` (and `item`,
if wanted), a row a prompt. A dropped row says which item it met and the words that they share
(`filters.decontaminate`). Of a conversation every turn is looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import polars as pl
from pydantic import Field, field_validator

from filters.decontaminate import Benchmarks, read_benchmarks
from pipeline.stage import DECISION, OPERATIONAL, FilterStage, Parts, StageConfig
from pipeline.stages.all_turns import user_turns_after_the_first, with_all_turns

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
            said = getattr(error, "strerror", None) or error
            raise ValueError(f"{path} cannot be read: {said}") from error
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
    return pl.concat(_found(index, frame, small) for frame in frames)


def _found(index: Benchmarks, frame: pl.DataFrame, small: bool | None) -> pl.DataFrame:
    """The verdicts on all turns of rows; a later user turn is looked at as an instruction too."""
    whole = with_all_turns(frame)
    found = index.find(*(whole[name] for name in COLUMNS), small=small)
    turns = user_turns_after_the_first(frame)
    if turns.is_empty():
        return found
    none = pl.repeat(None, turns.height, dtype=pl.String, eager=True)
    verdicts = index.find(turns["turn"], none, none, small=small)
    later = turns.select("row").hstack(verdicts).filter(pl.col("reason").is_not_null())
    first = later.unique("row", keep="first", maintain_order=True)
    both = found.with_columns(row=pl.int_range(pl.len(), dtype=pl.Int64)).join(
        first, on="row", how="left", suffix="_later", maintain_order="left"
    )
    is_other = pl.col("reason").is_null()
    return both.select(
        pl.when(is_other).then(f"{name}_later").otherwise(name).alias(name)
        for name in found.columns
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
    may_read=("messages",),
    judge_parts=judge_parts,
    files=files,
)
