"""The journal: every request and every reply, committed before it is used.

One SQLite table, append only. A record is an `intent` (this slot will ask this), a `reply` (the raw
bytes that came back, before anything was made of them) or a `failure` (a request that brought no
reply); where a run masks texts, one is `told`: the values that its input told (run/telling.py).
Records carry consecutive numbers and a CRC. WAL with full sync; on a network file system, where WAL
does not work, SQLite's rollback journal. A reserve of room on the disk lets replies in flight be
kept when it fills up (reserve.py).

Commits are grouped: whatever was appended while one commit ran goes into the next, on a thread of
its own, so that a slow disk makes the groups larger and not the requests slower.
"""

from __future__ import annotations

import asyncio
import functools
import json
import sqlite3
import zlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from pipeline.crashpoint import crashpoint
from pipeline.errors import DamagedError, LockedError, StorageError
from pipeline.format_version import refuse_newer
from pipeline.shortage import shortage
from pipeline.teacher.file_system import is_shared
from pipeline.teacher.journal_sql import BOUGHT, CREATE, SPENT, USAGE
from pipeline.teacher.reserve import Reserve, free_bytes

INTENT, REPLY, FAILURE, LOST, TOLD = "intent", "reply", "failure", "lost", "told"
FORMAT = 1
"""Version of the journal's tables (journal_sql.py): the database's `user_version`; 0 is 1."""
BESIDE = ("-wal", "-shm", "-journal")
"""How the names end of the files that SQLite keeps beside a database."""
REPAIRED = "-repaired"
"""How the name ends of a journal that a repair has written and not yet put in its place."""
LOOK_EVERY_S = 1.0
BUSY_S = 30.0
"""How long to wait for another process that is in the middle of a commit."""

FULL = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_WRITE)
"""What SQLite says of ENOSPC, and of EDQUOT among others."""
NEEDED = 256 * 2**20
"""Bytes that a run wants free before it starts (run/folder.py)."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits for one commit: outcomes to be kept, and requests that may then leave."""

    to_keep: asyncio.Future[None]
    to_send: asyncio.Future[None]


class ModelUsage(NamedTuple):
    """What a stage asked of one model; `unknown_usage` are replies that do not state theirs."""

    model: str
    requests: int
    replies: int
    input_tokens: int
    output_tokens: int
    unknown_usage: int


@dataclass(frozen=True, slots=True)
class Record:
    """One line of the journal."""

    number: int
    kind: str
    key: bytes
    stage: str
    slot: int
    note: dict[str, Any]
    raw: bytes


class Journal:
    """The journal of one run, open for one writer.

    `append` gives a future that is done once the record is on disk. `reply` looks a key up among
    committed and waiting records alike.
    """

    def __init__(self, path: Path, epoch: int = 0, reserve_bytes: int = 0) -> None:
        """Open or create the journal. Raises `DamagedError` or `StorageError`.

        `epoch` is the writer's: a commit is refused once a later one has opened the journal. With
        `reserve_bytes` set aside, replies are still kept when the disk is full; no intent is.
        """
        self.path = path
        self._epoch = epoch
        if path.with_name(path.name + REPAIRED).exists():
            raise DamagedError(f"a repair of {path} was cut off: start  synth repair  again.")
        self._reserve = Reserve(path, reserve_bytes)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="journal")
        try:
            self._db = open_database(path)
            self._reader = open_database(path)
            self._claim()
        except sqlite3.OperationalError as error:  # no space, no right, too many open files
            failed = StorageError(f"the journal {path} cannot be opened: {error}.")
            raise _locked(error, path) or failed from error
        except sqlite3.DatabaseError as error:
            raise DamagedError(f"the journal {path} cannot be read: {error}.") from error
        last = self._db.execute("SELECT max(number), count(*) FROM records").fetchone()
        if (last[0] or 0) != last[1]:
            raise DamagedError(
                f"the journal {path} has {last[1]} records and the highest is {last[0]}: "
                "records are missing."
            )
        self.last = int(last[0] or 0)
        self.committed = self.last
        self._waiting: list[tuple[Any, ...]] = []
        self._waiting_replies: dict[bytes, Record] = {}
        self._waiting_intents: dict[bytes, list[tuple[str, int]]] = {}
        self._done: Waiting | None = None
        self._failed: Exception | None = None
        self._full: StorageError | None = None
        self._flusher: asyncio.Task[None] | None = None

    def _claim(self) -> None:
        """Take an epoch above every earlier writer's, also where the lock's count was lost."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            row = self._db.execute("SELECT epoch FROM writer").fetchone()
            self._epoch = max(self._epoch, 1 + (row[0] if row else 0))
            self._db.execute("INSERT OR REPLACE INTO writer VALUES (0, ?)", (self._epoch,))

    def append(
        self, kind: str, key: bytes, stage: str, slot: int, note: dict[str, Any], raw: bytes = b""
    ) -> asyncio.Future[None]:
        """Add a record; the future is done once it is durable, or holds the `StorageError`.

        After one commit has failed nothing more is written: numbers stay consecutive. Where the
        disk was full and the reserve helped, outcomes are still written, and intents are refused.
        """
        refused = self._failed or (self._full if kind == INTENT else None)
        if refused is not None:
            return _failed(asyncio.get_running_loop().create_future(), refused)
        loop = asyncio.get_running_loop()
        if self._done is None:
            self._done = Waiting(loop.create_future(), loop.create_future())
        number = self.last + 1  # taken once the record waits: no number may be left out
        text = json.dumps(note, ensure_ascii=False, separators=(",", ":"))
        crc = crc_of(number, kind, key, stage, slot, text, raw)
        if kind == REPLY:
            self._waiting_replies[key] = Record(number, kind, key, stage, slot, note, raw)
        elif kind == INTENT:
            self._waiting_intents.setdefault(key, []).append((stage, slot))
        self._waiting.append((number, kind, key, stage, slot, text, raw, crc))
        self.last = number
        self._begin_to_flush()
        return self._done.to_send if kind == INTENT else self._done.to_keep

    def _begin_to_flush(self) -> asyncio.Task[None]:
        if self._flusher is None:
            self._flusher = asyncio.get_running_loop().create_task(self._flush())
        return self._flusher

    async def _flush(self) -> None:
        """Commit what waits until nothing does; once that fails, whoever waits is told."""
        await asyncio.sleep(0)  # let what is ready append first
        done: Waiting | None = None
        try:
            while self._waiting and self._done:
                batch, done = self._waiting, self._done
                self._waiting, self._done = [], None
                full = await self._aside(functools.partial(self._commit_at_all, batch))
                self._note_commit(batch, done, full)
        except Exception as error:  # noqa: BLE001 - else what waits would wait for ever
            self._failed = self._translated(error)
            for futures in (done, self._done):
                if futures is not None:
                    _failed(futures.to_keep, self._failed)
                    _failed(futures.to_send, self._failed)
            self._waiting, self._done = [], None
        finally:
            self._flusher = None

    async def _aside(self, commit: Callable[[], StorageError | None]) -> StorageError | None:
        """Commit in the writer's thread.

        Its answer is looked for as well as waited for: a thread that has no memory left to say that
        it is done is not waited for in vain.
        """
        answer = self._writer.submit(commit)
        told = asyncio.wrap_future(answer)
        while not (await asyncio.wait([told], timeout=LOOK_EVERY_S))[0]:
            if answer.done():
                told.cancel()
                return answer.result()
        return told.result()

    def _note_commit(
        self, batch: list[tuple[Any, ...]], done: Waiting, full: StorageError | None
    ) -> None:
        self.committed = batch[-1][0]
        for record in batch:
            if record[1] == REPLY:
                self._waiting_replies.pop(record[2], None)
            elif record[1] == INTENT:
                self._waiting_intents.pop(record[2], None)
        self._full = self._full or full
        done.to_keep.set_result(None)
        if self._full is None:
            done.to_send.set_result(None)
        else:
            _failed(done.to_send, self._full)

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, sqlite3.Error):
            return _locked(error, self.path) or self._no_room(error)
        if (what := shortage(error)) is not None:
            return StorageError(
                f"the journal {self.path} cannot be written: this process may have no more {what}."
            )
        return error

    def _no_room(self, error: sqlite3.Error) -> StorageError:
        free = free_bytes(self.path.parent)
        room = "" if free is None else f" {free} bytes are free there, make room for {NEEDED}."
        return StorageError(f"the journal {self.path} cannot be written: {error}.{room}")

    def _commit_at_all(self, batch: list[tuple[Any, ...]]) -> StorageError | None:
        """Commit; where there is no room, with that of the reserve, and say so."""
        try:
            self._commit(batch)
        except sqlite3.OperationalError as error:
            code = getattr(error, "sqlite_errorcode", None)
            if code not in FULL or not self._reserve.free():
                raise
            said = self._no_room(error)
            self._commit(batch)
            return said
        return None

    def _commit(self, batch: list[tuple[Any, ...]]) -> None:
        if not self.path.exists():  # a file that was removed takes writes as if nothing were wrong
            raise sqlite3.OperationalError("it is no longer there")
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            latest = self._db.execute("SELECT epoch FROM writer").fetchone()[0]
            if latest != self._epoch:
                raise LockedError(f"{self.path.parent} was taken over; nothing more is written.")
            self._db.executemany("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", batch)
            crashpoint("before_commit")
        crashpoint("after_commit")

    def reply(self, key: bytes) -> Record | None:
        """The reply to this key, or None. Raises `DamagedError` where its CRC does not hold."""
        waiting = self._waiting_replies.get(key)
        if waiting is not None:
            return waiting
        row = self._reader.execute(
            "SELECT * FROM records WHERE key = ? AND kind = ? ORDER BY number LIMIT 1", (key, REPLY)
        ).fetchone()
        return None if row is None else self._checked(row)

    def slots_of(self, key: bytes, stage: str) -> list[int]:
        """The slots of `stage` that have asked this, committed or waiting."""
        found = self._reader.execute(
            "SELECT slot FROM records WHERE key = ? AND kind = ? AND stage = ?",
            (key, INTENT, stage),
        ).fetchall()
        waiting = self._waiting_intents.get(key, ())
        return [row[0] for row in found] + [slot for where, slot in waiting if where == stage]

    def asked_in(self, stage: str, slot: int) -> list[Record]:
        """The intents of one slot, in order: one a send, and one a reply that was taken over."""
        query = "SELECT * FROM records WHERE stage = ? AND slot = ? AND kind = ? ORDER BY number"
        return [self._checked(row) for row in self._reader.execute(query, (stage, slot, INTENT))]

    def records(self, stage: str | None = None, kind: str | None = None) -> Iterator[Record]:
        """All committed records in order, each with its CRC checked."""
        query = "SELECT * FROM records WHERE (? IS NULL OR stage = ?) AND (? IS NULL OR kind = ?)"
        for row in self._reader.execute(query + " ORDER BY number", (stage, stage, kind, kind)):
            yield self._checked(row)

    def by_key(self, key: bytes) -> list[Record]:
        """All committed records of one key, in order."""
        rows = self._reader.execute("SELECT * FROM records WHERE key = ? ORDER BY number", (key,))
        return [self._checked(row) for row in rows]

    def usage(self, stage: str) -> list[ModelUsage]:
        """What a stage asked of each model."""
        return [ModelUsage(*row) for row in self._reader.execute(USAGE, (stage,))]

    def spent(self) -> list[tuple[str, str, int, int, int]]:
        """The ledger's books: (sent, confirmed or unknown; model; requests; input, output tokens).

        Unknown are replies without usage, failures that may have been billed, and intents without
        an outcome, which were in flight when a process died.
        """
        return self._reader.execute(SPENT).fetchall()

    def bought(self, stage: str, first: int, end: int) -> tuple[int, int, int]:
        """Replies bought for a stage's slots from `first` to before `end`: requests, tokens."""
        n, n_in, n_out = self._reader.execute(BOUGHT, (stage, first, end)).fetchone()
        return n, n_in, n_out

    def replies_from(self, stage: str, slot: int) -> int:
        """How many replies there are to this stage's slots from `slot` on."""
        query = "SELECT count(*) FROM records WHERE stage = ? AND slot >= ? AND kind = 'reply'"
        return int(self._reader.execute(query, (stage, slot)).fetchone()[0])

    async def settle(self) -> None:
        """Wait until everything appended is on disk. Raises `StorageError` where it is not."""
        while self._waiting or self._flusher is not None:
            await asyncio.shield(self._begin_to_flush())
        if (error := self._failed or self._full) is not None:
            raise error

    def close(self) -> None:
        """Close the files; what was appended and not settled is given up."""
        self._writer.shutdown()
        self._reader.close()
        self._db.close()
        self._reserve.free()

    def _checked(self, row: tuple[Any, ...]) -> Record:
        number, kind, key, stage, slot, text, raw, crc = row
        if crc_of(number, kind, key, stage, slot, text, raw) != crc:
            raise DamagedError(f"record {number} of the journal {self.path} is damaged.")
        return Record(number, kind, key, stage, slot, json.loads(text), raw)


def _failed(future: asyncio.Future[None], error: Exception) -> asyncio.Future[None]:
    future.set_exception(error)
    future.exception()  # several requests may wait for it, or none
    return future


def _locked(error: sqlite3.Error, path: Path) -> LockedError | None:
    """What to say where a process that sleeps in a commit keeps the journal; null elsewhere."""
    if getattr(error, "sqlite_errorcode", None) != sqlite3.SQLITE_BUSY:
        return None
    return LockedError(
        f"another process has kept the journal {path} locked for {BUSY_S:.0f} s: it was "
        "stopped in the middle of a commit. End it, then start the same command again."
    )


def open_database(path: Path) -> sqlite3.Connection:
    """Open a journal's database for writing, with its tables; durable at every commit."""
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=BUSY_S)
    wanted = "DELETE" if is_shared(path.parent) else "WAL"
    mode = database.execute(f"PRAGMA journal_mode = {wanted}").fetchone()[0]
    if mode != wanted.lower():
        database.execute("PRAGMA journal_mode = DELETE")
    database.execute("PRAGMA synchronous = FULL")
    check_format(path, database)
    database.executescript(CREATE)
    if database.execute("PRAGMA user_version").fetchone()[0] != FORMAT:
        database.execute(f"PRAGMA user_version = {FORMAT}")
    return database


def check_format(path: Path, database: sqlite3.Connection) -> None:
    """Raise `RecipeError` where a later synth has written the journal."""
    refuse_newer(path, int(database.execute("PRAGMA user_version").fetchone()[0]), FORMAT)


def crc_of(number: int, kind: str, key: bytes, stage: str, slot: int, text: str, raw: bytes) -> int:
    """The CRC that a record carries over all its fields."""
    head = f"{number}\0{kind}\0{stage}\0{slot}\0{text}\0".encode()
    return zlib.crc32(raw, zlib.crc32(key, zlib.crc32(head)))
