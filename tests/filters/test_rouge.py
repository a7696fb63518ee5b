from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer
from rouge_score.tokenize import tokenize

from filters.rouge import Rule, f_measure, is_duplicate, limit, tokens

MIXED = st.text(
    st.sampled_from("aBz9 _'-é\u0301ßKſİ²½①你好のカーー한ㅎяΩşहिअ١🙂❤\ufe0f\u200b\ud800\0\n")
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("?! …", []),
        ("Don't sort 1,000 C++ files", ["don", "t", "sort", "1", "000", "c", "files"]),
        ("snake_case", ["snake", "case"]),
        ("\u212a\u0130", ["ki"]),  # lower() makes ASCII of the Kelvin sign and of dotted I
        ("Écris un poème", ["cris", "un", "po", "me"]),
        ("e\u0301t", ["e", "t"]),  # the same word, decomposed
        ("5 m² ①", ["5", "m"]),
    ],
)
def test_text_in_latin_script_has_the_published_tokens_under_both_kinds(
    text: str, expected: list[str]
) -> None:
    assert tokens(text) == tokens(text, kind="published") == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("把这句话翻译成英文。", list("把这句话翻译成英文")),
        ("用Python写GPT-4的代码", ["用", "python", "写", "gpt", "4", "的", "代", "码"]),
        ("カタカナー・ひらがな々", list("カタカナーひらがな々")),
        ("안녕 세계", list("안녕세계")),
        ("Привет, мир!", ["привет", "мир"]),
        ("ＡＢＣの歌", ["ａｂｃ", "の", "歌"]),  # Latin, but full-width: of East Asian text
        ("हिन्दी में", ["हिन्दी", "में"]),  # vowel signs are marks, and belong to the word
        ("٣ كتب", ["٣", "كتب"]),
        ("яabc1", ["я", "abc1"]),  # ASCII runs are the published tokens wherever they stand
        ("🙂 ❤\ufe0f 👩\u200d💻", []),
    ],
)
def test_other_scripts_have_tokens_of_their_own(text: str, expected: list[str]) -> None:
    assert tokens(text) == expected


@given(MIXED)
def test_published_tokens_are_those_of_rouge_score(text: str) -> None:
    assert tokens(text, kind="published") == tokenize(text, None)


@given(MIXED | st.text())
def test_unicode_tokens_only_add_to_the_published_ones(text: str) -> None:
    ascii_tokens = [token for token in tokens(text) if token.isascii()]
    assert ascii_tokens == tokens(text, kind="published")


@given(st.lists(st.sampled_from("ab"), max_size=30), st.lists(st.sampled_from("abc"), max_size=30))
def test_the_score_is_that_of_rouge_score_bit_for_bit(a: list[str], b: list[str]) -> None:
    published = RougeScorer(["rougeL"]).score(" ".join(a), " ".join(b))["rougeL"].fmeasure
    longest = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            skipped = max(longest[i][j + 1], longest[i + 1][j])
            longest[i + 1][j + 1] = longest[i][j] + 1 if x == y else skipped
    assert f_measure(longest[-1][-1], len(a), len(b)) == published


def test_texts_without_tokens_score_nothing_and_are_no_duplicates() -> None:
    assert f_measure(0, 0, 0) == f_measure(0, 0, 5) == 0.0
    assert not is_duplicate(0, 0, 0, threshold=0.000001)


# Pairs whose true score is exactly 0.7, and what the published float formula makes of them.
@pytest.mark.parametrize(
    ("lcs", "m", "n", "score", "published"),
    [
        (7, 10, 10, 0.7, False),
        (7, 9, 11, 0.7000000000000001, True),
        (7, 8, 12, 0.7000000000000001, True),
        (14, 18, 22, 0.7000000000000001, True),
        (14, 20, 20, 0.7, False),
        (14, 16, 24, 0.7000000000000001, True),
    ],
)
def test_at_exactly_the_threshold_strict_rejects_and_published_follows_the_rounding(
    lcs: int, m: int, n: int, score: float, published: bool
) -> None:
    assert f_measure(lcs, m, n) == f_measure(lcs, n, m) == score
    assert is_duplicate(lcs, m, n)
    assert is_duplicate(lcs, m, n, rule="published") is published


@pytest.mark.parametrize("rule", ["strict", "published"])
def test_both_rules_keep_below_and_reject_above_the_threshold(rule: Rule) -> None:
    assert not is_duplicate(69, 100, 100, rule=rule)
    assert is_duplicate(71, 100, 100, rule=rule)


@given(
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(1, 300),
    st.sampled_from([0.1, 0.3, 0.55, 0.7, 0.9, 1.0, 0.123456]),
)
def test_the_rules_are_the_fraction_and_the_float(
    lcs: int, more: int, longer: int, threshold: float
) -> None:
    m, n = lcs + more - 1, lcs + longer - 1
    exact = Fraction(2 * lcs, m + n)
    assert is_duplicate(lcs, m, n, threshold=threshold) is (exact >= Fraction(str(threshold)))
    published = is_duplicate(lcs, m, n, threshold=threshold, rule="published")
    assert published is (f_measure(lcs, m, n) > threshold)


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01, float("nan"), 2 / 3])
def test_a_threshold_that_cannot_be_compared_exactly_is_refused(threshold: float) -> None:
    with pytest.raises(ValueError, match="threshold"):
        limit(threshold, "strict")


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="rule 'loose' is unknown"):
        is_duplicate(1, 1, 1, rule="loose")  # type: ignore[arg-type]
