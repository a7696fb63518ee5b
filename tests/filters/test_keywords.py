import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.keywords import ALPACA, CHINESE, PUBLISHED, UNUSUAL, keywords
from filters.script import is_han_kana_hangul

PIECES = [
    *ALPACA,
    *CHINESE[:3],
    "go",
    "to",
    "GO",
    "Map",
    "ımage",
    "fİle",
    "ﬁle",
    "mapſ",
    "paragraph",
]
PIECES += [*" -'_.2²\n\t\x1c\xa0\u3000\u200b\u0301给ı\u212a", "  ", "请写出"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=8).map("".join)


def slow(text: str | None, words: tuple[str, ...], cjk_words: tuple[str, ...]) -> str | None:
    as_published = " ".join((text or "").split()).capitalize()
    for word in words:
        if re.search(rf"\b({word})\b", as_published, re.IGNORECASE):
            return word
    if text and is_han_kana_hangul(text):
        return next((word for word in cjk_words if word in text), None)
    return None


@given(
    st.lists(st.none() | TEXTS | st.text()),
    st.sampled_from([PUBLISHED, ALPACA, ("go", "go to", "map"), ()]),
    st.sampled_from([CHINESE, ()]),
)
def test_every_row_gets_the_verdict_of_the_slow_version(
    texts: list[str | None], words: tuple[str, ...], cjk_words: tuple[str, ...]
) -> None:
    found = keywords(pl.Series(texts, dtype=pl.String), words=words, cjk_words=cjk_words)
    expected = [slow(text, words, cjk_words) for text in texts]
    assert found["detail"].to_list() == expected
    assert found["reason"].to_list() == [word and "keyword" for word in expected]


@pytest.mark.parametrize("word", PUBLISHED)
def test_each_published_word_is_met_in_any_case_and_between_any_spaces(word: str) -> None:
    text = f"Please {word.upper().replace(' ', chr(10))}, now."
    assert keywords(pl.Series([text]))["detail"].to_list() == [word]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("Compare map-reduce with its rivals.", "map"),
        ("Say whose map's legend is wrong.", "map"),
        ("Call map_reduce twice in a row.", None),
        ("Rename file2 to something else.", None),
        ("把这个file给我看一下", None),
        ("Describe the ımage in one sentence.", "image"),
        ("Describe the İmage in one sentence.", None),
        ("ﬁle this under something suitable.", "file"),
        ("Explain how graphic drawings are plots.", None),
        ("Plot the maps in a file.", "file"),
        ("Put a mark on every map²", None),
        ("Put an accent on file\u0301 please.", "file"),
    ],
)
def test_traps_of_the_published_rule(text: str, word: str | None) -> None:
    assert keywords(pl.Series([text]))["detail"].to_list() == [word]


def test_chinese_words_are_looked_for_in_chinese_rows_only() -> None:
    texts = pl.Series(["把这个文件翻译成英文。", "What does 文件 mean in a legal text?"])
    assert keywords(texts)["detail"].to_list() == ["文件", None]
    assert keywords(texts, cjk_words=())["reason"].to_list() == [None, None]


def test_a_word_of_ones_own_may_end_in_a_sign_and_come_in_capitals() -> None:
    found = keywords(pl.Series(["Write it in c++, please.", "c++11"]), words=["C++"])
    assert found["detail"].to_list() == ["c++", None]


def test_the_unusual_letters_are_those_that_become_ascii() -> None:
    becoming = {c for c in map(chr, range(128, 0x110000)) if c.capitalize()[0].isascii()}
    becoming |= {c for c in "ıſİ" if re.match("[a-z]", c, re.IGNORECASE)}
    assert all(UNUSUAL.match(letter) for letter in becoming)
