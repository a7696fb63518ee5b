"""Rewritten instructions that a judge finds no different from their parent.

Source: Xu et al. 2023, "WizardLM" (arXiv:2304.12244), section 3.2, the first elimination rule. A
teacher is asked, in both orders, whether two prompts are equal; a reply that says neither counts
for nothing, and both must say that the prompts differ.
"""

from __future__ import annotations

import re

import polars as pl

from filters.verdict import verdict

DIFFERENT = re.compile(r"\bnot[\s-]+equal|\bunequal|不(?:相)?(?:等|同)", re.IGNORECASE)
EQUAL = re.compile(r"\bequal|相等|相同|一样", re.IGNORECASE)


def information_gain(first: pl.Series, second: pl.Series) -> pl.DataFrame:
    """Drop rows unless both replies, one for each order, say that the prompts are not equal.

    Returns one row an entry, in order: `reason` (String, null where the row is kept) and `detail`
    (String, what the two replies say; null where the row is kept).
    """
    found = [
        judge(one or "", other or "")
        for one, other in zip(first.to_list(), second.to_list(), strict=True)
    ]
    return verdict([reason for reason, _ in found], [detail for _, detail in found])


def judge(first: str, second: str) -> tuple[str | None, str | None]:
    """Reason and detail for the two replies about one pair."""
    said = [says_different(reply) for reply in (first, second)]
    if all(said):
        return None, None
    named = {True: "not equal", False: "equal", None: "neither"}
    return "no_information_gain", f"{named[said[0]]}; the other way round {named[said[1]]}"


def says_different(reply: str) -> bool | None:
    """What a reply says of two prompts; null where it says neither.

    >>> says_different("Not Equal."), says_different("Equal"), says_different("Perhaps")
    (True, False, None)
    """
    if DIFFERENT.search(reply):
        return True
    return False if EQUAL.search(reply) else None
