"""Answers that stop inside a word, told by the words of all rows.

The rule is ours. What is left of a word is no word that texts end with, and begins words that are
common: "informat" ends one answer, and "information" comes a thousand times. So does "in", which
ends few sentences and begins many words. A beginning that is a whole word and ends sentences
("head" of "headed") cannot be told so; neither can one in a set without the whole word. Signs of
Han, kana and hangul are words by themselves.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter

import numpy as np
import polars as pl

from filters.bounds import Factor, Share, Some
from filters.broken import BLANKS
from filters.code import FENCE, is_code, without_fenced
from filters.verdict import verdict
from filters.verse import asks_for_verse

WORD = r"[A-Za-z\u00c0-\u024f]+"
WORDS = re.compile(WORD)
LAST_WORD = re.compile(rf"\w.*[\s(\"'“‘*_-]({WORD})$", re.DOTALL)
NAME = re.compile(rf"[\d.,&'’A-Za-z\u00c0-\u024f-]+\s+{WORD}")  # or a measure: 5 km
ENDING = rf"{WORD}(?:[.!?,;:)\"”’'\]。，！？]|[ \t]*(?:\n|$))"
LAST = 300  # characters at the end, among which the last word has another before it
SHOWN = 60
PARTS = 16  # tables of counts that are summed at once


class Words:
    """How often each word comes in all texts, and how often at an end, case aside."""

    def __init__(self) -> None:
        """Start with no text."""
        self._parts: list[pl.DataFrame] = []
        self._ends: dict[str, int] = {}
        self._words: list[str] = []
        self._before = np.zeros(1, np.int64)  # [word]: occurrences of all words before it in order

    def add(self, texts: pl.Series) -> None:
        """Count the words of more texts; a null has none."""
        lower = texts.drop_nulls().str.to_lowercase()
        words = lower.str.extract_all(WORD).explode().drop_nulls()
        ends = lower.str.extract_all(ENDING).explode().drop_nulls().str.extract(f"({WORD})")
        for found, is_end in ((words, False), (ends, True)):
            counts = found.alias("word").value_counts(name="n")
            self._parts.append(counts.with_columns(pl.col("n").cast(pl.Int64), is_end=is_end))
        if len(self._parts) > PARTS:
            self._parts = [self._summed()]

    def _summed(self) -> pl.DataFrame:
        by = ("word", "is_end")
        return (
            pl.concat(self._parts).group_by(by).agg(pl.col("n").sum()).select("word", "n", "is_end")
        )

    def counted(self) -> Words:
        """All texts are in: make ready to be asked."""
        if self._parts:
            summed = self._summed().sort("word")
            every = summed.filter(~pl.col("is_end"))
            self._words = every["word"].to_list()
            self._before = np.concatenate([[0], every["n"].to_numpy().cumsum()])
            self._ends = dict(summed.filter("is_end").select("word", "n").rows())
        return self

    @property
    def n(self) -> int:
        """Words in all texts, each as often as it comes."""
        return int(self._before[-1])

    def ends(self, word: str) -> int:
        """How often this word stands at the end of a line, of a text, or before a sign."""
        return self._ends.get(word, 0)

    def longer(self, word: str) -> int:
        """How often a longer word comes that begins with it.

        >>> words = Words()
        >>> words.add(pl.Series(["A gene", "genes, a general gene"]))
        >>> words.counted().longer("gene"), words.ends("gene"), words.n
        (2, 2, 6)
        """
        own = bisect_right(self._words, word)
        last = bisect_left(self._words, word + "\U0010ffff")
        return int(self._before[last] - self._before[own])


def cut_word(
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    times: Factor = 20.0,
    at_least: Some = 5,
    share: Share = 0.05,
) -> pl.DataFrame:
    """Drop answers whose last word begins others far more often than it ends anything: `cut_word`.

    Longer words that begin with it come `at_least` times in the texts of all rows, and `times` as
    often as it stands at the end of a line or before a sign elsewhere. Kept are answers of one
    word and of two, such as names, verse that was asked for and has no signs at the ends of its
    lines, those that end with a sign or as code, those whose last word stands in them, in the
    instruction or in the input once more, and last words that are those of more than two answers
    and of more than there would be if `share` of all answers were cut off. A null is empty. Returns
    one row an entry, in order: `reason` (String, null where the row is kept) and `detail` (String:
    the end of the answer and the counts; null where the row is kept).
    """
    words = Words()
    for texts in (instruction, input, output):
        words.add(texts)
    ends = ends_of(instruction, input, output)
    return judge_ends(ends, words.counted(), times=times, at_least=at_least, share=share)


def ends_of(instruction: pl.Series, input: pl.Series, output: pl.Series) -> pl.Series:
    """The end of each answer, down to its last word; null where that cannot be cut off."""
    rows = zip(instruction.to_list(), input.to_list(), output.to_list(), strict=True)
    ends = [_end(task or "", given or "", answer or "") for task, given, answer in rows]
    return pl.Series(ends, dtype=pl.String)


def _end(task: str, given: str, answer: str) -> str | None:
    text = answer.rstrip(BLANKS)
    met = LAST_WORD.search(text[-LAST:])
    if met is None:
        return None
    others = WORDS.findall(f"{task}\n{given}\n{text[: -len(met[1])]}".lower())
    if met[1].lower() in others or len(FENCE.findall(text)) % 2 or is_code(without_fenced(text)):
        return None
    if NAME.fullmatch(text) or (asks_for_verse(task) and _ends_without_signs(text)):
        return None
    return text[-max(SHOWN, len(met[1])) :]


def _ends_without_signs(text: str) -> bool:
    """Whether at least half of the lines before the last one end with a letter, as it does."""
    before = [line.rstrip() for line in text.splitlines()[:-1] if line.strip()]
    return 0 < len(before) <= 2 * sum(line[-1].isalpha() for line in before)


def judge_ends(
    ends: pl.Series,
    words: Words,
    *,
    times: float = 20.0,
    at_least: int = 5,
    share: float = 0.05,
) -> pl.DataFrame:
    """The verdicts on what `ends_of` found of all rows, by the words of all rows."""
    last = [None if end is None else WORDS.findall(end)[-1].lower() for end in ends.to_list()]
    answers = Counter(last)
    reasons: list[str | None] = [None] * len(last)
    details: list[str | None] = [None] * len(last)
    for at, word in enumerate(last):
        if word is None:
            continue
        elsewhere, longer = max(0, words.ends(word) - 1), words.longer(word)
        if longer < max(at_least, times * elsewhere):
            continue
        if answers[word] <= max(2, share * len(last) * longer / words.n):
            reasons[at] = "cut_word"
            details[at] = (
                f"ends: {ends[at]}; elsewhere {elsewhere} ends with {word!r}, "
                f"{longer} longer words begin so"
            )
    return verdict(reasons, details)
