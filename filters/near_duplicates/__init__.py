"""Near-duplicates: rows that share most of their word runs, found by MinHash and checked exactly.

`near_duplicates` judges columns in memory; `signatures` are those of datasketch.
"""

from filters.near_duplicates.column import near_duplicates
from filters.near_duplicates.minhash import Settings, banding, shingle_hashes, signatures

__all__ = ["Settings", "banding", "near_duplicates", "shingle_hashes", "signatures"]
