"""Say of each row what it is about, what it asks for and in which language, by rules.

The rules are those of `filters.tags`. Every row is kept; `select` and `mix` choose by the tags, and
`synth status` counts them. What a row has already (from `teacher-tag`, or a run that came in)
stays. Of a conversation its first exchange is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import polars as pl

from filters.language import PACKAGE
from filters.tags import domain, language_of, task_type
from pipeline.stage import DECISION, FilterStage, Parts, StageConfig

TAGS = ("domain", "task_type", "language")
UNKNOWN = "unknown"


class Config(StageConfig):
    """Settings of `tag`: which tags are given, and how a language is told.

    `language` is by `script` (English, Chinese, Japanese, Korean; no package), by a `model` (extra
    `clean`: thirty languages), or false.
    """

    domain: Annotated[bool, DECISION] = True
    task_type: Annotated[bool, DECISION] = True
    language: Annotated[Literal["script", "model", False], DECISION] = "script"
    overwrite: Annotated[bool, DECISION] = False


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """Every row is kept, with its tags."""
    nothing = pl.repeat(None, frame.height, dtype=pl.String, eager=True)
    found = pl.DataFrame({"reason": nothing, "detail": nothing})
    texts = (frame["instruction"], frame["input"])
    is_known = frame["is_classification"] if "is_classification" in frame.columns else None
    new: dict[str, pl.Series] = {}
    if config.domain:
        new["domain"] = domain(*texts, frame["output"])
    if config.task_type:
        new["task_type"] = task_type(*texts, is_known)
    if config.language:
        new["language"] = language_of(texts[0], by=config.language)
    for name in TAGS:
        own = frame[name] if name in frame.columns else nothing
        given = new.get(name, nothing)
        is_new = name in new and config.overwrite
        tag = given if is_new else own.zip_with(own.is_not_null(), given)
        found = found.with_columns(tag.alias(name))
    return found


def needs(config: Config) -> tuple[tuple[str, str, str], ...]:
    """The package that tells languages apart, where one is wanted."""
    return (("language", PACKAGE, "clean"),) if config.language == "model" else ()


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows, each on its own."""
    return pl.concat([judge(part, config) for part in parts()])


def reads(config: Config) -> tuple[str, ...]:
    """The texts."""
    return ("row_id", "instruction", "input", "output")


def measure(kept: pl.DataFrame, config: Config) -> dict[str, Any]:
    """How many rows have each tag, most first."""
    counts = {}
    for name in TAGS:
        each = kept[name].fill_null(UNKNOWN).value_counts()
        counts[name] = dict(each.sort(["count", name], descending=[True, False]).rows())
    return {"rows_by": counts}


STAGE = FilterStage(
    name="tag",
    version=1,
    summary="say of each row its domain, task type and language",
    config=Config,
    judge=judge,
    judge_parts=judge_parts,
    reads=reads,
    writes=TAGS,
    may_read=("is_classification", *TAGS),
    needs=needs,
    measure=measure,
)
