"""Answers whose sentences are far too long, or no sentences: by their mean length."""

from __future__ import annotations

import re

import polars as pl

from filters.bounds import Length
from filters.code import is_code, without_fenced
from filters.sentences import TOKEN, sentences
from filters.verdict import verdict

TOKENS = re.compile(TOKEN)


def sentence_length(
    output: pl.Series, *, at_least: Length = 0.0, at_most: Length = 150.0
) -> pl.DataFrame:
    """Drop answers whose sentences have on average too few or too many words.

    The bounds, `at_least` and `at_most`, are kept. A sign of Han, kana or hangul is a word, and a
    line break ends a sentence (`filters.sentences`). Answers without words and those that look like
    code are kept, fenced code is left out; a null is empty. Returns one row an entry, in order:
    `reason` (String, null where the row is kept) and `detail` (String, what was measured; null
    where the row is kept).
    """
    found = [_judge(text or "", at_least, at_most) for text in output.to_list()]
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def _judge(text: str, at_least: float, at_most: float) -> tuple[str | None, str | None]:
    prose = without_fenced(text)
    if at_least <= 0 and len(prose) <= at_most:
        return None, None
    words, parts = len(TOKENS.findall(prose)), len(sentences(prose))
    if not parts:
        return None, None
    is_short, is_long = words < at_least * parts, words > at_most * parts
    if not (is_short or is_long) or is_code(prose):
        return None, None
    detail = f"{words} words in {parts} sentences"
    return ("short_sentences" if is_short else "long_sentences"), detail
