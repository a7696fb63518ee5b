"""Shards: Parquet files that appear whole or not at all. The only code that writes them.

A shard is written in `.staging/` (same file system), synced, read back with page checksums, renamed
into place, and only then listed in `stage.json`. zstd level 3, row groups of 16,384, page checksums
on: without them one flipped bit reads back as other data in half of all tries. Readers in notebooks
do not check pages, so the manifest keeps the SHA-256 of each file too.
"""

from __future__ import annotations

import hashlib
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pipeline import manifest, schema
from pipeline.crashpoint import crashpoint
from pipeline.durable import NEW, replacing, sync_folder
from pipeline.errors import DamagedError
from pipeline.format_version import refuse_newer
from pipeline.manifest import HALVES, FileEntry, Part, StageManifest
from pipeline.readable import not_permitted
from pipeline.schema import arrow_schema
from pipeline.shortage import shortage
from pipeline.stage import Row

ROW_GROUP = 16_384


class StageFolder:
    """The folder of one stage: its manifest and its shards.

    `candidates` in, one kept and one dropped shard a part out. A part is cut at a slot's end once
    it holds `shard_rows` rows, so that the files are the same however often the run was killed.
    """

    def __init__(
        self,
        run: Path,
        state: StageManifest,
        shard_rows: int,
        *,
        fence: Callable[[], None] = lambda: None,
    ) -> None:
        """Open the folder of `state`; what lies there and is not listed is written again.

        `fence` raises where this process may no longer write; it is asked before each part.
        """
        self._fence = fence
        self.enter: Callable[[pa.Table], pa.Table] = lambda table: table
        """What is done to all rows before they are written; an import masks them."""
        self.run = run
        self.state = state
        self.shard_rows = shard_rows
        self.path = run / state.folder
        self._kept: list[Row] = []
        self._dropped: list[Row] = []
        self._first_slot = self._next_slot = state.next_slot
        self._short: Part | None = None
        self._published = 0

    def reopen(self) -> None:
        """Take the part back up that a stop cut short: its slots come again, from the journal.

        Only the part that they fill replaces it, under its name, so that readers never see fewer
        rows and the files are those of a run that was never stopped.
        """
        state = self.state
        if state.complete or state.stopped is None or not state.parts:
            return
        if state.parts[-1].candidates >= self.shard_rows:
            return
        self._published = state.kept
        self._short = state.parts[-1]
        state.parts = state.parts[:-1]
        state.next_slot = self._first_slot = self._next_slot = self._short.first_slot

    def create(self) -> None:
        """Make the folders and write the manifest."""
        pa.array([])  # imports pandas where it is installed: 0.3 s that no reply is to wait for
        for half in ("kept", "dropped"):
            (self.path / half).mkdir(parents=True, exist_ok=True)
        for folder in (self.path.parent, self.run):  # replacing stage.json syncs the third
            sync_folder(folder)
        self.save()

    def begin_anew(self) -> None:
        """Take back everything that was published, because what it came from has changed."""
        state, self._short, self._published = self.state, None, 0
        state.parts, state.next_slot, state.complete, state.exported = [], 0, False, None
        self._first_slot = self._next_slot = 0
        self.save()
        crashpoint("taken_back")
        for half in ("kept", "dropped"):
            for path in (self.path / half).glob("*.parquet"):
                path.unlink()

    def save(self) -> None:
        """Replace `stage.json`."""
        state = self.state
        if self._short is not None:  # still what is published
            parts, next_slot = self.published, self._short.next_slot
            state = state.model_copy(update={"parts": parts, "next_slot": next_slot})
        manifest.replace(self.path / "stage.json", state)

    @property
    def schemas(self) -> tuple[pa.Schema, pa.Schema]:
        """The Arrow schemas of its kept and of its dropped shards."""
        kept, dropped = (arrow_schema(self.state.columns_of(half)) for half in HALVES)
        return kept, dropped

    @property
    def next_slot(self) -> int:
        """The slot that is committed next."""
        return self._next_slot

    @property
    def published(self) -> list[Part]:
        """The parts that readers see, with one that comes again."""
        return [*self.state.parts, *([] if self._short is None else [self._short])]

    @property
    def kept(self) -> int:
        """Kept rows so far, published or not; those of a part that comes again count once."""
        return max(self.state.kept + len(self._kept), self._published)

    @property
    def candidates(self) -> int:
        """Rows judged so far, published or not."""
        return self.state.candidates + len(self._kept) + len(self._dropped)

    def dropped_by_reason(self) -> Counter[str]:
        """Dropped rows so far by reason, published or not."""
        return Counter(self.state.dropped_by_reason) + Counter(
            row["drop_reason"] for row in self._dropped
        )

    def add(self, kept: Sequence[Row], dropped: Sequence[Row], *, journal: int) -> None:
        """Take the rows of the next slot; publishes a part where that fills it."""
        self._kept += kept
        self._dropped += dropped
        self._next_slot += 1
        if len(self._kept) + len(self._dropped) >= self.shard_rows:
            self.publish(journal=journal)

    def publish(self, *, journal: int) -> None:
        """Publish what was added since the last part."""
        kept, dropped = self.schemas
        self.publish_tables(
            pa.Table.from_pylist(self._kept, kept),
            pa.Table.from_pylist(self._dropped, dropped),
            next_slot=self._next_slot,
            journal=journal,
        )
        self._kept, self._dropped = [], []

    def publish_tables(
        self, kept: pa.Table, dropped: pa.Table, *, next_slot: int, journal: int
    ) -> None:
        """Publish one part and list it."""
        self._fence()
        kept, dropped = self.enter(kept), self.enter(dropped)
        number = len(self.state.parts)
        entries = [
            write_shard(table, self.path / half / f"part-{number:05d}.parquet", self.run)
            for half, table in (("kept", kept), ("dropped", dropped))
        ]
        crashpoint("part_unlisted")
        reasons = pc.value_counts(dropped["drop_reason"]).to_pylist()
        self.state.parts.append(
            Part(
                first_slot=self._first_slot,
                next_slot=next_slot,
                candidates=kept.num_rows + dropped.num_rows,
                kept=_relative(entries[0], "kept"),
                dropped=_relative(entries[1], "dropped"),
                dropped_by_reason=dict(
                    sorted((entry["values"], entry["counts"]) for entry in reasons)
                ),
                journal=journal,
            )
        )
        self.state.next_slot = self._first_slot = self._next_slot = next_slot
        self._short = None
        self.save()
        crashpoint("part_listed")

    def flush(self, *, journal: int) -> None:
        """Publish the rest; the first part exists even where no row came."""
        if self._next_slot > self._first_slot or not self.state.parts:
            self.publish(journal=journal)

    def stop(self, why: str, *, journal: int) -> None:
        """Publish what there is so far and say why it ends there; `reopen` goes on."""
        self.state.stopped = why
        published = self._first_slot if self._short is None else self._short.next_slot
        if self._next_slot > published:
            self.publish(journal=journal)
        self.save()

    def seal(self, *, journal: int) -> None:
        """Publish the rest and say that the stage is whole."""
        if self.state.exported is None:  # an export has no shards of its own
            self.flush(journal=journal)
        crashpoint("before_seal")
        self.state.complete, self.state.stopped = True, None
        self.save()
        crashpoint("sealed")


def _relative(entry: FileEntry, half: str) -> FileEntry:
    return entry.model_copy(update={"path": f"{half}/{entry.path}"})


def write_shard(table: pa.Table, target: Path, run: Path) -> FileEntry:
    """Write one Parquet file so that it appears whole or not at all; gives its manifest entry.

    Raises `DamagedError` where what was written does not read back.
    """
    staging = run / ".staging"
    staging.mkdir(exist_ok=True)
    entries = []

    def read_back(staged: Path) -> None:
        crashpoint("shard_staged")
        entry = describe(staged)
        if entry.rows != table.num_rows:
            raise DamagedError(f"{target}: of {table.num_rows} rows, {entry.rows} read back.")
        entries.append(entry.model_copy(update={"path": target.name}))

    with replacing(target, staging=staging, check=read_back) as file:
        pq.write_table(
            table,
            file,
            compression="zstd",
            compression_level=3,
            row_group_size=ROW_GROUP,
            write_page_checksum=True,
        )
    return entries[0]


def describe(path: Path) -> FileEntry:
    """Read a shard whole, page checksums included, and say what it is.

    Raises `DamagedError` where it cannot be read.
    """
    with opened(path) as file:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        rows = sum(batch.num_rows for batch in file.iter_batches())
        if rows != file.metadata.num_rows:
            raise DamagedError(f"{path}: the footer says {file.metadata.num_rows} rows.")
    return FileEntry(path=path.name, rows=rows, bytes=path.stat().st_size, sha256=digest)


@contextmanager
def opened(path: Path) -> Iterator[pq.ParquetFile]:
    """A shard, open for reading with its page checksums. Raises `DamagedError` while it is read."""
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            version = (file.schema_arrow.metadata or {}).get(b"synth.schema", b"0")
            refuse_newer(path, int(version), schema.VERSION)
            yield file
    except (pa.ArrowException, OSError, ValueError) as error:  # a flipped name is no UTF-8
        if shortage(error):
            raise  # it says nothing about the file
        if (refused := not_permitted(error, path)) is not None:
            raise refused from error
        raise DamagedError(f"{path} is damaged or cannot be read: {error}") from error


def shards(folder: Path, state: StageManifest, half: str = "kept") -> list[Path]:
    """The published shards of one half ("kept" or "dropped"), in order."""
    entries = [part.kept if half == "kept" else part.dropped for part in state.parts]
    return [folder / entry.path for entry in entries]


def read_rows(
    paths: Sequence[Path], columns: Sequence[str] | None = None, start: int = 0
) -> Iterator[Row]:
    """Rows of shards as dicts, in order, from row `start` on; a few thousand held at a time."""
    for path in paths:
        with opened(path) as file:
            if start >= file.metadata.num_rows:
                start -= file.metadata.num_rows
                continue
            names = None if columns is None else list(columns)
            for batch in file.iter_batches(batch_size=2048, columns=names):
                if start >= batch.num_rows:
                    start -= batch.num_rows
                    continue
                yield from batch.slice(start).to_pylist()
                start = 0


def read_frame(paths: Sequence[Path], columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Rows of shards as one frame, in order."""
    tables = []
    for path in paths:
        with opened(path) as file:
            tables.append(file.read(None if columns is None else list(columns)))
    frame = pl.from_arrow(pa.concat_tables(tables))
    assert isinstance(frame, pl.DataFrame)
    return frame


def read_frames(
    paths: Sequence[Path], columns: Sequence[str] | None = None
) -> Iterator[pl.DataFrame]:
    """Rows of shards as frames of at most `ROW_GROUP` rows, in order."""
    for path in paths:
        with opened(path) as file:
            names = None if columns is None else list(columns)
            for batch in file.iter_batches(batch_size=ROW_GROUP, columns=names):
                yield pl.DataFrame(pl.from_arrow(batch))


def clear_staging(run: Path) -> None:
    """Remove what an earlier process left half written."""
    for path in (run / ".staging").glob("*"):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink()
    for path in run.rglob(f"{NEW}*"):
        path.unlink()
