"""The compiled part of the scan; `filters.novelty.arrays` says what the arrays hold.

All compiled functions and the constants that they use are in this one file: numba's cache notices
a change of the file that a function is in, not of the files that it calls into.
"""

from collections.abc import Callable
from typing import Any, cast

import numpy as np
from numba.core import types
from numba.extending import intrinsic

from filters.compiled import compiled
from filters.novelty.arrays import Bar, Classes, Int32s, Int64s, Pages, Scratch, State, Texts, Words

PAGE = 512  # entries a page
FILING = 4  # numbers that are kept of an entry in a page
STRIP = 64  # words of 64 tokens that an LCS takes at once
CHUNK = 64  # counts that are looked through at once
BLOCK = 64  # texts that a page is compared with while it is in the processor's cache
EMPTY = -1
COARSE, FINE = 0, 1  # signatures for looking for duplicates only, and for the nearest entry


def _ctpop(typing_context: object, word: object) -> tuple[object, Callable[..., object]]:
    def generate(context: object, builder: Any, signature: object, args: list[object]) -> object:  # noqa: ANN401 - untyped package
        return builder.ctpop(args[0])

    return types.int64(types.uint64), generate


# The processor's own instruction; numba has no function that becomes it.
count_ones = cast(Callable[[np.uint64], int], intrinsic(_ctpop))


@compiled
def _place_tokens(text: Int32s, scratch: Scratch) -> int:
    """Give every distinct token of a text a row, and every token its occurrence number."""
    place, counts = scratch.place, scratch.counts
    rows = 0
    for i in range(text.size):
        row = place[text[i]]
        if row == EMPTY:
            row = place[text[i]] = rows
            scratch.distinct[rows] = text[i]
            counts[rows] = 0
            rows += 1
        scratch.occurrence[i] = counts[row]
        counts[row] += 1
    return rows


@compiled
def _sign(text: Int32s, occurrence: Int32s, bits: Words) -> int:
    """Set one bit of `bits` for every k-th occurrence of a token; return how many are set."""
    bits[:] = 0
    top = np.uint64(64 * bits.size)
    for i in range(text.size):
        mixed = np.uint64(text[i]) + np.uint64(occurrence[i]) * np.uint64(0x10001)
        # Fibonacci hashing spreads consecutive numbers evenly; the high bits are the good ones
        bit = ((mixed * np.uint64(0x9E3779B97F4A7C15)) >> np.uint64(32)) % top
        bits[np.int64(bit >> np.uint64(6))] |= np.uint64(1) << (bit & np.uint64(63))
    ones = 0
    for word in bits:
        ones += count_ones(word)
    return ones


@compiled
def _fill_masks(text: Int32s, rows: int, first: int, words: int, scratch: Scratch) -> None:
    """Bit i of a token's row: whether it stands at position i, from word `first` on."""
    masks = scratch.masks
    masks[: (rows + 1) * words] = 0  # the last row stays empty: any token that the text lacks
    for i in range(64 * first, min(text.size, 64 * (first + words))):
        at = i - 64 * first
        masks[scratch.place[text[i]] * words + at // 64] |= np.uint64(1) << np.uint64(at % 64)


@compiled
def _lcs_word(ids: Int32s, start: int, n: int, masks: Words, place: Int32s) -> int:
    """LCS with a text of up to 64 tokens (Hyyrö 2004: a column of the table is one addition)."""
    column = np.uint64(0xFFFFFFFFFFFFFFFF)
    for j in range(np.uint64(start), np.uint64(start + n)):
        row = place[np.uint32(ids[j])]
        if row != EMPTY:
            matches = column & masks[np.uint32(row)]
            column = (column + matches) | (column - matches)
    return count_ones(~column)


@compiled
def _lcs_strip(ids: Int32s, start: int, n: int, rows: int, words: int, scratch: Scratch) -> int:
    """The share of `words` words in the LCS; `carries` hands each addition on to the next strip."""
    masks, column, carries = scratch.masks, scratch.column, scratch.carries
    zero, one = np.uint64(0), np.uint64(1)
    column[:words] = np.uint64(0xFFFFFFFFFFFFFFFF)
    for j in range(n):
        row = scratch.place[ids[start + j]]
        carry = np.uint64(carries[j])
        if row == EMPTY:
            if carry == zero:
                continue
            row = rows
        for w in range(words):
            before = column[w]
            matches = before & masks[row * words + w]
            added = before + matches
            total = added + carry
            carry = one if added < before or total < added else zero
            column[w] = total | (before - matches)
        carries[j] = np.uint8(carry)
    length = 0
    for w in range(words):
        length += count_ones(~column[w])
    return length


@compiled
def _lcs_long(text: Int32s, rows: int, ids: Int32s, start: int, n: int, scratch: Scratch) -> int:
    """The LCS with one entry; the masks are in place unless the text is longer than a strip."""
    words = (text.size + 63) // 64
    scratch.carries[:n] = 0
    if words <= STRIP:
        return _lcs_strip(ids, start, n, rows, words, scratch)
    length = 0
    for first in range(0, words, STRIP):
        part = min(STRIP, words - first)
        _fill_masks(text, rows, first, part, scratch)
        length += _lcs_strip(ids, start, n, rows, part, scratch)
    return length


@compiled
def _f_measure(lcs: int, m: int, n: int) -> float:
    """`filters.rouge.f_measure`, with its operations in its order."""
    if lcs == 0:
        return 0.0
    precision = lcs / n
    recall = lcs / m
    return 2 * precision * recall / (precision + recall)


@compiled
def _count_shared(bits: Words, stored: Words, start: int, shared: Int64s, size: int) -> int:
    """Count the bits that a text shares with each entry of a page; return the highest count.

    `bits` has 1, 2 or a multiple of 4 words; the page's begin at `start`. The loops are
    written out, on slices and on 64 bits throughout, because LLVM vectorises them so.
    """
    counts = shared[:size]
    if bits.size == 1:
        a, first = bits[0], stored[start : start + size]
        for i in range(size):
            counts[i] = count_ones(first[i] & a)
    elif bits.size == 2:
        a, first = bits[0], stored[start : start + size]
        b, second = bits[1], stored[start + PAGE : start + PAGE + size]
        for i in range(size):
            counts[i] = count_ones(first[i] & a) + count_ones(second[i] & b)
    else:
        counts[:] = 0
        for w in range(0, bits.size, 4):
            a, first = bits[w], stored[start : start + size]
            b, second = bits[w + 1], stored[start + PAGE : start + PAGE + size]
            c, third = bits[w + 2], stored[start + 2 * PAGE : start + 2 * PAGE + size]
            d, fourth = bits[w + 3], stored[start + 3 * PAGE : start + 3 * PAGE + size]
            for i in range(size):
                counts[i] += (
                    count_ones(first[i] & a)
                    + count_ones(second[i] & b)
                    + count_ones(third[i] & c)
                    + count_ones(fourth[i] & d)
                )
            start += 4 * PAGE
    most = 0
    for i in range(size):
        most = max(most, counts[i])
    return most


@compiled
def _four(stored: Words, at: np.uint64, bits: Words, t: int, word: int) -> int:
    """Count the bits that four words of text t share with an entry's, the first of them at `at`."""
    return (
        count_ones(stored[at] & bits[t, word])
        + count_ones(stored[at + np.uint64(PAGE)] & bits[t, word + 1])
        + count_ones(stored[at + np.uint64(2 * PAGE)] & bits[t, word + 2])
        + count_ones(stored[at + np.uint64(3 * PAGE)] & bits[t, word + 3])
    )


@compiled
def _mark_page(
    page: int, c: int, floor: float, texts: Texts, classes: Classes, pages: Pages, scratch: Scratch
) -> None:
    """Tell for each text of a block whether the page, of class `c`, may hold an entry near it.

    Without slices, as numba counts the users of every array at each of them, and with unsigned
    places, as LLVM vectorises only what cannot be negative.
    """
    stored, bits = pages.signatures, scratch.block_bits
    first, last = scratch.block_classes[:, 0], scratch.block_classes[:, 1]
    width, hidden = classes.widths[COARSE, c], pages.most_hidden[COARSE, page]
    shortest = classes.longest[c - 1] + 1 if c > 0 else 1
    start, size = np.uint64(pages.starts[COARSE, page]), np.uint64(pages.filled[page])
    second, fifth = start + np.uint64(PAGE), start + np.uint64(4 * PAGE)
    for t in range(texts.offsets.size - 1):
        if not first[t] <= c <= last[t]:
            continue
        most = 0
        if width == 1:
            a = bits[t, 1]
            for i in range(size):
                most = max(most, count_ones(stored[start + i] & a))
        elif width == 2:
            a, b = bits[t, 2], bits[t, 3]
            for i in range(size):
                shared = count_ones(stored[start + i] & a) + count_ones(stored[second + i] & b)
                most = max(most, shared)
        elif width == 4:
            for i in range(size):
                most = max(most, _four(stored, start + i, bits, t, 4))
        elif width == 8:
            for i in range(size):
                shared = _four(stored, start + i, bits, t, 8)
                most = max(most, shared + _four(stored, fifth + i, bits, t, 12))
        else:
            part = bits[t, width : 2 * width]
            most = _count_shared(
                part, stored, pages.starts[COARSE, page], scratch.shared, pages.filled[page]
            )
        m = texts.offsets[t + 1] - texts.offsets[t]
        unseen = min(scratch.block_unseen[t, width], hidden)
        scratch.is_near[t, page] = most >= _least(floor, m, shortest, unseen)
    scratch.compared[page] = pages.filled[page]


@compiled
def _next_from(counts: Int64s, size: int, at: int, least: int) -> int:
    """The first place from `at` on with a count of `least` or more; `size` if there is none."""
    while at < size:
        end = min(at + CHUNK, size)
        most = 0
        for i in range(np.uint64(at), np.uint64(end)):  # vectorised, as it does not stop
            most = max(most, counts[i])
        if most >= least:
            while counts[at] < least:
                at += 1
            return at
        at = end
    return size


@compiled
def _least(ratio: float, m: int, n: int, hidden: int) -> int:
    """How many bits must be shared for LCS / (m + n) to reach `ratio`, at `hidden` tokens unseen.

    LCS <= tokens in common <= bits in common + those that one side's bits do not show.
    """
    return max(1, int(np.ceil(ratio * (m + n) - 1e-6))) - hidden


@compiled
def _find_near_pages(
    texts: Texts, floor: float, classes: Classes, pages: Pages, scratch: Scratch
) -> None:
    """Tell of each page whether it may hold an entry near a text, for a block of texts at once.

    A large pool is larger than the processor's cache, and fetching it takes longer than comparing
    it: so each page is fetched once for the block.
    """
    longest, first, last = classes.longest, scratch.block_classes[:, 0], scratch.block_classes[:, 1]
    for t in range(texts.offsets.size - 1):
        text = texts.ids[texts.offsets[t] : texts.offsets[t + 1]]
        m = text.size
        first[t] = last[t] = np.searchsorted(longest, m)
        while first[t] > 0 and longest[first[t] - 1] / (m + longest[first[t] - 1]) >= floor:
            first[t] -= 1
        while last[t] + 1 < longest.size and m / (m + longest[last[t]] + 1) >= floor:
            last[t] += 1
        rows = _place_tokens(text, scratch)
        width = classes.widths[COARSE, first[t]]
        while width <= classes.widths[COARSE, last[t]]:
            bits = scratch.block_bits[t, width : 2 * width]
            scratch.block_unseen[t, width] = m - _sign(text, scratch.occurrence, bits)
            width *= 2
        scratch.place[scratch.distinct[:rows]] = EMPTY
    for c in range(longest.size):
        page = classes.first_page[c]
        while page != EMPTY:
            _mark_page(page, c, floor, texts, classes, pages, scratch)
            page = pages.following[page]


@compiled
def _nearest(
    text: Int32s,
    rows: int,
    floor: float,
    level: int,
    block_row: int,
    n_compared: int,
    is_published: bool,
    pool: Texts,
    classes: Classes,
    pages: Pages,
    scratch: Scratch,
) -> tuple[int, int]:
    """The first entry with the highest score, and its LCS; EMPTY if none reaches `floor`.

    Of the first `n_compared` pages `_find_near_pages` may have found that nothing in them is near:
    of these only the entries are looked at that were filed since.

    Scores are compared as LCS / (m + n). Two different ones of these are further apart than a
    float's rounding below 2**25 tokens, so the floats compare as the fractions would.
    """
    longest = classes.longest
    m = text.size
    best, best_lcs, best_n, score, ratio = EMPTY, 0, 0, 0.0, floor
    below = np.searchsorted(longest, m)
    above = below + 1
    width = unseen = 0
    bits, counts, filings = scratch.bits, scratch.shared, pages.filings
    ids, offsets, masks, place = pool.ids, pool.offsets, scratch.masks, scratch.place
    while True:
        # Classes by what the lengths alone allow, so those nearest to m first.
        most_below = min(m, longest[below]) / (m + min(m, longest[below])) if below >= 0 else -1.0
        most_above = m / (m + longest[above - 1] + 1) if above < longest.size else -1.0
        if max(most_below, most_above) < max(ratio, 0.0):
            return best, best_lcs
        if most_below >= most_above:
            c, below = below, below - 1
        else:
            c, above = above, above + 1
        page = classes.first_page[c]
        if page == EMPTY:
            continue
        if classes.widths[level, c] != width:
            width = classes.widths[level, c]
            bits = scratch.bits[:width]
            unseen = m - _sign(text, scratch.occurrence, bits)
        shortest = longest[c - 1] + 1 if c > 0 else 1
        while page != EMPTY:
            here, page = page, pages.following[page]
            since = 0
            if here < n_compared and not scratch.is_near[block_row, here]:
                since = scratch.compared[here]
            size = pages.filled[here] - since
            if size == 0:
                continue
            start = pages.starts[level, here] + since
            most = _count_shared(bits, pages.signatures, start, counts, size)
            least = _least(ratio, m, shortest, min(unseen, pages.most_hidden[level, here]))
            if most < least:
                continue
            i = -1
            while True:
                i = _next_from(counts, size, i + 1, least)
                if i == size:
                    break
                common = counts[i]
                filing = FILING * (here * PAGE + since + i)
                entry, n = filings[filing], filings[filing + 1]
                common += min(unseen, filings[filing + 2 + level])
                bound = common / (m + n)
                if common == 0 or bound < ratio:
                    continue
                if bound == ratio and entry > best != EMPTY and not (is_published and n != best_n):
                    continue  # at best a tie, and ties go to the first
                start = offsets[entry]
                if m <= 64:
                    lcs = _lcs_word(ids, start, n, masks, place)
                else:
                    lcs = _lcs_long(text, rows, ids, start, n, scratch)
                if lcs == 0 or lcs / (m + n) < ratio:
                    continue
                # published scores that are equal as fractions can differ in their last bit
                found = _f_measure(lcs, m, n) if is_published else lcs / (m + n)
                if found > score or (found == score and entry < best):
                    best, best_lcs, best_n, score, ratio = entry, lcs, n, found, lcs / (m + n)


@compiled
def _file(
    entry: int, text: Int32s, state: State, classes: Classes, pages: Pages, scratch: Scratch
) -> None:
    """Put an entry into the last page of its length class.

    A text without tokens shares nothing with any other, and is in no page.
    """
    if text.size == 0:
        return
    c = np.searchsorted(classes.longest, text.size)
    page = classes.last_page[c]
    if page == EMPTY or pages.filled[page] == PAGE:
        new = state.pages[0]
        if page == EMPTY:
            classes.first_page[c] = new
        else:
            pages.following[page] = new
        page = classes.last_page[c] = new
        pages.following[page] = EMPTY
        state.pages[0] += 1
        for level in (COARSE, FINE):
            pages.starts[level, page] = state.words[0]
            state.words[0] += classes.widths[level, c] * PAGE
    slot = pages.filled[page]
    at = FILING * (page * PAGE + slot)
    pages.filings[at], pages.filings[at + 1] = entry, text.size
    for level in (COARSE, FINE):
        bits = scratch.bits[: classes.widths[level, c]]
        unseen = text.size - _sign(text, scratch.occurrence, bits)
        for w in range(bits.size):
            pages.signatures[pages.starts[level, page] + w * PAGE + slot] = bits[w]
        pages.filings[at + 2 + level] = unseen
        pages.most_hidden[level, page] = max(pages.most_hidden[level, page], unseen)
    pages.filled[page] = slot + 1


@compiled
def file_all(texts: Texts, state: State, classes: Classes, pages: Pages, scratch: Scratch) -> None:
    """Put texts into pages that are in the pool already. The caller has made room."""
    for row in range(texts.offsets.size - 1):
        text = texts.ids[texts.offsets[row] : texts.offsets[row + 1]]
        rows = _place_tokens(text, scratch)
        _file(state.filed[0], text, state, classes, pages, scratch)
        state.filed[0] += 1
        scratch.place[scratch.distinct[:rows]] = EMPTY


@compiled
def stream(
    texts: Texts,
    nearest: bool,
    grow: bool,
    bar: Bar,
    pool: Texts,
    state: State,
    classes: Classes,
    pages: Pages,
    scratch: Scratch,
    found_entry: Int64s,
    found_lcs: Int32s,
) -> None:
    """Compare texts with the pool in order; with `grow`, append those that are no duplicates.

    The caller has made room for all of them. `found_entry` stays as it is where there is none.
    """
    floor = 0.0 if nearest else bar.numerator / (2 * bar.denominator)
    level = FINE if nearest else COARSE
    n_compared = 0
    for row in range(texts.offsets.size - 1):
        if not nearest and row % BLOCK == 0:
            block = Texts(texts.ids, texts.offsets[row : row + BLOCK + 1])
            n_compared = state.pages[0]
            _find_near_pages(block, floor, classes, pages, scratch)
        text = texts.ids[texts.offsets[row] : texts.offsets[row + 1]]
        m = text.size
        rows = _place_tokens(text, scratch)
        entry, lcs, is_duplicate = EMPTY, 0, False
        if m > 0:
            if m <= 64 * STRIP:
                _fill_masks(text, rows, 0, (m + 63) // 64, scratch)
            entry, lcs = _nearest(
                text,
                rows,
                floor,
                level,
                row % BLOCK,
                n_compared,
                bar.is_published,
                pool,
                classes,
                pages,
                scratch,
            )
        if lcs > 0:
            n = pool.offsets[entry + 1] - pool.offsets[entry]
            is_duplicate = 2 * lcs * bar.denominator >= bar.numerator * (m + n)
            if is_duplicate and bar.is_published:
                is_duplicate = _f_measure(lcs, m, n) > bar.threshold
        if nearest and entry == EMPTY and state.entries[0] > 0:
            entry = 0  # nothing in common with any: all score 0, and the first counts
        if nearest or is_duplicate:
            found_entry[row], found_lcs[row] = entry, lcs
        if grow and not is_duplicate:
            end = pool.offsets[state.entries[0]]
            pool.ids[end : end + m] = text
            pool.offsets[state.entries[0] + 1] = end + m
            _file(state.entries[0], text, state, classes, pages, scratch)
            state.entries[0] += 1
            state.filed[0] += 1
        scratch.place[scratch.distinct[:rows]] = EMPTY
