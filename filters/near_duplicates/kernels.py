"""The compiled part: tokens, shingles, signatures and Jaccard similarity of many texts.

All compiled functions are in this one file: numba's cache notices a change of the file that a
function is in, not of the files that it calls into.
"""

import numpy as np
from numpy.typing import NDArray

from filters.compiled import compiled
from filters.token_hash import (
    END,
    LAST_FACTOR,
    RUN_FACTOR,
    SINGLE,
    UNSEEN,
    WORD,
    WORD_FACTOR,
    WORD_START,
)

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]
Codes = NDArray[np.uint32]

_START, _WORD, _RUN, _LAST = map(np.uint64, (WORD_START, WORD_FACTOR, RUN_FACTOR, LAST_FACTOR))


@compiled
def _last(state: np.uint64) -> np.uint64:
    state *= _LAST
    return state ^ (state >> np.uint64(32))


@compiled
def _next_sign(state: np.uint64, code: np.uint64) -> np.uint64:
    state = (state ^ code) * _WORD
    return state ^ (state >> np.uint64(29))


@compiled
def token_hashes(codes: Codes, kinds: NDArray[np.uint8], hashes: Hashes, offsets: Offsets) -> int:
    """Hash the tokens of texts that an `END` follows each; return how many there are.

    As `filters.shingles` does without a compiler. Capitals of ASCII are folded here.
    """
    n, text, inside, state = 0, 0, False, _START
    for i in range(codes.size):
        code = np.uint64(codes[i])
        kind = kinds[code]
        if kind == WORD:
            if np.uint64(65) <= code <= np.uint64(90):
                code += np.uint64(32)
            state = _next_sign(state, code)
            inside = True
            continue
        if kind == UNSEEN:
            continue
        if inside:
            hashes[n] = _last(state)
            n, inside, state = n + 1, False, _START
        if kind == SINGLE:
            hashes[n] = _last(_next_sign(_START, code))
            n += 1
        elif kind == END:
            text += 1
            offsets[text] = n
    return n


@compiled
def run_hashes(
    tokens: Hashes, token_offsets: Offsets, length: int, hashes: Hashes, offsets: Offsets
) -> None:
    """Hash as many runs of each text as `offsets` has room for; one of a shorter text is whole."""
    for text in range(offsets.size - 1):
        first = token_offsets[text]
        size = min(length, token_offsets[text + 1] - first)
        for i in range(offsets[text], offsets[text + 1]):
            state = np.uint64(size)
            for j in range(first, first + size):
                state = (state ^ tokens[j]) * _RUN
                state ^= state >> np.uint64(31)
            hashes[i] = _last(state)
            first += 1


@compiled
def sign(shingles: Hashes, offsets: Offsets, a: Codes, b: Codes, signatures: Codes) -> None:
    """Signatures, one row a text, as `filters.near_duplicates.minhash` says."""
    # numba widens products of uint32: every step is cast back
    for text in range(offsets.size - 1):
        row = signatures[text]
        row[:] = np.uint32(0xFFFFFFFF)
        for i in range(offsets[text], offsets[text + 1]):
            h = np.uint32(shingles[i])
            h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(16))) * np.uint32(0x85EBCA6B))
            h = np.uint32(np.uint32(h ^ np.uint32(h >> np.uint32(13))) * np.uint32(0xC2B2AE35))
            h = np.uint32(h ^ np.uint32(h >> np.uint32(16)))
            for k in range(a.size):
                row[k] = min(row[k], np.uint32(np.uint32(a[k] * h) + b[k]))


@compiled
def make_sets(hashes: Hashes, offsets: Offsets) -> None:
    """Sort each text's hashes, each once, and close up the gaps; in place, offsets too."""
    start = end = 0
    for text in range(offsets.size - 1):
        ordered = np.sort(hashes[start : offsets[text + 1]])
        start = offsets[text + 1]
        for i in range(ordered.size):
            if i == 0 or ordered[i] != ordered[i - 1]:
                hashes[end] = ordered[i]
                end += 1
        offsets[text + 1] = end


@compiled
def jaccards(
    hashes: Hashes,
    offsets: Offsets,
    a: Offsets,
    b: Offsets,
    similarities: NDArray[np.float64],
) -> None:
    """The Jaccard similarity of sets a and b, pair by pair; each set is sorted and not empty."""
    for pair in range(a.size):
        i, end_i = offsets[a[pair]], offsets[a[pair] + 1]
        j, end_j = offsets[b[pair]], offsets[b[pair] + 1]
        total, common = (end_i - i) + (end_j - j), 0
        while i < end_i and j < end_j:
            x, y = hashes[i], hashes[j]
            common += x == y
            i += x <= y
            j += y <= x
        similarities[pair] = common / (total - common)
