import string

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.opening import opening
from filters.script import is_han_kana_hangul

PIECES = [
    "write",
    "WRITE",
    "wrıte",
    " ",
    "  ",
    "\n",
    "\x1f",
    "a",
    "A",
    "program",
    "Programme",
    "\u3000",
]
PIECES += ["ß", "ﬁ", "ı", "ſ", "ŉ", "ǆ", "é", "“", '"', "*", "你好", "\u200b", "\ufeff", "1"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=7).map("".join)


def slow(text: str | None) -> str | None:
    as_published = " ".join((text or "").split()).capitalize()
    if not as_published:
        return None
    if as_published.startswith("Write a program"):
        return "write_a_program"
    if as_published[0] in string.punctuation:
        return "punctuation_start"
    if not as_published[0].isascii() and not is_han_kana_hangul((text or "").lstrip()):
        return "non_ascii_start"
    return None


@given(st.lists(st.none() | TEXTS | st.text()))
def test_every_row_gets_the_verdict_of_the_slow_version(texts: list[str | None]) -> None:
    found = opening(pl.Series(texts, dtype=pl.String))
    assert found["reason"].to_list() == [slow(text) for text in texts]
    assert found["detail"].is_null().to_list() == found["reason"].is_null().to_list()


@pytest.mark.parametrize("sign", string.punctuation)
def test_every_ascii_punctuation_mark_is_met(sign: str) -> None:
    found = opening(pl.Series([f" {sign}so it begins"]))
    assert found.row(0) == ("punctuation_start", sign)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("write  a PROGRAMME for the concert", "write_a_program"),
        ("Please write a program for it", None),
        ("Write an program for it", None),
        ("“Quoted” words begin this one", "non_ascii_start"),
        ("Écris un poème sur la mer", "non_ascii_start"),
        ("ﬁnd a word for this feeling", None),
        ("ŉ is a letter of its own", "non_ascii_start"),
        ("请写一首关于秋天的诗。", None),
        ("“秋天”这个词怎么用？", None),
        ("", None),
        (None, None),
    ],
)
def test_beginnings(text: str | None, reason: str | None) -> None:
    assert opening(pl.Series([text], dtype=pl.String))["reason"].to_list() == [reason]


def test_the_detail_names_a_letter_that_cannot_be_seen() -> None:
    found = opening(pl.Series(["\u200bName a river.", "Éa Éb"]))
    assert found["detail"].to_list() == ["U+200B", "U+00C9 É"]
