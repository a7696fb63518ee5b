"""The nearest entry of a small pool, without a compiler: numpy signatures, then rapidfuzz.

Ready at once, where numba needs a second to load and several the first time on a machine. Per
text it costs about 60 us and 25 ns for every entry; `filters.novelty.index` counts that.
"""

import numpy as np
from numpy.typing import NDArray
from rapidfuzz.distance import LCSseq

from filters.novelty.pool import Pool, grown
from filters.novelty.words import Ids, Offsets
from filters.rouge import Limit, f_measure

WORDS = 16  # of 64 bits in a signature
BITS = 64 * WORDS
LARGEST_VOCABULARY = 0x110000  # a token is a code point for rapidfuzz


def signature(ids: list[int]) -> int:
    """One bit for every k-th occurrence of a token, at a place that its hash gives."""
    bits, seen = 0, dict[int, int]()
    for number in ids:
        occurrence = seen[number] = seen.get(number, -1) + 1
        # Fibonacci hashing spreads consecutive numbers evenly; the high bits are the good ones
        place = ((number + occurrence * 0x10001) * 0x9E3779B97F4A7C15) >> 32
        bits |= 1 << place % BITS
    return bits


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
        self._signatures = np.zeros((WORDS, 64), np.uint64)
        self._hidden = np.zeros(64, np.int32)  # tokens of an entry that set no bit of their own
        self._lengths = np.zeros(64, np.int32)

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
            bits, characters = signature(text.tolist()), as_characters(text)
            entry, lcs = self._nearest(characters, bits, 0.0 if nearest else self._floor)
            m = len(text)
            duplicate = lcs > 0 and self._limit.is_reached(lcs, m, int(self._lengths[entry]))
            if nearest or duplicate:
                entries[row], common[row] = entry, lcs
            if grow and not duplicate:
                self._pool.append(text, np.array([0, m]))
                self._append(characters, bits)
        return entries, common

    def _catch_up(self) -> None:
        ids, offsets = self._pool.contents()
        for entry in range(len(self._characters), self._pool.size):
            text = ids[offsets[entry] : offsets[entry + 1]]
            self._append(as_characters(text), signature(text.tolist()))

    def _append(self, characters: str, bits: int) -> None:
        entry = len(self._characters)
        self._signatures = grown(self._signatures, entry + 1)
        self._hidden = grown(self._hidden, entry + 1)
        self._lengths = grown(self._lengths, entry + 1)
        self._signatures[:, entry] = _as_words(bits)
        self._hidden[entry] = len(characters) - bits.bit_count()
        self._lengths[entry] = len(characters)
        self._characters.append(characters)

    def _nearest(self, text: str, bits: int, floor: float) -> tuple[int, int]:
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
        # Tokens in common <= bits in common + those that one side's bits do not show.
        shared = np.bitwise_count(self._signatures[:, :size] & _as_words(bits)[:, None])
        hidden = np.minimum(self._hidden[:size], m - bits.bit_count())
        bound = (shared.sum(axis=0, dtype=np.int32) + hidden) / (self._lengths[:size] + m)
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


def _as_words(bits: int) -> NDArray[np.uint64]:
    return np.frombuffer(bits.to_bytes(BITS // 8, "little"), "<u8").astype(np.uint64)
