"""The compiled part: how many bytes of packed signatures are equal.

All compiled functions are in this one file: numba's cache notices a change of the file that a
function is in, not of the files that it calls into.
"""

import numpy as np
from numpy.typing import NDArray

from filters.compiled import compiled

Packed = NDArray[np.uint8]


@compiled
def equal_bytes(signed: Packed, one: int, found: Packed) -> None:
    """How many bytes of each row of `signed` are those of row `one`; at most 255 a row."""
    for row in range(signed.shape[0]):
        equal = np.uint8(0)  # one byte a sum: thirty-two fit into a register
        for k in range(signed.shape[1]):
            equal += np.uint8(signed[row, k] == signed[one, k])
        found[row] = equal


@compiled
def gains(signed: Packed, ones: NDArray[np.int64], best: Packed, found: NDArray[np.int64]) -> None:
    """By how much each row of `ones` raises `best`, the most that a row has in common so far."""
    for at in range(ones.size):
        one, gain = ones[at], np.int64(0)
        for row in range(signed.shape[0]):
            equal = np.uint8(0)
            for k in range(signed.shape[1]):
                equal += np.uint8(signed[row, k] == signed[one, k])
            if equal > best[row]:
                gain += np.int64(equal) - np.int64(best[row])
        found[at] = gain
