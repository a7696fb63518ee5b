"""Take replies out of a journal and leave their records: what was asked, and what it cost.

A record that is blanked has a reply's key, tokens and CRC and no text. It counts as answered, so
that nothing is bought again.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from pathlib import Path

from pipeline.errors import DamagedError, StorageError
from pipeline.teacher.journal import INTENT, TOLD, Journal, crc_of

PURGED = "purged"
"""The outcome of a record whose reply was taken out."""
SAME = ("template", "shown", "sample", "worst", "attempt")
"""What the intents of two tries of one request share, but for the number of the try."""


def blank(path: Path, keys: Iterable[bytes], epoch: int) -> int:
    """Blank every reply and failure of these keys, and of the tries before them; gives how many.

    A row names the try that settled its request; those before it brought replies that could not be
    used, and may hold what the row holds. Safe to be repeated. The pages that held them are
    overwritten, also in the write-ahead file.
    """
    Journal(path, epoch).close()  # whoever still had it open writes nothing more
    blanked = 0
    try:
        database = sqlite3.connect(path, isolation_level=None)
        try:
            database.execute("PRAGMA secure_delete = ON")
            database.execute("PRAGMA synchronous = FULL")
            database.execute("BEGIN IMMEDIATE")
            last = set(keys)
            before = {one for key in last for one in _tries_before(database, key)}
            for key in last | before:
                blanked += _blank_key(database, path, key)
            database.execute("COMMIT")
            database.execute("VACUUM")
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            database.close()
    except sqlite3.OperationalError as error:
        raise StorageError(f"the journal {path} cannot be written: {error}.") from error
    except sqlite3.DatabaseError as error:
        raise DamagedError(f"the journal {path} is damaged: {error}.") from error
    return blanked


def _tries_before(database: sqlite3.Connection, key: bytes) -> Iterator[bytes]:
    """The keys of the tries of the same request before this one, the latest first."""
    asked = "SELECT number, stage, slot, note FROM records WHERE key = ? AND kind = ?"
    for number, stage, slot, text in database.execute(asked, (key, INTENT)).fetchall():
        note = json.loads(text)
        before = (
            "SELECT number, key, note FROM records WHERE stage = ? AND slot = ? AND kind = ? "
            "AND number < ? ORDER BY number DESC"
        )
        for _, other, said in database.execute(before, (stage, slot, INTENT, number)).fetchall():
            if not note.get("attempt"):
                break
            wanted = note | {"attempt": note["attempt"] - 1}
            found = json.loads(said)
            if all(found.get(name) == wanted.get(name) for name in SAME):
                yield other
                note = found


def _blank_key(database: sqlite3.Connection, path: Path, key: bytes) -> int:
    query = "SELECT * FROM records WHERE key = ? AND kind != ?"
    found = database.execute(query, (key, INTENT)).fetchall()
    for number, kind, _, stage, slot, text, raw, crc in found:
        if crc_of(number, kind, key, stage, slot, text, raw) != crc:
            raise DamagedError(f"record {number} of the journal {path} is damaged.")
        note = json.loads(text) | {"outcome": PURGED}
        note.pop("detail", None)
        text = json.dumps(note, ensure_ascii=False, separators=(",", ":"))
        database.execute(
            "UPDATE records SET note = ?, raw = ?, crc = ? WHERE number = ?",
            (text, b"", crc_of(number, kind, key, stage, slot, text, b""), number),
        )
    return sum(row[1] != TOLD for row in found)
