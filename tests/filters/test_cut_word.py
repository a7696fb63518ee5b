"""Answers that stop inside a word."""

import re
from collections import Counter
from fractions import Fraction

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.cut_word import Words, cut_word

BITS = ["in", "inform", "information", "head", "headed", "the", "a", "é", "éclair", "42", "水", "-"]
ENDS = [" ", ". ", ", ", "\n", "", ")"]
TEXT = st.none() | st.lists(
    st.tuples(st.sampled_from(BITS), st.sampled_from(ENDS)), max_size=6
).map(lambda parts: "".join(bit + end for bit, end in parts))
WORD = re.compile("[A-Za-z\u00c0-\u024f]+")


def series(texts: list[str | None]) -> pl.Series:
    return pl.Series(texts, dtype=pl.String)


def judged(outputs: list[str | None], **settings: float) -> list[str | None]:
    none = series([None] * len(outputs))
    found = cut_word(none, none, series(outputs), **settings)  # type: ignore[arg-type]
    return found["reason"].to_list()


def slow(
    rows: list[tuple[str | None, ...]], times: float, at_least: int, share: float
) -> list[bool]:
    """The rule, word by word."""
    words: Counter[str] = Counter()
    ends: Counter[str] = Counter()
    for text in (text or "" for row in rows for text in row):
        for met in WORD.finditer(text.lower()):
            words[met[0]] += 1
            after = text[met.end() :]
            if re.match("[.,)]|[ \t]*(\n|$)", after):
                ends[met[0]] += 1
    last = [last_word(*(text or "" for text in row)) for row in rows]
    verdicts = []
    for word, begins in last:
        longer = sum(
            n for other, n in words.items() if word and other != word and other.startswith(word)
        )
        fewest = 1 if begins else at_least
        is_cut = word is not None and longer >= max(fewest, times * max(0, ends[word] - 1))
        same = [other for other, _ in last].count(word)
        if is_cut and same > 2:
            expected = Fraction(str(share)) * len(rows) * longer / words.total()
            is_cut = same <= expected
        verdicts.append(is_cut)
    return verdicts


def last_word(task: str, given_: str, answer: str) -> tuple[str | None, bool]:
    """The word that may be cut off, null where none may, and whether the row has a longer one."""
    text = answer.rstrip()
    last = re.search(r"[ \n-]([A-Za-z\u00c0-\u024f]+)$", text)
    if last is None or re.search(r"\w", text[: last.start()]) is None:
        return None, False
    word = last[1].lower()
    others = WORD.findall(f"{task}\n{given_}\n{text[: last.start(1)]}".lower())
    begins = len(word) > 1 and any(other.startswith(word) for other in others)
    if word in others or (not begins and re.fullmatch(r"[\da-zé.,-]+\s+[a-zé]+", text)):
        return None, False
    return word, begins


@given(
    st.lists(st.tuples(TEXT, TEXT, TEXT), max_size=12),
    st.integers(1, 6),
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 4.0, 1e9]),
)
def test_verdicts_are_those_of_counting_each_word(
    rows: list[tuple[str | None, ...]], times: int, at_least: int, share: float
) -> None:
    columns = [series([row[at] for row in rows]) for at in range(3)]
    found = cut_word(*columns, times=times, at_least=at_least, share=share)
    wanted = slow(rows, times, at_least, share)
    assert [reason is not None for reason in found["reason"]] == wanted
    assert found["detail"].is_not_null().to_list() == found["reason"].is_not_null().to_list()


@pytest.mark.parametrize(("others", "reason"), [(4, None), (5, "cut_word")])
def test_both_sides_of_how_often_longer_words_come(others: int, reason: str | None) -> None:
    texts: list[str | None] = ["All the information here."] * others
    assert judged([*texts, "This is some informat"])[-1] == reason


@pytest.mark.parametrize(("ended", "reason"), [(1, "cut_word"), (2, None)])
def test_both_sides_of_how_often_it_stands_at_an_end(ended: int, reason: str | None) -> None:
    texts: list[str | None] = ["My headed notes."] * 25
    texts += ["Use your head."] * ended
    assert judged([*texts, "The pole is head"])[-1] == reason


@pytest.mark.parametrize(("longer", "reason"), [(19, None), (20, "cut_word")])
def test_both_sides_of_how_many_times_longer_words_come(longer: int, reason: str | None) -> None:
    texts: list[str | None] = ["My headed notes."] * longer
    assert judged([*texts, "Use your head.", "The pole is head"])[-1] == reason
    assert judged([*texts, "Use your head.", "The pole is head"], times=19)[-1] == "cut_word"


@pytest.mark.parametrize(("share", "reason"), [(0.102, None), (0.103, "cut_word")])
def test_both_sides_of_the_share_of_answers_that_are_cut(share: float, reason: str | None) -> None:
    # 60 longer words of 129 in 63 answers: 29.3 would end so if all were cut
    texts: list[str | None] = ["Starlings came."] * 60
    many: list[str | None] = ["Give one star", "Give two star", "Give six star"]
    assert judged([*texts, *many], share=share)[-3:] == [reason] * 3


@pytest.mark.parametrize(("answers", "reason"), [(2, "cut_word"), (3, None)])
def test_what_many_answers_end_with_is_a_word(answers: int, reason: str | None) -> None:
    texts: list[str | None] = ["Twelve starlings came to the garden."] * 60
    many: list[str | None] = [f"I give it {n} star" for n in ("one", "two", "six")[:answers]]
    assert judged([*texts, *many])[-answers:] == [reason] * answers


@pytest.mark.parametrize(
    "answer",
    [
        "informat",  # one word may be a name
        "some informat.",
        "```\nsome informat",
        "for (informat = 0; informat < 3;) {\n  use informat",
        "informat comes before informat",
        "一些informat",
    ],
)
def test_what_is_no_cut_word(answer: str) -> None:
    texts: list[str | None] = ["All the information here."] * 50
    assert judged([*texts, answer])[-1] is None


def test_a_word_of_the_task_is_no_cut_word() -> None:
    texts: list[str | None] = ["All the information here."] * 50
    tasks: list[str | None] = ["Say it."] * 50
    tasks += ["What does informat mean?"]
    outputs = series([*texts, "No more than informat"])
    found = cut_word(series(tasks), series([""] * 51), outputs)
    assert found["reason"].count() == 0


@pytest.mark.parametrize(
    ("task", "line_end", "reason"),
    [("Write a poem.", "", None), ("Write a poem.", ",", "cut_word"), ("Say it.", "", "cut_word")],
)
def test_verse_without_signs_at_its_ends_may_end_with_any_word(
    task: str, line_end: str, reason: str | None
) -> None:
    texts: list[str | None] = ["All the information here."] * 50
    verse = f"Over the river{line_end}\nunder the snow{line_end}\nno more informat"
    outputs = series([*texts, verse])
    found = cut_word(series([*["Say it."] * 50, task]), series([""] * 51), outputs)
    assert found["reason"].to_list()[-1] == reason


@pytest.mark.parametrize(("signs", "reason"), [(1, None), (2, "cut_word")])
def test_both_sides_of_the_half_of_the_lines(signs: int, reason: str | None) -> None:
    texts: list[str | None] = ["All the information here."] * 50
    lines = ["Over the river", "under the snow"]
    verse = [f"{line}," if at < signs else line for at, line in enumerate(lines)]
    outputs = series([*texts, "\n".join([*verse, "no more informat"])])
    found = cut_word(series([*["Say it."] * 50, "Write a song."]), series([""] * 51), outputs)
    assert found["reason"].to_list()[-1] == reason


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("Ida Informat", None),
        ("21.5 informat", None),
        ("All of informat", "cut_word"),
        ("这里 informat", "cut_word"),
    ],
)
def test_two_words_may_be_a_name_or_a_measure(answer: str, reason: str | None) -> None:
    texts: list[str | None] = ["All the information here."] * 50
    assert judged([*texts, answer])[-1] == reason


def test_a_shell_script_ends_with_fi() -> None:
    texts: list[str | None] = ["We find a fine field."] * 50
    script = 'if [ ! -d "logs" ]; then\n    mkdir "logs"\n    echo "There now."\nfi'
    assert judged([*texts, script])[-1] is None


def test_words_are_counted_alike_in_any_parts() -> None:
    texts: list[str | None] = ["The gene.", "genes and a general gene", None, "Gene-editing"] * 10
    whole, parts = Words(), Words()
    whole.add(series(texts))
    for text in texts:
        parts.add(series([text]))
    whole.counted(), parts.counted()
    for word in ("gene", "g", "genes", "z", ""):
        assert (whole.longer(word), whole.ends(word)) == (parts.longer(word), parts.ends(word))
    assert whole.longer("gene") == 20
    assert whole.ends("gene") == 20
    assert whole.n == parts.n == 90


def test_a_word_that_begins_a_longer_one_of_its_row_is_told_by_that_one() -> None:
    tasks = series(["Which of plane, ribbon and bow is it?", "Which is it?", "Is it a ribbon?"])
    answers = series(["It is a bow, or a ribbo", "It is a bow, or a plan", "bow, ribb"])
    nothing = series([None] * 3)
    found = cut_word(tasks, nothing, answers, at_least=100)
    assert found["reason"].to_list() == ["cut_word", None, "cut_word"]
    other = series(["Is it a bow?"])
    found = cut_word(other, nothing[:1], series(["bow, ribb"]), at_least=1)
    assert found["reason"].to_list() == [None], "an answer of two words, such as a name"
