"""The most alike of many, by MinHash signatures or by vectors: what demonstrations are chosen by.

Two signatures are as alike as the share of their values that are the same, an estimate of the
Jaccard similarity of what they stand for; two vectors of length 1 as their cosine, of which six
decimals count. Of equals the earlier comes first, so that nothing depends on blocks or threads.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Signatures = NDArray[np.uint32]
Table = Signatures | NDArray[np.float32]
"""One row an item: signatures (uint32) or vectors of length 1 (float32)."""
Places = NDArray[np.int64]
Scores = NDArray[np.float64]

BLOCK = 256  # vectors multiplied at once
SMALL = 20_000_000
"""Values compared up to which numpy is ready before the compiled loop is loaded."""
SLACK = 1e-4  # more than a product of float32 vectors is off by
DECIMALS = 6


def alike(one: Table, others: Table) -> Scores:
    """How alike an item and each of others are, 0 to 1 for signatures, -1 to 1 for vectors."""
    if one.dtype == np.uint32:
        found: Scores = (others == one).mean(axis=1, dtype=np.float64)
        return found
    products = others.astype(np.float64) @ one.astype(np.float64)
    return np.round(products, DECIMALS)


def nearest(
    items: Table, pool: Table, skipped: Places, k: int, *, at_most: float = 1.0
) -> tuple[Places, Scores]:
    """The `k` most alike of `pool` for each item, most alike first, and how alike they are.

    `skipped` is the place in the pool that an item must not meet, -1 for none; nor does it meet
    what is more alike than `at_most`. Where too few are left, places are -1 and scores 0 at the end
    of a row.
    """
    if items.dtype == np.uint32:
        signed, others = items.astype(np.uint32, copy=False), pool.astype(np.uint32, copy=False)
        return _by_signature(signed, others, skipped, k, at_most)
    return _by_vector(items, pool, skipped, k, at_most)


def _empty(n_items: int, k: int) -> tuple[Places, Scores]:
    return np.full((n_items, k), -1, np.int64), np.zeros((n_items, k))


def _by_signature(
    items: Signatures, pool: Signatures, skipped: Places, k: int, at_most: float
) -> tuple[Places, Scores]:
    places, scores = _empty(len(items), k)
    if items.size * len(pool) > SMALL:
        from filters import nearest_kernel  # numba: half a second to import

        counts = np.zeros((len(items), k), np.int64)
        most = shared(at_most, items.shape[1])
        nearest_kernel.nearest(items, pool, skipped, most, places, counts)
        return places, counts / items.shape[1]
    for at, one in enumerate(items):
        found = alike(one, pool)
        found[found > shared(at_most, len(one)) / len(one)] = np.nan
        _take(found, int(skipped[at]), places[at], scores[at])
    return places, scores


def shared(similarity: float, n: int) -> int:
    """The most of `n` values that may be shared at a similarity."""
    return int(similarity * n + 1e-9)


def _take(found: Scores, skipped: int, places: Places, scores: Scores) -> None:
    """Write the best of `found` into a row of `places` and `scores`."""
    order = np.argsort(-found, kind="stable")
    best = order[(order != skipped) & ~np.isnan(found[order])][: len(places)]
    places[: len(best)], scores[: len(best)] = best, found[best]


def _by_vector(
    items: Table, pool: Table, skipped: Places, k: int, at_most: float
) -> tuple[Places, Scores]:
    places, scores = _empty(len(items), k)
    if not len(pool):
        return places, scores
    wanted = min(k, len(pool))
    for start in range(0, len(items), BLOCK):
        products = items[start : start + BLOCK] @ pool.T
        out = skipped[start : start + BLOCK]
        products[np.flatnonzero(out >= 0), out[out >= 0]] = -np.inf
        products[products > at_most + SLACK] = -np.inf
        least = -np.partition(-products, wanted - 1, axis=1)[:, wanted - 1]
        for row, one in enumerate(items[start : start + BLOCK]):
            at = start + row
            likely = _not_above(one, pool, products[row], float(least[row]) - SLACK, at_most)
            if len(likely) < wanted:  # some were above it by less than float32 can tell
                likely = _not_above(one, pool, products[row], -2.0, at_most)
            found = alike(one, pool[likely])
            best = np.argsort(-found, kind="stable")[:k]
            places[at, : len(best)], scores[at, : len(best)] = likely[best], found[best]
    return places, scores


def _not_above(
    one: Table, pool: Table, products: NDArray[np.float32], least: float, at_most: float
) -> Places:
    """Places whose product is at least so high, and whose cosine is not above the highest."""
    likely = np.flatnonzero(products >= max(least, -2.0))
    return likely[alike(one, pool[likely]) <= at_most]


def directions(vectors: list[NDArray[np.float32] | None]) -> NDArray[np.float32]:
    """Vectors at length 1; what is none, or points nowhere, is all zeros.

    Raises ValueError for vectors of different lengths.
    """
    lengths = {len(one) for one in vectors if one is not None}
    if len(lengths) > 1:
        raise ValueError(f"vectors have different lengths: {sorted(lengths)}")
    found = np.zeros((len(vectors), max(lengths, default=1)), np.float32)
    for at, vector in enumerate(vectors):
        if vector is None:
            continue
        wide = np.asarray(vector, np.float64)
        largest = np.abs(wide).max(initial=0)
        if np.isfinite(largest) and largest > 0:
            scaled = wide / largest  # squares neither overflow nor vanish
            found[at] = scaled / np.linalg.norm(scaled)
    return found
