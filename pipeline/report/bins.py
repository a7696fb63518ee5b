"""Equal bins of numbers, for distributions that are drawn beside each other."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass

import polars as pl

BINS = 40
TAIL = 0.995
"""Up to this share of the values is drawn; what is above is in the last bin."""


@dataclass(frozen=True, slots=True)
class Bins:
    """Bins between `edges`, which rise; the last has all that is above it too, where `is_cut`."""

    edges: list[float]
    is_cut: bool

    def counts(self, values: pl.Series) -> list[int]:
        """How many values are in each bin, of a Float64 series of finite numbers."""
        n, low = len(self.edges) - 1, self.edges[0]
        if n == 1:
            return [len(values)]
        width = (self.edges[-1] - low) / n
        at = ((values - low) / width).floor().clip(0, n - 1).cast(pl.Int64)
        counted = Counter(at.to_list())
        return [counted[number] for number in range(n)]


def bins(values: pl.Series) -> Bins:
    """Bins from the lowest value to the highest but the last half a per cent.

    Whole numbers that are near each other get a bin each. Values that are all equal, or nearer
    than numbers can tell bins apart, are in one. Raises `ValueError` where there is no value.
    """
    if values.is_empty():
        raise ValueError("there is no value to make bins of")
    low, high = float(values.min()), float(values.max())  # type: ignore[arg-type]
    top = float(values.quantile(TAIL, "higher"))  # type: ignore[arg-type]
    is_cut = low < top < high
    if not is_cut:
        top = high
    if top - low <= BINS and bool((values % 1 == 0).all()):
        edges = [number - 0.5 for number in range(int(low), int(top) + 2)]
    else:
        edges = [*(low + (top - low) * at / BINS for at in range(BINS)), top]
    if edges[-1] < float("inf") and all(one < other for one, other in itertools.pairwise(edges)):
        return Bins(edges, is_cut)
    margin = 0.0 if low < high else max(0.5, abs(low) / 1e9)
    return Bins([low - margin, high + margin], is_cut=False)
