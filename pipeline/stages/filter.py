"""Judge whole rows by rules: the heuristics of Self-Instruct and Alpaca, and a user's own.

Filters run in the recipe's order, each on the rows that those before it left; a row is dropped by
the first rule that meets it. A filter of one's own is named `path/file.py:function`: it takes
columns by the names of its positional parameters and its settings by keyword, and gives `reason`
and `detail` (and, where it compares rows, `ref` and `similarity`) for each row.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field, field_validator

from filters.agreement import agreement
from filters.instances import instances
from filters.keywords import keywords
from filters.opening import opening
from filters.outputs import outputs
from filters.pair_rating import pair_rating
from filters.refusal import refusal
from filters.toxicity_scores import toxicity_scores
from filters.word_count import word_count
from pipeline.stage import DECISION, OPERATIONAL, FilterStage, Parts, StageConfig
from pipeline.stages.rules import Filter, check_settings, judge_by, parameters

FILTERS: dict[str, Filter] = {
    "word_count": word_count,
    "keywords": keywords,
    "opening": opening,
    "outputs": outputs,
    "instances": instances,
    "refusal": refusal,
    "agreement": agreement,
    "pair_rating": pair_rating,
    "toxicity_scores": toxicity_scores,
}
DEFAULT = ("word_count", "keywords", "opening", "outputs", "instances")
"""The filters that apply where a recipe names none: those that any data has columns for."""


class Config(StageConfig):
    """Settings of `filter`: which filters, in which order, each with its own settings.

    `own_timeout_s`: how many seconds all rows may take where filters of one's own are among them.
    """

    filters: Annotated[
        dict[str, dict[str, Any]],
        Field(min_length=1, default_factory=lambda: {name: {} for name in DEFAULT}),
        DECISION,
    ]
    own_timeout_s: Annotated[float, Field(gt=0), OPERATIONAL] = 3600.0

    @field_validator("filters")
    @classmethod
    def _known(cls, given: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        wrong = []
        for name, settings in given.items():
            try:
                check_settings(name, find(name), settings, is_ours=name in FILTERS)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError("; ".join(wrong))
        return given


def find(name: str) -> Filter:
    """A filter by its name, or a user's own by `path/file.py:function`. Raises `ValueError`."""
    if name in FILTERS:
        return FILTERS[name]
    path, colon, function = name.rpartition(":")
    if not colon or not path.endswith(".py"):
        raise ValueError(
            f"there is no filter {name!r}; there are {', '.join(FILTERS)}, and one of your own is "
            "named path/file.py:function"
        )
    source = Path(path)
    if not source.is_file():
        raise ValueError(f"the filter {name!r} is not there: {source} is not a file")
    spec = importlib.util.spec_from_file_location(f"synth_user_filter_{source.stem}", source)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{source} cannot be imported: {type(error).__name__}: {error}") from error
    found = getattr(module, function, None)
    if not callable(found):
        raise ValueError(f"{source} has no function {function!r}")
    return found  # type: ignore[no-any-return]  # a user's own code


def files(config: Config) -> tuple[str, ...]:
    """The files of a user's own filters; ours are what the stage's version stands for."""
    return tuple(name.rpartition(":")[0] for name in config.filters if name not in FILTERS)


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row, in order: `reason` (null is keep), `detail`, `ref`, `similarity`."""
    return judge_by(frame, [(name, find(name), own) for name, own in config.filters.items()])


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows.

    Of our filters `instances` alone compares rows, those of a task: they are judged together.
    """
    if "instances" not in config.filters:
        return pl.concat(judge(part, config) for part in parts())
    task = pl.struct(pl.col("root_id").fill_null(pl.col("row_id")), "instruction").hash()
    tasks = pl.concat(part.select(task=task) for part in parts())
    shares = tasks.select(pl.int_range(pl.len()).alias("at"), pl.col("task").is_duplicated())
    verdicts, together, first = [], list[pl.DataFrame](), 0
    for part in parts():
        here = part.hstack(shares.slice(first, part.height))
        first += part.height
        alone = here.filter(~pl.col("task"))
        verdicts.append(alone.select("at").hstack(judge(alone.drop("at", "task"), config)))
        together.append(here.filter("task").drop("task"))
    others = pl.concat(together)
    verdicts.append(others.select("at").hstack(judge(others.drop("at"), config)))
    return pl.concat(verdicts).sort("at").drop("at")


def reads(config: Config) -> tuple[str, ...]:
    """The columns that the configured filters take."""
    named = {column for name in config.filters for column in parameters(find(name))[0]}
    return ("row_id", *sorted(named - {"row_id"}))


STAGE = FilterStage(
    name="filter",
    version=1,
    summary="judge whole rows by rules: lengths, keywords, openings, outputs, instances",
    config=Config,
    judge=judge,
    reads=reads,
    judge_parts=judge_parts,
    files=files,
)
