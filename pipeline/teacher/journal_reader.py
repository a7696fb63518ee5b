"""A journal opened for reading only: by `status`, `why`, `verify` and notebooks."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pipeline.errors import DamagedError
from pipeline.readable import not_permitted
from pipeline.teacher.journal import REPLY, ModelUsage, Record, check_format, crc_of
from pipeline.teacher.journal_sql import USAGE


class JournalReader:
    """A journal opened for reading: beside a process that writes it, and in a folder of others.

    A reader takes no lock that a writer waits for. Where no writer is at work or was cut off, it
    makes no file beside the journal.
    """

    def __init__(self, path: Path) -> None:
        """Open the journal. Raises `DamagedError` where it is none."""
        self.path = path
        self._copy: tempfile.TemporaryDirectory[str] | None = None
        try:
            try:
                self._db = _connect(path)
            except sqlite3.OperationalError:
                self._copy = tempfile.TemporaryDirectory(prefix="synth-journal-")
                self._db = _connect_copy(path, Path(self._copy.name))
        except (sqlite3.DatabaseError, OSError) as error:
            self._forget_copy()
            if (refused := not_permitted(error, path)) is not None:
                raise refused from error
            raise DamagedError(f"the journal {path} cannot be read: {error}.") from error
        check_format(path, self._db)

    def __enter__(self) -> JournalReader:
        """Give itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the files."""
        self.close()

    def _forget_copy(self) -> None:
        if self._copy is not None:
            self._copy.cleanup()

    def by_key(self, key: bytes) -> list[Record]:
        """All records of one key, in order. Raises `DamagedError` where a CRC does not hold."""
        found = []
        for number, record in self._records("WHERE key = ?", key):
            if record is None:
                raise DamagedError(f"record {number} of the journal {self.path} is damaged.")
            found.append(record)
        return found

    def reply(self, key: bytes) -> Record | None:
        """The first reply to this key, or None. Raises `DamagedError` where its CRC is off."""
        return next((record for record in self.by_key(key) if record.kind == REPLY), None)

    def of_stage(self, stage: str) -> Iterator[Record]:
        """All records of a stage, in order. Raises `DamagedError` where a CRC does not hold."""
        for number, record in self._records("WHERE stage = ?", stage):
            if record is None:
                raise DamagedError(f"record {number} of the journal {self.path} is damaged.")
            yield record

    def close(self) -> None:
        """Close the files."""
        self._db.close()
        self._forget_copy()

    def records(self) -> Iterator[tuple[int, Record | None]]:
        """Every record with its number, in order; null where its CRC does not hold."""
        return self._records("")

    def _records(self, where: str, *values: object) -> Iterator[tuple[int, Record | None]]:
        for row in self._query(f"SELECT * FROM records {where} ORDER BY number", values):
            yield row[0], _checked(row)

    def usage(self, stage: str) -> list[ModelUsage]:
        """What a stage asked of each model."""
        return [ModelUsage(*row) for row in self._query(USAGE, (stage,))]

    def answered_slots(self, stage: str) -> int:
        """How many slots of a stage have a reply."""
        query = "SELECT count(DISTINCT slot) FROM records WHERE stage = ? AND kind = ?"
        return next((int(row[0]) for row in self._query(query, (stage, REPLY))), 0)

    def replies(self, stage: str) -> int:
        """How many requests of a stage have a reply."""
        query = "SELECT count(DISTINCT key) FROM records WHERE stage = ? AND kind = ?"
        return next((int(row[0]) for row in self._query(query, (stage, REPLY))), 0)

    def complaints(self) -> list[str]:
        """What SQLite's own check of its pages and indexes finds wrong."""
        found = [str(row[0]) for row in self._query("PRAGMA integrity_check(20)", ())]
        return [] if found == ["ok"] else found

    def _query(self, query: str, values: tuple[object, ...]) -> Iterator[tuple[Any, ...]]:
        try:
            if self._db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'records'").fetchone():
                yield from self._db.execute(query, values)
        except sqlite3.DatabaseError as error:
            raise DamagedError(f"the journal {self.path} cannot be read: {error}.") from error


def _checked(row: tuple[Any, ...]) -> Record | None:
    number, kind, key, stage, slot, text, raw, crc = row
    try:
        is_whole = crc_of(number, kind, key, stage, slot, text, raw) == crc
    except TypeError:  # a damaged page can hold a null where none may be
        is_whole = False
    return Record(number, kind, key, stage, slot, json.loads(text), raw) if is_whole else None


def _connect(path: Path) -> sqlite3.Connection:
    """Open read-only; without locks and files where no `-wal` tells of a writer."""
    with path.open("rb") as file:
        is_wal = file.read(20)[18:] == b"\x02\x02"
    has_writer = path.with_name(path.name + "-wal").exists()
    mode = "mode=ro&immutable=1" if is_wal and not has_writer else "mode=ro"
    return _try(f"file:{quote(str(path.absolute()))}?{mode}")


def _connect_copy(path: Path, folder: Path) -> sqlite3.Connection:
    """A journal that has to be mended first, in a folder that cannot be written: mend a copy."""
    for beside in ("", "-wal", "-journal"):
        source = path.with_name(path.name + beside)
        if source.exists():
            shutil.copyfile(source, folder / source.name)
    return _try(f"file:{quote(str(folder / path.name))}")


def _try(uri: str) -> sqlite3.Connection:
    database = sqlite3.connect(uri, uri=True, isolation_level=None, timeout=30)
    database.text_factory = lambda found: found.decode(errors="replace")  # its CRC will not hold
    try:
        database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError:
        database.close()
        raise
    return database
