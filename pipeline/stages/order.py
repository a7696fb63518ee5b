"""Say in which order training shows the rows: easy to hard, or phase by phase.

Nothing moves: each row gets its place as `curriculum`, 0 first, which training sorts by and `data/`
carries. In the order of `curriculum` the measure never falls (or never rises, with `descending`)
within a phase.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, model_validator

from filters.easy_to_hard import easy_to_hard
from filters.share import rounded_down
from pipeline.stage import DECISION, FilterStage, Parts, Settings, StageConfig
from pipeline.stages.all_turns import TEXTS, with_all_turns

By = Literal[
    "length",
    "output_length",
    "random",
    "round",
    "perplexity",
    "ifd",
    "ifd_perplexity",
    "scored_tokens",
    "rating",
    "pair_rating",
    "agreement",
]
LENGTHS = {"length": TEXTS, "output_length": ("output",), "random": ()}
Where = Literal[
    "source", "data_set", "domain", "task_type", "language", "operation", "license", "teacher"
]


class Phase(Settings):
    """One phase: which of the rows that no phase before it took are in it.

    Those whose columns have one of the values of `where`, and whose measure is at most `at_most`
    (at least that, in descending order); of these, in their order, the first `share` of all rows of
    the run. Without any of them it takes all that are left.
    """

    where: Annotated[dict[Where, tuple[str, ...]], Field(default_factory=dict), DECISION]
    at_most: Annotated[float | None, DECISION] = None
    share: Annotated[float | None, Field(gt=0, le=1), DECISION] = None


class Config(StageConfig):
    """Settings of `order`; without `by` no row gets a place.

    `by` is the measure: a column, the length of all texts or of the output in characters, or
    `random`. Of equal rows a hash of `seed` and the row's id says which is first; a row without the
    measure comes last in its phase. With `phases` the rows of one come before those of the next,
    and those of none last.
    """

    by: Annotated[By | None, DECISION] = "length"
    descending: Annotated[bool, DECISION] = False
    phases: Annotated[tuple[Phase, ...], DECISION] = ()
    seed: Annotated[int, Field(ge=0), DECISION] = 0

    @model_validator(mode="after")
    def _phases_can_be_told(self) -> Config:
        if self.by == "random" and any(phase.at_most is not None for phase in self.phases):
            raise ValueError("at_most bounds a measure, and 'random' is none")
        return self


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """Every row is kept, with its `curriculum` and its `phase`."""
    return _judge(_measured(frame, config), config)


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows, of which no text is held."""
    return _judge(pl.concat([_measured(part, config) for part in parts()]), config)


def _measured(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """What the order is made of: ids, the measure, and what the phases look at."""
    where = dict.fromkeys(column for phase in config.phases for column in phase.where)
    if config.by is None:
        return frame.select("row_id")
    return frame.select("row_id", *where).with_columns(_measure=_measure(frame, config.by))


def _judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    nothing = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    found = pl.DataFrame({"reason": nothing, "detail": nothing})
    if config.by is None:
        none = pl.lit(None, pl.Int64)
        return found.with_columns(curriculum=none, phase=none)
    measure = frame["_measure"]
    phase = _phases(frame, measure, config)
    place = easy_to_hard(
        frame["row_id"], measure, phase=phase, descending=config.descending, seed=config.seed
    )
    return found.with_columns(place, phase=phase)


def _measure(frame: pl.DataFrame, by: str) -> pl.Series:
    if by not in LENGTHS:
        return frame[by].cast(pl.Float64).fill_nan(None)
    texts = with_all_turns(frame) if LENGTHS[by] else frame
    lengths = [pl.col(name).fill_null("").str.len_chars() for name in LENGTHS[by]]
    return texts.select(measure=pl.sum_horizontal(pl.repeat(0.0, pl.len()), *lengths)).to_series()


def _phases(frame: pl.DataFrame, measure: pl.Series, config: Config) -> pl.Series:
    """The phase of each row; one that none takes is of the last, which is then one more."""
    place = easy_to_hard(frame["row_id"], measure, descending=config.descending, seed=config.seed)
    rows = frame.with_columns(place.alias("_place"))
    rows = rows.with_columns(pl.lit(None, pl.Int64).alias("_phase"))
    for number, phase in enumerate(config.phases):
        is_in = pl.col("_phase").is_null()
        for column, values in phase.where.items():
            is_in &= pl.col(column).is_in(values).fill_null(False)
        if phase.at_most is not None:
            bound = pl.col("_measure")
            within = bound >= phase.at_most if config.descending else bound <= phase.at_most
            is_in &= within.fill_null(False)
        if phase.share is not None:
            most = rounded_down(frame.height, phase.share)
            rank = pl.when(is_in).then("_place").rank("ordinal")
            is_in = (rank <= most).fill_null(False)
        rows = rows.with_columns(_phase=pl.when(is_in).then(pl.lit(number)).otherwise("_phase"))
    return rows["_phase"].fill_null(len(config.phases)).cast(pl.Int64).alias("phase")


def reads(config: Config) -> tuple[str, ...]:
    """The measure, and what the phases look at."""
    if config.by is None:
        return ("row_id",)
    measured = TEXTS if LENGTHS.get(config.by) else () if config.by == "random" else (config.by,)
    where = [column for phase in config.phases for column in phase.where]
    return tuple(dict.fromkeys(("row_id", *measured, *where)))


def measure(kept: pl.DataFrame, config: Config) -> dict[str, Any]:
    """How many rows each phase has."""
    if config.by is None or not config.phases:
        return {}
    counts = kept["phase"].value_counts().sort("phase")
    return {"rows_by": {"phase": {str(phase): rows for phase, rows in counts.rows()}}}


STAGE = FilterStage(
    name="order",
    version=1,
    summary="say in which order training shows the rows: easy to hard, or phase by phase",
    config=Config,
    judge=judge,
    judge_parts=judge_parts,
    reads=reads,
    may_read=("messages",),
    writes=("curriculum", "phase"),
    measure=measure,
)
