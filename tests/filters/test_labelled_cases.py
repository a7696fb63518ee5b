"""Rows written for these tests, with the verdict that a reader gives: `cases/FILTER.LANGUAGE.tsv`.

A line is the reason (`-` where the row is to be kept), the instruction, the input if there are four
fields, and the output. `\\n` is a line break, and `⟨text⟩×7` the text seven times. What the filters
that compare rows meet is in `beside/`, or, for `task_cap`, in the lines above.
"""

import inspect
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import polars as pl
import pytest

from filters.broken import broken
from filters.copied import copied
from filters.cut_word import cut_word
from filters.known import known
from filters.language import language
from filters.leftovers import leftovers
from filters.personal_data import personal_data
from filters.punctuation import punctuation
from filters.repetition import repetition
from filters.script_mismatch import script_mismatch
from filters.secrets import secrets
from filters.sentence_length import sentence_length
from filters.task_cap import task_cap
from filters.toxicity import toxicity
from filters.url_only import url_only

CASES = Path(__file__).parent / "cases"
BESIDE = Path(__file__).parent / "beside"
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


JUDGES: dict[str, Callable[..., pl.DataFrame]] = {
    "broken": broken,
    "copied": copied,
    "cut_word": cut_word_beside,
    "known": partial(known, against=str(BESIDE / "known.jsonl")),
    "language": language,
    "leftovers": leftovers,
    "personal_data": personal_data,
    "punctuation": punctuation,
    "repetition": repetition,
    "script_mismatch": script_mismatch,
    "secrets": secrets,
    "sentence_length": sentence_length,
    "task_cap": two_of_a_task,
    "toxicity": toxicity,
    "url_only": url_only,
}
SAYS_ALL = {"empty_output", "known_row"}  # reasons that have no detail
TIMES = re.compile("⟨(.*?)⟩×([0-9]+)", re.DOTALL)


def written_out(field: str) -> str:
    text = field.replace("\\n", "\n").replace("\\ufffd", "\ufffd").replace("\\u0002", "\x02")
    return TIMES.sub(lambda met: met[1] * int(met[2]), text)


def cases(name: str, written_in: str) -> pl.DataFrame:
    lines = (CASES / f"{name}.{written_in}.tsv").read_text(encoding="utf-8").splitlines()
    rows = []
    for line in lines:
        reason, instruction, *rest = map(written_out, line.split("\t"))
        assert 1 <= len(rest) <= 2, line
        rows.append((reason, instruction, rest[0] if len(rest) == 2 else "", rest[-1]))
    names = ("reason", "instruction", "input", "output")
    frame = pl.DataFrame(rows, dict.fromkeys(names, pl.String), orient="row")
    return frame.with_columns(reason=pl.col("reason").replace("-", None))


@pytest.mark.parametrize("written_in", ["en", "zh"])
@pytest.mark.parametrize("name", JUDGES)
def test_every_case_gets_the_verdict_of_its_reader(name: str, written_in: str) -> None:
    rows, judge = cases(name, written_in), JUDGES[name]
    assert rows.height >= 40
    assert 10 <= rows["reason"].null_count() <= rows.height - 10
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
    assert found["detail"].is_not_null().to_list() == has_detail.to_list()


def test_the_case_files_are_those_that_are_read() -> None:
    found = {path.name for path in CASES.glob("*.tsv")}
    assert found == {f"{name}.{language}.tsv" for name in JUDGES for language in ("en", "zh")}
