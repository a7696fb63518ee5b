"""Fair shares of a number of rows among strata."""

from __future__ import annotations

from collections.abc import Sequence


def strata(sizes: Sequence[int], most: int, least: int) -> list[int]:
    """How many of each stratum are drawn: `most` in all, or all that there are.

    Each gets `least`, or all it has, and of what is left its share. Where `most` has no room for
    that, `least` is lowered until it has, to none where there are more strata than `most`.

    >>> strata([1000, 100, 3], 110, 5)
    [94, 13, 3]
    >>> strata([1000, 100, 3], 8, 5)
    [4, 2, 2]
    >>> strata([5, 5], 100, 5)
    [5, 5]
    """
    if sum(sizes) <= most:
        return list(sizes)
    while sum(min(size, least) for size in sizes) > most:
        least -= 1
    floors = [min(size, least) for size in sizes]
    over = [size - floor for size, floor in zip(sizes, floors, strict=True)]
    left, whole = most - sum(floors), sum(over)
    drawn = [floor + left * more // whole for floor, more in zip(floors, over, strict=True)]
    order = sorted(range(len(sizes)), key=lambda at: (drawn[at] > 0, drawn[at] - sizes[at]))
    for at in order[: most - sum(drawn)]:  # what rounding left
        drawn[at] += 1
    return drawn
