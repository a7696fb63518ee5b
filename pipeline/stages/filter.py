"""Judge whole rows by rules: the heuristics of Self-Instruct and Alpaca, and a user's own.

Filters run in the recipe's order, each on the rows that those before it left; a row is dropped by
the first rule that meets it. A filter of one's own is named `path/file.py:function`: it takes
columns by the names of its positional parameters and its settings by keyword, and gives `reason`
and `detail` (and, where it compares rows, `ref` and `similarity`) for each row.
"""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, field_validator
from pydantic_core import PydanticCustomError

from filters.agreement import agreement
from filters.instances import instances
from filters.keywords import keywords
from filters.opening import opening
from filters.outputs import outputs
from filters.pair_rating import pair_rating
from filters.refusal import refusal
from filters.word_count import word_count
from pipeline.errors import RecipeError
from pipeline.stage import DECISION, OPERATIONAL, FilterStage, Parts, StageConfig, check_flag

Filter = Callable[..., pl.DataFrame]

FILTERS: dict[str, Filter] = {
    "word_count": word_count,
    "keywords": keywords,
    "opening": opening,
    "outputs": outputs,
    "instances": instances,
    "refusal": refusal,
    "agreement": agreement,
    "pair_rating": pair_rating,
}
VERDICT = {
    "reason": pl.String,
    "detail": pl.String,
    "ref": pl.String,
    "similarity": pl.Float64,
}
"""What is said of each row; the first is null where it is kept, the last two may be missing."""
FINITE = ConfigDict(allow_inf_nan=False)
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
                _check_settings(name, settings)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError("; ".join(wrong))
        return given


def _check_settings(name: str, settings: dict[str, Any]) -> None:
    """Raise `ValueError` for a filter that is not there, or a setting that it does not take."""
    _, known = parameters(find(name))
    if unknown := [setting for setting in settings if setting not in known]:
        raise ValueError(
            f"the filter {name!r} has no setting {', '.join(map(repr, unknown))}; it has "
            f"{', '.join(known) or 'none'}"
        )
    if name in FILTERS:
        _check_types(name, settings)


def _check_types(name: str, settings: dict[str, Any]) -> None:
    """Raise `ValueError` for a value that is not of the type that one of our filters declares."""
    declared = inspect.signature(FILTERS[name], eval_str=True).parameters
    for setting, value in settings.items():
        wanted = declared[setting].annotation
        try:
            check_flag(wanted, value)
            TypeAdapter(wanted, config=FINITE).validate_python(value, strict=True)
        except PydanticCustomError as error:
            raise ValueError(f"the filter {name!r}: {setting}: {error}") from error
        except ValidationError as error:
            said = error.errors(include_url=False)[0]["msg"]
            raise ValueError(f"the filter {name!r}: {setting}: {said}") from error


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


def parameters(function: Filter) -> tuple[list[str], list[str]]:
    """The columns that a filter takes and the settings that it has, by name."""
    columns: list[str] = []
    settings: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        (settings if keyword_only else columns).append(name)
    return columns, settings


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row, in order: `reason` (null is keep), `detail`, `ref`, `similarity`."""
    verdicts = []
    alive = frame.select("row_id").with_row_index("at").with_columns(frame.drop("row_id"))
    for name, settings in config.filters.items():
        function = find(name)
        columns, _ = parameters(function)
        found = function(*(alive[column] for column in columns), **settings)
        found = _checked(name, found, alive.height)
        judged = alive.select("at").hstack(found)
        verdicts.append(judged.filter(pl.col("reason").is_not_null()))
        alive = alive.filter(found["reason"].is_null())
    nulls = {name: pl.lit(None, kind) for name, kind in VERDICT.items()}
    verdicts.append(alive.select("at").with_columns(**nulls))
    return pl.concat(verdicts).sort("at").drop("at")


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


def _checked(name: str, found: object, height: int) -> pl.DataFrame:
    """A filter's verdicts with all columns. Raises `RecipeError` where they are none."""
    wants = f"the filter {name} must give a DataFrame with 'reason' and 'detail', a row an entry"
    if not isinstance(found, pl.DataFrame):
        raise RecipeError(f"{wants}; it gives a {type(found).__name__}.")
    if missing := {"reason", "detail"} - set(found.columns):
        raise RecipeError(f"{wants}; {', '.join(sorted(missing))} is missing.")
    if found.height != height:
        raise RecipeError(f"{wants}; it gives {found.height} rows for {height}.")
    return found.select(
        (pl.col(column) if column in found.columns else pl.lit(None)).cast(kind).alias(column)
        for column, kind in VERDICT.items()
    )


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
