"""Keep the rows that a judge rated highly: the second half of `rate`, and a stage of its own.

It reads the column `rating`, or what people said of rows, and asks nobody, so that another
threshold costs nothing.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, model_validator

from filters.share import best
from pipeline.stage import DECISION, FilterStage, Settings, StageConfig


class Verdicts(Settings):
    """Which rows go by what people said of them (`synth review`): those of whom it is in `drop`.

    Rows that nobody marked stay, unless `keep_unmarked` is false.
    """

    drop: Annotated[tuple[Literal["good", "bad", "unsure"], ...], DECISION] = ("bad",)
    keep_unmarked: Annotated[bool, DECISION] = True


class Config(StageConfig):
    """Which rows stay: those rated at least so, or the `keep_top` best, or the `keep_share` best.

    Without a setting it is 4.5 and more, as in AlpaGasus; with a number or a share of the best it
    is those, whatever they are rated, unless both are set. A share is of the rated rows, rounded
    down, at least one. Of equal ratings the earlier row stays. With `verdicts` what people said
    counts, and ratings only where a number for them is set, too.
    """

    keep_at_least: Annotated[float | None, Field(ge=0, le=5), DECISION] = 4.5
    keep_top: Annotated[int | None, Field(ge=1), DECISION] = None
    keep_share: Annotated[float | None, Field(gt=0, le=1), DECISION] = None
    verdicts: Verdicts | None = None

    @model_validator(mode="before")
    @classmethod
    def _best_whatever_their_rating(cls, given: Any) -> Any:  # noqa: ANN401 - read from a recipe
        others = ("keep_top", "keep_share", "verdicts")
        if isinstance(given, dict) and any(given.get(name) is not None for name in others):
            return {"keep_at_least": None} | given
        return given

    @model_validator(mode="after")
    def _one_rank(self) -> Config:
        if self.keep_top is not None and self.keep_share is not None:
            raise ValueError("keep_top and keep_share are two ways to say how many: give one")
        return self

    @property
    def has_rating(self) -> bool:
        """Whether ratings decide."""
        set_ones = (self.keep_at_least, self.keep_top, self.keep_share)
        return self.verdicts is None or any(one is not None for one in set_ones)


def columns(config: Config) -> tuple[str, ...]:
    """What is read of rows."""
    rating = ("rating",) if config.has_rating else ()
    return ("row_id", *rating, *(("verdict",) if config.verdicts else ()))


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row: what people said, no rating, too low, or not among the best."""
    null = pl.lit(None, pl.String)
    frame = frame.with_columns(said=null, said_of=null)
    if config.verdicts is not None:
        marked = pl.col("verdict")
        goes = marked.is_in(list(config.verdicts.drop))
        unmarked = marked.is_null() & (not config.verdicts.keep_unmarked)
        frame = frame.with_columns(
            said=pl.when(goes)
            .then(pl.format("marked_{}", marked))
            .when(unmarked)
            .then(pl.lit("not_marked")),
            said_of=pl.when(goes).then(pl.format("people said {}", marked)),
        )
    if not config.has_rating:
        return frame.select(reason="said", detail="said_of", ref=null)
    rating = pl.col("rating")
    at_least = -math.inf if config.keep_at_least is None else config.keep_at_least
    most = config.keep_top if config.keep_top is not None else frame.height
    if config.keep_share is not None:
        most = best(frame["rating"].count(), config.keep_share)
    place = rating.rank("ordinal", descending=True)
    low, late = pl.lit("rated_low"), pl.lit("not_among_best")
    by_rating = (
        pl.when(rating.is_null())
        .then(pl.lit("no_rating"))
        .when(rating < at_least)
        .then(low)
        .when(place > most)
        .then(late)
    )
    return frame.select(
        reason=pl.coalesce("said", by_rating),
        detail=pl.coalesce("said_of", pl.format("rated {}", rating)),
        ref=null,
    )


STAGE = FilterStage(
    name="keep",
    version=2,
    summary="keep rows by the rating that they have, or by what people said of them",
    config=Config,
    judge=judge,
    reads=columns,
)
