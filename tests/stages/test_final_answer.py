"""The final answer of a text, by labelled cases, and which answers are the same."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.stages.final_answer import answer_key, final_answer, is_same_answer

GOLDEN = Path(__file__).parent.parent / "golden" / "final_answers.jsonl"
CASES = [json.loads(line) for line in GOLDEN.read_text("utf-8").splitlines()]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["about"])
def test_a_text_comes_to_its_labelled_answer(case: dict[str, Any]) -> None:
    found = final_answer(case["text"])
    assert found == case["answer"]
    assert (None if found is None else answer_key(found)) == case["key"]


def test_there_are_cases_in_both_languages() -> None:
    chinese = [case for case in CASES if any("\u4e00" <= sign <= "\u9fff" for sign in case["text"])]
    assert len(chinese) >= 15
    assert len(CASES) - len(chinese) >= 25


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("15", "15.0 euros"), ("1,200 m", "1200"), ("3/4", "0.75"), ("三十五", "35个"),
        ("(B) Oslo", "B"), ("(B) Oslo", "oslo"), ("The river", "river."), ("-4", "−4 degrees"),
        ("\\frac{1}{2}", "0.5"), ("option C", "C."), ("$5", "5 dollars"),
    ],
)  # fmt: skip
def test_answers_that_say_the_same(one: str, other: str) -> None:
    assert is_same_answer(one, other)
    assert is_same_answer(other, one)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("15", "16"), ("15", "-15"), ("(B) Oslo", "(C) Oslo?"), ("A", "B"), ("Oslo", "Bergen"),
        ("14:35", "1435"), ("2 hours and 35 minutes", "2"), ("1/0", "1"), ("", "0"),
        ("一九四九", "22"),
    ],
)  # fmt: skip
def test_answers_that_differ(one: str, other: str) -> None:
    if one[:2] == "(B":
        assert answer_key(one) != answer_key(other)
    else:
        assert not is_same_answer(one, other)


@given(st.text())
def test_any_text_has_an_answer_or_none_and_any_answer_a_key(text: str) -> None:
    found = final_answer(text)
    assert found is None or (found == found.strip() != "")
    assert answer_key(text) == answer_key(text)


@given(st.integers(-(10**9), 10**9), st.sampled_from(["", " euros", "个", " km", "%"]))
def test_a_number_is_its_value_however_it_is_written(value: int, unit: str) -> None:
    assert answer_key(f"{value}{unit}") == f"number {value}"
    assert answer_key(f"{value:,}{unit}") == f"number {value}"
    assert final_answer(f"It adds up. The answer is {value}{unit}.") == f"{value}{unit}"


@given(st.integers(-999, 999), st.integers(1, 999))
def test_a_fraction_is_its_value(above: int, below: int) -> None:
    assert answer_key(f"{above}/{below}") == f"number {Fraction(above, below)}"


@given(st.integers(1, 99_999_999))
def test_a_chinese_number_is_its_value(value: int) -> None:
    assert answer_key(chinese(value)) == f"number {value}"


def chinese(value: int) -> str:
    """The number in Han characters, written the long way."""
    if value >= 10_000:
        above, below = divmod(value, 10_000)
        gap = "零" if 0 < below < 1000 else ""
        return chinese(above) + "万" + (gap + chinese(below) if below else "")
    text, gap = "", False
    for step, sign in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit = value // step % 10
        if digit:
            text += ("零" if gap and text else "") + "零一二三四五六七八九"[digit] + sign
        gap = not digit
    return text
