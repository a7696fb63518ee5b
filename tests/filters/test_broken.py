"""Answers that are cut off, garbled or in a loop; the labelled cases are in another file."""

import re
import time

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters import broken as module
from filters.broken import LITERAL, SMILEY, broken, is_cut_off, loop

UNIT = "It is very so. "
PIECES = st.sampled_from(["a", "b", "ab ", "It is so. ", "1", "2", "好", "很好。", "\n", "x y "])


def reason(output: str | None, instruction: str | None = None, **settings: int) -> str | None:
    columns = (pl.Series([text], dtype=pl.String) for text in (instruction, output))
    return broken(*columns, **settings)["reason"][0]  # type: ignore[no-any-return]


def slow_period(text: str) -> tuple[int, int] | None:
    """The period of the end of a text, and over how many characters it holds."""
    n = len(text)
    for period in range(1, n - module.SEED + 1):
        same = 0
        while same < n - period and text[n - 1 - same] == text[n - 1 - same - period]:
            same += 1
        if same >= module.SEED:
            return period, same + period
    return None


@given(st.lists(PIECES, max_size=6), st.lists(PIECES, min_size=1, max_size=5), st.integers(1, 15))
def test_a_loop_is_what_the_slow_version_finds(head: list[str], unit: list[str], n: int) -> None:
    text = "".join(head) + "".join(unit) * n
    found = slow_period(re.sub("[0-9]+", "0", text))
    said = loop(text, repeats=2, characters=30)
    if said is not None:
        assert found is not None
        assert said.startswith(f"{found[1] // found[0]} times")
    elif found is not None:
        period, length = found
        end = re.sub("[0-9]+", "0", text)[-period:]
        letters = sum(sign.isalpha() for sign in end)
        is_plain = letters >= 2 and 3 * letters >= period and len(set(end)) > 5
        times = length // period
        assert not (is_plain and times >= (4 if any(map(str.isdigit, end)) else 2) and length >= 30)


def test_both_sides_of_how_often_and_how_far_a_loop_goes() -> None:
    assert reason("Well: " + UNIT * 4) == "repetition_loop"
    assert reason("Well: " + UNIT * 3) is None
    assert reason("Well: " + UNIT * 3, repeats=3, loop_characters=45) == "repetition_loop"
    assert reason("Well: " + UNIT * 3, repeats=3, loop_characters=46) is None
    assert reason("Lines:\n" + "Line 1 is here.\n" * 8) == "repetition_loop"
    assert reason("Lines:\n" + "Line 1 is here.\n" * 7) is None


@given(st.text(st.sampled_from("()[]{}a"), max_size=30))
def test_a_bracket_is_open_where_taking_pairs_away_leaves_one(text: str) -> None:
    """A closing bracket that closes nothing is passed over, as the slow version does."""
    left = [(at, sign) for at, sign in enumerate(text) if sign != "a"]
    pairs = {")": "(", "]": "[", "}": "{"}
    at = 0
    while at < len(left):
        _, sign = left[at]
        if sign not in pairs:
            at += 1
        elif at and left[at - 1][1] == pairs[sign]:
            del left[at - 1 : at + 1]
            at -= 1
        else:
            del left[at]
    assert module._open_at(text) == (left[-1][0] if left else None)


@given(st.lists(st.sampled_from(["```", "```py", "a = 1", "Text.", "    ```"]), max_size=12))
def test_a_fence_is_open_after_an_odd_number_of_them(lines: list[str]) -> None:
    is_open = sum("```" in line for line in lines) % 2 == 1
    said = reason("\n".join(lines), loops=False, brackets=False, sentences=False)
    assert said == ("unclosed_fence" if is_open else None)


@given(st.text("a é\n\t\x02\x1f\x7f\ufffd字", max_size=8), st.text("a\x02\ufffd", max_size=2))
def test_garbage_is_found_sign_by_sign(text: str, task: str) -> None:
    controls = [sign for sign in text.rstrip() if ord(sign) < 0x1C or sign in "\x7f\ufffd"]
    bad = [sign for sign in controls if sign not in "\n\t"]
    wanted = "mojibake" if bad and bad[0] not in task else None
    assert reason(text, task, sentences=False) == wanted


LINES = st.tuples(
    st.booleans(),  # an item of a list
    st.integers(0, 2),  # whole sentences
    st.sampled_from(["", "Then", "Then he", "and the", "now it is all because", "the number 7"])
    | st.sampled_from(["then he went to the old mill", "then he went down to the old mill"]),
)


def written(is_item: bool, whole: int, end: str) -> str:
    return ("- " if is_item else "") + " ".join([*["He came."] * whole, *([end] if end else [])])


@given(st.lists(LINES, min_size=1, max_size=4), st.booleans(), st.booleans())
def test_an_end_is_cut_off_where_the_slow_version_says_so(
    lines: list[tuple[bool, int, str]], is_verse: bool, full_stops: bool
) -> None:
    text = "\n".join(written(*line) for line in lines).rstrip()
    said = is_cut_off(text, is_verse=is_verse, full_stops=full_stops)
    assert said is slow_cut_off(lines, is_verse, full_stops)


def slow_cut_off(lines: list[tuple[bool, int, str]], is_verse: bool, full_stops: bool) -> bool:
    lines = lines.copy()
    while lines and lines[-1] == (False, 0, ""):
        lines.pop()
    if not lines:
        return False
    others = [line for line in lines[:-1] if line != (False, 0, "")]
    is_item, whole, end = lines[-1]
    if not whole and not end:  # an item with nothing in it
        return len(lines) > 1
    if not end or end == "the number 7" or is_verse:
        return False
    words = [len(written(*line).split()) for line in lines]
    if end.endswith(("the", "because")):
        return sum(words) >= 5
    if not full_stops:
        return False
    if whole:
        return len(end.split()) >= 2
    are_whole = [count > 0 and not end for _, count, end in others]
    if is_item:
        items = [done for done, other in zip(are_whole, others, strict=True) if other[0]]
        return len(items) >= 2 and all(items)
    return sum(are_whole) >= 2 and are_whole[-1] and words[-1] >= 8


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_text_gets_a_verdict(task: str, text: str) -> None:
    columns = pl.Series([task]), pl.Series([text])
    found = broken(*columns)
    assert found.height == 1
    assert found["reason"].is_null()[0] == found["detail"].is_null()[0]


@pytest.mark.parametrize(
    ("text", "setting", "wanted"),
    [
        ("It is na\ufffdve.", "garbled", "mojibake"),
        ("```\nx", "fences", "unclosed_fence"),
        (UNIT * 9, "loops", "repetition_loop"),
        ("It was said by two (one such", "brackets", "unclosed_bracket"),
        ("He came. He saw. He conq", "sentences", "cut_off"),
    ],
)
def test_each_rule_can_be_left_out(text: str, setting: str, wanted: str) -> None:
    assert reason(text) == wanted
    assert reason(text, **{setting: False}) is None


def test_a_sentence_alone_without_a_full_stop_is_kept() -> None:
    assert not is_cut_off("He came and saw and conq")
    assert not is_cut_off("")
    assert is_cut_off("He came. He saw. Then he")
    assert not is_cut_off("He came. He saw. Then")


@pytest.mark.parametrize(("end", "is_cut"), [("to the mill", False), ("to the old mill", True)])
def test_both_sides_of_how_long_a_line_among_whole_ones_is(end: str, is_cut: bool) -> None:
    assert is_cut_off(f"He came.\nHe saw.\nthen he went {end}") is False
    assert is_cut_off(f"He came.\nHe saw.\nthen he went down {end}") is is_cut


def test_a_missing_full_stop_can_be_let_pass() -> None:
    assert reason("He came. He saw. He conq", full_stops=False) is None
    assert reason("He came. He saw. He lost,", full_stops=False) == "cut_off"


def test_verse_may_end_with_a_comma() -> None:
    assert reason("The sea is wide, the sky is blue,", "Write a line of a poem.") is None
    assert reason("The sea is wide, the sky is blue,", "Describe it.") == "cut_off"


def test_what_is_asked_for_is_no_loop_and_no_garbage() -> None:
    assert reason(UNIT * 9, "Repeat the sentence.") is None
    assert reason("\ufffd stands for what is not known.", "What is \ufffd?") is None
    assert reason(None) is None


BLOCK = r'"""[\s\S]*?"""|' + r"'''[\s\S]*?'''|/\*[\s\S]*?\*/|<!--[\s\S]*?-->"
PIECES = ['"""', "'''", "/*", "*/", "<!--", "-->", "//", "#", "`", '"', "'", "/", "(", "a", "\n"]


@given(st.lists(st.sampled_from([*PIECES, "\\"]), max_size=24).map("".join))
def test_literals_are_left_out_of_code_as_one_pattern_would(code: str) -> None:
    whole = re.compile(f"{BLOCK}|{LITERAL.pattern}")
    assert module._without_literals(code) == whole.sub('""', code)


@given(st.text("()[]:;=-'8a1 \n", max_size=12))
def test_smileys_are_those_that_a_plain_pattern_finds(text: str) -> None:
    plain = r"[:;=8][-']?[()\[\]{}]+|[()\[\]]+[-']?[:;=](?!\w)|\b\d{1,3}\)|^[ \t]*\w\)"
    assert SMILEY.sub("", text) == re.sub(plain, "", text, flags=re.M)


@pytest.mark.parametrize("piece", ["x = 1;\n/*(\n", "x = 1;\n<!--(\n", "(", "([", "(a ", '""" (\n'])
def test_what_begins_again_and_again_and_never_ends_costs_no_squares(piece: str) -> None:
    answer = pl.Series([piece * (300_000 // len(piece)) + " and so on"])
    start = time.process_time()
    assert broken(pl.Series(["Say it."]), answer).height == 1
    assert time.process_time() - start < 8  # seconds; squares take half a minute and more
