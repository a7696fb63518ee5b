"""Write a damaged journal anew: every record whose CRC holds, and a mark for each that is lost.

SQLite gives up a whole table where one page of it is bad. So pages are read here by themselves, as
the file format has them (sqlite.org/fileformat2.html: table leaves, overflow chains, frames of the
write-ahead file): whatever page still holds a whole record gives it, and the record's own CRC says
whether it is whole. A number that no page holds becomes a record of the kind `lost`, so that those
after it keep theirs. What it may have cost is booked at the worst case of the run.
"""

from __future__ import annotations

import json
import mmap
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from struct import unpack_from

from pipeline.errors import StorageError
from pipeline.teacher.journal import BESIDE, LOST, crc_of, open_database

PAGE = 4096
TABLE_LEAF = 0x0D
FRAME_HEADER, WAL_HEADER = 24, 32
BATCH = 500
Row = tuple[int, str, bytes, str, int, str, bytes, int]


@dataclass(frozen=True, slots=True)
class Salvaged:
    """What a new journal holds: how many records of the old one, and which numbers are lost."""

    kept: int
    lost: list[int]


def rewrite(old: Path, new: Path, *, up_to: int) -> Salvaged:
    """Write what can be read of `old` as `new`; numbers go to `up_to` or the highest found.

    `old` may be missing. Raises `StorageError` where `new` cannot be written.
    """
    for name in ("", *BESIDE):
        new.with_name(new.name + name).unlink(missing_ok=True)
    try:
        with closing(open_database(new)) as database:
            batch: list[Row] = []
            for row in records(old):
                batch.append(row)
                if len(batch) == BATCH:
                    _insert(database, batch)
                    batch.clear()
            _insert(database, batch)
            kept = {number for (number,) in database.execute("SELECT number FROM records")}
            lost = sorted(set(range(1, max(up_to, max(kept, default=0)) + 1)) - kept)
            _insert(database, [_mark(number, _worst(database)) for number in lost])
            database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    except sqlite3.Error as error:
        raise StorageError(f"{new} cannot be written: {error}.") from error
    return Salvaged(len(kept), lost)


def _insert(database: sqlite3.Connection, rows: list[Row]) -> None:
    with database:
        database.execute("BEGIN")
        database.executemany("INSERT OR IGNORE INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)


def _worst(database: sqlite3.Connection) -> Mapping[str, object]:
    """The model and the tokens of the dearest request: no lost one was dearer."""
    found = database.execute(
        "SELECT json_extract(note, '$.model'), json_extract(note, '$.worst[0]') AS n_in,"
        " json_extract(note, '$.worst[1]') AS n_out FROM records WHERE n_in IS NOT NULL"
        " ORDER BY n_in + n_out DESC LIMIT 1"
    ).fetchone()
    return {} if found is None else {"model": found[0], "worst": [found[1], found[2]]}


def _mark(number: int, worst: Mapping[str, object]) -> Row:
    text = json.dumps(worst, ensure_ascii=False, separators=(",", ":"))
    return number, LOST, b"", "", 0, text, b"", crc_of(number, LOST, b"", "", 0, text, b"")


def keep_copy(journal: Path, folder: Path) -> None:
    """Copy a journal and what lies beside it, before it is replaced."""
    for name in ("", *BESIDE):
        source = journal.with_name(journal.name + name)
        if source.is_file():
            shutil.copy2(source, folder / source.name)


def records(path: Path) -> Iterator[Row]:
    """Every record with a sound CRC that any page of a journal or its write-ahead file holds."""
    pages = _Pages(path)
    for page in pages.images():
        for payload, number in pages.cells(page):
            row = _row(payload, number)
            if row is not None and crc_of(*row[:-1]) == row[-1]:
                yield row


class _Pages:
    """The pages of a database, as the file and as its write-ahead file have them."""

    def __init__(self, path: Path) -> None:
        self.content = _mapped(path)
        self.wal = _mapped(path.with_name(path.name + "-wal"))
        self.newest: dict[int, int] = {}  # page number -> where its last image is in the wal
        self.size = PAGE
        step = FRAME_HEADER + self.size
        self.frames = []
        for at in range(WAL_HEADER, len(self.wal) - step + 1, step):
            if self.wal[at + 8 : at + 16] == self.wal[16:24]:  # its salt: not of an earlier round
                self.frames.append(at + FRAME_HEADER)
                self.newest[unpack_from(">I", self.wal, at)[0]] = at + FRAME_HEADER

    def images(self) -> Iterator[bytes]:
        """All images of all pages, old ones too: which of them is sound, nobody knows yet."""
        for at in range(0, len(self.content) - self.size + 1, self.size):
            yield self.content[at : at + self.size]
        for at in self.frames:
            yield self.wal[at : at + self.size]

    def cells(self, page: bytes) -> Iterator[tuple[bytes, int]]:
        """The payload and the row number of every cell of a table's leaf."""
        if page[0] != TABLE_LEAF:
            return
        (count,) = unpack_from(">H", page, 3)
        for index in range(min(count, (self.size - 8) // 2)):
            (at,) = unpack_from(">H", page, 8 + 2 * index)
            try:
                length, at = _varint(page, at)
                number, at = _varint(page, at)
            except IndexError:
                continue
            local = self._local(length)
            head = page[at : at + local]
            if local == length:
                yield head, number
            elif at + local + 4 <= self.size:
                (first,) = unpack_from(">I", page, at + local)
                for is_newest in (True, False):
                    yield head + self._overflow(first, length - local, is_newest), number

    def _local(self, length: int) -> int:
        """How many bytes of a payload stand in the leaf itself."""
        most = self.size - 35
        if length <= most:
            return length
        least = (self.size - 12) * 32 // 255 - 23
        found = least + (length - least) % (self.size - 4)
        return found if found <= most else least

    def _overflow(self, number: int, length: int, is_newest: bool) -> bytes:
        parts = []
        while number and length > 0:
            page = self._page(number, is_newest)
            if len(page) < self.size:
                break
            (number,) = unpack_from(">I", page, 0)
            parts.append(page[4 : 4 + length])
            length -= len(parts[-1])
        return b"".join(parts)

    def _page(self, number: int, is_newest: bool) -> bytes:
        at = self.newest.get(number)
        if at is not None and is_newest:
            return self.wal[at : at + self.size]
        return self.content[(number - 1) * self.size : number * self.size]


def _mapped(path: Path) -> bytes | mmap.mmap:
    """A file's content without reading it all at once; nothing where there is none."""
    if not path.is_file() or not path.stat().st_size:
        return b""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """One of SQLite's integers of 1 to 9 bytes, and where it ends."""
    value = 0
    for n in range(9):
        byte = content[at + n]
        if n == 8:
            return (value << 8) | byte, at + 9
        value = (value << 7) | (byte & 0x7F)
        if byte < 0x80:
            return value, at + n + 1
    raise AssertionError("unreachable")


INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}
SHAPE = (type(None), str, bytes, str, int, str, bytes, int)
"""The columns of a record; the number itself is the row's."""


def _row(payload: bytes, number: int) -> Row | None:
    """A payload as a record of the journal; null where it is none."""
    values: list[object] = []
    try:
        end, at = _varint(payload, 0)
        body = end
        while at < end:
            kind, at = _varint(payload, at)
            value, size = _value(payload, body, kind)
            body += size
            values.append(value)
    except (IndexError, ValueError, UnicodeDecodeError):
        return None
    if tuple(type(value) for value in values) != SHAPE or body != len(payload):
        return None
    return (number, *values[1:])  # type: ignore[return-value]


def _value(payload: bytes, at: int, kind: int) -> tuple[object, int]:
    if kind in (8, 9):
        return kind - 8, 0
    if kind == 0:
        return None, 0
    if kind in INTEGERS:
        size = INTEGERS[kind]
        return int.from_bytes(payload[at : at + size], "big", signed=True), size
    if kind < 12:
        raise ValueError(kind)
    size = (kind - 12) // 2
    content = payload[at : at + size]
    return (content.decode() if kind % 2 else content), size
