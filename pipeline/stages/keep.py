"""Keep the rows that a judge rated highly: the second half of `rate`, and a stage of its own.

It reads the column `rating` and asks nobody, so that another threshold costs nothing.
"""

from __future__ import annotations

import math
from typing import Annotated, Any

import polars as pl
from pydantic import Field, model_validator

from filters.share import best
from pipeline.stage import DECISION, FilterStage, StageConfig


class Config(StageConfig):
    """Which rows stay: those rated at least so, or the `keep_top` best, or the `keep_share` best.

    Without a setting it is 4.5 and more, as in AlpaGasus; with a number or a share of the best it
    is those, whatever they are rated, unless both are set. A share is of the rated rows, rounded
    down, at least one. Of equal ratings the earlier row stays.
    """

    keep_at_least: Annotated[float | None, Field(ge=0, le=5), DECISION] = 4.5
    keep_top: Annotated[int | None, Field(ge=1), DECISION] = None
    keep_share: Annotated[float | None, Field(gt=0, le=1), DECISION] = None

    @model_validator(mode="before")
    @classmethod
    def _best_whatever_their_rating(cls, given: Any) -> Any:  # noqa: ANN401 - read from a recipe
        if isinstance(given, dict) and (given.get("keep_top") or given.get("keep_share")):
            return {"keep_at_least": None} | given
        return given

    @model_validator(mode="after")
    def _one_rank(self) -> Config:
        if self.keep_top is not None and self.keep_share is not None:
            raise ValueError("keep_top and keep_share are two ways to say how many: give one")
        return self


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row: no rating, too low, or not among the best."""
    rating = pl.col("rating")
    at_least = -math.inf if config.keep_at_least is None else config.keep_at_least
    most = config.keep_top if config.keep_top is not None else frame.height
    if config.keep_share is not None:
        most = best(frame["rating"].count(), config.keep_share)
    place = rating.rank("ordinal", descending=True)
    low, late = pl.lit("rated_low"), pl.lit("not_among_best")
    return frame.select(
        reason=pl.when(rating.is_null())
        .then(pl.lit("no_rating"))
        .when(rating < at_least)
        .then(low)
        .when(place > most)
        .then(late),
        detail=pl.format("rated {}", rating),
        ref=pl.lit(None, pl.String),
    )


STAGE = FilterStage(
    name="keep",
    version=2,
    summary="keep rows by the rating that they have: at least so much, or the best",
    config=Config,
    judge=judge,
    reads=lambda config: ("row_id", "rating"),
)
