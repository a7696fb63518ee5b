"""Answers that are empty, or the question once more."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.copied import copied

TEXT = st.none() | st.text(alphabet="aB水 \n.", max_size=5)
BLANKS = st.text(alphabet=" \n\t\u3000", max_size=2)


def judged(task: str | None, given_: str | None, answer: str | None) -> str | None:
    tasks, inputs, outputs = (pl.Series([text], dtype=pl.String) for text in (task, given_, answer))
    reason = copied(tasks, inputs, outputs)["reason"][0]
    return None if reason is None else str(reason)


def slow(task: str | None, given_: str | None, answer: str | None) -> str | None:
    """The rule, with every way to part the answer tried."""
    said, asked, with_it = ((text or "").strip() for text in (answer, task, given_))
    if not said:
        return "empty_output"
    if said == with_it:
        return "copied_input"
    if said == asked:
        return "copied_instruction"
    for first in range(len(said) + 1):
        for second in range(first, len(said) + 1):
            parts = said[:first], said[first:second].strip(), said[second:]
            if parts == (asked, "", with_it):
                return "copied_instruction"
    return None


@given(TEXT, TEXT, TEXT, BLANKS, BLANKS, BLANKS)
def test_verdicts_are_those_of_comparing_the_texts(
    task: str | None, given_: str | None, answer: str | None, a: str, b: str, c: str
) -> None:
    both = f"{a}{(task or '').strip()}{b}{(given_ or '').strip()}{c}"
    for said in (answer, f"{a}{task or ''}{b}", f"{a}{given_ or ''}{b}", both):
        assert judged(task, given_, said) == slow(task, given_, said)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Say it once more.", "copied_instruction"),
        (" Say it once more.\n", "copied_instruction"),
        ("Say it once more.\n\nGood day", "copied_instruction"),
        ("Say it once more.Good day", "copied_instruction"),
        ("Good day", "copied_input"),
        ("say it once more.", None),
        ("Say it once more", None),
        ("Say it  once more.", None),
        ("Say it once more. Good day!", None),
        ("Good day, and good night", None),
        ("", "empty_output"),
        (" \n\t", "empty_output"),
        (None, "empty_output"),
    ],
)
def test_what_is_a_copy(answer: str | None, reason: str | None) -> None:
    assert judged("Say it once more.", "Good day", answer) == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("请把下面的句子翻译成英文。", "copied_instruction"),
        ("请把下面的句子翻译成英文。\n今天下雨。", "copied_instruction"),
        ("请把下面的句子翻译成英文。今天下雨。", "copied_instruction"),
        ("今天下雨。", "copied_input"),
        ("今天下雨", None),
        ("It is raining today.", None),
        ("\u3000", "empty_output"),
    ],
)
def test_what_is_a_copy_in_chinese(answer: str, reason: str | None) -> None:
    assert judged("请把下面的句子翻译成英文。", "今天下雨。", answer) == reason
