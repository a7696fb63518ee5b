import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.script import is_han_kana_hangul
from filters.word_count import word_count

TEXTS = st.text(st.sampled_from(list("ab 你好のー한글。\n\t\x1c\x85\u3000\u200b1-é")), max_size=30)


def slow(text: str | None, low: int, high: int, few: int, many: int) -> str | None:
    if text and is_han_kana_hangul(text):
        n, unit, low, high = sum(not sign.isspace() for sign in text), "characters", few, many
    else:
        n, unit = len((text or "").split()), "words"
    if n < low:
        return f"too_few_{unit}"
    return f"too_many_{unit}" if n > high else None


BOUND = st.integers(0, 12)


@given(st.lists(st.none() | TEXTS), BOUND, BOUND, BOUND, BOUND)
def test_every_row_gets_the_verdict_of_the_slow_version(
    texts: list[str | None], low: int, high: int, few: int, many: int
) -> None:
    column = pl.Series("instruction", texts, dtype=pl.String)
    found = word_count(
        column, at_least=low, at_most=high, at_least_characters=few, at_most_characters=many
    )
    assert found["reason"].to_list() == [slow(text, low, high, few, many) for text in texts]
    assert found.schema == {"reason": pl.String, "detail": pl.String}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("w " * 3, "too_few_words"),
        ("w " * 4, None),
        ("w " * 150, None),
        ("w " * 151, "too_many_words"),
        ("你 好 吗 啊", "too_few_characters"),
        ("你好 吗啊 呢", None),
        ("好" * 300, None),
        ("好" * 301, "too_many_characters"),
    ],
)
def test_both_sides_of_each_bound(text: str, reason: str | None) -> None:
    assert word_count(pl.Series([text]))["reason"].to_list() == [reason]


def test_the_detail_says_what_was_measured() -> None:
    found = word_count(pl.Series(["Name three red fruits.", "写一首 诗。", None]))
    assert found["detail"].to_list() == ["4 words", "5 characters", "0 words"]
