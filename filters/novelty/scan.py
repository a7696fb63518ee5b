"""The nearest entry of a large pool: a scan of signatures, and an LCS of the few entries left.

Entries stand in classes by length, up to 32 tokens of one length each; a class is a chain of pages.
An entry has a signature, one bit set for every k-th occurrence of a token. The bits that two
signatures share, and the tokens that have no bit of their own, bound the tokens in common and so
the LCS; lengths bound it too. A text is compared with the classes nearest in length first, and
the LCS computed only where the bounds reach the best score so far. Bounds never fall short, so the
answer is exact.

Where only duplicates matter, texts come in blocks: every page is compared with all texts of a block
while the processor's cache holds it, and then each text in turn with the pages that may hold
something near it, and with what was filed since.

There are two signatures. With about 4 bits a token the scan is fastest where only a score of 0.7
matters; the nearest of distant entries is found with half the time at 8 bits, as fewer are left.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from filters.novelty import kernels
from filters.novelty.arrays import Bar, Classes, Pages, Scratch, State, Texts
from filters.novelty.kernels import BLOCK, EMPTY, FILING, PAGE, STRIP
from filters.novelty.pool import Pool, grown
from filters.novelty.words import Ids, Offsets
from filters.rouge import Limit, limit

ROWS = 8192  # texts for which room is made at once, as if all were accepted
WIDEST = 32  # words of a signature


def _no_classes() -> Classes:
    """Lengths one by one, and from 32 tokens on in steps of a 16th."""
    longest = list(range(1, 33))
    while longest[-1] < 2**30:
        longest.append(longest[-1] + longest[-1] // 16)
    fine = [min(WIDEST, 2 ** max(0, (n - 1).bit_length() - 3)) for n in longest]
    coarse = [max(1, width // 2) for width in fine]
    first, last = np.full((2, len(longest)), EMPTY)
    return Classes(np.array(longest), np.array([coarse, fine]), first, last)


def _scratch(longest: int, vocabulary: int) -> Scratch:
    """Room for texts and entries of up to `longest` tokens, and for so many token numbers."""
    distinct, counts, occurrence = np.zeros((3, longest), np.int32)
    return Scratch(
        place=np.full(vocabulary, EMPTY, np.int32),
        distinct=distinct,
        counts=counts,
        occurrence=occurrence,
        masks=np.zeros((longest + 1) * min(STRIP, (longest + 63) // 64), np.uint64),
        column=np.zeros(STRIP, np.uint64),
        carries=np.zeros(longest, np.uint8),
        bits=np.zeros(WIDEST, np.uint64),
        shared=np.zeros(PAGE, np.int64),
        block_bits=np.zeros((BLOCK, WIDEST), np.uint64),
        block_unseen=np.zeros((BLOCK, WIDEST), np.int64),
        block_classes=np.zeros((BLOCK, 2), np.int64),
        is_near=np.zeros((BLOCK, 16), np.bool_),
        compared=np.zeros(16, np.int64),
    )


def load() -> Iterator[None]:
    """Compile, or read what was compiled before, a part at a time.

    What a full disk or a damaged file in numba's cache raises comes from here.
    """
    return ScanSearch(Pool(), limit(1.0, "strict")).compile()


class ScanSearch:
    """Compares texts with all entries of a pool. Answers as `NumpySearch` does."""

    def __init__(self, pool: Pool, limit: Limit) -> None:
        """Search `pool`; entries that it holds already are read at the first `run`."""
        self._pool = pool
        self._bar = Bar(
            limit.numerator, limit.denominator, limit.threshold, limit.rule == "published"
        )
        self._classes = _no_classes()
        self._state = State(*np.zeros((4, 1), np.int64))
        self._pages = Pages(
            signatures=np.zeros(1024, np.uint64),
            starts=np.zeros((2, 16), np.int64),
            following=np.zeros(16, np.int64),
            filled=np.zeros(16, np.int64),
            most_hidden=np.zeros((2, 16), np.int64),
            filings=np.zeros(16 * PAGE * FILING, np.int32),
        )
        self._scratch = _scratch(64, 1024)

    def compile(self) -> Iterator[None]:
        """Call each compiled function once, on nothing, and pause after it."""
        nothing = Texts(np.zeros(0, np.int32), np.zeros(1, np.int64))
        kernels.file_all(nothing, self._state, self._classes, self._pages, self._scratch)
        yield
        self._stream(nothing, np.zeros(0, np.int64), np.zeros(0, np.int32), True, True)
        yield

    def run(
        self, ids: Ids, offsets: Offsets, *, nearest: bool, grow: bool
    ) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """Find the nearest entry of every text in turn, as `NumpySearch.run` says."""
        self._catch_up()
        pool, state = self._pool, self._state
        entry = np.full(len(offsets) - 1, -1, np.int64)
        lcs = np.zeros(len(offsets) - 1, np.int32)
        for start in range(0, len(entry), ROWS):
            end = start + ROWS
            texts = Texts(ids, offsets[start : end + 1])
            self._make_room(texts, grow)
            if grow:
                pool.reserve(len(texts.offsets) - 1, int(texts.offsets[-1] - texts.offsets[0]))
            state.entries[0] = pool.size
            self._stream(texts, entry[start:end], lcs[start:end], nearest, grow)
            pool.size = int(state.entries[0])
        return entry, lcs

    def _stream(
        self,
        texts: Texts,
        entry: NDArray[np.int64],
        lcs: NDArray[np.int32],
        nearest: bool,
        grow: bool,
    ) -> None:
        kernels.stream(
            texts,
            nearest,
            grow,
            self._bar,
            Texts(self._pool.ids, self._pool.offsets),
            self._state,
            self._classes,
            self._pages,
            self._scratch,
            entry,
            lcs,
        )

    def _catch_up(self) -> None:
        ids, offsets = self._pool.contents()
        for start in range(int(self._state.filed[0]), self._pool.size, ROWS):
            texts = Texts(ids, offsets[start : start + ROWS + 1])
            self._make_room(texts, grow=True)
            kernels.file_all(texts, self._state, self._classes, self._pages, self._scratch)

    def _make_room(self, texts: Texts, grow: bool) -> None:
        """Let the arrays be large enough for these texts; with `grow`, also to file all of them."""
        n_tokens = np.diff(texts.offsets)
        some = texts.ids[texts.offsets[0] : texts.offsets[-1]]
        if len(some):
            longest, vocabulary = int(n_tokens.max()), int(some.max()) + 1
            if longest > len(self._scratch.distinct):
                fresh = _scratch(max(longest, 64), len(self._scratch.place))
                self._scratch = fresh._replace(
                    is_near=self._scratch.is_near, compared=self._scratch.compared
                )
            place = grown(self._scratch.place, vocabulary, EMPTY)
            self._scratch = self._scratch._replace(place=place)
        if not grow:
            return
        per_class = np.bincount(np.searchsorted(self._classes.longest, n_tokens))
        new_pages = np.where(per_class > 0, per_class // PAGE + 1, 0)
        widths = self._classes.widths[:, : len(new_pages)].sum(axis=0)
        n_pages = int(self._state.pages[0] + new_pages.sum())
        n_words = int(self._state.words[0] + (new_pages * widths).sum() * PAGE)
        if n_pages > len(self._scratch.compared):
            self._scratch = self._scratch._replace(
                is_near=np.zeros((BLOCK, 2 * n_pages), np.bool_),
                compared=np.zeros(2 * n_pages, np.int64),
            )
        pages = self._pages
        self._pages = Pages(
            signatures=grown(pages.signatures, n_words),
            starts=grown(pages.starts, n_pages),
            following=grown(pages.following, n_pages),
            filled=grown(pages.filled, n_pages),
            most_hidden=grown(pages.most_hidden, n_pages),
            filings=grown(pages.filings, n_pages * PAGE * FILING),
        )
