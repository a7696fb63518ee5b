"""The nearest entry of a small pool, without a compiler: postings, then rapidfuzz.

Ready at once, where numba needs a second to load and several the first time on a machine. Per
text it costs about 40 us and 12 ns for every entry; `filters.novelty.index` counts that.

For every k-th occurrence of a token the entries that have it are listed. How often an entry stands
in the lists of a text's tokens is how many tokens the two have in common, whatever their order: a
bound of the LCS, which is computed only where that bound reaches the best score so far.
"""

from __future__ import annotations

from array import array

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from filters.novelty.pool import Pool, grown
from filters.novelty.words import Ids, Offsets
from filters.rouge import Limit, f_measure

LARGEST_VOCABULARY = 0x110000  # a token is a code point for rapidfuzz


def occurrences(ids: list[int]) -> list[int]:
    """A number for every k-th occurrence of a token."""
    if len(set(ids)) == len(ids):
        return ids
    numbers, seen = list[int](), dict[int, int]()
    for token in ids:
        occurrence = seen[token] = seen.get(token, -1) + 1
        numbers.append(token + occurrence * LARGEST_VOCABULARY)
    return numbers


def as_characters(ids: Ids) -> str:
    """The tokens as one string, a character each: rapidfuzz compares strings twice as fast."""
    return ids.astype("<u4").tobytes().decode("utf-32-le", "surrogatepass")


class NumpySearch:
    """Compares texts with all entries of a pool. Answers as `filters.novelty.scan` does."""

    def __init__(self, pool: Pool, limit: Limit) -> None:
        """Search `pool`; entries that it holds already are read at the first `run`."""
        self._pool = pool
        self._limit = limit
        self._floor = limit.numerator / (2 * limit.denominator)
        self._characters: list[str] = []
        self._lengths = np.zeros(64, np.int32)
        self._postings: dict[int, array[int]] = {}  # occurrence of a token -> entries that have it

    def run(
        self, ids: Ids, offsets: Offsets, *, nearest: bool, grow: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Find the nearest entry of every text in turn: its number and the LCS.

        -1 and 0 where the pool is empty. Without `nearest` only duplicates are looked for, and
        the others have -1 too. With `grow`, a text that is no duplicate joins the pool before
        the next one is compared.
        """
        self._catch_up()
        entries = np.full(len(offsets) - 1, -1, np.int64)
        common = np.zeros(len(offsets) - 1, np.int32)
        for row in range(len(entries)):
            text = ids[offsets[row] : offsets[row + 1]]
            numbers, characters = occurrences(text.tolist()), as_characters(text)
            entry, lcs = self._nearest(characters, numbers, 0.0 if nearest else self._floor)
            m = len(text)
            duplicate = lcs > 0 and self._limit.is_reached(lcs, m, int(self._lengths[entry]))
            if nearest or duplicate:
                entries[row], common[row] = entry, lcs
            if grow and not duplicate:
                self._pool.append(text, np.array([0, m]))
                self._append(characters, numbers)
        return entries, common

    def _catch_up(self) -> None:
        ids, offsets = self._pool.contents()
        for entry in range(len(self._characters), self._pool.size):
            text = ids[offsets[entry] : offsets[entry + 1]]
            self._append(as_characters(text), occurrences(text.tolist()))

    def _append(self, characters: str, numbers: list[int]) -> None:
        entry = len(self._characters)
        self._lengths = grown(self._lengths, entry + 1)
        self._lengths[entry] = len(characters)
        self._characters.append(characters)
        for number in numbers:
            if (entries := self._postings.get(number)) is None:
                entries = self._postings[number] = array("q")
            entries.append(entry)

    def _nearest(self, text: str, numbers: list[int], floor: float) -> tuple[int, int]:
        """The first entry with the highest score, and its LCS; (-1, 0) if none reaches `floor`.

        Scores are compared as LCS / (m + n). Two different ones of these are further apart than
        a float's rounding below 2**25 tokens, so the floats compare as the fractions would.
        """
        size, m = len(self._characters), len(text)
        if not size:
            return -1, 0
        entry, lcs, score, ratio = (0 if floor == 0 else -1), 0, 0.0, floor
        if not m:
            return entry, lcs
        postings = b"".join(filter(None, map(self._postings.get, numbers)))
        shared = np.bincount(np.frombuffer(postings, np.int64), minlength=size)
        bound = shared / (self._lengths[:size] + m)
        if floor == 0:
            likely = int(bound.argmax())
            found = LCSseq.similarity(text, self._characters[likely])
            ratio = found / (m + len(self._characters[likely]))
        candidates = np.flatnonzero(bound >= ratio)
        bounds = bound[candidates]
        order = (-bounds).argsort(kind="stable")
        for other, most in zip(candidates[order].tolist(), bounds[order].tolist(), strict=True):
            if most < ratio or most == 0:
                break
            n = len(self._characters[other])
            # rounded down, so that an equal score is still found
            cutoff = int(ratio * (m + n))
            found = LCSseq.similarity(text, self._characters[other], score_cutoff=cutoff)
            if not found or found / (m + n) < ratio:
                continue
            found_score = self._score(found, m, n)
            if found_score > score or (found_score == score and other < entry):
                entry, lcs, score, ratio = other, found, found_score, found / (m + n)
        return entry, lcs

    def _score(self, lcs: int, m: int, n: int) -> float:
        # published scores that are equal as fractions can differ in their last bit
        return f_measure(lcs, m, n) if self._limit.rule == "published" else lcs / (m + n)
