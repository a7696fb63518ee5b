"""How many rows a share is: of the number as it is written, so that no row is lost to a binary one.

0.29 of 100 rows is 29; the nearest binary number is less than 0.29, and 28 came of it.
"""

from __future__ import annotations

import math
from fractions import Fraction


def rounded_down(rows: int, share: float) -> int:
    """The share of `rows`, rounded down.

    >>> rounded_down(100, 0.29), rounded_down(6, 0.05)
    (29, 0)
    """
    return math.floor(rows * Fraction(str(share)))


def best(rows: int, share: float) -> int:
    """How many the best `share` of `rows` are: rounded down, and at least 1 where there are any.

    >>> best(100, 0.29), best(6, 0.05), best(0, 0.05)
    (29, 1, 0)
    """
    return min(max(rounded_down(rows, share), 1), rows)
