"""Drop rows with defects that rules can tell, English and Chinese in the same rule.

Each setting is a rule: false leaves it out, true or an empty mapping applies it, and a mapping
gives its settings, which stand in its function in `filters`. Rules apply in the order of the
settings below, each to the rows that those before it left, and the first that drops a row names it.
Of a conversation all turns are looked at: its answers together are the output.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import polars as pl
from pydantic import Field, model_validator

from filters.broken import broken
from filters.known import files_of, known, read_rows
from filters.language import PACKAGE, language
from filters.leftovers import leftovers
from filters.punctuation import punctuation
from filters.repetition import repetition
from filters.script_mismatch import script_mismatch
from filters.sentence_length import sentence_length
from filters.task_cap import task_cap
from filters.url_only import url_only
from pipeline.stage import DECISION, FilterStage, Parts, StageConfig
from pipeline.stages.all_turns import TEXTS, with_all_turns
from pipeline.stages.rules import Filter, Rule, check_settings, judge_by, parameters

RULES: dict[str, Filter] = {
    "leftovers": leftovers,
    "url_only": url_only,
    "broken": broken,
    "repetition": repetition,
    "punctuation": punctuation,
    "sentence_length": sentence_length,
    "script_mismatch": script_mismatch,
    "language": language,
    "known": known,
    "task_cap": task_cap,
}
EXTRA = "clean"
SPACES = r"[\s\x1c-\x1f]+"
Choice = bool | dict[str, Any]


class Config(StageConfig):
    """Settings of `clean`: which rules apply, and each one's own settings.

    On are those that find what is broken for any use; that only the last full stop is missing is
    mostly how somebody writes (`broken: {full_stops: true}` drops it too). `punctuation` and
    `sentence_length` meet tables, formulas and long lists too; `language` needs the extra `clean`
    and a choice of languages; `known` needs another data set; what cap is right depends on the
    mixture.
    """

    leftovers: Annotated[Choice, DECISION] = True
    url_only: Annotated[Choice, DECISION] = True
    broken: Annotated[Choice, Field(default_factory=lambda: {"full_stops": False}), DECISION]
    repetition: Annotated[Choice, DECISION] = True
    punctuation: Annotated[Choice, DECISION] = False
    sentence_length: Annotated[Choice, DECISION] = False
    script_mismatch: Annotated[Choice, DECISION] = True
    language: Annotated[Choice, DECISION] = False
    known: Annotated[Choice, DECISION] = False
    task_cap: Annotated[Choice, DECISION] = False

    @model_validator(mode="after")
    def _is_right(self) -> Config:
        wrong = []
        for name, function, settings in rules(self):
            try:
                check_settings(name, function, settings)
                if name == "known":
                    _check_known(settings)
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def _check_known(settings: Mapping[str, Any]) -> None:
    if settings.get("against") is None:
        raise ValueError("the filter 'known' needs a data set: --set clean.known.against=FILE")
    read_rows(settings["against"])


def rules(config: Config) -> list[Rule]:
    """The rules that apply, in order."""
    chosen = {name: getattr(config, name) for name in RULES}
    return [
        (name, RULES[name], choice if isinstance(choice, dict) else {})
        for name, choice in chosen.items()
        if choice is not False
    ]


def judge(frame: pl.DataFrame, config: Config) -> pl.DataFrame:
    """One verdict a row, in order: `reason` (null is keep), `detail`, `ref`, `similarity`."""
    return _judge(iter([frame]), config)


def judge_parts(parts: Parts, config: Config, scratch: Path) -> pl.DataFrame:
    """The same for parts of the rows."""
    return _judge(parts(), config)


def _judge(frames: Iterator[pl.DataFrame], config: Config) -> pl.DataFrame:
    """`task_cap` alone compares rows: it comes last, with what it needs of those that are left."""
    alone = [rule for rule in rules(config) if rule[0] != "task_cap"]
    together = [rule for rule in rules(config) if rule[0] == "task_cap"]
    verdicts, left = [], []
    for frame in frames:
        found = judge_by(with_all_turns(frame), alone)
        verdicts.append(found)
        if together:
            left.append(_task(frame).with_columns(is_left=found["reason"].is_null()))
    judged = pl.concat(verdicts).with_row_index("at")
    if not together:
        return judged.drop("at")
    tasks = pl.concat(left)
    capped = judge_by(tasks.filter("is_left").drop("is_left"), together)
    kept = judged.filter(pl.col("reason").is_null()).select("at").hstack(capped)
    return pl.concat([judged.filter(pl.col("reason").is_not_null()), kept]).sort("at").drop("at")


def _task(frame: pl.DataFrame) -> pl.DataFrame:
    """What says which task a row is of, the instruction as a short text that stands for it."""
    even = pl.col("instruction").fill_null("").str.replace_all(SPACES, " ").str.strip_chars(" ")
    return frame.select("row_id", "root_id", instruction=even.hash().cast(pl.String))


def reads(config: Config) -> tuple[str, ...]:
    """The columns that the rules take, and the texts that a conversation is put into."""
    named = {column for _, function, _ in rules(config) for column in parameters(function)[0]}
    return ("row_id", *sorted((named | set(TEXTS)) - {"row_id"}))


def files(config: Config) -> tuple[str, ...]:
    """The files of the data set that rows are compared with, if one is named."""
    return () if config.known is False else tuple(files_of(_settings(config.known)["against"]))


def needs(config: Config) -> tuple[tuple[str, str, str], ...]:
    """The rules that take a package of an extra: the rule, the package, the extra."""
    return () if config.language is False else (("language", PACKAGE, EXTRA),)


def _settings(choice: Choice) -> dict[str, Any]:
    return choice if isinstance(choice, dict) else {}


STAGE = FilterStage(
    name="clean",
    version=1,
    summary="drop answers that are refused, cut off, garbled, repeating, in another language",
    config=Config,
    judge=judge,
    reads=reads,
    may_read=("messages",),
    judge_parts=judge_parts,
    files=files,
    needs=needs,
)
