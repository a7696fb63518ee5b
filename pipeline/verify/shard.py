"""One Parquet file, compared with its entry in the books."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.manifest import FileEntry
from pipeline.shortage import shortage
from pipeline.verify.report import Report


def read(
    run: Path,
    where: str,
    entry: FileEntry,
    wanted: pa.Schema | None,
    columns: Sequence[str],
    report: Report,
) -> pa.Table | None:
    """One listed file, compared with its entry; null where it cannot be read.

    Gives `columns`, as far as the file has them. Where its SHA-256 is the one listed, every byte is
    the one that was read back, pages and all, as it was published; else all of it is read again.
    """
    path = run / where
    try:
        size = path.stat().st_size
        digest = sha256(path)
    except OSError as error:
        report.find(where, f"listed, and cannot be read: {error.strerror}")
        return None
    report.files += 1
    report.bytes += size
    if size != entry.bytes:
        report.find(where, f"{size} bytes, {entry.bytes} are listed")
    if digest != entry.sha256:
        report.find(where, f"SHA-256 is {digest[:16]}..., {entry.sha256[:16]}... is listed")
    try:
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            found = file.schema_arrow
            names = [name for name in columns if name in found.names]
            table = file.read(names if digest == entry.sha256 else None)
            rows = file.metadata.num_rows
    except (pa.ArrowException, OSError, ValueError) as error:
        if shortage(error):
            raise  # it says nothing about the file
        report.find(where, f"cannot be read: {error}")
        return None
    report.rows += rows
    if rows != entry.rows:
        report.find(where, f"{rows} rows, {entry.rows} are listed")
    if wanted is not None and not found.equals(wanted):
        report.find(where, f"the columns are {_named(found)}, they should be {_named(wanted)}")
    version = (found.metadata or {}).get(b"synth.schema", b"none").decode(errors="replace")
    if wanted is not None and wanted.metadata and version != str(schema.VERSION):
        report.find(where, f"schema version {version}, it should be {schema.VERSION}")
    return table.select(names)


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read once."""
    with path.open("rb", buffering=0) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_whole(folder: Path, entry: FileEntry) -> bool:
    """Whether a listed file is there, byte for byte."""
    try:
        return sha256(folder / entry.path) == entry.sha256
    except OSError:
        return False


def _named(found: pa.Schema) -> str:
    return ", ".join(f"{one.name} {one.type}" for one in found)
