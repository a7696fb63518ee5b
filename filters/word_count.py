"""Length: Self-Instruct and Alpaca keep instructions of 4 to 150 words.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `bootstrap_instructions.py`; the same
bounds in Stanford Alpaca's `generate_instruction.py`. Both count what `str.split()` gives, so that
a Chinese instruction is one word and always dropped. Where a row is written mostly in Han, kana or
hangul we count its characters instead, with bounds of their own.
"""

from __future__ import annotations

import polars as pl

from filters.bounds import NoneOrMore
from filters.script import is_han_kana_hangul
from filters.verdict import verdict


def word_count(
    instruction: pl.Series,
    *,
    at_least: NoneOrMore = 4,
    at_most: NoneOrMore = 150,
    at_least_characters: NoneOrMore = 5,
    at_most_characters: NoneOrMore = 300,
) -> pl.DataFrame:
    """Drop instructions of fewer than `at_least` or more than `at_most` words.

    Rows written mostly in Han, kana or hangul are measured in characters, whitespace left out, and
    held to the other two settings. A null has no words. Returns one row an entry, in order:
    `reason` (String, null where the row is kept) and `detail` (String, what was measured).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    for text in instruction.to_list():
        words = text.split() if text else []
        if text and is_han_kana_hangul(text):
            unit, n = "characters", sum(map(len, words))
            low, high = at_least_characters, at_most_characters
        else:
            unit, n = "words", len(words)
            low, high = at_least, at_most
        reasons.append(f"too_few_{unit}" if n < low else f"too_many_{unit}" if n > high else None)
        details.append(f"{n} {unit}")
    return verdict(reasons, details)
