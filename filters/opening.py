"""How an instruction begins: "Write a program", a punctuation mark, a letter that is not ASCII.

Source: Wang et al. 2023, "Self-Instruct" (arXiv:2212.10560), `bootstrap_instructions.py`, in its
order. It tests what `str.capitalize()` made of the item, so "write a PROGRAM" is met, a prefix is
enough ("Write a programme"), and a leading ß, ﬁ, ı or ſ counts as the ASCII letter it turns into.

Where we differ: a row written mostly in Han, kana or hangul may begin with a sign of its own.
"""

from __future__ import annotations

import string

import polars as pl

from filters.script import is_han_kana_hangul
from filters.verdict import verdict

PROGRAM = "write a program"
PUNCTUATION = frozenset(string.punctuation)


def opening(instruction: pl.Series) -> pl.DataFrame:
    """Drop instructions by how they begin.

    A null or an empty text begins with nothing. Returns one row an entry, in order: `reason`
    (String, null where the row is kept) and `detail` (String: the words or the character it begins
    with; null where the row is kept).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    for text in instruction.to_list():
        reason, detail = _judge(text.lstrip()) if text else (None, None)
        reasons.append(reason)
        details.append(detail)
    return verdict(reasons, details)


def _judge(text: str) -> tuple[str | None, str | None]:
    first = text[:1]
    if first in "Ww":  # the empty text passes here, and nothing below objects to it
        head = " ".join(text.split(maxsplit=3)[:3])
        return ("write_a_program", head) if head.lower().startswith(PROGRAM) else (None, None)
    if first in PUNCTUATION:
        return "punctuation_start", first
    if first.capitalize()[0].isascii() or is_han_kana_hangul(text):
        return None, None
    return "non_ascii_start", f"U+{ord(first):04X}" + (f" {first}" if first.isprintable() else "")
