"""Repeated lines, sentences and runs; shares of punctuation; lengths of sentences."""

import re
from collections import Counter
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import repetition as module
from filters.punctuation import punctuation
from filters.repetition import repetition
from filters.sentence_length import sentence_length
from filters.sentences import sentences

WORDS = st.lists(st.sampled_from(["one", "two", "three", "好", "a."]), max_size=40)


def reason(output: str | None, instruction: str | None = None, **settings: float) -> str | None:
    columns = (pl.Series([text], dtype=pl.String) for text in (instruction, output))
    return repetition(*columns, **settings)["reason"][0]  # type: ignore[arg-type,no-any-return]


def slow_shares(text: str, n: int) -> tuple[int, int, int]:
    """Characters of the most frequent run of n tokens, of all that come twice, and of all."""
    tokens = re.findall(module.TOKEN, text.lower())
    runs = [tuple(tokens[at : at + n]) for at in range(len(tokens) - n + 1)]
    times = Counter(runs)
    most = max(times.values(), default=0)
    top = [run for run, count in times.items() if count == most and count > 1]
    covered: set[int] = set()
    for at, run in enumerate(runs):
        if times[run] > 1:
            covered |= set(range(at, at + n))
    return (
        max((most * sum(map(len, run)) for run in top), default=0),
        sum(len(tokens[at]) for at in covered),
        sum(map(len, tokens)),
    )


@given(st.lists(WORDS, min_size=1, max_size=4), st.sampled_from([0.5, 1.0, 3.0]))
def test_runs_make_up_what_the_slow_version_counts(rows: list[list[str]], scale: float) -> None:
    texts = [" ".join(words) for words in rows]
    part = pl.DataFrame({"text": texts}).with_row_index("at")
    found = dict(module._by_ngrams(part, scale, at_least=6))
    for at, text in enumerate(texts):
        wanted = None
        for n, published in (module.TOP | module.DUPLICATE).items():
            top, covered, whole = slow_shares(text, n)
            counted = top if n in module.TOP else covered
            if counted > scale * published * whole:
                wanted = f"{counted} of {whole} characters", f"of {n} tokens"
                break
        if len(re.findall(module.TOKEN, text)) < 6:
            wanted = None
        if wanted is None:
            assert at not in found
        else:
            detail = found[at][1]
            assert detail is not None
            assert detail.startswith(wanted[0])
            assert wanted[1] in detail


LINES = st.lists(st.sampled_from(["one two three", "a b c d.", "x", "- a b c", "四个字吗", ""]))


@given(LINES, st.sampled_from([0.2, 0.3, 0.5]))
def test_lines_repeat_as_often_as_the_slow_version_finds(lines: list[str], share: float) -> None:
    counted = [one for one in lines if one in ("one two three", "a b c d.", "四个字吗")]
    again = [one for at, one in enumerate(counted) if one in counted[:at]]
    over = len(counted) >= 4 and (
        Fraction(len(again)) > Fraction(str(share)) * len(counted)
        or sum(map(len, again)) > share * sum(map(len, counted))
    )
    found = reason("\n".join(lines), lines=share, line_characters=share, scale=100)
    assert (found == "repeated_lines") is over


SENTENCES = st.lists(st.sampled_from(["It is so now.", "We go on.", "Yes.", "现在是这样。"]))


@given(SENTENCES, st.sampled_from([0.2, 0.25, 0.29, 0.3, 0.5]))
def test_sentences_repeat_as_often_as_the_slow_version_finds(said: list[str], share: float) -> None:
    counted = [one for one in said if one != "Yes."]
    again = [one for at, one in enumerate(counted) if one in counted[:at]]
    over = len(counted) >= 4 and Fraction(len(again), len(counted)) > Fraction(str(share))
    found = reason(" ".join(said), sentences=share, scale=100)
    assert found == ("repeated_sentences" if over else None)


@pytest.mark.parametrize(("times", "wanted"), [(4, None), (5, "repeated_lines")])
def test_both_sides_of_the_share_of_lines(times: int, wanted: str | None) -> None:
    others = [f"Line {chr(97 + at)} it is" for at in range(10 - times)]
    text = "\n".join([*others, *["One more line"] * times])
    assert reason(text, line_characters=1, scale=100) == wanted


@pytest.mark.parametrize(("share", "wanted"), [(0.2, None), (0.19, "repeated_lines")])
def test_both_sides_of_the_share_of_characters_in_lines(share: float, wanted: str | None) -> None:
    others = [f"{chr(97 + at)} bc defgh" for at in range(7)]
    text = "\n".join([*others, *["k bc defgh"] * 3])
    assert reason(text, lines=1, line_characters=share, scale=100) == wanted


@pytest.mark.parametrize(("share", "repeats", "wanted"), [(0.29, 29, None), (0.29, 30, "repeated")])
def test_a_share_is_of_the_number_as_it_is_written(
    share: float, repeats: int, wanted: str | None
) -> None:
    """0.29 of 100 is less than 29 among binary numbers."""
    words = [f"{chr(0x4E00 + at)}是这样。" for at in range(100 - repeats)]
    found = reason("".join([*words, *words[:repeats]]), sentences=share, scale=100)
    assert found == (wanted and f"{wanted}_sentences")


@pytest.mark.parametrize(("times", "wanted"), [(10, None), (11, "top_ngram")])
def test_both_sides_of_the_scale(times: int, wanted: str | None) -> None:
    """A run of two of 100 signs, a fifth of which may be one run."""
    signs = [chr(0x5000 + at) for at in range(100 - 2 * times)]
    pairs = "".join(f"甲乙{sign}" for sign in signs[:times])
    text = pairs + "".join(signs[times:])
    assert reason(text, scale=1) == wanted
    assert reason(text, scale=1.1) is None


@pytest.mark.parametrize(("tokens", "wanted"), [(99, None), (100, "top_ngram")])
def test_both_sides_of_how_many_tokens_there_must_be(tokens: int, wanted: str | None) -> None:
    text = " ".join(["yes", "no"] * 50)
    assert reason(" ".join(text.split()[:tokens]), scale=1, lines=1) == wanted


def test_both_sides_of_the_share_of_sentences() -> None:
    text = "It is so now. " * 2 + "We go on. " + "They come back. "
    assert reason(text, sentences=0.25) is None
    assert reason(text, sentences=0.24) == "repeated_sentences"


def test_code_and_verse_are_judged_by_no_share() -> None:
    assert reason("x = one + two\n" * 9) is None
    assert reason("We sing it all.\n" * 9, "Write a song.") is None
    assert reason("We sing it all.\n" * 9, "Write a report.") == "repeated_lines"
    assert reason(None) is None


@given(st.text(st.sampled_from("a.,! 好。\n"), max_size=40), st.floats(0, 1), st.integers(0, 30))
def test_punctuation_is_counted_as_the_slow_version_counts(
    text: str, most: float, at_least: int
) -> None:
    signs = [sign for sign in text if not sign.isspace()]
    marks = [sign for sign in signs if sign in ".,!。"]
    over = len(signs) >= at_least and len(marks) > Fraction(str(most)) * len(signs)
    found = punctuation(pl.Series([text]), at_most=most, characters_at_least=at_least)
    assert (found["reason"][0] is not None) is over


@pytest.mark.parametrize(("marks", "is_kept"), [(16, True), (17, False)])
def test_both_sides_of_the_share_of_punctuation(marks: int, is_kept: bool) -> None:
    text = "a" * (20 - marks) + "!" * marks
    assert punctuation(pl.Series([text]))["reason"].is_null()[0] is is_kept
    assert punctuation(pl.Series([text[1:]]))["reason"].is_null()[0]


@pytest.mark.parametrize(("marks", "is_kept"), [(29, True), (30, False)])
def test_a_share_of_punctuation_is_of_the_number_as_it_is_written(
    marks: int, is_kept: bool
) -> None:
    text = "a" * (100 - marks) + "!" * marks
    assert punctuation(pl.Series([text]), at_most=0.29)["reason"].is_null()[0] is is_kept


@given(st.lists(st.integers(1, 12), max_size=6), st.integers(0, 6), st.integers(1, 12))
def test_sentences_are_measured_as_the_slow_version_measures(
    lengths: list[int], low: int, high: int
) -> None:
    text = " ".join(" ".join(["word"] * n) + "." for n in lengths)
    found = sentence_length(pl.Series([text]), at_least=low, at_most=high)["reason"][0]
    mean = Fraction(sum(lengths), len(lengths)) if lengths else None
    wanted = None
    if mean is not None:
        wanted = "short_sentences" if mean < low else "long_sentences" if mean > high else None
    assert found == wanted


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        ((150,), None),
        ((151,), "long_sentences"),
        ((150, 150), None),
        ((151, 150), "long_sentences"),
    ],
)
def test_both_sides_of_the_longest_sentence(words: tuple[int, ...], wanted: str | None) -> None:
    english = " ".join("word " * (n - 1) + "word." for n in words)
    chinese = "".join("字" * (n - 1) + "。" for n in words)  # a mark beside signs counts as one
    for text in (english, chinese):
        assert sentence_length(pl.Series([text]))["reason"][0] == wanted


@pytest.mark.parametrize(("words", "wanted"), [((3, 3), None), ((3, 2), "short_sentences")])
def test_both_sides_of_the_shortest_sentence(words: tuple[int, ...], wanted: str | None) -> None:
    text = " ".join(" ".join(["word"] * n) + "." for n in words)
    assert sentence_length(pl.Series([text]), at_least=3)["reason"][0] == wanted


@given(st.text(st.sampled_from('ab .!?。\n"”'), max_size=40))
def test_splitting_into_sentences_loses_no_sign(text: str) -> None:
    parts = sentences(text)
    assert all(part and part == part.strip() for part in parts)
    kept = "".join(sign for part in parts for sign in part if sign in "ab.!?。")
    assert kept == "".join(sign for sign in text if sign in "ab.!?。")
