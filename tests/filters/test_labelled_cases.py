"""Every filter gives each row of `cases/` the verdict that its reader gives (see `labelled.py`)."""

import inspect
from collections.abc import Callable
from functools import partial

import polars as pl
import pytest

from filters.broken import broken
from filters.copied import copied
from filters.cut_word import cut_word
from filters.instances import instances
from filters.keywords import keywords
from filters.known import known
from filters.language import language
from filters.leftovers import leftovers
from filters.opening import opening
from filters.outputs import outputs
from filters.personal_data import personal_data
from filters.punctuation import punctuation
from filters.refusal import refusal
from filters.repetition import repetition
from filters.script_mismatch import script_mismatch
from filters.secrets import secrets
from filters.sentence_length import sentence_length
from filters.task_cap import task_cap
from filters.toxicity import toxicity
from filters.url_only import url_only
from filters.word_count import word_count
from pipeline.stage import FilterStage
from pipeline.stages import STAGES, clean
from pipeline.stages import filter as filter_stage
from tests.filters.labelled import BESIDE, CASES, LANGUAGES, cases, check_counts

TIMES_BESIDE = 6  # how often each text of `beside/cut_word.txt` stands there


def cut_word_beside(instruction: pl.Series, input: pl.Series, output: pl.Series) -> pl.DataFrame:
    texts = (BESIDE / "cut_word.txt").read_text(encoding="utf-8").splitlines() * TIMES_BESIDE
    none = pl.Series([None] * len(texts), dtype=pl.String)
    columns = zip((instruction, input, output), (none, none, pl.Series(texts)), strict=True)
    found = cut_word(*(pl.concat([mine, others]) for mine, others in columns))
    assert found["reason"][len(instruction) :].count() == 0
    return found.head(len(instruction))


def two_of_a_task(instruction: pl.Series) -> pl.DataFrame:
    lines = pl.Series([f"line {at}" for at in range(1, len(instruction) + 1)])
    return task_cap(lines, lines, instruction, at_most=2, draw="first")


def of_one_root(instruction: pl.Series, input: pl.Series, output: pl.Series) -> pl.DataFrame:
    lines = pl.Series([f"line {at}" for at in range(1, len(instruction) + 1)])
    return instances(pl.Series(["root"] * len(lines)), lines, instruction, input, output)


JUDGES: dict[str, Callable[..., pl.DataFrame]] = {
    "broken": broken,
    "copied": copied,
    "cut_word": cut_word_beside,
    "instances": of_one_root,
    "keywords": keywords,
    "known": partial(known, against=str(BESIDE / "known.jsonl")),
    "language": language,
    "leftovers": leftovers,
    "opening": opening,
    "outputs": outputs,
    "personal_data": personal_data,
    "punctuation": punctuation,
    "refusal": refusal,
    "repetition": repetition,
    "script_mismatch": script_mismatch,
    "secrets": secrets,
    "sentence_length": sentence_length,
    "task_cap": two_of_a_task,
    "toxicity": toxicity,
    "url_only": url_only,
    "word_count": word_count,
}
ELSEWHERE = {"quality", "toxicity_scores", "toxicity_classifier"}
"""Cases of what learns or of a model: `test_labelled_quality` and `test_labelled_toxicity`."""
OF_NUMBERS = {"agreement", "pair_rating"}
"""Filters of numbers that a teacher gave: what is said in which language does not reach them."""
WITH_RULES = {"clean", "filter", "quality"}
"""Stages whose filters judge what a row says."""
OTHER_STAGES = {
    *("novelty", "dedup", "semantic", "decontaminate"),  # compare rows with rows
    *("keep", "balance", "select", "mix", "order"),  # go by a column, or by how many are wanted
    *("toxicity", "tag"),  # drop nothing
}
SAYS_ALL = {"empty_output", "known_row", "repeated_instance"}  # reasons that have no detail
MEASURES_ALL = {"word_count"}  # filters that give a detail of what they keep


@pytest.mark.parametrize("written_in", LANGUAGES)
@pytest.mark.parametrize("name", JUDGES)
def test_every_case_gets_the_verdict_of_its_reader(name: str, written_in: str) -> None:
    rows, judge = cases(name, written_in), JUDGES[name]
    check_counts(rows["reason"])
    columns = [
        rows[each.name]
        for each in inspect.signature(judge).parameters.values()
        if each.kind is not each.KEYWORD_ONLY
    ]
    found = judge(*columns)
    both = rows.with_columns(found=found["reason"], detail=found["detail"])
    wrong = both.filter(~pl.col("reason").eq_missing(pl.col("found"))).drop("input")
    assert not wrong.rows()
    has_detail = rows["reason"].is_not_null() & ~rows["reason"].is_in(SAYS_ALL).fill_null(False)
    if name not in MEASURES_ALL:
        assert found["detail"].is_not_null().to_list() == has_detail.to_list()


def test_the_case_files_are_those_that_are_read() -> None:
    found = {path.name for path in CASES.glob("*.tsv")}
    names = {*JUDGES, *ELSEWHERE}
    assert found == {f"{name}.{language}.tsv" for name in names for language in LANGUAGES}


def test_every_filter_that_drops_rows_by_what_they_say_has_cases() -> None:
    filters = {*clean.RULES, *filter_stage.FILTERS, "quality"}
    assert filters - {*JUDGES, *ELSEWHERE} == OF_NUMBERS
    stages = {stage.name for stage in STAGES if isinstance(stage, FilterStage)}
    assert stages == WITH_RULES | OTHER_STAGES
