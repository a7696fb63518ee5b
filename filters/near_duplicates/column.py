"""The near-duplicate filter over columns."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters import shingles
from filters.near_duplicates.clusters import Rows, Source, clusters, jaccards
from filters.near_duplicates.minhash import TEXTS, Settings, Signed, signed
from filters.shingles import Hashes, Runs


def near_duplicates(
    row_id: pl.Series,
    instruction: pl.Series,
    input: pl.Series,
    output: pl.Series,
    *,
    threshold: float = 0.8,
    permutations: int = 128,
    bands: int | None = None,
    rows: int | None = None,
    ngram: int = 5,
    seed: int = 1,
    columns: Sequence[str] = TEXTS,
    rating: pl.Series | None = None,
) -> pl.DataFrame:
    """Keep one of the rows whose texts in `columns`, one after the other, are nearly the same.

    Two rows are alike where the Jaccard similarity of their shingles, runs of `ngram` neighbouring
    tokens (`filters.shingles.tokens`), is at least `threshold`; rows that a chain of such pairs
    links are one cluster. A row of fewer than `ngram` tokens is one shingle, alike only to the
    same tokens; one without tokens (empty, null, only punctuation or emoji) is always kept. Pairs
    are found by MinHash in `bands` of `rows` (see `minhash.banding`), so a few in a thousand
    are missed; none is reported that is not there.

    Of a cluster the row with the highest `rating` is kept, a null or NaN being lowest; among
    those the one with the longest output in characters; among those the first. Returns one row an
    entry, in order: `reason` (String, "near_duplicate", or null where the row is kept), `detail`
    (String: the similarity with the kept row, below `threshold` where only others link the two,
    and the size of the cluster), `ref` (String: the `row_id` of the kept row) and `similarity`
    (Float64, the Jaccard similarity with it, exact).

    Raises ValueError for settings that cannot be.
    """
    settings = Settings(threshold, permutations, bands, rows, ngram, seed, tuple(columns))
    if unknown := set(columns) - set(TEXTS):
        raise ValueError(f"columns {sorted(unknown)} are not among {', '.join(TEXTS)}")
    frame = pl.DataFrame({"instruction": instruction, "input": input, "output": output})
    compared = frame.select(columns)
    small = shingles.is_small(compared)
    texts = shingles.row_texts(compared)
    source = Memory(signed(part, settings, small=small) for part in texts)
    root = clusters(source, threshold, small=small)
    members = linked(root)
    kept = choose(root, members, quality(output, rating)[members])
    found = dropped(source, root, kept, small=small)
    ids = row_id.cast(pl.String).gather(found["kept"])
    numbered = pl.DataFrame({"row": np.arange(len(row_id))})
    return verdicts(numbered, found, ids).drop("row")


class Memory:
    """Signed texts in memory."""

    def __init__(self, parts: Iterable[Signed]) -> None:
        """Answer from `parts`, one after the other."""
        keys, counts = [], [np.zeros(0, np.int32)]
        self._parts = list[Runs]()
        for part in parts:
            keys.append(part.keys)
            counts.append(np.diff(part.shingles.offsets).astype(np.int32))
            self._parts.append(part.shingles)
        self._keys = np.concatenate(keys, axis=1) if keys else np.zeros((1, 0), np.uint64)
        self._starts = np.cumsum([0, *map(len, self._parts)])
        self.n_keys = len(self._keys)
        self.counts: NDArray[np.int32] = np.concatenate(counts)

    def keys(self, number: int) -> Hashes:
        """One key of every text."""
        keys: Hashes = self._keys[number]
        return keys

    def shingles(self, rows: Rows) -> Runs:
        """The shingles of some texts; `rows` ascend."""
        cuts = np.searchsorted(rows, self._starts)
        return shingles.concatenate(
            [
                shingles.chosen(part, rows[cut:end] - start)
                for part, start, (cut, end) in zip(
                    self._parts, self._starts, pairwise(cuts), strict=False
                )
            ]
        )


def quality(output: pl.Series, rating: pl.Series | None) -> pl.DataFrame:
    """What decides which row of a cluster is kept: `rating`, then `length`."""
    length = output.cast(pl.String).str.len_chars().fill_null(0)
    if rating is None:
        rating = pl.repeat(None, len(output), dtype=pl.Float64, eager=True)
    lowest = rating.cast(pl.Float64).fill_nan(None).fill_null(-np.inf)
    return pl.DataFrame({"rating": lowest, "length": length})


def linked(root: Rows) -> Rows:
    """The rows that are not alone in their cluster, in order."""
    sizes = np.bincount(root)
    found: Rows = np.flatnonzero(sizes[root] > 1)
    return found


def choose(root: Rows, members: Rows, qualities: pl.DataFrame) -> Rows:
    """The kept row of each row's cluster, by the `qualities` of the rows that are not alone."""
    ranked = qualities.with_columns(root=root[members], row=members)
    best = ranked.sort("rating", "length", "row", descending=[True, True, False]).unique(
        "root", keep="first", maintain_order=True
    )
    kept = root.copy()
    kept[best["root"].to_numpy()] = best["row"].to_numpy()
    return kept[root]


def dropped(source: Source, root: Rows, kept: Rows, *, small: bool) -> pl.DataFrame:
    """The dropped rows, in order: `row`, `kept`, their `similarity`, `size` of the cluster."""
    row = np.flatnonzero(kept != np.arange(len(kept)))
    return pl.DataFrame(
        {
            "row": row,
            "kept": kept[row],
            "similarity": jaccards(source, kept[row], row, small=small),
            "size": np.bincount(root)[root[row]],
        }
    )


def verdicts(rows: pl.DataFrame, found: pl.DataFrame, ids: pl.Series) -> pl.DataFrame:
    """`rows`, by their `row`, with the verdict of each; `ids` name the kept rows of `found`."""
    detail = pl.format(
        "Jaccard {} with the one kept of {} rows", pl.col("similarity").round(3), "size"
    )
    said = found.select(
        "row", "similarity", reason=pl.lit("near_duplicate"), detail=detail, ref=ids
    ).select("row", "reason", "detail", "ref", "similarity")
    return rows.join(said, on="row", how="left", maintain_order="left")
