"""How alike rows are, in whole numbers, so that sums are the same in any order and on any cores.

Of texts the low byte of each of 128 MinHash values is kept (Li and König 2010, "b-Bit Minwise
Hashing", arXiv:0910.3349): two rows have as many bytes in common as their Jaccard similarity says,
and one in 256 of the others. Vectors of length 1 are rounded to whole 4000ths: a product of two,
and every part of its sum, is then a whole number below 2**24, which float32 holds exactly.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.near_duplicates import signatures
from filters.semantic_duplicates import unit_vectors

Rows = NDArray[np.int64]
Packed = NDArray[np.uint8]

PERMUTATIONS = 128
BY_CHANCE = 1 / 256  # of unequal values, those with the same low byte
SMALL = 1_000  # rows up to which numpy is done before numba is loaded
SCALE = 4000  # (SCALE + sqrt(length) / 2) ** 2 < 2 ** 24
WIDE = 1 << 22  # products at once, which bounds the memory


class Alike(Protocol):
    """Rows of which it is known how alike they are: 0 for not at all."""

    name: str
    epsilon: float  # what may be lacking to the best sum, for fewer comparisons

    def __len__(self) -> int:
        """How many rows there are."""

    def nothing(self) -> NDArray[Any]:
        """A similarity of 0 for every row."""

    def to(self, one: int) -> NDArray[Any]:
        """How alike every row is to one."""

    def gains(self, ones: Rows, best: NDArray[Any]) -> NDArray[np.int64]:
        """By how much each of `ones` raises the sum of `best`, the similarities so far."""

    def chosen(self, rows: Rows) -> Alike:
        """Some of the rows."""

    def similarity(self, found: NDArray[Any]) -> NDArray[np.float64]:
        """What the whole numbers say, 0 to 1."""


class MinHashes:
    """Rows by the words, or runs of them, that they share."""

    name = "Jaccard"
    epsilon = 0.1

    def __init__(self, packed: Packed) -> None:
        """`packed` has a row of 128 bytes for each row."""
        self.packed = packed
        self._is_small = len(packed) <= SMALL
        self._pool = None if self._is_small else ThreadPoolExecutor(os.cpu_count() or 1)

    @classmethod
    def of(cls, texts: Iterable[Sequence[str]], *, ngram: int) -> MinHashes:
        """Sign texts, part by part; a shingle is `ngram` neighbouring tokens."""
        parts = [np.zeros((0, PERMUTATIONS), np.uint8)]
        for part in texts:
            signed = signatures(part, permutations=PERMUTATIONS, ngram=ngram)
            parts.append((signed & 0xFF).astype(np.uint8))
        return cls(np.concatenate(parts))

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self.packed)

    def nothing(self) -> Packed:
        """A similarity of 0 for every row."""
        return np.zeros(len(self), np.uint8)

    def to(self, one: int) -> Packed:
        """How many of its bytes every row has in common with one."""
        if self._is_small:
            equal: Packed = (self.packed == self.packed[one]).sum(axis=1, dtype=np.uint8)
            return equal
        from filters.diverse import kernels

        found = np.empty(len(self), np.uint8)
        kernels.equal_bytes(self.packed, one, found)
        return found

    def gains(self, ones: Rows, best: Packed) -> NDArray[np.int64]:
        """By how much each of `ones` raises the sum of `best`; in as many threads as cores."""
        if self._pool is None:
            more = [self.to(int(one)).astype(np.int64) - best for one in ones]
            return np.array([np.maximum(each, 0).sum() for each in more], np.int64)
        from filters.diverse import kernels

        found = np.zeros(len(ones), np.int64)
        cuts = np.array_split(np.arange(len(ones)), (os.cpu_count() or 1) * 2)
        spans = [slice(int(cut[0]), int(cut[-1]) + 1) for cut in cuts if len(cut)]
        work = [
            self._pool.submit(kernels.gains, self.packed, ones[span], best, found[span])
            for span in spans
        ]
        for done in work:
            done.result()
        return found

    def chosen(self, rows: Rows) -> MinHashes:
        """Some of the rows."""
        return MinHashes(self.packed[rows])

    def similarity(self, found: Packed) -> NDArray[np.float64]:
        """The Jaccard similarity that so many bytes in common stand for, about 0.04 either way."""
        share = found / PERMUTATIONS
        return np.clip((share - BY_CHANCE) / (1 - BY_CHANCE), 0, 1)


class Directions:
    """Rows by the cosine of their vectors; one without a direction is like none, not itself."""

    name = "cosine"
    epsilon = 0.25

    def __init__(self, whole: NDArray[np.float32]) -> None:
        """`whole` has a row of whole numbers, a vector of length `SCALE`, for each row."""
        self._whole = whole

    @classmethod
    def of(cls, vectors: pl.Series) -> Directions:
        """Vectors, all of one length; raises ValueError where they are not."""
        rows, found = unit_vectors(vectors)
        whole = np.zeros((len(vectors), found.shape[1]), np.float32)
        whole[rows] = np.rint(found * SCALE)
        return cls(whole)

    def __len__(self) -> int:
        """How many rows there are."""
        return len(self._whole)

    def nothing(self) -> NDArray[np.float32]:
        """A similarity of 0 for every row."""
        return np.zeros(len(self), np.float32)

    def to(self, one: int) -> NDArray[np.float32]:
        """The product of every vector with one; one that points away is 0."""
        found: NDArray[np.float32] = np.maximum(self._whole @ self._whole[one], 0)
        return found

    def gains(self, ones: Rows, best: NDArray[np.float32]) -> NDArray[np.int64]:
        """By how much each of `ones` raises the sum of `best`."""
        found = np.zeros(len(ones), np.float64)
        step = max(1, WIDE // max(1, len(ones)))
        for start in range(0, len(self), step):
            part = slice(start, start + step)
            products = self._whole[part] @ self._whole[ones].T
            products -= best[part, None]
            found += np.maximum(products, 0, out=products).sum(axis=0, dtype=np.float64)
        return found.astype(np.int64)

    def chosen(self, rows: Rows) -> Directions:
        """Some of the rows."""
        return Directions(self._whole[rows])

    def similarity(self, found: NDArray[np.float32]) -> NDArray[np.float64]:
        """The cosine, to about a thousandth."""
        return np.clip(found.astype(np.float64) / SCALE**2, 0, 1)
