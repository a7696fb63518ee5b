"""The arrays that the scan works on. `filters.novelty.scan` owns them, compiled code fills them."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Int32s = NDArray[np.int32]
Int64s = NDArray[np.int64]
Words = NDArray[np.uint64]


class Texts(NamedTuple):
    """Token numbers, end to end; text i has those from offset i to i + 1."""

    ids: Int32s
    offsets: Int64s


class Classes(NamedTuple):
    """Entries by length. Every entry has a coarse and a fine signature."""

    longest: Int64s  # entry of each class, in tokens
    widths: Int64s  # [COARSE or FINE, class]: words of a signature
    first_page: Int64s  # EMPTY where there is none
    last_page: Int64s


class Pages(NamedTuple):
    """Up to PAGE entries of one class each. Word w of its signatures are PAGE words in a row."""

    signatures: Words
    starts: Int64s  # [COARSE or FINE, page]: where in `signatures`
    following: Int64s  # the next page of the class, or EMPTY
    filled: Int64s  # its entries
    most_hidden: Int64s  # [COARSE or FINE, page]: the highest `hidden` in it
    # PAGE of these for every page, each an entry's number, its tokens, and how many of its tokens
    # set no bit of their own in the coarse and the fine signature: all at one place in memory.
    filings: Int32s  # FILING of them an entry


class Bar(NamedTuple):
    """`filters.rouge.Limit`, for compiled code."""

    numerator: int
    denominator: int
    threshold: float
    is_published: bool


class Scratch(NamedTuple):
    """Room to work in. `place` is EMPTY for every token between two texts."""

    place: Int32s  # token number -> row of the text's distinct token
    distinct: Int32s
    counts: Int32s
    occurrence: Int32s  # of each token of the text: how often it stood before
    masks: Words
    column: Words
    carries: NDArray[np.uint8]
    bits: Words  # the text's signature
    shared: Int64s
    # Of a block of texts: the signature of w words is words w to 2w of a text's, for any width w,
    # and `block_unseen` has the tokens that set no bit of their own in it at w.
    block_bits: Words  # [text, word]
    block_unseen: Int64s  # [text, width]
    block_classes: Int64s  # [text, first or last]: the classes near enough in length
    is_near: NDArray[np.bool_]  # [text, page]: whether an entry may reach the floor
    compared: Int64s  # [page]: how many entries that was asked of


class State(NamedTuple):
    """How much is in use, in arrays of one: compiled code changes it."""

    entries: Int64s
    filed: Int64s  # entries that are in a page
    pages: Int64s
    words: Int64s  # of signatures
