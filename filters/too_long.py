"""Texts that grew too long: in words, or in characters where the script packs them tighter."""

from __future__ import annotations

import polars as pl

from filters.bounds import NoneOrMore
from filters.script import is_han_kana_hangul
from filters.verdict import verdict


def too_long(
    instruction: pl.Series, *, words: NoneOrMore = 400, characters: NoneOrMore = 800
) -> pl.DataFrame:
    """Drop texts of more than `words` words, or `characters` characters of Han, kana, hangul.

    A null has no length. Returns one row an entry, in order: `reason` (String, null where the row
    is kept) and `detail` (String, the length; null where the row is kept).
    """
    found = [
        judge(text or "", words=words, characters=characters) for text in instruction.to_list()
    ]
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def judge(text: str, *, words: int = 400, characters: int = 800) -> tuple[str | None, str | None]:
    """Reason and detail for one text; two nulls where it is not too long."""
    if is_han_kana_hangul(text):
        length, most, unit = len("".join(text.split())), characters, "characters"
    else:
        length, most, unit = len(text.split()), words, "words"
    return ("too_long", f"{length} {unit}") if length > most else (None, None)
