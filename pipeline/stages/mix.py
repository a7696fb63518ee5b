"""Mix data sets: so many rows of each that it has the share that is wanted.

A data set is what `import` took in under a name (`import.sets`, or `--input` more than once), or
what any other column tells apart, such as `source`. Rows that are not drawn are dropped, so that
other shares in a new run (--from) read nothing again; a row that repeats stands once in the shards
and `copies` times in `data/`.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

import polars as pl
from pydantic import Field, field_validator, model_validator

from filters.mixture import NO_SET, Method, mixture
from pipeline.errors import InputError
from pipeline.stage import DECISION, FilterStage, StageConfig

By = Literal["data_set", "source", "license", "teacher", "domain", "task_type", "language"]


class Config(StageConfig):
    """Settings of `mix`; without a `method` every row is kept.

    Shares are `proportional` to the rows of each set, no more than `cap` of which count and are
    drawn; or those of `weights`, by name; or proportional to the power of 1 / `temperature`. `by`
    is the column that tells the sets apart. `count` rows are drawn, or fewer where a set has not
    enough for its share (null: as many as that allows); with `repeat` rows stand several times in
    the mixture instead.
    """

    method: Annotated[Method | None, DECISION] = "proportional"
    by: Annotated[By, DECISION] = "data_set"
    cap: Annotated[int | None, Field(ge=1), DECISION] = None
    weights: Annotated[dict[str, Any] | None, Field(min_length=1), DECISION] = None
    temperature: Annotated[float | None, Field(ge=1), DECISION] = None
    count: Annotated[int | None, Field(ge=1), DECISION] = None
    repeat: Annotated[bool, DECISION] = False
    seed: Annotated[int, Field(ge=0), DECISION] = 0

    @field_validator("weights")
    @classmethod
    def _are_shares(cls, given: dict[str, Any] | None) -> dict[str, Any] | None:
        for name, weight in (given or {}).items():
            is_number = isinstance(weight, int | float) and not isinstance(weight, bool)
            if not is_number or not 0 <= weight < math.inf:
                raise ValueError(f"the weight of {name} is a number of 0 or more, not {weight!r}")
        if given and not any(given.values()):
            raise ValueError("all weights are 0: nothing would be left")
        return given

    @model_validator(mode="after")
    def _fits(self) -> Config:
        for name in ("weights", "temperature"):
            if self.method == name and getattr(self, name) is None:
                raise ValueError(f"the method {name!r} needs {name}: --set mix.{name}=...")
            if self.method != name and getattr(self, name) is not None:
                raise ValueError(f"{name} counts under the method {name!r}, not {self.method!r}")
        if self.repeat and self.count is None and self.cap is None:
            raise ValueError("repeat needs a count: without one there is no end to the mixture")
        return self


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row, and its `copies`. Raises `InputError` for weights of other sets."""
    if config.method is None:
        nothing = pl.repeat(None, pl.len(), dtype=pl.String)
        return frame.select(reason=nothing, detail=nothing, copies=pl.repeat(1, pl.len()))
    try:
        return mixture(
            frame["row_id"],
            frame[config.by],
            method=config.method,
            cap=config.cap,
            weights=config.weights,
            temperature=config.temperature or 1.0,
            count=config.count,
            repeat=config.repeat,
            seed=config.seed,
        )
    except ValueError as error:
        raise InputError(f"mix, by {config.by}: {error}.") from error


def reads(config: Config) -> tuple[str, ...]:
    """What tells the sets apart, and what the rows are called."""
    return ("row_id",) if config.method is None else ("row_id", config.by)


def measure(kept: pl.DataFrame, config: Config) -> dict[str, Any]:
    """How many rows of each set are in the mixture, repeats counted, and how many were wanted."""
    if config.method is None:
        return {}
    rows = kept.group_by(pl.col(config.by).fill_null(NO_SET)).agg(pl.col("copies").sum())
    counts = dict(rows.sort(["copies", config.by], descending=[True, False]).rows())
    found: dict[str, Any] = {"rows_mixed": sum(counts.values()), "rows_by": {config.by: counts}}
    if config.count is not None and found["rows_mixed"] < config.count:
        found["rows_lacking"] = config.count - found["rows_mixed"]
    return found


def idle(config: Config) -> str | None:
    """What is said where it keeps every row."""
    if config.method is None:
        return "keeps every row: no method is given (--set mix.method=proportional)."
    if config.method == "proportional" and config.cap is None and config.count is None:
        return "keeps every row: no cap and no count are given (--set mix.cap=N)."
    return None


STAGE = FilterStage(
    name="mix",
    version=1,
    summary="draw rows so that each data set has its share of the mixture",
    config=Config,
    judge=judge,
    reads=reads,
    writes=("copies",),
    measure=measure,
    idle=idle,
)
"""`rows_by` is what `synth status` shows of it."""
