"""Texts as runs of neighbouring tokens, hashed: what near-duplicates and contamination share.

A token is a word (letters, marks and digits of any script, whatever their case) or a single sign
of Han, kana or hangul, so that five tokens are five words in English and five signs in Chinese.
Punctuation, symbols and emoji only separate. Unicode's ways of writing the same text are one
(NFKC, with case folded), and signs that are not seen (soft hyphens, joiners, variation selectors)
are left out.

Two engines give the same hashes. Few texts are read by Python and numpy, which are ready at once;
from `SMALL` characters on numba reads them, twenty times faster after a second to load it.
"""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np
import polars as pl
from numpy.typing import NDArray

from filters.script import SIGN
from filters.token_hash import (
    END,
    LAST_FACTOR,
    NEW,
    RUN_FACTOR,
    SEPARATOR,
    SINGLE,
    UNSEEN,
    WORD,
    WORD_FACTOR,
    WORD_START,
)

Hashes = NDArray[np.uint64]
Offsets = NDArray[np.int64]

# Characters up to which Python and numpy take about half a second for everything that this module
# and signatures do; counted, not timed, so that a run repeats.
SMALL = 3_000_000
BATCH = 4096  # texts whose characters exist as an array at once

UNSEEN_MARKS = ((0x034F, 0x034F), (0xFE00, 0xFE0F), (0xE0100, 0xE01EF))

# What NFKC does to the punctuation of nearly every Chinese text; most need nothing else of it, and
# it is quick to see that and slow to rewrite a text.
WIDE = tuple(zip("　！（），：；？", " !(),:;?", strict=True))

ALL_BITS = 0xFFFFFFFFFFFFFFFF

_SIGN = re.compile(SIGN)


@dataclass(frozen=True)
class Runs:
    """Hashes of every text, end to end; text i has those from offset i to i + 1."""

    hashes: Hashes
    offsets: Offsets

    def __len__(self) -> int:
        """How many texts there are."""
        return len(self.offsets) - 1


def tokens(text: str) -> list[str]:
    """Split a text into the tokens that are compared.

    >>> tokens("Ｔranslate “你好” in­to Straße, C++!")
    ['translate', '你', '好', 'into', 'strasse', 'c']
    """
    return folded(text).translate(_spaced).split()


def folded(text: str) -> str:
    """One form for all ways to write a text: NFKC, without case."""
    if text.isascii():
        return text.lower()
    for wide, narrow in WIDE:
        text = text.replace(wide, narrow)
    composed = unicodedata.normalize("NFKC", text)
    caseless = composed.casefold()
    # folding may leave what NFKC composes otherwise; nearly all texts are through by now
    return caseless if caseless == composed else unicodedata.normalize("NFKC", caseless)


def kind(code: int) -> int:
    """What a code point is in a folded text."""
    category = unicodedata.category(chr(code))
    if category == "Cf" or any(first <= code <= last for first, last in UNSEEN_MARKS):
        return UNSEEN
    if category[0] not in "LMN":
        return SEPARATOR
    return SINGLE if _SIGN.match(chr(code)) else WORD


class _Spaced(dict[int, str]):
    """Code point -> itself inside a word, spaced where it stands alone, a space, or nothing."""

    def __missing__(self, code: int) -> str:
        char = chr(code)
        seen = {WORD: char, SINGLE: f" {char} ", SEPARATOR: " ", UNSEEN: ""}[kind(code)]
        self[code] = seen
        return seen


_spaced = _Spaced()


class _TokenHashes(dict[str, int]):
    """The 64-bit hash of every token met."""

    def __missing__(self, token: str) -> int:
        state = WORD_START
        for char in token:
            state = (state ^ ord(char)) * WORD_FACTOR & ALL_BITS
            state ^= state >> 29
        state = state * LAST_FACTOR & ALL_BITS
        hashed = self[token] = state ^ state >> 32
        return hashed


def row_texts(columns: pl.DataFrame) -> Iterator[list[str]]:
    """What is compared of each row, `BATCH` rows at a time.

    A row's text is its texts in the order of the columns, a null being empty.
    """
    joined = pl.concat_str(pl.all().cast(pl.String).fill_null(""), separator="\n")
    for part in columns.iter_slices(BATCH):
        yield part.select(joined).to_series().to_list()


def is_small(texts: pl.DataFrame | Sequence[str]) -> bool:
    """Whether loading the compiled engine would cost more than it saves."""
    if isinstance(texts, pl.DataFrame):
        lengths = texts.select(pl.all().cast(pl.String).str.len_chars().sum())
        return bool(sum(lengths.row(0)) <= SMALL)
    return sum(map(len, texts)) <= SMALL


def token_hashes(texts: Sequence[str], *, small: bool) -> Runs:
    """Hash every token; with `small` without the compiled engine, which gives the same."""
    if small:
        split = [tokens(text) for text in texts]
        known = _TokenHashes()
        hashes = np.fromiter((known[token] for words in split for token in words), np.uint64)
        return Runs(hashes, np.array([0, *accumulate(map(len, split))], np.int64))
    parts = [_compiled_hashes(texts[i : i + BATCH]) for i in range(0, len(texts), BATCH)]
    return concatenate(parts)


_kinds = np.zeros(0, np.uint8)  # of all code points, filled as they are met


def _compiled_hashes(texts: Sequence[str]) -> Runs:
    from filters.near_duplicates import kernels  # numba: half a second to import

    global _kinds
    if not len(_kinds):
        _kinds = np.zeros(0x110000, np.uint8)
        _kinds[0] = END
    plain = [text if text.isascii() else folded(text) for text in texts]  # ASCII: in the kernel
    joined = "\0".join([*plain, ""])
    if joined.count("\0") > len(texts):  # some text has it too
        joined = "\0".join([*(text.replace("\0", " ") for text in plain), ""])
    # surrogatepass: half a surrogate pair, from broken JSON, is no token and no reason to stop
    codes = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), "<u4")
    for code in np.unique(codes[_kinds[codes] == NEW]).tolist():
        _kinds[code] = kind(code)
    hashes = np.empty(len(codes), np.uint64)
    offsets = np.zeros(len(texts) + 1, np.int64)
    n_tokens = kernels.token_hashes(codes, _kinds, hashes, offsets)
    return Runs(hashes[:n_tokens].copy(), offsets)


def run_hashes(texts: Runs, length: int, *, whole: bool, small: bool) -> Runs:
    """Hash every run of `length` neighbouring tokens, one for each token that starts one.

    A text with fewer tokens has no run or, with `whole`, one run of all its tokens. A text
    without tokens has none.
    """
    n_tokens = np.diff(texts.offsets)
    counts = np.maximum(n_tokens - (length - 1), 0)
    if whole:
        counts[(n_tokens > 0) & (n_tokens < length)] = 1
    offsets = np.concatenate([[0], np.cumsum(counts)])
    if not small:
        from filters.near_duplicates import kernels

        hashes = np.empty(offsets[-1], np.uint64)
        kernels.run_hashes(texts.hashes, texts.offsets, length, hashes, offsets)
        return Runs(hashes, offsets)
    text = np.repeat(np.arange(len(counts)), counts)
    start = texts.offsets[text] + np.arange(offsets[-1]) - offsets[text]
    size = np.minimum(n_tokens, length)[text]
    state = size.astype(np.uint64)
    for step in range(length):
        reaches = np.flatnonzero(step < size)
        mixed = (state[reaches] ^ texts.hashes[start[reaches] + step]) * np.uint64(RUN_FACTOR)
        state[reaches] = mixed ^ mixed >> np.uint64(31)
    state *= np.uint64(LAST_FACTOR)
    return Runs(state ^ state >> np.uint64(32), offsets)


def concatenate(parts: Sequence[Runs]) -> Runs:
    """The texts of several, in order."""
    counts = [np.zeros(1, np.int64), *(np.diff(part.offsets) for part in parts)]
    hashes = [np.zeros(0, np.uint64), *(part.hashes for part in parts)]
    return Runs(np.concatenate(hashes), np.cumsum(np.concatenate(counts)))


def chosen(texts: Runs, rows: NDArray[np.int64]) -> Runs:
    """Some of the texts, in the order of `rows`."""
    counts = texts.offsets[rows + 1] - texts.offsets[rows]
    offsets = np.concatenate([[0], np.cumsum(counts)])
    shift = np.repeat(texts.offsets[rows] - offsets[:-1], counts)
    return Runs(texts.hashes[shift + np.arange(offsets[-1])], offsets)
