"""One Parquet file, compared with its entry in the books."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline import schema
from pipeline.manifest import FileEntry
from pipeline.verify.report import Report


def read(
    run: Path, where: str, entry: FileEntry, wanted: pa.Schema | None, report: Report
) -> pa.Table | None:
    """One listed file, whole, compared with its entry; null where it cannot be read."""
    try:
        content = (run / where).read_bytes()
    except OSError as error:
        report.find(where, f"listed, and cannot be read: {error.strerror}")
        return None
    report.files += 1
    report.bytes += len(content)
    if len(content) != entry.bytes:
        report.find(where, f"{len(content)} bytes, {entry.bytes} are listed")
    digest = hashlib.sha256(content).hexdigest()
    if digest != entry.sha256:
        report.find(where, f"SHA-256 is {digest[:16]}..., {entry.sha256[:16]}... is listed")
    try:
        table = pq.read_table(pa.BufferReader(content), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as error:
        report.find(where, f"cannot be read: {error}")
        return None
    report.rows += table.num_rows
    if table.num_rows != entry.rows:
        report.find(where, f"{table.num_rows} rows, {entry.rows} are listed")
    if wanted is not None and not table.schema.equals(wanted):
        report.find(
            where, f"the columns are {_named(table.schema)}, they should be {_named(wanted)}"
        )
    version = (table.schema.metadata or {}).get(b"synth.schema", b"none").decode(errors="replace")
    if wanted is not None and wanted.metadata and version != str(schema.VERSION):
        report.find(where, f"schema version {version}, it should be {schema.VERSION}")
    return table


def _named(found: pa.Schema) -> str:
    return ", ".join(f"{one.name} {one.type}" for one in found)
