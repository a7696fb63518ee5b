"""The filter that keeps a number of rows which stand for all."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import Literal

import numpy as np
import polars as pl

from filters.diverse.alike import Alike
from filters.diverse.greedy import Method, choose
from filters.verdict import verdict

Shares = Literal["proportional", "equal"]


def diverse(
    row_id: pl.Series,
    alike: Alike,
    *,
    count: int,
    stratum: pl.Series | None = None,
    shares: Shares = "proportional",
    method: Method = "facility_location",
    candidates: int | None = None,
    seed: int = 0,
) -> pl.DataFrame:
    """Keep `count` rows, and of each `stratum` its share of them; the rest is `not_selected`.

    `alike` says how alike the rows are. Strata are texts, a null is one of its own; rows are chosen
    within each by `method`. Shares are `proportional` to the rows of the strata, rounded by largest
    remainder, or `equal`, what a small one lacks given to the others. Returns one row an entry, in
    order: `reason` (String, null where the row is kept), `detail` (String: how alike, and the
    stratum's numbers), `ref` (String: the chosen row of the stratum most like it; null where the
    row is kept, or like none) and `similarity` (Float64, 0 to 1, that likeness). The rows kept do
    not depend on the order of the rows.
    """
    ids = row_id.cast(pl.String).to_list()
    reason: list[str | None] = ["not_selected"] * len(ids)
    detail: list[str | None] = [None] * len(ids)
    ref: list[str | None] = [None] * len(ids)
    similarity: list[float | None] = [None] * len(ids)
    for name, rows, share in _strata(stratum, len(ids), count, shares):
        of_all = len(rows) == len(ids)
        those = alike if of_all else alike.chosen(rows)
        found = choose(
            those,
            [ids[row] for row in rows.tolist()],
            share,
            method=method,
            candidates=candidates,
            seed=seed,
        )
        chosen = set(found.rows.tolist())
        said = f"{share} of {len(rows)} rows" + ("" if of_all else f" of {name}")
        for at, row in enumerate(rows.tolist()):
            if at in chosen:
                reason[row] = None
                continue
            near = int(found.nearest[at])
            detail[row] = f"selected are {said}"
            if near >= 0:
                similarity[row] = round(float(found.similarity[at]), 4)
                ref[row] = ids[int(rows[near])]
                detail[row] = f"{alike.name} {similarity[row]:.3f}; {detail[row]}"
    return verdict(reason, detail, ref, similarity)


def _strata(
    stratum: pl.Series | None, height: int, count: int, shares: Shares
) -> list[tuple[str, np.ndarray, int]]:
    """Each stratum with rows: its name, its rows in order, and how many of them are kept."""
    if stratum is None or not height:
        return [("", np.arange(height), min(count, height))] if height else []
    names = stratum.cast(pl.String).fill_null("no value")
    places = pl.DataFrame({"name": names, "row": np.arange(height)})
    groups = places.group_by("name").agg("row").sort("name")
    sizes = groups["row"].list.len().to_list()
    allowed = parted(sizes, count, shares)
    rows = [np.array(each, np.int64) for each in groups["row"].to_list()]
    return list(zip(groups["name"].to_list(), rows, allowed, strict=True))


def parted(sizes: Sequence[int], count: int, shares: Shares) -> list[int]:
    """How many of `count` rows each group gives.

    >>> parted([60, 30, 10], 11, "proportional"), parted([60, 30, 2], 11, "equal")
    ([7, 3, 1], [5, 4, 2])
    """
    count = min(count, sum(sizes))
    if shares == "equal":
        given = [0] * len(sizes)
        left = count
        while left:
            free = [at for at, size in enumerate(sizes) if given[at] < size]
            each = left // len(free)
            for at in free[: left if not each else None]:
                more = min(max(each, 1), sizes[at] - given[at])
                given[at] += more
                left -= more
        return given
    wanted = [Fraction(size * count, sum(sizes)) for size in sizes]
    given = [int(each) for each in wanted]
    rest = sorted(range(len(sizes)), key=lambda at: (given[at] - wanted[at], at))
    for at in rest[: count - sum(given)]:
        given[at] += 1
    return given
