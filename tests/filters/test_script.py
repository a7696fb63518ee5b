from filters.script import is_han_kana_hangul


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
