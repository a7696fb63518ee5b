"""Answers that refuse: short, with an apology in them.

Source: Xu et al. 2023, "WizardLM" (arXiv:2304.12244), section 3.2, the second elimination rule:
"sorry" in a response of fewer than 80 words. Other scripts have their own apologies, and an answer
in Han, kana or hangul is measured in characters.
"""

from __future__ import annotations

import re

import polars as pl

from filters.bounds import NoneOrMore
from filters.script import is_han_kana_hangul
from filters.verdict import verdict

APOLOGY = re.compile(
    "sorry|抱歉|对不起|對不起|不好意思|很遗憾|很遺憾|申し訳|すみません|ごめん|죄송|미안",
    re.IGNORECASE,
)


def refusal(
    output: pl.Series, *, words: NoneOrMore = 80, characters: NoneOrMore = 160
) -> pl.DataFrame:
    """Drop answers with an apology and fewer than `words` words, or `characters` characters.

    A null apologises for nothing. Returns one row an entry, in order: `reason` (String, null where
    the row is kept) and `detail` (String: the apology and the length; null where the row is kept).
    """
    found = [judge(text or "", words=words, characters=characters) for text in output.to_list()]
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def judge(text: str, *, words: int = 80, characters: int = 160) -> tuple[str | None, str | None]:
    """Reason and detail for one answer; two nulls where it is no refusal."""
    met = APOLOGY.search(text)
    if met is None:
        return None, None
    if is_han_kana_hangul(text):
        length, most, unit = len("".join(text.split())), characters, "characters"
    else:
        length, most, unit = len(text.split()), words, "words"
    if length >= most:
        return None, None
    return "refusal", f"{met[0]!r} in {length} {unit}"
