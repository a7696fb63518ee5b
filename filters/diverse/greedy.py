"""Choose rows one after the other, each the best to add to those that are chosen.

`facility_location` raises the sum over all rows of how alike each is to the chosen row nearest to
it, which is the mean distance that is to be small (Wei, Iyer and Bilmes 2015, "Submodularity in
Data Subset Selection and Active Learning"). Of each step only a sample of the rows is looked at, as
in Mirzasoleiman et al. 2015, "Lazier Than Lazy Greedy" (arXiv:1409.7938): n / count * ln(1 / e) of
them keep 1 - 1/e - e of the best sum in the mean, for n**2 * ln(1 / e) comparisons. That e is 0.1
for signatures and 0.25 for vectors, which cost several times as much to compare.

`k_center` adds the row farthest from those chosen (Gonzalez 1985; Sener and Savarese 2018,
arXiv:1708.00489): no row stays far away, and so it takes outliers first and leaves the crowd far.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from filters.diverse.alike import Alike, Rows
from filters.draw import lot

Method = Literal["facility_location", "k_center", "random"]


class Choice(NamedTuple):
    """Which rows were chosen, and of each row the chosen one most like it, with how alike.

    `nearest` is -1 for a row that is like none of them at all.
    """

    rows: Rows
    nearest: Rows
    similarity: NDArray[np.float64]


def choose(
    alike: Alike,
    ids: Sequence[str],
    count: int,
    *,
    method: Method,
    seed: int,
    candidates: int | None = None,
) -> Choice:
    """Choose `count` of the rows, or all where there are no more.

    The draw, and which of equal rows comes first, is a hash of `seed` and id: the rows may come in
    any order. `candidates` are looked at in a step of `facility_location`; null is as the paper.
    """
    count = min(count, len(ids))
    best, nearest = alike.nothing(), np.full(len(ids), -1, np.int64)
    rows = []
    for row in METHODS[method](alike, ids, count, seed, candidates, best):
        similar = alike.to(row)
        is_nearer = similar > best
        best[is_nearer], nearest[is_nearer] = similar[is_nearer], row
        rows.append(row)
    return Choice(np.array(rows, np.int64), nearest, alike.similarity(best))


def shuffled(ids: Sequence[str], seed: int, again: int = 0) -> Rows:
    """The rows in an order that a hash draws; another for each number of `again`."""
    drawn = [lot(seed, again, one) for one in ids]
    return np.array(sorted(range(len(ids)), key=lambda row: (drawn[row], ids[row])), np.int64)


def _facility_location(
    alike: Alike,
    ids: Sequence[str],
    count: int,
    seed: int,
    candidates: int | None,
    best: NDArray[np.uint8],
) -> Iterator[int]:
    size = candidates or math.ceil(len(ids) / max(count, 1) * math.log(1 / alike.epsilon))
    is_left = np.ones(len(ids), bool)
    again, order = 0, shuffled(ids, seed)
    at = 0
    for _ in range(count):
        ones = order[:0]
        while not len(ones):
            if at >= len(order):
                again, at = again + 1, 0
                order = shuffled(ids, seed, again)
            ones = order[at : at + size]
            ones = ones[is_left[ones]]
            at += size
        row = int(ones[np.argmax(alike.gains(ones, best))])
        is_left[row] = False
        yield row


def _k_center(
    alike: Alike,
    ids: Sequence[str],
    count: int,
    seed: int,
    candidates: int | None,
    best: NDArray[np.uint8],
) -> Iterator[int]:
    order = shuffled(ids, seed)
    is_chosen = np.zeros(len(ids), bool)
    for _ in range(count):
        far = np.where(is_chosen, np.inf, best)[order]
        row = int(order[np.argmin(far)])
        is_chosen[row] = True
        yield row


def _random(
    alike: Alike,
    ids: Sequence[str],
    count: int,
    seed: int,
    candidates: int | None,
    best: NDArray[np.uint8],
) -> Iterator[int]:
    yield from shuffled(ids, seed)[:count].tolist()


METHODS: dict[Method, Callable[..., Iterator[int]]] = {
    "facility_location": _facility_location,
    "k_center": _k_center,
    "random": _random,
}
"""Each gives the rows in their order, and sees in `best` what those before came to."""
