"""Balance difficulty: drop what a measure calls too easy or too hard, or draw evenly from it.

YuLan-Chat keeps rows of "moderate" perplexity (Zhao et al. 2023, arXiv:2303.18223) and publishes
neither a band nor what the perplexity is of; the rules here are ours. IFD's own rule is that of
Li et al. 2023 (arXiv:2308.12032): leave out what lies above 1, keep the highest of the rest.

No rule depends on the order of the rows or on how they are sharded. A row without a measure (null,
NaN) is outside no band and kept there; those that choose by the measure drop it.
"""

from __future__ import annotations

import math

import numpy as np
import polars as pl

from filters.draw import lot
from filters.share import best, rounded_down
from filters.verdict import verdict

NOT_MEASURED = "not_measured"


def band(
    measure: pl.Series,
    length: pl.Series,
    *,
    lowest: float = 0.1,
    highest: float = 0.1,
    buckets: int = 10,
) -> pl.DataFrame:
    """Drop the `lowest` and the `highest` share of each bucket of rows of like length.

    Rows are put into `buckets` of equal size by `length`; equal lengths share one, so that there
    can be fewer. The share of all rows, rounded down, is parted over the buckets from short to
    long: where so many rows have gone by, so many are due, and a bucket gives what is still due
    (its share rounded down or up, or less where it has too few; the next then gives more). Within a
    bucket of n measures in order that gives l and h, those below the one at place l are `too_easy`,
    those above the one at place n - 1 - h are `too_hard`: equal measures stay together, so that a
    bucket can lose less than it should, never more. Returns one row an entry, in order: `reason`
    and `detail` (the measure, the bounds, the lengths of the bucket).
    """
    values, known = _values(measure)
    lengths = length.to_numpy()
    reasons: list[str | None] = [None] * len(values)
    details: list[str | None] = [None] * len(values)
    found = _buckets(lengths[known], np.flatnonzero(known), buckets)
    sizes = [len(places) for places in found]
    easy = _parted(sizes, lowest, sizes)
    hard = _parted(sizes, highest, [n - one for n, one in zip(sizes, easy, strict=True)])
    for places, n_easy, n_hard in zip(found, easy, hard, strict=True):
        ordered = np.sort(values[places])
        n = len(ordered)
        low = ordered[n_easy] if n_easy < n else math.inf
        high = ordered[n - 1 - n_hard] if n_hard < n else -math.inf
        shortest, longest = int(lengths[places].min()), int(lengths[places].max())
        for at in places.tolist():
            value = float(values[at])
            reasons[at] = "too_easy" if value < low else "too_hard" if value > high else None
            details[at] = (
                f"{value:.4g}, {low:.4g} to {high:.4g} among {n} rows of length "
                f"{shortest} to {longest}"
            )
    return verdict(reasons, details)


def shares(
    measure: pl.Series, row_id: pl.Series, *, target: int, bins: int = 10, seed: int = 0
) -> pl.DataFrame:
    """Draw up to `target` rows, as many from each of `bins` of the measure as there are.

    The bins are equally wide between the measure's 1st and 99th percentile, the outer two open. A
    bin with fewer rows than its share gives all, and the others share the rest. Within a bin the
    rows are drawn by a hash of `seed` and `row_id`. The rest is `over_share`, and what has no
    measure, and so no bin, `not_measured`.
    """
    values, known = _values(measure)
    reasons: list[str | None] = [None if is_known else NOT_MEASURED for is_known in known]
    details: list[str | None] = [None] * len(values)
    places = np.flatnonzero(known)
    if len(places):
        low, high = np.quantile(values[places], [0.01, 0.99], method="nearest")
        width = (high - low) / bins or 1.0
        found = np.clip(((values[places] - low) / width).astype(np.int64), 0, bins - 1)
        counts = np.bincount(found, minlength=bins)
        allowed = _level(counts.tolist(), target)
        ids = row_id.to_list()
        for number in range(bins):
            members = sorted(places[found == number].tolist(), key=lambda at: lot(seed, ids[at]))
            said = f"bin {number + 1} of {bins}: {allowed[number]} of {len(members)} rows drawn"
            for order, at in enumerate(members):
                reasons[at] = None if order < allowed[number] else "over_share"
                details[at] = f"{values[at]:.4g}, {said}"
    return verdict(reasons, details)


def top(measure: pl.Series, *, share: float, at_most: float = 1.0) -> pl.DataFrame:
    """Keep the highest `share` of the rows whose measure is `at_most` that much.

    For IFD, where more than 1 says that the instruction does not help: `above_bound`. The share is
    of the rows within the bound, rounded down, at least 1; rows equal to the last one kept stay
    with it. The rest is `below_top_share`, and what has no measure `not_measured`.
    """
    values, known = _values(measure)
    within = known & (values <= at_most)
    n_within = int(within.sum())
    cut = math.inf
    if n_within:
        wanted = best(n_within, share)
        cut = float(np.sort(values[within])[n_within - wanted])
    reasons: list[str | None] = []
    details: list[str | None] = []
    for value, is_known, is_within in zip(values.tolist(), known, within, strict=True):
        if not is_known:
            reasons.append(NOT_MEASURED)
            details.append(None)
        elif not is_within:
            reasons.append("above_bound")
            details.append(f"{value:.4g}, above {at_most:.4g}")
        else:
            reasons.append("below_top_share" if value < cut else None)
            details.append(f"{value:.4g}, the top share begins at {cut:.4g}")
    return verdict(reasons, details)


def _values(measure: pl.Series) -> tuple[np.ndarray, np.ndarray]:
    """The measure as numbers, and where there is one."""
    values = measure.cast(pl.Float64).fill_null(math.nan).to_numpy()
    return values, ~np.isnan(values)


def _buckets(lengths: np.ndarray, places: np.ndarray, buckets: int) -> list[np.ndarray]:
    """Places of rows of like length: quantile bounds, so that equal lengths are never parted."""
    if not len(places):
        return []
    inner = np.quantile(lengths, np.arange(1, buckets) / buckets, method="higher")
    found = np.searchsorted(inner, lengths, side="right")
    return [places[found == number] for number in np.unique(found)]


def _parted(sizes: list[int], share: float, room: list[int]) -> list[int]:
    """How many rows each bucket gives, of those that it has `room` for: all together the share."""
    given: list[int] = []
    so_far = 0
    for size, free in zip(sizes, room, strict=True):
        so_far += size
        given.append(min(rounded_down(so_far, share) - sum(given), free))
    lacking = rounded_down(so_far, share) - sum(given)
    for at in reversed(range(len(sizes))):  # the last ones had no room: those before them have
        more = min(lacking, room[at] - given[at])
        given[at] += more
        lacking -= more
    return given


def _level(counts: list[int], target: int) -> list[int]:
    """How many each bin gives: equal shares, what small bins lack taken from the others."""
    allowed = [0] * len(counts)
    left = min(target, sum(counts))
    while left:
        open_bins = [at for at, count in enumerate(counts) if allowed[at] < count]
        each = left // len(open_bins)
        if not each:
            for at in open_bins[:left]:
                allowed[at] += 1
            break
        for at in open_bins:
            given = min(each, counts[at] - allowed[at])
            allowed[at] += given
            left -= given
    return allowed
