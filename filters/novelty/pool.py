"""The texts that others are compared with, as arrays that grow in place."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from filters.novelty.words import Ids, Offsets


def grown(array: NDArray[Any], size: int, fill: int = 0) -> NDArray[Any]:
    """The array itself where it has `size` columns, else a copy with at least twice its own."""
    columns = array.shape[-1]
    if size <= columns:
        return array
    bigger = np.full((*array.shape[:-1], max(size, columns * 2)), fill, array.dtype)
    bigger[..., :columns] = array
    return bigger


class Pool:
    """Token numbers of every entry, end to end; entry i has those from offset i to i + 1."""

    def __init__(self) -> None:
        """Start empty."""
        self.ids: Ids = np.zeros(1024, np.int32)
        self.offsets: Offsets = np.zeros(64, np.int64)
        self.size = 0

    def reserve(self, entries: int, n_tokens: int) -> None:
        """Make room for so many more."""
        self.offsets = grown(self.offsets, self.size + entries + 1)
        self.ids = grown(self.ids, int(self.offsets[self.size]) + n_tokens)

    def append(self, ids: Ids, offsets: Offsets) -> None:
        """Append entries, given as the vocabulary encodes them."""
        entries = len(offsets) - 1
        self.reserve(entries, len(ids))
        end = int(self.offsets[self.size])
        self.ids[end : end + len(ids)] = ids
        self.offsets[self.size : self.size + entries + 1] = offsets + end
        self.size += entries

    def n_tokens(self, entries: NDArray[np.int64]) -> Offsets:
        """How many tokens each of these entries has."""
        return self.offsets[entries + 1] - self.offsets[entries]

    def contents(self) -> tuple[Ids, Offsets]:
        """All entries, as `append` takes them."""
        return self.ids[: self.offsets[self.size]], self.offsets[: self.size + 1]
