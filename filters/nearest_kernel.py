"""The compiled loop over signatures of `filters.nearest`."""

import numpy as np
from numpy.typing import NDArray

from filters.compiled import compiled

Signatures = NDArray[np.uint32]
Places = NDArray[np.int64]


@compiled
def nearest(
    items: Signatures,
    pool: Signatures,
    skipped: Places,
    most: int,
    places: Places,
    counts: Places,
) -> None:
    """Fill in the places of the most alike, and how many values they share, most first.

    Those that share more than `most` values are passed over.
    """
    k = places.shape[1]
    for i in range(items.shape[0]):
        filled = 0
        for j in range(pool.shape[0]):
            if j == skipped[i]:
                continue
            same = np.uint32(0)
            for t in range(items.shape[1]):
                same += np.uint32(items[i, t] == pool[j, t])
            if same > most or (filled == k and same <= counts[i, k - 1]):
                continue
            at = filled if filled < k else k - 1
            while at > 0 and counts[i, at - 1] < same:
                places[i, at] = places[i, at - 1]
                counts[i, at] = counts[i, at - 1]
                at -= 1
            places[i, at] = j
            counts[i, at] = same
            filled = min(filled + 1, k)
