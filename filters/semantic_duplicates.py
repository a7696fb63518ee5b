"""Semantic duplicates: rows whose vectors point almost the same way as an earlier row's.

Source: Abbas et al. 2023, "SemDeDup" (arXiv:2303.09540), without its clustering step: every row is
compared with all rows kept before it, and of rows alike the first is kept, not the one farthest
from a centroid.
"""

from __future__ import annotations

import math
from collections import defaultdict

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.verdict import verdict

Vectors = NDArray[np.float32]

BLOCK = 1024  # rows compared at once
OTHERS = 16 * BLOCK  # rows that they are compared with at once
# More than a product of float32 vectors is off by: pairs this near the threshold are multiplied
# again in float64, so that no verdict depends on the blocks that a row was multiplied in.
SLACK = 1e-4
DECIMALS = 6  # of a cosine; float32 vectors of length 1 have no more


def semantic_duplicates(
    row_id: pl.Series, vectors: pl.Series, *, threshold: float = 0.95
) -> pl.DataFrame:
    """Drop rows whose vector has a cosine of at least `threshold` with that of a row kept before.

    `vectors` is a List or Array column of numbers, all of one length. A null is kept, and so is a
    vector without a direction: all zeros, or with a null, NaN or infinity in it. Returns one row
    an entry, in order: `reason` (String, "semantic_duplicate", or null where the row is kept),
    `detail` (String, the cosine), `ref` (String, the `row_id` of the kept row with the highest
    cosine, the first of equals) and `similarity` (Float64, that cosine). Six decimals of a cosine
    count.

    Raises ValueError for vectors of different lengths and for a threshold outside (-1, 1].
    """
    if not -1 < threshold <= 1:
        raise ValueError(f"threshold {threshold!r} is not above -1 and up to 1")
    rows, directions = unit_vectors(vectors)
    reason: list[str | None] = [None] * len(vectors)
    detail, ref = reason.copy(), reason.copy()
    similarity: list[float | None] = [None] * len(vectors)
    ids = row_id.cast(pl.String)
    for one, (other, cosine) in _met(directions, threshold).items():
        reason[rows[one]] = "semantic_duplicate"
        detail[rows[one]] = f"cosine {cosine:.4f}"
        ref[rows[one]] = ids[int(rows[other])]
        similarity[rows[one]] = cosine
    return verdict(reason, detail, ref, similarity)


def _met(directions: Vectors, threshold: float) -> dict[int, tuple[int, float]]:
    """The kept row that each dropped one met, and their cosine.

    Those of kept rows move to the front of `directions`, so that there is no second copy.
    """
    kept = np.zeros(len(directions), np.int64)  # the first `n_kept` of them are in use
    n_kept = 0
    met = dict[int, tuple[int, float]]()
    for start in range(0, len(directions), BLOCK):
        block = directions[start : start + BLOCK].copy()
        likely = _likely_pairs(block, directions[:n_kept], threshold)
        inside = _likely_pairs(block, block, threshold)
        for i, one in enumerate(block):
            others = [(int(kept[k]), directions[k]) for k in likely.get(i, ())]
            before = (j for j in inside.get(i, ()) if j < i and start + j not in met)
            others += [(start + j, block[j]) for j in before]
            cosines = [(_cosine(one, vector), -other) for other, vector in others]
            cosine, other = max(cosines, default=(-2.0, 0))
            if cosine >= threshold:
                met[start + i] = -other, cosine
        new = [i for i in range(len(block)) if start + i not in met]
        kept[n_kept : n_kept + len(new)] = start + np.array(new, np.int64)
        directions[n_kept : n_kept + len(new)] = block[new]
        n_kept += len(new)
    return met


def unit_vectors(vectors: pl.Series) -> tuple[NDArray[np.int64], Vectors]:
    """The rows that have a direction, and their vectors at length 1."""
    rows = np.zeros(len(vectors), np.int64)  # the first `n` are in use
    directions, n = np.zeros((0, 0), np.float32), 0
    lengths = set[int]()
    for start in range(0, len(vectors), OTHERS):
        part = vectors.slice(start, OTHERS).cast(pl.List(pl.Float64))
        lengths.update(part.list.len().drop_nulls().unique().to_list())
        if len(lengths) > 1:
            raise ValueError(f"vectors have different lengths: {sorted(lengths)}")
        there = part.is_not_null().arg_true().to_numpy()
        if not len(there) or 0 in lengths:
            continue
        matrix = part.drop_nulls().list.to_array(max(lengths)).to_numpy()  # a null is NaN there
        largest = np.abs(matrix).max(axis=1, keepdims=True)
        usable = np.isfinite(largest[:, 0]) & (largest[:, 0] > 0)
        scaled = matrix[usable] / largest[usable]  # squares neither overflow nor vanish
        norms = np.linalg.norm(scaled, axis=1, keepdims=True)
        if not n:
            directions = np.empty((len(vectors), max(lengths)), np.float32)
        end = n + len(scaled)
        rows[n:end], directions[n:end] = start + there[usable], scaled / norms
        n = end
    return rows[:n], directions[:n]


def _likely_pairs(block: Vectors, others: Vectors, threshold: float) -> dict[int, list[int]]:
    """Rows of `others` that may reach the threshold, by row of `block`."""
    pairs = defaultdict[int, list[int]](list)
    for start in range(0, len(others), OTHERS):
        i, j = np.nonzero(block @ others[start : start + OTHERS].T >= threshold - SLACK)
        for row, other in zip(i.tolist(), j.tolist(), strict=True):
            pairs[row].append(start + other)
    return pairs


def _cosine(a: Vectors, b: Vectors) -> float:
    x, y = a.astype(np.float64), b.astype(np.float64)
    return round(float(x @ y) / math.sqrt(float(x @ x) * float(y @ y)), DECIMALS)
