import inspect
from collections.abc import Callable
from typing import get_args, get_type_hints

import polars as pl
import pytest
from pydantic import TypeAdapter

from filters.agreement import agreement
from filters.broken import broken
from filters.copied import copied
from filters.cut_word import cut_word
from filters.exact import exact
from filters.instances import instances
from filters.keywords import keywords
from filters.known import known
from filters.language import language
from filters.leftovers import leftovers
from filters.opening import opening
from filters.outputs import outputs
from filters.pair_rating import pair_rating
from filters.personal_data import personal_data
from filters.prompt_leak import prompt_leak
from filters.punctuation import punctuation
from filters.refusal import refusal
from filters.repetition import repetition
from filters.script_mismatch import script_mismatch
from filters.secrets import secrets
from filters.sentence_length import sentence_length
from filters.stop_words import only_stop_words
from filters.task_cap import task_cap
from filters.too_long import too_long
from filters.toxicity import toxicity
from filters.toxicity_scores import toxicity_scores
from filters.url_only import url_only
from filters.word_count import word_count

COLUMNS = {
    *("row_id", "root_id", "parent_id", "instruction", "input", "output", "is_classification"),
    *("agreement", "votes", "pair_rating"),
    *("toxicity", "severe_toxicity", "obscene", "threat", "insult", "identity_hate"),
}
TEXTUAL = [
    word_count,
    keywords,
    opening,
    outputs,
    refusal,
    only_stop_words,
    prompt_leak,
    too_long,
    copied,
    leftovers,
    broken,
    language,
    script_mismatch,
    repetition,
    punctuation,
    sentence_length,
    url_only,
    personal_data,
    secrets,
    toxicity,
]
SINGLE = [*TEXTUAL, agreement, pair_rating, toxicity_scores]
COMPARING = [instances, exact, task_cap, known]
BY_ALL_ROWS = [cut_word]  # judged by the words of all rows, without naming one

Filter = Callable[..., pl.DataFrame]


def parameters(judge: Filter, *, settings: bool) -> list[inspect.Parameter]:
    every = inspect.signature(judge).parameters.values()
    return [each for each in every if (each.kind is each.KEYWORD_ONLY) is settings]


def apply(judge: Filter, frame: pl.DataFrame) -> pl.DataFrame:
    return judge(*(frame[each.name] for each in parameters(judge, settings=False)))


@pytest.mark.parametrize("judge", [*SINGLE, *COMPARING, *BY_ALL_ROWS])
def test_parameters_are_columns_and_settings_have_defaults(judge: Filter) -> None:
    assert {each.name for each in parameters(judge, settings=False)} <= COLUMNS
    assert all(each.default is not each.empty for each in parameters(judge, settings=True))


@pytest.mark.parametrize("judge", [*SINGLE, *COMPARING, *BY_ALL_ROWS])
def test_a_number_among_the_settings_says_its_range_and_its_default_is_in_it(judge: Filter) -> None:
    plain, declared = get_type_hints(judge), get_type_hints(judge, include_extras=True)
    for each in parameters(judge, settings=True):
        if {int, float} & {plain[each.name], *get_args(plain[each.name])}:
            assert declared[each.name] != plain[each.name], each.name
        TypeAdapter(declared[each.name]).validate_python(each.default)


@pytest.mark.parametrize("judge", [*SINGLE, *COMPARING, *BY_ALL_ROWS])
def test_no_rows_and_rows_of_nulls_get_their_verdicts(judge: Filter) -> None:
    wanted = {"reason": pl.String, "detail": pl.String}
    if judge in COMPARING:
        wanted |= {"ref": pl.String}
    if judge in (exact, known):
        wanted |= {"similarity": pl.Float64}
    for height in (0, 3):
        empty = pl.DataFrame({name: [None] * height for name in COLUMNS - {"row_id"}})
        frame = empty.cast(pl.String).with_columns(
            row_id=pl.Series([f"r{at}" for at in range(height)], dtype=pl.String)
        )
        found = apply(judge, frame)
        assert found.schema == wanted
        assert found.height == height


@pytest.mark.parametrize("judge", TEXTUAL)
def test_a_row_is_judged_alone_as_among_others(judge: Filter) -> None:
    texts = [
        "Draw it.",
        None,
        "Write a program to do it.",
        "",
        "Name four rivers:",
        "é è à ù",
        "写诗",
    ]
    frame = pl.DataFrame({"instruction": texts, "input": texts[::-1], "output": texts})
    alone = pl.concat([apply(judge, frame[at : at + 1]) for at in range(frame.height)])
    assert alone.equals(apply(judge, frame))
