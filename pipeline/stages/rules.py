"""Judge rows by rules in order: what `filter` and `clean` share.

A rule is a function of `filters`: its positional parameters are columns, its keyword parameters
settings, and it gives a verdict for every row.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_type_hints

import polars as pl
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticCustomError

from pipeline.errors import RecipeError
from pipeline.stage import check_flag

Filter = Callable[..., pl.DataFrame]
Rule = tuple[str, Filter, Mapping[str, Any]]
"""Its name, the function and its settings."""

VERDICT = {
    "reason": pl.String,
    "detail": pl.String,
    "ref": pl.String,
    "similarity": pl.Float64,
}
"""What is said of each row; the first is null where it is kept, the last two may be missing."""
FINITE = ConfigDict(allow_inf_nan=False)
OUT_OF_RANGE = {"greater_than", "greater_than_equal", "less_than_equal"}


def parameters(function: Filter) -> tuple[list[str], list[str]]:
    """The columns that a filter takes and the settings that it has, by name."""
    columns: list[str] = []
    settings: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        keyword_only = parameter.kind is inspect.Parameter.KEYWORD_ONLY
        (settings if keyword_only else columns).append(name)
    return columns, settings


def check_settings(
    name: str,
    function: Filter,
    settings: Mapping[str, Any],
    *,
    is_ours: bool = True,
    others: Sequence[str] = (),
) -> None:
    """Raise `ValueError` for a setting that a filter does not take, or of another type than it has.

    Types are those that our own filters declare; a user's own may declare none. `others` are
    settings that its stage takes beside, which are named with them.
    """
    _, known = parameters(function)
    if unknown := [setting for setting in settings if setting not in known]:
        raise ValueError(
            f"the filter {name!r} has no setting {', '.join(map(repr, unknown))}; it has "
            f"{', '.join((*known, *others)) or 'none'}"
        )
    if is_ours:
        _check_types(name, function, settings)


def _check_types(name: str, function: Filter, settings: Mapping[str, Any]) -> None:
    plain = get_type_hints(function)
    declared = get_type_hints(function, include_extras=True)
    wrong = []
    for setting, value in settings.items():
        try:
            check_flag(plain[setting], value)
            TypeAdapter(declared[setting], config=FINITE).validate_python(value, strict=True)
        except PydanticCustomError as error:
            wrong.append(f"{setting}: {error}")
        except ValidationError as error:
            found = error.errors(include_url=False)[0]
            said = found["msg"]
            if found["type"] == "sequence_str":
                said = f"a list is wanted, [{value}]"
            elif found["type"] in OUT_OF_RANGE:
                where = f"{found['loc'][0]}: " if isinstance(value, Mapping) else ""
                range_ = _range(declared[setting])
                said = f"{where}a number is wanted, {range_}, not {found['input']}"
            wrong.append(f"{setting}: {said}")
    if not wrong:
        wrong = _crossed(function, settings)
    if wrong:
        raise ValueError("; ".join(f"the filter {name!r}: {one}" for one in wrong))


def _crossed(function: Filter, settings: Mapping[str, Any]) -> list[str]:
    """What is said of a lower bound above the upper one of its name: no row could be kept."""
    wrong = []
    bounds = {
        name: settings.get(name, parameter.default)
        for name, parameter in inspect.signature(function).parameters.items()
    }
    for name, low in bounds.items():
        other = name.replace("at_least", "at_most")
        if other != name and other in bounds and low > bounds[other]:
            wrong.append(f"{name} is {low}, above {other}, {bounds[other]}: no row would be kept")
    return wrong


def _range(annotation: Any) -> str:  # noqa: ANN401 - any annotation
    """The numbers that a setting may be, as its declaration has them (`filters.bounds`)."""
    bounds: dict[str, float] = {}
    left = [annotation]
    while left:
        one = left.pop()
        left += [*get_args(one), *getattr(one, "metadata", ())]
        bounds |= {key: getattr(one, key) for key in ("ge", "gt", "le") if hasattr(one, key)}
    if "le" in bounds:
        return f"{bounds['ge']:g} to {bounds['le']:g}"
    return f"more than {bounds['gt']:g}" if "gt" in bounds else f"{bounds['ge']:g} or more"


def judge_by(frame: pl.DataFrame, rules: Sequence[Rule]) -> pl.DataFrame:
    """One verdict a row, in order, by the first rule that drops it: all columns of `VERDICT`.

    A rule sees the rows that those before it left. Raises `RecipeError` where one gives no verdict.
    """
    verdicts = []
    alive = frame.select("row_id").with_row_index("at").with_columns(frame.drop("row_id"))
    for name, function, settings in rules:
        columns, _ = parameters(function)
        found = function(*(alive[column] for column in columns), **settings)
        found = _checked(name, found, alive.height)
        judged = alive.select("at").hstack(found)
        verdicts.append(judged.filter(pl.col("reason").is_not_null()))
        alive = alive.filter(found["reason"].is_null())
    nulls = {name: pl.lit(None, kind) for name, kind in VERDICT.items()}
    verdicts.append(alive.select("at").with_columns(**nulls))
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
