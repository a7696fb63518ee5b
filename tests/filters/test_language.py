"""The language of rows; the labelled cases are in `test_labelled_cases.py`."""

import subprocess
import sys

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.language import LANGUAGES, LETTERS, by_signs, language, told
from filters.script_mismatch import script_mismatch

EN, ZH = "The river runs through the old town.", "这条河流过一座古老的城市。"
DE = "Der Fluss fließt durch die alte Stadt und ist sehr schön."


def reason(task: str | None, answer: str | None, given: str = "", **settings: object) -> str | None:
    columns = (pl.Series([text], dtype=pl.String) for text in (task, given, answer))
    return language(*columns, **settings)["reason"][0]  # type: ignore[arg-type,no-any-return]


@given(st.text(st.sampled_from("ab 1.中文字かナ한글é"), max_size=60), st.integers(1, 30))
def test_scripts_are_counted_as_the_slow_version_counts(text: str, letters: int) -> None:
    han, kana = sum(s in "中文字" for s in text), sum(s in "かナ" for s in text)
    hangul, other = sum(s in "한글" for s in text), sum(s in "abé" for s in text)
    signs = han + kana + hangul
    wanted = LETTERS if other >= letters else None
    if signs and 3 * signs >= letters and 3 * signs >= other:
        name = "ja" if kana / signs >= 0.1 else "ko" if hangul / signs >= 0.5 else "zh"
        wanted = name, 3 * signs / (3 * signs + other)
    assert by_signs(text, letters) == wanted


def test_both_sides_of_how_many_letters_there_must_be() -> None:
    assert told("a" * 20) is not None
    assert told("a" * 19) is None
    assert told("字" * 7) == ("zh", 1.0)
    assert told("字" * 6) is None


@pytest.mark.parametrize(
    ("task", "answer", "settings", "wanted"),
    [
        (EN, EN, {}, None),
        (EN, ZH, {}, "language_mismatch"),
        (ZH, EN, {}, "language_mismatch"),
        (EN, ZH, {"same": False}, None),
        (EN, DE, {}, "unwanted_language"),
        (EN, DE, {"wanted": ["en", "de"]}, "language_mismatch"),
        (DE, DE, {}, "unwanted_language"),
        (DE, DE, {"wanted": ["de"]}, None),
        (ZH, ZH, {"wanted": ["en"]}, "unwanted_language"),
        (EN, DE, {"sure": 1.01}, None),
        (EN, DE, {"letters": 200}, None),
        (None, DE, {}, "unwanted_language"),
        (None, ZH, {}, None),
        (EN, None, {}, None),
    ],
)
def test_languages(
    task: str | None, answer: str | None, settings: dict[str, object], wanted: str | None
) -> None:
    assert reason(task, answer, **settings) == wanted


def test_the_language_of_the_input_may_be_answered_in() -> None:
    assert reason("Summarise the text in one sentence.", ZH, "城里有一条河，河上有三座桥。") is None
    assert reason("Summarise the text in one sentence.", DE, DE + " Und so weiter.") is None


def test_code_is_no_mismatch() -> None:
    answer = "for number in the_numbers:\n    print(number)\n    total = total + number"
    assert reason("给每个数字加一并且打印出来", answer) is None


@given(st.text(max_size=80), st.text(max_size=80))
def test_a_script_mismatch_is_found_only_between_signs_and_letters(task: str, answer: str) -> None:
    columns = pl.Series([task]), pl.Series([""]), pl.Series([answer])
    found = script_mismatch(*columns)
    if found["reason"][0] is not None:
        assert not (task.isascii() and answer.isascii())


def test_both_sides_of_the_letters_of_a_script_mismatch() -> None:
    columns = pl.Series([EN]), pl.Series([""]), pl.Series(["字" * 7])
    assert script_mismatch(*columns)["reason"][0] == "script_mismatch"
    assert script_mismatch(*columns, letters=22)["reason"][0] is None


def test_the_model_knows_every_language_that_is_told() -> None:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    assert set(LANGUAGES) <= set(LanguageIdentifier.from_model_file(MODEL_FILE).nb_classes)


def test_the_package_is_loaded_only_where_a_text_is_told() -> None:
    code = (
        "import sys, filters.language, filters.script_mismatch; print('py3langid' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
