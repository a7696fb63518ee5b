"""Near-duplicates of data that does not fit into memory: signature files, joined band by band.

`sign_shard` reads one Parquet shard and writes a signature file beside it; shards are independent
of each other, so any number of processes may sign them. `judge_shards` then reads all signature
files: one key of every row at a time (8 bytes a row, and as much again to sort), and the shingles
of candidates in parts of a bounded size. The rows are those of all shards, one after the other:
the clusters are the same however they are cut.
"""

from __future__ import annotations

import json
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from uuid import uuid4

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from filters import shingles
from filters.near_duplicates.clusters import Rows, clusters
from filters.near_duplicates.column import choose, dropped, linked, quality, verdicts
from filters.near_duplicates.minhash import Settings, Signed, signed
from filters.shingles import Hashes, Runs

ROW_GROUP = 16_384
META = b"synth.near_duplicates"
FORMAT = 2  # of signature files; raised with any change of tokens, hashes or columns


def sign_shard(
    source: Path, target: Path, settings: Settings, *, rating: str | None = None
) -> None:
    """Sign the rows of a Parquet file: its `row_id`, its texts, and its `rating` if one is named.

    `target` is what `sign_frames` writes. Raises ValueError where a column is not there.
    """
    columns = ["row_id", *settings.columns, *([rating] if rating else [])]
    columns += [] if "output" in columns else ["output"]
    with pq.ParquetFile(source) as shard:
        missing = set(columns) - set(shard.schema_arrow.names)
        if missing:
            raise ValueError(f"{source} has no column {', '.join(sorted(missing))}")
        batches = shard.iter_batches(ROW_GROUP, columns=columns)
        frames = (pl.DataFrame(pl.from_arrow(batch)) for batch in batches)
        sign_frames(frames, target, settings, rating=rating)


def sign_frames(
    frames: Iterable[pl.DataFrame], target: Path, settings: Settings, *, rating: str | None = None
) -> None:
    """Sign the rows of frames, one after the other.

    `target` (Parquet) gets a row each, in order: `row_id`, `rating`, `length` of the output in
    characters, `n_shingles`, `shingles` and the keys of the bands. It appears whole or not at all.
    """
    schema = _schema(settings)
    with (
        _staged(target) as staged,
        pq.ParquetWriter(staged, schema, compression="none", use_dictionary=False) as file,
    ):
        for frame in frames:
            for rows in frame.iter_slices(ROW_GROUP):
                file.write_table(_signed_table(rows, settings, rating, schema))


def sign_shards(
    sources: Sequence[Path],
    targets: Sequence[Path],
    settings: Settings,
    *,
    rating: str | None = None,
    workers: int = 1,
) -> None:
    """Sign every source into its target, in `workers` processes."""
    if workers == 1:
        for source, target in zip(sources, targets, strict=True):
            sign_shard(source, target, settings, rating=rating)
        return
    # spawned: a fork would copy the locks of Polars' threads as they happen to stand
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting = [
            pool.submit(sign_shard, source, target, settings, rating=rating)
            for source, target in zip(sources, targets, strict=True)
        ]
        for one in waiting:
            one.result()


def judge_shards(signed_shards: Sequence[Path], targets: Sequence[Path]) -> None:
    """Find the near-duplicates among all rows of signed shards.

    The n-th target (Parquet) gets a row for each of the n-th shard's, in order: `row_id`, and
    `reason`, `detail`, `ref` and `similarity` as `near_duplicates` gives them. Each appears whole
    or not at all.

    Raises ValueError where a file is not a signature file, or was signed with other settings.
    """
    source = Files(signed_shards)
    root = clusters(source, source.settings.threshold, small=False)
    members = linked(root)
    kept = choose(root, members, source.frame(["rating", "length"], members))
    found = dropped(source, root, kept, small=False)
    names = found["kept"].unique().sort()
    ids = source.frame(["row_id"], names.to_numpy())["row_id"]
    for number, target in enumerate(targets):
        first, end = source.starts[number : number + 2].tolist()
        here = found.filter(pl.col("row").is_between(first, end, closed="left"))
        rows = source.shard_ids(number).with_columns(row=pl.int_range(first, end))
        judged = verdicts(rows, here, ids.gather(names.search_sorted(here["kept"])))
        with _staged(target) as staged:
            judged.drop("row").write_parquet(staged)


class Files:
    """Signed texts in files; reads what is asked for, and keeps the counts of shingles."""

    def __init__(self, paths: Sequence[Path]) -> None:
        """Open signature files that were signed alike."""
        self._paths = paths
        described = {_settings(path): path for path in paths}
        if len(described) > 1:
            one, other, *_ = described.values()
            raise ValueError(f"{one} and {other} were signed with other settings: sign them alike")
        self.settings = next(iter(described), Settings())
        self.n_keys = self.settings.banding[0] + 1
        counts = [_column(path, "n_shingles") for path in paths]
        self.starts: Rows = np.cumsum([0, *map(len, counts)])
        self.counts: NDArray[np.int32] = np.concatenate([np.zeros(0, np.int32), *counts])

    def keys(self, number: int) -> Hashes:
        """One key of every text."""
        keys = np.empty(len(self.counts), np.uint64)
        for path, first, end in self._shards():
            keys[first:end] = _column(path, _key(number))
        return keys

    def shingles(self, rows: Rows) -> Runs:
        """The shingles of some texts; `rows` ascend."""
        offsets = np.concatenate([[0], np.cumsum(self.counts[rows], dtype=np.int64)])
        hashes, filled = np.empty(offsets[-1], np.uint64), 0  # once, not in parts and again whole
        for path, first, end in self._shards():
            start, stop = np.searchsorted(rows, [first, end])
            if start < stop:
                for part in _read_shingles(path, rows[start:stop] - first):
                    hashes[filled : filled + len(part)] = part
                    filled += len(part)
        return Runs(hashes, offsets)

    def frame(self, columns: list[str], rows: Rows) -> pl.DataFrame:
        """Some columns of some texts; `rows` ascend."""
        none = _schema(self.settings).empty_table().select(columns)
        parts = [pl.DataFrame(none)]
        for path, first, end in self._shards():
            start, stop = np.searchsorted(rows, [first, end])
            if start < stop:
                parts.append(pl.read_parquet(path, columns=columns)[rows[start:stop] - first])
        return pl.concat(parts)

    def shard_ids(self, number: int) -> pl.DataFrame:
        """The `row_id` of every row of one shard."""
        return pl.read_parquet(self._paths[number], columns=["row_id"])

    def _shards(self) -> Iterator[tuple[Path, int, int]]:
        """Each file, and the rows that it holds."""
        starts = self.starts.tolist()
        return zip(self._paths, starts, starts[1:], strict=False)


def _key(number: int) -> str:
    return f"key_{number:03d}"


def _schema(settings: Settings) -> pa.Schema:
    keys = [(_key(number), pa.uint64()) for number in range(settings.banding[0] + 1)]
    described = json.dumps({"format": FORMAT, **asdict(settings)})
    columns = [
        ("row_id", pa.large_string()),
        ("rating", pa.float64()),
        ("length", pa.uint32()),
        ("n_shingles", pa.int32()),
        ("shingles", pa.large_list(pa.uint64())),
        *keys,
    ]
    return pa.schema(columns, metadata={META: described.encode()})


def _settings(path: Path) -> Settings:
    described = (pq.read_schema(path).metadata or {}).get(META)
    if described is None:
        raise ValueError(f"{path} is not a signature file: make it with sign_shard")
    fields = json.loads(described)
    if fields.pop("format") != FORMAT:
        raise ValueError(f"{path} was signed by another version: sign it again")
    return Settings(**{**fields, "columns": tuple(fields["columns"])})


def _signed_table(
    rows: pl.DataFrame, settings: Settings, rating: str | None, schema: pa.Schema
) -> pa.Table:
    texts = shingles.row_texts(rows.select(settings.columns))
    parts = [signed(part, settings, small=False) for part in texts]
    qualities = quality(rows["output"], rows[rating] if rating else None)
    return pa.Table.from_arrays(
        [
            rows["row_id"].cast(pl.String).to_arrow().cast(pa.large_string()),
            qualities["rating"].to_arrow(),
            qualities["length"].to_arrow(),
            *_arrays(parts),
        ],
        schema=schema,
    )


def _arrays(parts: list[Signed]) -> list[pa.Array]:
    runs = shingles.concatenate([part.shingles for part in parts])
    return [
        pa.array(np.diff(runs.offsets).astype(np.int32)),
        pa.LargeListArray.from_arrays(pa.array(runs.offsets), pa.array(runs.hashes)),
        *map(pa.array, np.concatenate([part.keys for part in parts], axis=1)),
    ]


def _column(path: Path, name: str) -> NDArray[np.generic]:
    column: NDArray[np.generic] = pq.read_table(path, columns=[name])[name].to_numpy()
    return column


def _read_shingles(path: Path, rows: Rows) -> Iterator[Hashes]:
    """The shingles of some rows of a file, a part for each of its row groups that has any."""
    with pq.ParquetFile(path) as file:
        first = 0
        for number in range(file.num_row_groups):
            end = first + file.metadata.row_group(number).num_rows
            wanted = rows[slice(*np.searchsorted(rows, [first, end]))] - first
            if len(wanted):
                lists = file.read_row_group(number, columns=["shingles"])["shingles"]
                array = lists.combine_chunks()
                offsets = array.offsets.to_numpy()
                hashes = array.values.to_numpy()
                yield shingles.chosen(Runs(hashes, offsets), wanted).hashes
            first = end


@contextmanager
def _staged(target: Path) -> Iterator[Path]:
    """A path to write to; what was written is renamed to `target` once it is whole."""
    staged = target.with_name(f".{target.name}.{uuid4().hex}")
    try:
        yield staged
        staged.replace(target)
    finally:
        staged.unlink(missing_ok=True)
