"""Read a run directory by its published formats alone: SQLite, JSON, Parquet.

What the harness believes about a run comes from here and from the server's log. Nothing in this
module imports the product, so no mistake of the product can hide itself.
"""

import fcntl
import hashlib
import json
import shutil
import sqlite3
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq


@dataclass(frozen=True)
class Record:
    """One record of the journal; `asked` is what the server calls the request of a whole reply."""

    number: int
    kind: str
    key: str
    stage: str
    slot: int
    note: dict[str, Any]
    asked: str | None
    is_sound: bool

    @property
    def is_copied(self) -> bool:
        """Whether nothing was sent for it: the reply stood in a journal already."""
        return bool(self.note.get("copied"))


def journal(run: Path) -> list[Record]:
    """Every record, read from a copy: looking must not mend what a kill left behind."""
    if not (run / "journal.sqlite").exists():
        return []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("", "-wal", "-journal"):
            path = run / f"journal.sqlite{suffix}"
            if path.exists():
                shutil.copy(path, folder)
        database = sqlite3.connect(Path(folder) / "journal.sqlite")
        try:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name='records'").fetchone():
                return []
            rows = database.execute(
                "SELECT number, kind, key, stage, slot, note, raw, crc FROM records ORDER BY number"
            )
            return [_record(*row) for row in rows]
        finally:
            database.close()


def _record(
    number: int, kind: str, key: bytes, stage: str, slot: int, text: str, raw: bytes, crc: int
) -> Record:
    head = f"{number}\0{kind}\0{stage}\0{slot}\0{text}\0".encode()
    sound = zlib.crc32(raw, zlib.crc32(key, zlib.crc32(head))) == crc
    asked = None
    if kind == "reply":
        try:
            asked = json.loads(raw)["id"].split("-")[1]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError):
            asked = None  # a reply that is no envelope
    return Record(number, kind, key.hex(), stage, slot, json.loads(text), asked, sound)


def last_record(run: Path) -> int:
    """The journal's highest number at this moment, while somebody writes it."""
    path = run / "journal.sqlite"
    if not path.exists():
        return 0
    try:
        database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        try:
            return int(database.execute("SELECT max(number) FROM records").fetchone()[0] or 0)
        finally:
            database.close()
    except sqlite3.OperationalError:
        return 0  # it is being made


def stages_begun(run: Path) -> set[str]:
    """The folders of the stages that have begun: `01-bootstrap`, ..."""
    return {path.parent.name for path in (run / "stages").glob("*/stage.json")}


def shards_published(run: Path) -> int:
    """How many shards lie in their places."""
    return sum(1 for _ in (run / "stages").glob("*/*/*.parquet"))


def is_staging(run: Path) -> bool:
    """Whether a shard is being written at this moment."""
    try:
        return any((run / ".staging").iterdir())
    except FileNotFoundError:
        return False


def holder(run: Path) -> str | None:
    """The host whose process holds the run's lease, dead or alive; null where it was given back."""
    try:
        found = json.loads((run / "lock").read_bytes())
    except (OSError, ValueError):
        return None
    return str(found["host"]) if "host" in found else None


def is_locked(run: Path) -> bool:
    """Whether somebody is in the middle of a commit, or of taking the lease, at this moment."""
    database = sqlite3.connect(run / "journal.sqlite", isolation_level=None, timeout=0)
    try:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")
    except sqlite3.OperationalError:
        return True
    finally:
        database.close()
    with (run / "lock").open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def rows(run: Path) -> dict[str, str]:
    """SHA-256 of the rows of every folder of shards, in order, however they are cut into shards."""
    found = {}
    for folder in sorted({path.parent for path in run.glob("stages/*/*/*.parquet")}):
        table = pa.concat_tables(pq.read_table(path) for path in sorted(folder.glob("*.parquet")))
        text = json.dumps(table.to_pylist(), default=str)
        found[folder.relative_to(run).as_posix()] = hashlib.sha256(text.encode()).hexdigest()
    return found


def data_files(run: Path) -> dict[str, str]:
    """SHA-256 of every file under `stages/` and `data/` that readers may take for data.

    Manifests and hidden files are not: the latter are what a killed process was writing.
    """
    found = {}
    for part in ("stages", "data"):
        for path in sorted((run / part).rglob("*")):
            known = path.name in ("stage.json", "README.md") or path.name.startswith(".new-")
            if path.is_file() and not (known and path.parent.name not in ("kept", "dropped")):
                name = path.relative_to(run).as_posix()
                found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found
