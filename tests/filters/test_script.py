import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from filters.script import are_han_kana_hangul, is_han_kana_hangul

TEXTS = st.text(st.characters(exclude_categories=["Cs"]) | st.sampled_from(list("ab 你のー한。")))


@given(st.lists(st.none() | TEXTS))
def test_a_column_is_judged_as_its_texts_are(texts: list[str | None]) -> None:
    column = pl.Series("instruction", texts, dtype=pl.String)
    expected = [text is not None and is_han_kana_hangul(text) for text in texts]
    assert are_han_kana_hangul(column).to_list() == expected


def test_one_sign_in_six_characters_is_enough_and_one_in_seven_is_not() -> None:
    assert is_han_kana_hangul("好abcde")
    assert not is_han_kana_hangul("好abcdef")


def test_kana_hangul_and_chinese_with_code_in_it_count() -> None:
    for text in [
        "コーヒーのいれ方を説明して",
        "한국어로 시를 써 주세요",
        "用 JavaScript 写一个排序函数",
    ]:
        assert is_han_kana_hangul(text), text
    for text in ["", "Écris un poème.", "Что такое любовь?", "Rate: ★★★☆☆", "What does 你好 mean?"]:
        assert not is_han_kana_hangul(text), text
