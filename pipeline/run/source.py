"""Rows that a run starts from: those of a finished run, or of a file."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import manifest, store
from pipeline.errors import InputError
from pipeline.manifest import RunManifest, StageManifest
from pipeline.schema import DROP_COLUMNS
from pipeline.stage import Drop, Row
from pipeline.stages import read_input

MAX_LINE = 64 << 20
"""Bytes of the longest line of JSON that is read: a line is held in memory whole."""


@dataclass(frozen=True)
class Source:
    """Where rows come from: `rows()` gives them, `fingerprint` stands for their content."""

    path: Path
    columns: tuple[str, ...]
    fingerprint: str
    n_rows: int
    limit: int | None
    shards: tuple[Path, ...] = ()

    def writers(self) -> set[str]:
        """Who wrote the rows: the teachers of a run's; a file's are by nobody that we know."""
        if not self.shards:
            return {self.path.name}
        if "teacher" not in self.columns:
            return {str(self.path)}
        frame = store.read_frame(self.shards, ["teacher"])
        return {name or str(self.path) for name in frame["teacher"].unique()}

    def rows(self) -> Iterator[Row | Drop]:
        """Every row, or what is wrong with it."""
        found = self._rows_of_run() if self.shards else self._rows_of_file()
        return itertools.islice(found, self.limit)

    def _rows_of_run(self) -> Iterator[Row | Drop]:
        yield from store.read_rows(self.shards)

    def _rows_of_file(self) -> Iterator[Row | Drop]:
        for number, found in enumerate(_records(self.path)):
            yield read_input.read(number, found, self.path.name)


def open_source(where: str, limit: int | None) -> Source:
    """Open `RUN`, `RUN:STAGE` or a Parquet or JSON Lines file. Raises `InputError`."""
    try:
        Path(where).exists()
    except OSError as error:
        raise InputError(f"--input {where[:60]}: no such run or file: {error.strerror}.") from error
    folder, _, stage = where.rpartition(":")
    run = Path(folder) if folder and not Path(where).exists() else Path(where)
    if (run / "run.json").is_file():
        return _open_run(run, stage if run != Path(where) else None, limit)
    path = Path(where)
    if not path.is_file():
        raise InputError(f"--input {where}: there is no such run or file.")
    if path.suffix not in (".parquet", ".jsonl"):
        raise InputError(f"--input {where}: a file is .parquet or .jsonl.")
    n_rows = _count(path)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return Source(path, read_input.STAGE.writes, digest.hexdigest(), n_rows, limit)


def _open_run(run: Path, stage: str | None, limit: int | None) -> Source:
    state = manifest.read(RunManifest, run / "run.json")
    folders = [folder for folder in state.stages if not folder.endswith("-export")]
    if stage is not None:
        folders = [folder for folder in folders if folder.split("-", 1)[1] == stage]
    if not folders:
        raise InputError(f"{run} has no stage {stage!r} with rows; it has {state.stages}.")
    found = manifest.read(StageManifest, run / folders[-1] / "stage.json")
    if not found.complete:
        raise InputError(f"{run / folders[-1]} is not complete: finish that run first.")
    shards = tuple(store.shards(run / folders[-1], found))
    columns = tuple(name for name in found.columns if name not in DROP_COLUMNS)
    return Source(run, columns, found.kept_digest, found.kept, limit, shards)


def _count(path: Path) -> int:
    """The rows of a file; a file that cannot be used is refused by name and line."""
    if path.suffix == ".parquet":
        try:
            with pq.ParquetFile(path) as file:
                if "instruction" not in file.schema_arrow.names:
                    raise InputError(f"{path} has no column 'instruction'.")
                return int(file.metadata.num_rows)
        except pa.ArrowException as error:
            raise InputError(f"{path} is not Parquet: {error}.") from error
    return sum(1 for _ in _records(path))


def _records(path: Path) -> Iterator[Row]:
    if path.suffix == ".parquet":
        with pq.ParquetFile(path) as file:
            names = [name for name in read_input.TEXTS if name in file.schema_arrow.names]
            for batch in file.iter_batches(batch_size=2048, columns=names):
                yield from batch.to_pylist()
        return
    with path.open("rb") as lines:
        for number, line in enumerate(iter(lambda: lines.readline(MAX_LINE + 1), b""), start=1):
            if len(line) > MAX_LINE:
                raise InputError(f"{path}: line {number} is longer than {MAX_LINE >> 20} MiB.")
            if not line.strip():
                continue
            try:
                found = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise InputError(f"{path}: line {number}: not JSON ({error}).") from error
            if not isinstance(found, dict) or "instruction" not in found:
                raise InputError(f"{path}: line {number}: no object with 'instruction'.")
            yield found
