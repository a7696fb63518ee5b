"""MinHash signatures of texts, and the bands of them that near-duplicates are looked up by.

Source: Broder 1997, "On the resemblance and containment of documents". The permutations are those
of `datasketch.MinHash` with its scheme "affine32", so that signatures of both can be joined.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters import shingles
from filters.shingles import BATCH, Hashes, Runs

Signatures = NDArray[np.uint32]

# What the bands find of pairs at the threshold or above, in the mean. 0.99 would do if real pairs
# lay evenly; of 75,180 real rows that gave 98.9 % at 0.8, for a fifth less work.
RECALL = 0.995
TEXTS = ("instruction", "input", "output")
MIX = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True)
class Settings:
    """What makes two texts near-duplicates, and how they are looked up.

    `bands` times `rows` permutations are used; where neither is given, `banding` chooses them.
    The texts of `columns` are read one after the other.
    """

    threshold: float = 0.8
    permutations: int = 128
    bands: int | None = None
    rows: int | None = None
    ngram: int = 5
    seed: int = 1
    columns: tuple[str, ...] = TEXTS

    def __post_init__(self) -> None:
        """Refuse settings that no text could be compared by."""
        if not 0 < self.threshold <= 1:
            raise ValueError(f"threshold {self.threshold!r} is not above 0 and up to 1")
        for name in ("permutations", "bands", "rows", "ngram"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise ValueError(f"{name} {value!r} is not 1 or more")
        if not self.columns:
            raise ValueError("columns is empty: there is nothing to compare")
        bands, rows = self.banding
        if bands * rows > self.permutations:
            raise ValueError(
                f"{bands} bands of {rows} rows take {bands * rows} permutations, "
                f"and there are {self.permutations}: use fewer bands or rows, or more permutations"
            )

    @property
    def banding(self) -> tuple[int, int]:
        """Bands, and rows of each."""
        if self.bands and self.rows:
            return self.bands, self.rows
        if self.bands or self.rows:
            given = self.bands or self.rows or 1
            other = max(1, self.permutations // given)
            return (given, other) if self.bands else (other, given)
        return banding(self.threshold, self.permutations)


@lru_cache(maxsize=64)
def banding(threshold: float, permutations: int) -> tuple[int, int]:
    """The bands, and rows of each, that find enough at the least work.

    Texts of similarity s share a band of r rows with probability s**r, and one of b bands with
    1 - (1 - s**r)**b. More rows mean fewer pairs to compare; taken are the most rows with which
    that probability is `RECALL` in the mean of s from the threshold to 1.

    >>> banding(0.8, 128), banding(0.7, 128), banding(0.5, 128)
    ((18, 7), (25, 5), (42, 3))
    """
    s = np.linspace(threshold, 1, 101)
    for rows in range(permutations, 1, -1):
        found = 1 - (1 - s**rows) ** (permutations // rows)
        if found.mean() >= RECALL:
            return permutations // rows, rows
    return permutations, 1


def signatures(
    texts: Sequence[str], *, permutations: int = 128, ngram: int = 5, seed: int = 1
) -> Signatures:
    """MinHash signatures, one row a text, as `datasketch` 2 computes them.

    A row is `MinHash(permutations, seed, scheme="affine32", hashfunc=int).hashvalues` after
    `update` with every hash of `shingle_hashes(text)`; and `MinHash(hashvalues=row,
    scheme="affine32")` goes into datasketch's indexes. Signatures of other hash functions, of
    other schemes or of other tokens cannot be joined with these. A text without tokens has the
    highest value everywhere, as an empty MinHash has.
    """
    small = shingles.is_small(texts)
    parts = [np.zeros((0, permutations), np.uint32)]
    for start in range(0, len(texts), BATCH):
        runs = shingled(texts[start : start + BATCH], ngram, small=small)
        parts.append(sign(runs, permutations, seed, small=small))
    return np.concatenate(parts)


def shingle_hashes(text: str, *, ngram: int = 5) -> Signatures:
    """The 32-bit hashes that `signatures` takes for a text's shingles, each once, sorted."""
    return np.unique(shingled([text], ngram, small=True).hashes.astype(np.uint32))


def shingled(texts: Sequence[str], ngram: int, *, small: bool) -> Runs:
    """The shingles of every text; one of fewer than `ngram` tokens is one shingle of them all."""
    tokens = shingles.token_hashes(texts, small=small)
    return shingles.run_hashes(tokens, ngram, whole=True, small=small)


@lru_cache(maxsize=8)
def _factors(permutations: int, seed: int) -> tuple[Signatures, Signatures]:
    """As datasketch draws them: a is odd, so that h -> a h + b is one to one."""
    draw = np.random.RandomState(seed)
    a = draw.randint(0, 1 << 31, permutations, dtype=np.uint32) * np.uint32(2) + np.uint32(1)
    return a, draw.randint(0, 1 << 32, permutations, dtype=np.uint32)


def sign(runs: Runs, permutations: int, seed: int, *, small: bool) -> Signatures:
    """Signatures of texts by their shingles; repeated ones change nothing."""
    a, b = _factors(permutations, seed)
    signed = np.full((len(runs), permutations), 0xFFFFFFFF, np.uint32)
    if not small:
        from filters.near_duplicates import kernels

        kernels.sign(runs.hashes, runs.offsets, a, b, signed)
        return signed
    filled = np.flatnonzero(np.diff(runs.offsets))
    if not len(filled):
        return signed
    h = runs.hashes.astype(np.uint32)
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):  # MurmurHash3's finalizer
        h = (h ^ h >> np.uint32(shift)) * np.uint32(factor)
    h ^= h >> np.uint32(16)
    for k in range(permutations):
        signed[filled, k] = np.minimum.reduceat(h * a[k] + b[k], runs.offsets[filled])
    return signed


class Signed(NamedTuple):
    """Texts ready to be compared: one column of `keys` a text, and its shingles.

    Key 0 stands for the whole signature, the others for a band each. The compiled engine wants a
    text's shingles sorted and each once; for few texts Python makes sets of them.
    """

    keys: Hashes
    shingles: Runs


def signed(texts: Sequence[str], settings: Settings, *, small: bool) -> Signed:
    """Sign texts; of the signatures only the bands' keys are kept, a quarter of their size."""
    runs = shingled(texts, settings.ngram, small=small)
    values = sign(runs, settings.permutations, settings.seed, small=small)
    if not small:
        from filters.near_duplicates import kernels

        kernels.make_sets(runs.hashes, runs.offsets)
        runs = Runs(runs.hashes[: runs.offsets[-1]], runs.offsets)
    return Signed(_keys(np.ascontiguousarray(values.T), *settings.banding), runs)


def _keys(values: Signatures, bands: int, rows: int) -> Hashes:
    spans = [slice(None), *(slice(b * rows, (b + 1) * rows) for b in range(bands))]
    keys = np.zeros((bands + 1, values.shape[1]), np.uint64)
    for key, span in zip(keys, spans, strict=True):
        for row in values[span]:
            key ^= row
            key *= MIX
            key ^= key >> np.uint64(32)
    return keys
