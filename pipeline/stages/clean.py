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
from pydantic import BeforeValidator, Field, model_validator

from filters import masks
from filters.broken import broken
from filters.copied import copied
from filters.cut_word import Words, cut_word, ends_of, judge_ends
from filters.known import files_of, known, read_rows
from filters.language import PACKAGE, WANTED, check_wanted, language
from filters.leftovers import leftovers
from filters.personal_data import FINDERS as OF_PERSONAL_DATA
from filters.personal_data import personal_data
from filters.punctuation import punctuation
from filters.repetition import repetition
from filters.script_mismatch import script_mismatch
from filters.secrets import FINDERS as OF_SECRETS
from filters.secrets import secrets
from filters.sentence_length import sentence_length
from filters.spans import Finder, chosen, kinds_in
from filters.task_cap import task_cap
from filters.toxicity import toxicity
from filters.url_only import url_only
from pipeline.stage import DECISION, FilterStage, Parts, StageConfig
from pipeline.stages.all_turns import TEXTS, with_all_turns
from pipeline.stages.rules import VERDICT, Filter, Rule, check_settings, judge_by, parameters

RULES: dict[str, Filter] = {
    "copied": copied,
    "leftovers": leftovers,
    "url_only": url_only,
    "broken": broken,
    "repetition": repetition,
    "punctuation": punctuation,
    "sentence_length": sentence_length,
    "script_mismatch": script_mismatch,
    "language": language,
    "personal_data": personal_data,
    "secrets": secrets,
    "toxicity": toxicity,
    "known": known,
    "cut_word": cut_word,
    "task_cap": task_cap,
}
TOGETHER = ("cut_word", "task_cap")
"""The rules that compare rows: they come last, `task_cap` on the rows that all others left."""
FLAGS: dict[str, dict[str, Finder]] = {"personal_data": OF_PERSONAL_DATA, "secrets": OF_SECRETS}
"""Rules that can keep a row and say what is in it, in a column of their name: `action: flag`."""
EXTRA = "clean"
SPACES = r"[\s\x1c-\x1f]+"


def _is_choice(given: object) -> object:
    """One message where pydantic would give one for each type that a rule can have."""
    if isinstance(given, bool | dict):
        return given
    raise ValueError("a rule is true, false or its settings as {name: value}")


Choice = Annotated[bool | dict[str, Any], BeforeValidator(_is_choice)]


class Config(StageConfig):
    """Settings of `clean`: which rules apply, and each one's own settings.

    On are those that find what is broken for any use; that only the last full stop is missing is
    mostly how somebody writes (`broken: {full_stops: true}` drops it too). `punctuation` and
    `sentence_length` meet tables, formulas and long lists too; `language` needs the extra `clean`
    and a choice of languages, as `personal_data` needs the extra; which personal data and which
    toxic words are meant well nobody but the user can say; `known` needs another data set; what cap
    is right depends on the mixture. `personal_data` and `secrets` drop rows, or with
    `{action: flag}` keep them and name the kinds in a column.
    """

    copied: Annotated[Choice, DECISION] = True
    leftovers: Annotated[Choice, DECISION] = True
    url_only: Annotated[Choice, DECISION] = True
    broken: Annotated[Choice, Field(default_factory=lambda: {"full_stops": False}), DECISION]
    repetition: Annotated[Choice, DECISION] = True
    punctuation: Annotated[Choice, DECISION] = False
    sentence_length: Annotated[Choice, DECISION] = False
    script_mismatch: Annotated[Choice, DECISION] = True
    language: Annotated[Choice, DECISION] = False
    personal_data: Annotated[Choice, DECISION] = False
    secrets: Annotated[Choice, DECISION] = True
    toxicity: Annotated[Choice, DECISION] = False
    known: Annotated[Choice, DECISION] = False
    cut_word: Annotated[Choice, DECISION] = True
    task_cap: Annotated[Choice, DECISION] = False

    @model_validator(mode="after")
    def _is_right(self) -> Config:
        wrong = []
        for name, function, given in rules(self):
            try:
                settings = dict(given)
                if name in FLAGS:
                    _check_action(name, settings.pop("action", "drop"))
                    chosen(FLAGS[name], settings.get("kinds", ()))
                check_settings(name, function, settings, others=("action",) * (name in FLAGS))
                if name == "known":
                    _check_known(settings)
                if name == "language":
                    check_wanted(settings.get("wanted", WANTED))
            except ValueError as error:
                wrong.append(str(error))
        if wrong:
            raise ValueError("; ".join(wrong))
        return self


def _check_action(name: str, action: object) -> None:
    if action == "mask":
        raise ValueError(
            f"the filter {name!r} masks nothing, as the rows are written down before it: set  "
            f"mask: [{name}]  in the recipe, which masks what is read and what a teacher says"
        )
    if action not in ("drop", "flag"):
        raise ValueError(f"the filter {name!r} has the actions drop and flag, not {action!r}")


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
    """Rules on each row by itself, then those that compare rows, with the little that they need."""
    flags = flagged(config)
    alone = [
        (name, function, {key: value for key, value in settings.items() if key != "action"})
        for name, function, settings in rules(config)
        if name not in TOGETHER and name not in flags
    ]
    together = {name: settings for name, _, settings in rules(config) if name in TOGETHER}
    words = Words()
    verdicts, left = [], []
    for frame in frames:
        whole = with_all_turns(frame)
        found = judge_by(whole, alone)
        verdicts.append(found.with_columns(**_flags(whole, flags)))
        small = pl.DataFrame({"is_left": found["reason"].is_null()})
        if "task_cap" in together:
            small = small.hstack(_task(frame))
        if "cut_word" in together:
            columns = [whole[name] for name in TEXTS]
            small = small.with_columns(end=ends_of(*columns))
            for column in columns:
                words.add(column)
        left.append(small)
    judged = pl.concat(verdicts)
    if not together:
        return judged
    rows = pl.concat(left)
    if "cut_word" in together:
        found = judge_ends(rows["end"], words.counted(), **together["cut_word"])
        judged = _merged(judged, rows["is_left"], found.filter(rows["is_left"]))
        rows = rows.drop("end").with_columns(is_left=judged["reason"].is_null())
    if "task_cap" in together:
        rule = ("task_cap", task_cap, together["task_cap"])
        found = judge_by(rows.filter("is_left").drop("is_left"), [rule])
        judged = _merged(judged, rows["is_left"], found)
    return judged


def _merged(judged: pl.DataFrame, is_left: pl.Series, found: pl.DataFrame) -> pl.DataFrame:
    """The verdicts so far, with those found of the rows that were left."""
    nulls = [
        pl.lit(None, kind).alias(name)
        for name, kind in VERDICT.items()
        if name not in found.columns
    ]
    rows = judged.with_row_index("at")
    said = rows.filter(is_left).drop(*VERDICT).hstack(found.with_columns(nulls).select(*VERDICT))
    return pl.concat([rows.filter(~is_left), said.select(rows.columns)]).sort("at").drop("at")


def flagged(config: Config) -> dict[str, dict[str, Finder]]:
    """What the rules that only flag look for, by the column that says so."""
    return {
        name: chosen(FLAGS[name], settings.get("kinds", tuple(FLAGS[name])))
        for name, _, settings in rules(config)
        if name in FLAGS and settings.get("action") == "flag"
    }


def _flags(frame: pl.DataFrame, flags: Mapping[str, dict[str, Finder]]) -> dict[str, pl.Series]:
    columns = {name: frame[name] for name in TEXTS}
    return {name: kinds_in(columns, finders) for name, finders in flags.items()}


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
    wanted = [] if config.language is False else [("language", PACKAGE, EXTRA)]
    if config.personal_data is not False:
        kinds = _settings(config.personal_data).get("kinds", tuple(OF_PERSONAL_DATA))
        wanted += [("personal_data", package, EXTRA) for package in masks.packages(kinds)]
    return tuple(wanted)


def _settings(choice: Choice) -> dict[str, Any]:
    return choice if isinstance(choice, dict) else {}


STAGE = FilterStage(
    name="clean",
    version=1,
    summary="drop answers that are refused, cut off, garbled, repeating, in another language",
    config=Config,
    judge=judge,
    reads=reads,
    writes=lambda config: tuple(flagged(config)),
    may_read=("messages",),
    judge_parts=judge_parts,
    files=files,
    needs=needs,
)
