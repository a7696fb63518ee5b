"""The journal: durable before it is used, loud about damage, one reply for one key."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from pipeline.errors import DamagedError, LockedError, StorageError
from pipeline.teacher import journal as journal_module
from pipeline.teacher.journal import FAILURE, INTENT, REPLY, Journal

KEYS = [bytes([n]) * 16 for n in range(64)]


def with_journal(path: Path, work: Callable[[Journal], Awaitable[None]]) -> None:
    async def run() -> None:
        journal = Journal(path)
        try:
            await work(journal)
        finally:
            journal.close()

    asyncio.run(run())


def fill(path: Path, replies: int = 20) -> None:
    async def work(journal: Journal) -> None:
        for n in range(replies):
            journal.append(INTENT, KEYS[n], "bootstrap", n, {"sample": 0})
            await journal.append(REPLY, KEYS[n], "bootstrap", n, {"status": 200}, b"%d" % n)

    with_journal(path, work)


def on_disk(path: Path) -> list[tuple[int, str, bytes]]:
    """What a second, independent connection sees."""
    database = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
    try:
        return database.execute("SELECT number, kind, raw FROM records ORDER BY number").fetchall()
    finally:
        database.close()


def change(path: Path, statement: str, *values: object) -> None:
    database = sqlite3.connect(path)
    with database:
        database.execute(statement, values)
    database.close()


def test_a_record_is_on_disk_before_its_future_is_done(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        for n in range(30):
            future = journal.append(REPLY, KEYS[n], "a", n, {"status": 200}, b"reply %d" % n)
            assert not future.done()
            await future
            assert on_disk(journal.path)[-1] == (n + 1, REPLY, b"reply %d" % n)
            assert journal.committed == journal.last == n + 1

    with_journal(tmp_path / "journal.sqlite", work)


def test_records_appended_together_are_one_commit_and_each_waits_for_it(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        async def add(n: int) -> None:
            await journal.append(REPLY, KEYS[n], "a", n, {"status": 200}, b"%d" % n)
            assert (n + 1, REPLY, b"%d" % n) in on_disk(journal.path)

        await asyncio.gather(*(add(n) for n in range(40)))
        assert [number for number, *_ in on_disk(journal.path)] == list(range(1, 41))

    with_journal(tmp_path / "journal.sqlite", work)


def test_a_reply_is_found_at_once_and_in_the_next_process(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"

    async def write(journal: Journal) -> None:
        note = {"status": 200, "text": "\u00e9\u4e2d"}
        future = journal.append(REPLY, KEYS[1], "a", 7, note, b"\x00\xff")
        found = journal.reply(KEYS[1])
        assert found is not None
        assert (found.slot, found.raw, found.note) == (7, b"\x00\xff", note)
        assert journal.reply(KEYS[2]) is None
        await future

    async def read(journal: Journal) -> None:
        found = journal.reply(KEYS[1])
        assert found is not None
        assert (found.number, found.stage, found.slot, found.raw) == (1, "a", 7, b"\x00\xff")
        assert found.note == {"status": 200, "text": "\u00e9\u4e2d"}

    with_journal(path, write)
    with_journal(path, read)


def test_a_failure_is_never_an_answer(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        await journal.append(FAILURE, KEYS[0], "a", 0, {"outcome": "timeout", "model": "m"})
        assert journal.reply(KEYS[0]) is None
        assert [record.kind for record in journal.by_key(KEYS[0])] == [FAILURE]

    with_journal(tmp_path / "journal.sqlite", work)


def test_intents_name_the_slots_that_asked_committed_or_not(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        await journal.append(INTENT, KEYS[0], "a", 3, {})
        journal.append(INTENT, KEYS[0], "a", 5, {})
        journal.append(INTENT, KEYS[0], "b", 9, {})
        assert sorted(journal.slots_of(KEYS[0], "a")) == [3, 5]
        assert journal.slots_of(KEYS[0], "b") == [9]
        assert journal.slots_of(KEYS[1], "a") == []
        await journal.settle()
        assert sorted(journal.slots_of(KEYS[0], "a")) == [3, 5]

    with_journal(tmp_path / "journal.sqlite", work)


def test_usage_counts_what_was_paid_here_and_says_what_is_unknown(tmp_path: Path) -> None:
    async def work(journal: Journal) -> None:
        paid = {"model": "m", "input_tokens": 10, "output_tokens": 3}
        for slot in (0, 1, 1):
            journal.append(INTENT, KEYS[slot], "a", slot, {"model": "m"})
        journal.append(REPLY, KEYS[0], "a", 0, paid)
        journal.append(REPLY, KEYS[1], "a", 1, paid | {"input_tokens": None, "output_tokens": None})
        journal.append(REPLY, KEYS[2], "a", 2, paid | {"copied": True})
        journal.append(REPLY, KEYS[3], "b", 0, paid)
        await journal.append(FAILURE, KEYS[1], "a", 1, {"model": "m", "outcome": "timeout"})
        assert journal.usage("a") == [("m", 3, 2, 10, 3, 1)]
        assert journal.replies_from("a", 1) == 2

    with_journal(tmp_path / "journal.sqlite", work)


@pytest.mark.parametrize(
    ("column", "value"),
    [("raw", b"other"), ("note", '{"status":201}'), ("slot", 8), ("stage", "b"), ("crc", 1)],
)
def test_a_changed_record_is_damage_and_is_named(
    tmp_path: Path, column: str, value: object
) -> None:
    path = tmp_path / "journal.sqlite"
    fill(path)
    change(path, f"UPDATE records SET {column} = ? WHERE number = 12", value)

    async def look_up(journal: Journal) -> None:
        assert journal.reply(KEYS[4]) is not None
        with pytest.raises(DamagedError, match="record 12 of the journal"):
            journal.reply(KEYS[5])
        with pytest.raises(DamagedError, match="record 12 of the journal"):
            list(journal.records())

    with_journal(path, look_up)


def test_a_missing_record_is_found_when_the_journal_is_opened(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    fill(path)
    change(path, "DELETE FROM records WHERE number = 7")
    with pytest.raises(DamagedError, match="39 records and the highest is 40"):
        Journal(path)


@pytest.mark.parametrize(
    "content", [b"not a database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 4096]
)
def test_a_file_that_is_no_journal_is_damage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.sqlite").write_bytes(content)
    with pytest.raises(DamagedError, match="cannot be read"):
        Journal(tmp_path / "journal.sqlite")


def crashed(tmp_path: Path) -> Path:
    """A journal whose last records are in the write-ahead file only, as a crash leaves it."""
    path = tmp_path / "live.sqlite"

    async def work(journal: Journal) -> None:
        for n in range(20):
            await journal.append(REPLY, KEYS[n], "a", n, {"status": 200}, b"%d" % n * 50)
        for suffix in ("", "-wal"):
            source = path.with_name(path.name + suffix)
            (tmp_path / f"crashed.sqlite{suffix}").write_bytes(source.read_bytes())

    with_journal(path, work)
    return tmp_path / "crashed.sqlite"


@pytest.mark.parametrize("kept", [0.0, 0.2, 0.5, 0.77, 0.93, 0.999])
def test_a_torn_tail_loses_the_last_transactions_and_nothing_before(
    tmp_path: Path, kept: float
) -> None:
    path = crashed(tmp_path)
    wal = path.with_name("crashed.sqlite-wal")
    content = wal.read_bytes()
    wal.write_bytes(content[: int(len(content) * kept)])
    survivors: list[int] = []

    async def read(journal: Journal) -> None:
        survivors.extend(record.number for record in journal.records())
        assert survivors == list(range(1, len(survivors) + 1))
        await journal.append(REPLY, KEYS[50], "a", 50, {"status": 200}, b"new")
        assert journal.last == len(survivors) + 1

    with_journal(path, read)
    assert len(survivors) < 20
    assert kept < 0.5 or survivors


def test_a_flipped_bit_in_the_tail_is_a_torn_tail(tmp_path: Path) -> None:
    path = crashed(tmp_path)
    wal = path.with_name("crashed.sqlite-wal")
    content = bytearray(wal.read_bytes())
    content[int(len(content) * 0.6)] ^= 4
    wal.write_bytes(content)

    async def read(journal: Journal) -> None:
        found = [record.number for record in journal.records()]
        assert 0 < len(found) < 20
        assert found == list(range(1, len(found) + 1))

    with_journal(path, read)


def refuse_replies(path: Path) -> None:
    """Let SQLite itself fail on each reply, as a full disk would."""
    change(
        path,
        "CREATE TRIGGER full BEFORE INSERT ON records WHEN NEW.kind = 'reply'"
        " BEGIN SELECT RAISE(FAIL, 'disk is full'); END",
    )


def test_a_failed_commit_fails_all_that_wait_and_all_that_come(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    fill(path, 2)
    refuse_replies(path)

    async def work(journal: Journal) -> None:
        first = journal.append(REPLY, KEYS[10], "a", 10, {}, b"x")
        for _ in range(3):
            await asyncio.sleep(0)
        second = journal.append(INTENT, KEYS[11], "a", 11, {})  # while the first is written
        for future in (first, second):
            with pytest.raises(StorageError, match="disk is full"):
                await asyncio.wait_for(future, 5)
        with pytest.raises(StorageError, match="disk is full"):
            await asyncio.wait_for(journal.append(INTENT, KEYS[12], "a", 12, {}), 5)

    with_journal(path, work)
    assert len(on_disk(path)) == 4


@pytest.mark.parametrize(
    ("error", "raised", "says"),
    [
        (RuntimeError("can't start new thread"), StorageError, "no more threads"),
        (MemoryError(), StorageError, "no more memory"),
        (TypeError("a bug"), TypeError, "a bug"),
    ],
)
def test_whatever_a_commit_fails_of_nobody_waits_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, raised: type, says: str
) -> None:
    path = tmp_path / "journal.sqlite"
    fill(path, 2)

    def fail(*_: object) -> None:
        raise error

    async def work(journal: Journal) -> None:
        monkeypatch.setattr(journal._writer, "submit", fail)
        waiting = [journal.append(INTENT, KEYS[n], "a", n, {}) for n in (10, 11)]
        for future in waiting:
            with pytest.raises(raised, match=says):
                await asyncio.wait_for(future, 5)
        with pytest.raises(raised, match=says):
            await asyncio.wait_for(journal.append(INTENT, KEYS[12], "a", 12, {}), 5)
        with pytest.raises(raised, match=says):
            await asyncio.wait_for(journal.settle(), 5)

    with_journal(path, work)
    assert len(on_disk(path)) == 4


def test_a_commit_whose_thread_cannot_say_that_it_is_done_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "LOOK_EVERY_S", 0.05)

    def told_nothing(_: object) -> asyncio.Future[None]:
        return asyncio.get_running_loop().create_future()

    async def work(journal: Journal) -> None:
        monkeypatch.setattr(asyncio, "wrap_future", told_nothing)
        await asyncio.wait_for(journal.append(REPLY, KEYS[0], "a", 0, {}, b"x"), 5)

    with_journal(tmp_path / "journal.sqlite", work)
    assert on_disk(tmp_path / "journal.sqlite") == [(1, REPLY, b"x")]


def test_a_record_that_could_not_be_made_leaves_no_number_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite"

    def fail(*_: object) -> int:
        raise MemoryError

    async def work(journal: Journal) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(journal_module, "crc_of", fail)
            with pytest.raises(MemoryError):
                journal.append(INTENT, KEYS[0], "a", 0, {})
        await asyncio.wait_for(journal.settle(), 5)
        await asyncio.wait_for(journal.append(INTENT, KEYS[1], "a", 1, {}), 5)

    with_journal(path, work)
    assert [number for number, *_ in on_disk(path)] == [1]
    Journal(path).close()


def test_after_a_failed_commit_the_journal_opens_whole(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    fill(path, 2)
    refuse_replies(path)

    async def work(journal: Journal) -> None:
        with pytest.raises(StorageError):
            await journal.append(REPLY, KEYS[10], "a", 10, {}, b"x")
        change(path, "DROP TRIGGER full")
        future = journal.append(INTENT, KEYS[11], "a", 11, {})
        await asyncio.wait([future], timeout=5)

    with_journal(path, work)
    Journal(path).close()


def test_a_process_that_sleeps_in_the_middle_of_a_commit_holds_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "journal.sqlite"
    fill(path)
    monkeypatch.setattr(journal_module, "BUSY_S", 0.2)
    asleep = sqlite3.connect(path, isolation_level=None)
    asleep.execute("BEGIN IMMEDIATE")
    with pytest.raises(LockedError, match="stopped in the middle of a commit"):
        Journal(path)
    asleep.rollback()

    async def work(journal: Journal) -> None:
        asleep.execute("BEGIN IMMEDIATE")
        with pytest.raises(LockedError, match="stopped in the middle of a commit"):
            await journal.append(INTENT, KEYS[30], "bootstrap", 30, {})
        asleep.rollback()

    with_journal(path, work)
    asleep.close()
    assert len(on_disk(path)) == 40
