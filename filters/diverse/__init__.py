"""A chosen number of rows that stand for all: by how alike rows are, within strata.

`diverse` chooses, by the signatures (`MinHashes`) or vectors (`Directions`) of the rows.
"""

from filters.diverse.alike import Alike, Directions, MinHashes
from filters.diverse.column import diverse, parted
from filters.diverse.greedy import METHODS, Method

__all__ = ["METHODS", "Alike", "Directions", "Method", "MinHashes", "diverse", "parted"]
