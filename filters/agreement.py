"""How far several samples of an answer agree (Self-Consistency, Wang et al. 2023)."""

from __future__ import annotations

import polars as pl

from filters.bounds import NoneOrMore, Share
from filters.verdict import verdict


def agreement(
    agreement: pl.Series,
    votes: pl.Series,
    *,
    at_least: Share = 0.5,
    votes_at_least: NoneOrMore = 1,
    keep_unvoted: bool = True,
) -> pl.DataFrame:
    """Drop rows where less than `at_least` of the votes, or fewer than `votes_at_least`, agree.

    `agreement` is a share from 0 to 1, `votes` how many votes there were. Where there were none
    (a null, or 0) nothing was measured, an open question perhaps: `keep_unvoted` decides. Returns
    one row an entry, in order: `reason` (String, null where the row is kept) and `detail` (String,
    what was measured; null without votes).
    """
    reasons: list[str | None] = []
    details: list[str | None] = []
    for share, n in zip(agreement.to_list(), votes.to_list(), strict=True):
        if share is None or not n:
            reasons.append(None if keep_unvoted else "no_votes")
            details.append(None)
            continue
        is_few, is_low = n < votes_at_least, share < at_least
        reasons.append("too_few_votes" if is_few else "low_agreement" if is_low else None)
        details.append(f"{round(share * n)} of {n} votes")
    return verdict(reasons, details)
