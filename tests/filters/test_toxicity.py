"""Toxic words: counted by class as a slow search counts them, dropped from a bound on."""

import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from filters.toxicity import CLASSES, LISTS, toxicity, words
from filters.toxicity_scores import toxicity_scores
from filters.word_lists import lines

PIECES = [
    *("fuck you", "FUCK OFF", "shit", "Scunthorpe", "I'll kill you", "i’ll kill you", "kill -9"),
    *("you are a moron", "faggot", "操你妈", "黑鬼", "傻逼", "我要杀了你", "river", "茶", ".", "x"),
]
TEXT = st.lists(st.sampled_from(PIECES), max_size=6).map(" ".join)


def slow_count(name: str, text: str) -> int:
    """Every place at which a pattern of the list begins, tried one after the other."""
    n = at = 0
    patterns = [one.replace("'", "['’]").replace(" ", r"\s+") for one in lines(f"toxic_{name}")]
    while at < len(text):
        met = None
        if at == 0 or not re.fullmatch("[A-Za-z0-9_]", text[at - 1]):
            for one in patterns:
                met = re.compile(rf"(?:{one})(?![A-Za-z0-9_])", re.I).match(text, at)
                if met:
                    break
        n, at = (n + 1, met.end()) if met else (n, at + 1)
    return n


def columns(*texts: str | None) -> list[pl.Series]:
    return [pl.Series(list(texts), dtype=pl.String) for _ in range(3)]


@given(st.lists(st.tuples(TEXT, st.none() | TEXT, TEXT), min_size=1, max_size=4), st.integers(1, 4))
def test_a_verdict_is_that_of_counting_every_place(
    rows: list[tuple[str, str | None, str]], least: int
) -> None:
    series = [pl.Series(list(column), dtype=pl.String) for column in zip(*rows, strict=True)]
    found = toxicity(*series, **dict.fromkeys(CLASSES, least))
    for at, row in enumerate(rows):
        counts = {name: sum(slow_count(name, text or "") for text in row) for name in LISTS}
        counts["toxicity"] = sum(counts.values())
        over = [name for name, n in counts.items() if n >= least]
        assert found["reason"][at] == (over[0] if over else None)
        if over:
            assert found["detail"][at].startswith(f"{counts[over[0]]} of {over[0]}: ")


@pytest.mark.parametrize("name", LISTS)
def test_a_class_drops_from_its_threshold_on(name: str) -> None:
    text = {
        "severe_toxicity": "fuck you",
        "threat": "I will kill you",
        "identity_hate": "faggot",
        "obscene": "shit",
        "insult": "retarded",
    }[name]
    off = dict.fromkeys(CLASSES, None)
    nothing = pl.Series([None, None], dtype=pl.String)
    both = pl.Series([f"{text}, {text}", f"{text}, {text}, {text}"])
    assert toxicity(nothing, nothing, both, **off | {name: 3})["reason"].to_list() == [None, name]
    assert toxicity(nothing, nothing, both, **off)["reason"].to_list() == [None, None]
    assert toxicity(both, nothing, nothing, **off | {name: 2})["reason"].to_list() == [name, name]


def test_severe_words_alone_count_where_nothing_is_set() -> None:
    told = ["shit", "you are a moron", "fuck you", "黑鬼", "河流"]
    nothing = pl.Series([None] * len(told), dtype=pl.String)
    found = toxicity(nothing, nothing, pl.Series(told))["reason"].to_list()
    assert found == [None, None, "severe_toxicity", "identity_hate", None]


def test_all_classes_together_are_toxicity() -> None:
    nothing = pl.Series([None], dtype=pl.String)
    text = pl.Series(["shit, and you are a moron"])
    found = toxicity(nothing, nothing, text, toxicity=2)
    assert found.row(0) == ("toxicity", "2 of toxicity: 'shit', 'you are a moron'")
    assert toxicity(nothing, nothing, text, toxicity=3)["reason"].to_list() == [None]


def test_words_are_whole() -> None:
    assert list(words("obscene", "Shitake, mishit, SHIT!")) == ["shit"]
    assert list(words("severe_toxicity", "他说操你妈了")) == ["操你妈"]


def test_the_lists_hold_both_languages_and_no_line_twice() -> None:
    for name in LISTS:
        listed = lines(f"toxic_{name}")
        assert len(listed) == len(set(listed)) >= 9
        assert any(line.isascii() for line in listed)
        assert any(not line.isascii() for line in listed)


SCORE = st.none() | st.floats(0, 1)


@given(
    st.lists(st.tuples(*[SCORE] * 6), max_size=6),
    st.dictionaries(st.sampled_from(CLASSES), st.floats(0, 1)),
)
def test_scores_are_compared_with_the_bound_of_their_class(
    rows: list[tuple[float | None, ...]], bounds: dict[str, float]
) -> None:
    columns = [pl.Series([row[at] for row in rows], dtype=pl.Float64) for at in range(6)]
    found = toxicity_scores(*columns, at_most=bounds)
    for at, row in enumerate(rows):
        over = {
            name: score - bounds[name]
            for name, score in zip(CLASSES, row, strict=True)
            if score is not None and name in bounds and score > bounds[name]
        }
        worst = next((n for n in CLASSES if n in over and over[n] == max(over.values())), None)
        assert found["reason"][at] == (None if worst is None else f"toxic_{worst}")
        assert (found["detail"][at] is None) is (worst is None)
        assert all(f"{name} " in found["detail"][at] for name in over)


def test_a_score_at_its_bound_stays() -> None:
    scores = [0.5, 0.5000001]
    columns = [pl.Series(scores if name == "threat" else [0.0, 0.0]) for name in CLASSES]
    assert toxicity_scores(*columns).rows() == [
        (None, None),
        ("toxic_threat", "threat 0.5000 above 0.5"),
    ]
    assert toxicity_scores(*columns, at_most={})["reason"].to_list() == [None, None]
