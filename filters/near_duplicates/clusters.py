"""Which texts are near-duplicates of each other: candidates by band, checked, and joined.

Texts that share a band are candidates; each pair's Jaccard similarity is then computed exactly, so
no pair below the threshold joins a cluster. What one band has joined is not compared again in the
next. The components are our own few lines of numpy: none of the packages that this one stands on
has them (scipy and networkx do, and are not among them).
"""

from collections.abc import Iterator
from itertools import pairwise
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from filters.shingles import Hashes, Runs

Rows = NDArray[np.int64]

# Texts of one band's bucket that a text is compared with: those next to it. Real buckets are
# smaller; it bounds the work where a template made a hundred thousand texts.
NEIGHBOURS = 100
# Shingles that are compared at once; it bounds the memory.
AT_ONCE = 1 << 25


class Source(Protocol):
    """Signed texts, in memory or in files."""

    @property
    def counts(self) -> NDArray[np.int32]:
        """How many shingles each text has."""

    @property
    def n_keys(self) -> int:
        """How many keys each text has."""

    def keys(self, number: int) -> Hashes:
        """One key of every text."""

    def shingles(self, rows: Rows) -> Runs:
        """The shingles of some texts as `Signed` has them; `rows` ascend."""


def clusters(source: Source, threshold: float, *, small: bool) -> Rows:
    """The first row of each text's cluster; a text without near-duplicates is its own."""
    root = np.arange(len(source.counts))
    candidates = np.flatnonzero(source.counts)  # a text without tokens is like no other
    # The same signature: nearly always the same shingles. Each is compared with the one before
    # it, and only the first of equal texts goes on.
    a, b = _concatenated(list(_neighbours(source.keys(0), candidates, 1)))
    similar = jaccards(source, a, b, small=small)
    root = joined(root, a[similar >= threshold], b[similar >= threshold])
    candidates = np.setdiff1d(candidates, b[similar == 1], assume_unique=True)

    waiting: list[tuple[Rows, Rows]] = []
    weight = 0
    for number in range(1, source.n_keys):
        for a, b in _neighbours(source.keys(number), candidates, NEIGHBOURS):
            apart = root[a] != root[b]
            waiting.append((a[apart], b[apart]))
            weight += int(source.counts[a[apart]].sum() + source.counts[b[apart]].sum())
            if weight > AT_ONCE:
                root = _join_alike(source, root, waiting, threshold, small=small)
                waiting, weight = [], 0
    return _join_alike(source, root, waiting, threshold, small=small)


def _join_alike(
    source: Source, root: Rows, pairs: list[tuple[Rows, Rows]], threshold: float, *, small: bool
) -> Rows:
    a, b = _distinct(*_concatenated(pairs))
    alike = jaccards(source, a, b, small=small) >= threshold
    return joined(root, a[alike], b[alike])


def _concatenated(pairs: list[tuple[Rows, Rows]]) -> tuple[Rows, Rows]:
    none = np.zeros(0, np.int64)
    return np.concatenate([none, *(a for a, _ in pairs)]), np.concatenate(
        [none, *(b for _, b in pairs)]
    )


def _distinct(a: Rows, b: Rows) -> tuple[Rows, Rows]:
    packed = _each_once(a << 32 | b)
    return packed >> 32, packed & 0xFFFFFFFF


def _each_once(numbers: Rows) -> Rows:
    """As `np.unique`, which builds a hash table: many times slower than to sort millions."""
    numbers.sort()
    is_new = np.ones(len(numbers), bool)
    np.not_equal(numbers[1:], numbers[:-1], out=is_new[1:])
    return numbers[is_new]


def candidate_pairs(source: Source) -> tuple[Rows, Rows]:
    """Every pair that shares a key, the lower row first: all that `clusters` could compare."""
    rows = np.flatnonzero(source.counts)
    found = [
        pair
        for number in range(1, source.n_keys)
        for pair in _neighbours(source.keys(number), rows, NEIGHBOURS)
    ]
    return _distinct(*_concatenated(found))


def _neighbours(keys: Hashes, rows: Rows, most: int) -> Iterator[tuple[Rows, Rows]]:
    """Pairs of rows with the same key, the lower first; each with up to `most` that follow it."""
    ordered, sharing = _sharing(keys[rows])
    sharing = rows[sharing]
    first = np.arange(len(sharing))
    for distance in range(1, most + 1):
        first = first[first + distance < len(sharing)]
        first = first[ordered[first] == ordered[first + distance]]
        if not len(first):
            return
        yield sharing[first], sharing[first + distance]


def _sharing(keys: Hashes) -> tuple[Hashes, Rows]:
    """The keys that are there more than once, sorted, and the place of each, in order."""
    order = np.argsort(keys)
    ordered = keys[order]
    shared = np.zeros(len(keys) + 1, bool)
    np.equal(ordered[1:], ordered[:-1], out=shared[1:-1])
    order = order[shared[1:] | shared[:-1]]
    # by key and then by place: the same order whatever the sort did
    order = order[np.lexsort((order, keys[order]))]
    return keys[order], order


def joined(root: Rows, a: Rows, b: Rows) -> Rows:
    """Join the clusters of a and b, pair by pair; a cluster's root is its lowest row.

    Every round hooks roots to lower ones and then shortens all paths (Shiloach and Vishkin 1982).
    """
    root = root.copy()
    while True:
        of_a, of_b = root[a], root[b]
        low = np.minimum(of_a, of_b)
        if (of_a == of_b).all():
            return root
        np.minimum.at(root, of_a, low)
        np.minimum.at(root, of_b, low)
        while not np.array_equal(shorter := root[root], root):
            root = shorter


def jaccards(source: Source, a: Rows, b: Rows, *, small: bool) -> NDArray[np.float64]:
    """The exact Jaccard similarity of the shingle sets of rows a and b, pair by pair.

    Exact up to two shingles with one 64-bit hash. `common / union` is rounded once, as a decimal
    threshold is, so `>=` compares the fractions.
    """
    similar = np.zeros(len(a))
    weight = np.cumsum(source.counts[a].astype(np.int64) + source.counts[b])
    start = 0
    while start < len(a):
        before = weight[start - 1] if start else 0
        end = max(start + 1, int(np.searchsorted(weight, before + AT_ONCE, "right")))
        part = slice(start, end)
        similar[part] = _jaccards(source, a[part], b[part], small=small)
        start = end
    return similar


def _jaccards(source: Source, a: Rows, b: Rows, *, small: bool) -> NDArray[np.float64]:
    rows = _each_once(np.concatenate([a, b]))
    runs = source.shingles(rows)
    at_a, at_b = np.searchsorted(rows, a), np.searchsorted(rows, b)
    if small:
        sets = [set(runs.hashes[i:j].tolist()) for i, j in pairwise(runs.offsets)]
        pairs = ((sets[i], sets[j]) for i, j in zip(at_a, at_b, strict=True))
        return np.fromiter((len(x & y) / len(x | y) for x, y in pairs), np.float64, len(a))
    from filters.near_duplicates import kernels

    similar = np.empty(len(a))
    kernels.jaccards(runs.hashes, runs.offsets, at_a, at_b, similar)
    return similar
