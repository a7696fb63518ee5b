"""Near-duplicates: rows that share most of their word runs, found by MinHash and checked exactly.

`near_duplicates` judges columns in memory; `sign_shards` and `judge_shards` give the same verdicts
on Parquet files of any size. `signatures` are those of datasketch.
"""

from filters.near_duplicates.column import near_duplicates
from filters.near_duplicates.minhash import Settings, banding, shingle_hashes, signatures
from filters.near_duplicates.shards import judge_shards, sign_frames, sign_shard, sign_shards

__all__ = [
    "Settings",
    "banding",
    "judge_shards",
    "near_duplicates",
    "shingle_hashes",
    "sign_frames",
    "sign_shard",
    "sign_shards",
    "signatures",
]
