"""Rewritten instructions that are still their parent: ROUGE-L with it at or above a threshold.

The rule is ours; WizardLM leaves it to the comparison. A rewriting adds few words, so the
threshold is far above that of novelty. Han, kana and hangul count sign by sign (`filters.rouge`).
"""

from __future__ import annotations

from typing import NamedTuple

import polars as pl

from filters.rouge import common_tokens, f_measure, is_duplicate, tokens
from filters.verdict import verdict


class Judged(NamedTuple):
    """Reason and detail, and the ROUGE-L F1 with the parent; nulls where a text is no copy."""

    reason: str | None = None
    detail: str | None = None
    similarity: float | None = None


def copied_parent(
    instruction: pl.Series, parent: pl.Series, *, threshold: float = 0.95
) -> pl.DataFrame:
    """Drop texts whose ROUGE-L F1 with their parent reaches `threshold`.

    A null is empty, and two texts without a token are copies where they are equal. Returns one row
    an entry, in order: `reason` (String, null where the row is kept), `detail` (String: the score
    and what it was made of) and `similarity` (Float64, the score).
    """
    found = [
        judge(text or "", old or "", threshold=threshold)
        for text, old in zip(instruction.to_list(), parent.to_list(), strict=True)
    ]
    reason, detail, similarity = zip(*found, strict=True) if found else ((), (), ())
    return verdict(reason, detail, similarity=similarity)


def judge(text: str, parent: str, *, threshold: float = 0.95) -> Judged:
    """The verdict on one text."""
    if text.strip() == parent.strip():
        return Judged("copied_parent", "the same text", 1.0)
    ours, theirs = tokens(text), tokens(parent)
    lcs = common_tokens(ours, theirs)
    if not is_duplicate(lcs, len(theirs), len(ours), threshold=threshold):
        return Judged()
    score = f_measure(lcs, len(theirs), len(ours))
    return Judged(
        "copied_parent",
        f"ROUGE-L {score:.4f}: {lcs} tokens in common of {len(ours)} and {len(theirs)}",
        score,
    )
