"""How well an output answers its instruction, as a judge rated the pair from 1 to 5 (Humpback).

Source: Li et al. 2024, "Self-Alignment with Instruction Backtranslation" (arXiv:2308.06259),
section 2.3: the pairs with the highest rating are kept.
"""

from __future__ import annotations

import polars as pl

from filters.bounds import OfFive
from filters.verdict import verdict


def pair_rating(
    pair_rating: pl.Series, *, at_least: OfFive = 5, keep_unrated: bool = False
) -> pl.DataFrame:
    """Drop pairs rated below `at_least`; a null was not rated, and `keep_unrated` decides.

    Returns one row an entry, in order: `reason` (String, null where the row is kept) and `detail`
    (String, the rating; null where there is none).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    for rating in pair_rating.to_list():
        if rating is None:
            reasons.append(None if keep_unrated else "no_rating")
            details.append(None)
        else:
            reasons.append("low_rating" if rating < at_least else None)
            details.append(f"{rating} of 5")
    return verdict(reasons, details)
