"""Score rows by a classifier that learned from rows which you labelled, and drop the worst.

The classifier is `filters.quality`. Score first: without a threshold every row is kept with its
`quality`, and `synth status` shows how well labelled rows were told that the classifier did not
learn from; another threshold then comes in a new run (--from). Of a conversation all turns count.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field, field_validator, model_validator

from filters.quality import PACKAGE, TEXTS, figures, quality, read_labelled
from pipeline.stage import DECISION, FilterStage, Parts, StageConfig
from pipeline.stages.all_turns import with_all_turns


class Config(StageConfig):
    """Settings of `quality`: the labelled rows, and the score from which rows stay; null keeps all.

    The file is Parquet or JSON Lines with `instruction`, `input`, `output` and `label`, good or
    bad. `folds` are the parts of it that the figures are taken over.
    """

    labelled: Annotated[str | None, DECISION] = None
    at_least: Annotated[float | None, Field(ge=0, le=1), DECISION] = None
    folds: Annotated[int, Field(ge=2, le=20), DECISION] = 5
    seed: Annotated[int, Field(ge=0, lt=2**32), DECISION] = 0

    @field_validator("labelled", mode="before")
    @classmethod
    def _none_is_none(cls, given: object) -> object:
        return None if given is False else given

    @model_validator(mode="after")
    def _can_learn(self) -> Config:
        if self.labelled is not None:
            read_labelled(self.labelled)
        return self


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row, and its `quality`; without labelled rows all are kept without one."""
    if config.labelled is None:
        nothing = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
        return pl.DataFrame({"reason": nothing, "detail": nothing}).with_columns(
            quality=pl.lit(None, pl.Float64)
        )
    whole = with_all_turns(frame)
    return quality(
        *(whole[name] for name in TEXTS),
        labelled=config.labelled,
        at_least=config.at_least,
        seed=config.seed,
    )


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows, each on its own."""
    return pl.concat([judge(part, config) for part in parts()])


def reads(config: Config) -> tuple[str, ...]:
    """The texts."""
    return ("row_id", *TEXTS)


def files(config: Config) -> tuple[str, ...]:
    """The labelled rows."""
    return () if config.labelled is None else (config.labelled,)


def needs(config: Config) -> tuple[tuple[str, str, str], ...]:
    """The package that learns."""
    return () if config.labelled is None else (("labelled", PACKAGE, "quality"),)


def measure(kept: pl.DataFrame, config: Config) -> dict[str, Any]:
    """How well the classifier tells labelled rows that it did not learn from."""
    if config.labelled is None:
        return {}
    return figures(config.labelled, at_least=config.at_least, folds=config.folds, seed=config.seed)


def idle(config: Config) -> str | None:
    """What is said where it scores none."""
    if config.labelled is not None:
        return None
    return "scores no row: no labelled rows are named (--set quality.labelled=FILE)."


STAGE = FilterStage(
    name="quality",
    version=1,
    summary="score rows by a classifier that learned from rows you labelled, drop the worst",
    config=Config,
    judge=judge,
    judge_parts=judge_parts,
    reads=reads,
    writes=("quality",),
    may_read=("messages",),
    files=files,
    needs=needs,
    idle=idle,
    measure=measure,
)
