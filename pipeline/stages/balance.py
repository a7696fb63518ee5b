"""Keep rows that are neither too easy nor too hard, or an even draw of them.

The rules are those of `filters.balance`; they read what `difficulty` measured, so that moving a
bound measures nothing again. A band keeps rows without a measure, which are outside no bound, and
counts them (`rows_kept_unmeasured`); a draw and a top share, which choose by it, drop them.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, model_validator

from filters import balance
from pipeline.stage import DECISION, FilterStage, StageConfig

Share = Annotated[float, Field(ge=0, lt=1), DECISION]


class Config(StageConfig):
    """Settings of `balance`: a rule, the measure that it reads, and the rule's own settings.

    `band` drops the `lowest` and `highest` share within each of `buckets` of rows of like length;
    `shares` draws `target` rows evenly from `bins` of the measure; `top` keeps the highest `share`
    of the rows whose measure is `at_most` that much.
    """

    rule: Annotated[Literal["band", "shares", "top"], DECISION] = "band"
    measure: Annotated[Literal["perplexity", "ifd", "ifd_perplexity"], DECISION] = "perplexity"
    lowest: Share = 0.1
    highest: Share = 0.1
    buckets: Annotated[int, Field(ge=1, le=1000), DECISION] = 10
    target: Annotated[int | None, Field(ge=1), DECISION] = None
    bins: Annotated[int, Field(ge=1, le=1000), DECISION] = 10
    seed: Annotated[int, Field(ge=0), DECISION] = 0
    share: Annotated[float, Field(gt=0, le=1), DECISION] = 0.05
    at_most: Annotated[float, Field(gt=0), DECISION] = 1.0

    @model_validator(mode="after")
    def _whole(self) -> Config:
        if self.rule == "shares" and self.target is None:
            raise ValueError("the rule 'shares' draws a number of rows: set target")
        if self.lowest + self.highest >= 1:
            raise ValueError("lowest and highest together leave no row")
        return self


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row."""
    measure = frame[config.measure]
    if config.rule == "band":
        found = balance.band(
            measure,
            frame["scored_tokens"].fill_null(0),
            lowest=config.lowest,
            highest=config.highest,
            buckets=config.buckets,
        )
    elif config.rule == "shares":
        assert config.target is not None
        found = balance.shares(
            measure, frame["row_id"], target=config.target, bins=config.bins, seed=config.seed
        )
    else:
        found = balance.top(measure, share=config.share, at_most=config.at_most)
    return found.with_columns(ref=pl.lit(None, pl.String))


def reads(config: Config) -> tuple[str, ...]:
    """The measure, and what the rule compares by."""
    return ("row_id", "scored_tokens", config.measure)


def measures(kept: pl.DataFrame, config: Config) -> dict[str, Any]:
    """How many rows stayed because there was nothing to judge them by."""
    measure = kept[config.measure].cast(pl.Float64).fill_nan(None)
    return {"rows_kept_unmeasured": measure.null_count()}


STAGE = FilterStage(
    name="balance",
    version=2,
    summary="drop what is too easy or too hard, or draw evenly from it",
    config=Config,
    judge=judge,
    reads=reads,
    measure=measures,
)
