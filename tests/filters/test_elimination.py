"""The rules that eliminate evolved tasks, each on both sides of its bounds."""

import unicodedata
from collections.abc import Sequence

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import rouge
from filters.copied_parent import copied_parent
from filters.information_gain import information_gain, says_different
from filters.prompt_leak import prompt_leak
from filters.refusal import refusal
from filters.stop_words import only_stop_words
from filters.too_long import too_long

WORDS = st.lists(st.sampled_from(["a", "b", "c", "d"]), max_size=12)


def _reasons(frame: pl.DataFrame) -> list[str | None]:
    assert {"reason": pl.String, "detail": pl.String}.items() <= frame.schema.items()
    return frame["reason"].to_list()


def _slow_lcs(first: Sequence[str], second: Sequence[str]) -> int:
    if not first or not second:
        return 0
    if first[-1] == second[-1]:
        return _slow_lcs(first[:-1], second[:-1]) + 1
    return max(_slow_lcs(first[:-1], second), _slow_lcs(first, second[:-1]))


@given(st.lists(st.sampled_from("abc"), max_size=7), st.lists(st.sampled_from("abc"), max_size=7))
def test_the_tokens_in_common_are_those_of_the_slow_recursion(
    first: list[str], second: list[str]
) -> None:
    assert rouge.common_tokens(first, second) == _slow_lcs(first, second)


@given(WORDS, WORDS, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_a_copy_is_what_reaches_the_threshold_with_its_parent(
    text: list[str], parent: list[str], threshold: float
) -> None:
    frame = copied_parent(
        pl.Series([" ".join(text)]), pl.Series([" ".join(parent)]), threshold=threshold
    )
    lcs = rouge.common_tokens(text, parent)
    is_copy = text == parent or (
        bool(lcs) and 2 * lcs * 1000 >= round(threshold * 1000) * (len(text) + len(parent))
    )
    assert _reasons(frame) == ["copied_parent" if is_copy else None]
    score = 1.0 if text == parent else 2 * lcs / max(len(text) + len(parent), 1)
    assert frame["similarity"][0] == (pytest.approx(score) if is_copy else None)


def test_copies_are_found_among_han_signs_and_differences_too() -> None:
    frame = copied_parent(
        pl.Series(["请列出三种水果。", "请列出三种水果, 并说明每种水果的产地和季节。"]),
        pl.Series(["请列出三种水果", "请列出三种水果。"]),
    )
    assert _reasons(frame) == ["copied_parent", None]


@pytest.mark.parametrize(("n", "reason"), [(78, "refusal"), (79, None)])
def test_an_apology_is_a_refusal_below_eighty_words(n: int, reason: str | None) -> None:
    frame = refusal(pl.Series([" ".join(["Sorry,", *["word"] * n])]))
    assert _reasons(frame) == [reason]


@given(st.integers(0, 30), st.integers(0, 30), st.sampled_from(["sorry", "SORRY", "glad"]))
def test_a_refusal_has_an_apology_and_few_words(n: int, words: int, said: str) -> None:
    frame = refusal(pl.Series([" ".join([*["word"] * n, said])]), words=words)
    is_one = said != "glad" and n + 1 < words
    assert _reasons(frame) == ["refusal" if is_one else None]


def test_apologies_of_other_scripts_are_measured_in_signs() -> None:
    short, long = "很抱歉,我无法回答。", "很抱歉。" + "水果对身体很好。" * 30
    assert _reasons(refusal(pl.Series([short, long, "水果对身体很好。"]))) == [
        "refusal",
        None,
        None,
    ]


def test_an_answer_of_stop_words_and_marks_says_nothing() -> None:
    answers = ["It is what it is.", "?! --", "", None, "It is Paris.", "42", "的了。", "好的,苹果"]
    wanted = [*["only_stop_words"] * 4, None, None, "only_stop_words", None]
    assert _reasons(only_stop_words(pl.Series(answers, dtype=pl.String))) == wanted


@pytest.mark.parametrize(
    "answer",
    ["…", "。。。", "—", "“ ”", "· · ·", "！", "¿?", "«It is.»", "It’s…", "👍🏽", "❤️", "→ →"],
)
def test_marks_of_any_script_say_nothing(answer: str) -> None:
    assert _reasons(only_stop_words(pl.Series([answer]))) == ["only_stop_words"]


@pytest.mark.parametrize("answer", ["«Paris»", "…42…", "è", "1️⃣", "И это?", "½", "it—Paris—is"])
def test_marks_around_a_word_leave_the_word(answer: str) -> None:
    assert _reasons(only_stop_words(pl.Series([answer]))) == [None]


@given(st.text(max_size=8))
def test_only_letters_numbers_and_accents_that_are_no_stop_words_say_something(text: str) -> None:
    says = any(
        unicodedata.category(sign)[0] in "LNM" for sign in text if sign not in "\ufe0e\ufe0f"
    )
    found = _reasons(only_stop_words(pl.Series([text])))
    assert says or found == ["only_stop_words"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("#Rewritten Prompt#: List fruit.", "prompt_leak"),
        ("List fruit as the GIVEN prompt says.", "prompt_leak"),
        ("this created\nprompt lists fruit", "prompt_leak"),
        ("改写后的提示: 列出水果", "prompt_leak"),
        ("Write a prompt for a given topic.", None),
        ("a rewritten-prompt version", None),
        ("写一个提示", None),
    ],
)
def test_phrases_of_the_prompt_leak_in_any_case(text: str, reason: str | None) -> None:
    assert _reasons(prompt_leak(pl.Series([text, None]))) == [reason, None]


@given(st.integers(0, 20), st.integers(1, 20))
def test_a_text_is_too_long_from_one_word_more(n: int, most: int) -> None:
    frame = too_long(pl.Series([" ".join(["word"] * n)]), words=most)
    assert _reasons(frame) == ["too_long" if n > most else None]


def test_han_is_measured_in_signs() -> None:
    frame = too_long(pl.Series(["水果 水果", "水果 水果 水"]), words=1, characters=4)
    assert _reasons(frame) == [None, "too_long"]


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("Not Equal", True),
        ("They are not-equal, I think.", True),
        ("Equal.", False),
        ("EQUAL: both ask the same", False),
        ("unequal", True),
        ("I cannot decide.", None),
        ("", None),
        ("不相同", True),
        ("相同", False),
        ("Not **Equal**", True),
        ('Not "Equal"', True),
        ("Not 'Equal'", True),
        ("**Not** _Equal_", True),
        ("Not_Equal", True),
        ("NotEqual", True),
        ("not really equal", True),
        ("They are not at all equal.", True),
        ("They aren't equal", True),
        ("They aren\u2019t quite equal", True),
        ("The two cannot be considered equal.", True),
        ("Equal. Not equal would be wrong", False),
        ("**Equal**: not equal would need another constraint", False),
        ("They are equal, as not equal would need more", False),
        ("Not Equal. Equal would need the same depth", True),
        ("Equal in depth, not in breadth. Not Equal.", True),
        ("The depth is equal. So my verdict: Not Equal", True),
        ("One is not equal in depth. Therefore, the prompts are equal.", False),
        ("The depth is equal, the breadth is not equal to it", None),
        ("Not longer. Equal", False),
        ("It is not harder and equal", False),
        ("Equal depth, or not equal depth: who can say", None),
        ("Different", True),
        ("They differ in depth.", True),
        ("not the same", True),
        ("They are not identical", True),
        ("The same.", False),
        ("identical", False),
        ("They are not different", False),
        ("They don't differ", False),
        ("no different", False),
        ("The same constraints, but not equal", True),
        ("Other and different words, but equal", False),
        ("不完全相同", True),
        ("不一样。", True),
        ("一样", False),
        ("equality", False),
    ],
)
def test_what_a_reply_says_of_two_prompts(reply: str, said: bool | None) -> None:
    assert says_different(reply) is said


def test_both_orders_must_say_that_the_prompts_differ() -> None:
    first = pl.Series(["Not Equal", "Not Equal", "Equal", "Hm", None], dtype=pl.String)
    second = pl.Series(["Not Equal", "Equal", "Not Equal", "Not Equal", None], dtype=pl.String)
    frame = information_gain(first, second)
    assert _reasons(frame) == [None, *["no_information_gain"] * 4]
    assert frame["detail"][1] == "not equal; the other way round equal"
