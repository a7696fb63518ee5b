"""The language of rows; the labelled cases are in `test_labelled_cases.py`."""

import math
import subprocess
import sys
import unicodedata
from functools import lru_cache
from itertools import groupby
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from filters.language import LANGUAGES, LETTERS, by_signs, language, told
from filters.script_mismatch import script_mismatch

EN, ZH = "The river runs through the old town.", "这条河流过一座古老的城市。"
DE = "Der Fluss fließt durch die alte Stadt und ist sehr schön."

NOISE, NAMES, CODE = ("42", "`x = y`"), "Translate it.", "Write a program."
PIECES = (
    *(
        "The river runs through the old town and the mill.",
        "My brother likes apples, pears",
        "Anna",
    ),
    *(DE, "La rivière traverse la vieille ville.", "so wie es war", "é", NAMES, CODE, *NOISE),
    *(
        ZH,
        "河",
        "川はとても長いです。",
        "강은 아주 깁니다.",
        '"river"',
        "：river",
        "河 the old river is 水",
    ),
)
TEXTS = st.lists(st.sampled_from(PIECES), max_size=3)
Scripts = dict[str, int]


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


def words_in(pieces: list[str]) -> str:
    return " ".join(" " if piece in NOISE else piece for piece in pieces)


def slow_scripts(text: str) -> Scripts:
    """How many signs of Han, kana and hangul there are, and how many other letters."""
    found = {"zh": 0, "ja": 0, "ko": 0, "": 0}
    kinds = {"CJK": "zh", "HIRAGANA": "ja", "KATAKANA": "ja", "HANGUL": "ko"}
    for sign in text:
        if sign.isalpha():
            found[kinds.get(unicodedata.name(sign).split()[0], "")] += 1
    return found


def slow_script(text: str, letters: int) -> tuple[str, float] | None:
    found = slow_scripts(text)
    signs, other = found["zh"] + found["ja"] + found["ko"], found[""]
    if 3 * signs >= max(letters, other) and (signs or not text.isascii()):
        name = "ja" if found["ja"] >= signs / 10 else "ko" if found["ko"] >= signs / 2 else "zh"
        return (name, 3 * signs / (3 * signs + other)) if signs else None
    return ("", 0.0) if other >= letters else None


@lru_cache
def model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    identifier.set_languages(LANGUAGES)
    return identifier


def slow_told(text: str, letters: int) -> tuple[str, float] | None:
    """The language of a text without numbers and code; in letters it is what the package says."""
    found = slow_script(text, letters)
    if found is None or found[0]:
        return found
    if text.isascii() and sum(word in ("the", "and") for word in text.lower().split()) >= 3:
        return "en", 1.0
    name, confidence = model().classify(text)
    return str(name), float(confidence)


def slow_holds(language: str, text: str, letters: int) -> bool:
    scripts = slow_scripts(text)
    if language in ("zh", "ja", "ko"):
        return scripts[language] >= 2
    latin = [len(list(run)) for is_in, run in groupby(text, latin_letter) if is_in]
    if language == "en" and scripts["zh"] + scripts["ja"] + scripts["ko"] >= 2:
        return quotes_letters(text) or sum(n >= 2 for n in latin) >= 5
    for mark in '\n："。.!?':
        text = text.replace(mark, ":")
    told_parts = [slow_told(without_noise(part), letters // 2) for part in text.split(":")]
    return language in [found[0] for found in told_parts if found]


def latin_letter(sign: str) -> bool:
    return sign.isascii() and sign.isalpha()


def quotes_letters(text: str) -> bool:
    places = [at for at in range(len(text)) if text[at] in '"：' and at + 2 < len(text)]
    return any(latin_letter(text[at + 1]) and latin_letter(text[at + 2]) for at in places)


def without_noise(text: str) -> str:
    for noise in NOISE:
        text = text.replace(noise, " ")
    return text


def without_names(text: str) -> str:
    """Words that begin with another letter than a to z and go on in small ones are taken out."""
    words = []
    for is_word, run in groupby(text, lambda sign: sign.isalnum() or sign == "_"):
        word = "".join(run)
        is_name = is_word and len(word) > 1 and word[0].isalpha() and not "a" <= word[0] <= "z"
        is_name = is_name and all("a" <= sign <= "z" or sign in "ßàèéüö" for sign in word[1:])
        words.append(" " if is_name else word)
    return "".join(words)


def slow_language(
    task: list[str],
    given_: list[str],
    answer: list[str],
    wanted: list[str],
    same: bool,
    sure: float,
    letters: int,
) -> str | None:
    asked, said = slow_told(words_in(task), letters // 2), slow_told(words_in(answer), letters)
    whole = " ".join(task)
    is_sure = asked is not None and asked[1] >= sure
    if asked is not None and is_sure and asked[0] not in wanted:
        others = [one for one in wanted if (one, asked[0]) != ("zh", "ja")]
        is_excused = NAMES in task or any(slow_holds(one, whole, letters) for one in others)
        return None if is_excused else "unwanted_language"
    if said is None or said[1] < sure or (asked is not None and asked[0] == said[0]):
        return None
    if said[0] in wanted and not same:
        return None
    if NAMES in task or slow_holds(said[0], f"{whole}\n{' '.join(given_)}", letters):
        return None
    if said[0] not in wanted:
        plain = slow_told(without_names(words_in(answer)), letters)
        is_so = plain is not None and plain[0] == said[0] and plain[1] >= sure
        return "unwanted_language" if is_so else None
    in_signs = [one is not None and one[0] in ("zh", "ja", "ko") for one in (asked, said)]
    if asked is None or (not is_sure and in_signs != [False, True]):
        return None
    return None if not in_signs[1] and CODE in task else "language_mismatch"


@settings(deadline=None, max_examples=400)
@given(
    TEXTS,
    TEXTS,
    TEXTS,
    st.lists(st.sampled_from(["en", "zh", "de", "ja"]), min_size=1, unique=True),
    st.booleans(),
    st.sampled_from([0.3, 0.9, 0.999]),
    st.integers(1, 60),
)
def test_rows_are_judged_as_the_slow_version_judges_them(
    task: list[str],
    given_: list[str],
    answer: list[str],
    wanted: list[str],
    same: bool,
    sure: float,
    letters: int,
) -> None:
    texts = (" ".join(pieces) for pieces in (task, answer, given_))
    found = reason(*texts, wanted=wanted, same=same, sure=sure, letters=letters)
    assert found == slow_language(task, given_, answer, wanted, same, sure, letters)


def slow_mismatch(task: list[str], given_: list[str], answer: list[str], letters: int) -> bool:
    asked = slow_script(words_in(task), letters // 2)
    said = slow_script(words_in(answer), letters)
    if asked is None or said is None or bool(asked[0]) is bool(said[0]) or NAMES in task:
        return False
    both = f"{' '.join(task)}\n{' '.join(given_)}"
    signs = [sign for sign in both if slow_scripts(sign)[""] == 0 and sign.isalpha()]
    if said[0]:
        return len(signs) < 2
    words = words_in(answer)
    scripts = slow_scripts(words)
    if 20 * (scripts["zh"] + scripts["ja"] + scripts["ko"]) > len(words) or not has_four(words):
        return False
    left = "".join(" " if sign in signs else sign for sign in without_noise(both))
    left_script = slow_script(left, letters)
    in_letters_too = left_script is not None and not left_script[0]
    return not (in_letters_too or quotes_letters(both) or CODE in task)


def has_four(words: str) -> bool:
    """Whether four words without a capital stand in a row, each with a space behind it.

    The first may have a mark before it, as has the first word of a quotation.
    """
    tokens = [token.removesuffix(",") for token in words.split(" ")[:-1]]
    return any(
        all(is_small(word) for word in (tokens[at].lstrip('："'), *tokens[at + 1 : at + 4]))
        for at in range(len(tokens) - 3)
    )


def is_small(word: str) -> bool:
    return bool(word) and all("a" <= sign <= "z" or sign in "ßèéü" for sign in word)


@settings(deadline=None, max_examples=400)
@given(TEXTS, TEXTS, TEXTS, st.integers(1, 60))
@example([ZH], [], ["：river", "so wie es war"], 1)
def test_scripts_are_compared_as_the_slow_version_compares_them(
    task: list[str], given_: list[str], answer: list[str], letters: int
) -> None:
    columns = (pl.Series([" ".join(pieces)]) for pieces in (task, given_, answer))
    found = script_mismatch(*columns, letters=letters)["reason"][0]
    assert found == ("script_mismatch" if slow_mismatch(task, given_, answer, letters) else None)


@pytest.mark.parametrize(
    ("asked", "said", "wanted"),
    [
        ("Say what the sign 河 stands for.", ZH, "script_mismatch"),
        ("Say what the signs 河水 stand for.", ZH, None),
        ("说说这条河流", "河水 was so great and so wide that we left", "script_mismatch"),
        ("说说这条河流", "河水 was so great and so wide that we let", None),
    ],
)
def test_both_sides_of_how_many_signs_are_names(asked: str, said: str, wanted: str | None) -> None:
    columns = pl.Series([asked]), pl.Series([""]), pl.Series([said])
    assert script_mismatch(*columns)["reason"][0] == wanted


def test_both_sides_of_how_sure_a_language_is() -> None:
    found = told(DE)
    assert found is not None
    assert reason(DE, DE, sure=found[1]) == "unwanted_language"
    assert reason(DE, DE, sure=math.nextafter(found[1], 2)) is None


@pytest.mark.parametrize(
    ("asked", "said", "letters", "language_says", "script_says"),
    [
        ("Name it now, go", "字" * 7, 21, "language_mismatch", "script_mismatch"),
        ("Name it now, go", "字" * 7, 22, None, None),
        ("Name it now, go", "字" * 9, 23, "language_mismatch", "script_mismatch"),
        ("Name it now, go", "字" * 9, 24, None, None),
        ("字" * 4, "the river is wide and deep", 21, "language_mismatch", "script_mismatch"),
        ("字" * 4, "the river is wide and deep", 22, None, None),
        ("字" * 3, "the river is wide and deep", 19, "language_mismatch", "script_mismatch"),
        ("字" * 3, "the river is wide and deep", 20, None, None),
    ],
)
def test_both_sides_of_the_letters_of_instruction_and_answer(
    asked: str, said: str, letters: int, language_says: str | None, script_says: str | None
) -> None:
    columns = pl.Series([asked]), pl.Series([""]), pl.Series([said])
    assert language(*columns, letters=letters)["reason"][0] == language_says
    assert script_mismatch(*columns, letters=letters)["reason"][0] == script_says


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
