"""A repair keeps what is whole and the original, and only what is lost is asked for again."""

import os
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pytest

from pipeline.cli import make as cli
from pipeline.errors import DamagedError, InputError
from pipeline.inspect import open_run
from pipeline.run.events import Event
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.run.repair import Repaired, repair
from pipeline.teacher.journal import Journal
from pipeline.verify import recount, verify
from tests.crash import published
from tests.run import books
from tests.teacher_server.process import Server, running_server

SETTINGS = ("bootstrap.target=40", "bootstrap.window=8", "shard_rows=30")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with running_server(tmp_path_factory.mktemp("server") / "history.jsonl") as found:
        yield found


@pytest.fixture(scope="module")
def whole(teacher: Server, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return go_on(tmp_path_factory.mktemp("whole") / "run", teacher)


@pytest.fixture
def run(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "run"))


def go_on(
    out: Path, teacher: Server, listener: Callable[[Event], object] = lambda event: None
) -> Path:
    """The command that made the run."""
    uri = f"openai:test-model@{teacher.url}"
    options = Options("self-instruct", out=str(out), teacher=uri, settings=SETTINGS)
    execute(prepare(options, {}), listener)
    return out


def asked(teacher: Server) -> list[str]:
    return [event["hash"][:24] for event in teacher.history("request") if event["kind"] == "chat"]


def edit(run: Path, *statements: str) -> None:
    with closing(sqlite3.connect(run / "journal.sqlite")) as database:
        for statement in statements:
            database.execute(statement)
        database.commit()


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def replies(run: Path, stage: str) -> list[int]:
    return [r.number for r in published.journal(run) if (r.kind, r.stage) == ("reply", stage)]


def ahead(run: Path) -> set[str | None]:
    """What was asked ahead, for slots after the one that reached the target."""
    end = books.stage_json(run, "bootstrap")["next_slot"]
    records = published.journal(run)
    return {r.asked for r in records if r.stage == "bootstrap" and r.slot >= end}


def is_mended(
    run: Path, whole: Path, teacher: Server, lost: int | Callable[[set[str | None]], int]
) -> Repaired:
    """Repair, recount, go on: the same files, and as many requests as replies are lost.

    `lost` says so itself, or from the requests whose replies were kept.
    """
    assert recount(run).findings
    done = repair(run)
    assert done.before is not None
    assert verify(run).notes
    kept = {record.asked for record in published.journal(run) if record.kind == "reply"}
    before = len(asked(teacher))
    go_on(run, teacher)
    again = set(asked(teacher)[before:]) - ahead(run)
    assert len(again) == (lost if isinstance(lost, int) else lost(kept))
    assert not kept & again, "bought again"
    assert books.data_files(run) == books.data_files(whole)
    assert open_run(run).manifest.status == "finished"
    verify(run)
    return done


def test_a_whole_run_is_left_as_it_is(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = books.all_files(run)
    cli.repair(str(run))
    assert "nothing to repair" in capsys.readouterr().out
    assert books.all_files(run) == before


@pytest.mark.parametrize("stage", ["bootstrap", "classify", "instances"])
def test_a_reply_with_a_flipped_byte_is_lost_and_bought_again(
    run: Path, whole: Path, teacher: Server, stage: str
) -> None:
    number = replies(run, stage)[3]
    (raw,) = (r["raw"] for r in books.records(run) if r["number"] == number)
    path = run / "journal.sqlite"
    original = path.read_bytes()
    flip(path, original.index(raw[:400]) + 5)
    damaged = path.read_bytes()
    done = is_mended(run, whole, teacher, lost=1)
    text = "\n".join(done.lines)
    assert f"lost is number {number}." in text
    assert f"-{stage}" in text
    assert done.before is not None
    assert (done.before / "journal.sqlite").read_bytes() == damaged


@pytest.mark.parametrize(("which", "lost"), [
    ("kind = 'reply' AND stage = 'bootstrap' AND slot IN (2, 5)", 2),
    ("kind = 'intent' AND stage = 'classify' AND slot < 3", 0),
    ("stage = 'instances' AND slot BETWEEN 4 AND 9", 6),
])  # fmt: skip
def test_missing_numbers_are_marked_and_the_others_keep_theirs(
    run: Path, whole: Path, teacher: Server, which: str, lost: int
) -> None:
    before = {record.number: record for record in published.journal(run)}
    edit(run, f"DELETE FROM records WHERE {which}")
    there = {record.number for record in published.journal(run)}
    is_mended(run, whole, teacher, lost)
    after = {record.number: record for record in published.journal(run)}
    assert {number: after[number] for number in there} == {n: before[n] for n in there}
    assert {after[number].kind for number in before.keys() - there} == {"lost"}


def test_what_lost_records_cost_counts_as_unknown_at_its_worst(run: Path, teacher: Server) -> None:
    billed = teacher.counts()["billed"]
    edit(run, "DELETE FROM records WHERE number % 5 = 0")
    repair(run)
    with closing(Journal(run / "journal.sqlite")) as journal:
        spent = journal.spent()
    confirmed, unknown = (
        sum(n_in + n_out for book, _, _, n_in, n_out in spent if book == wanted)
        for wanted in ("confirmed", "unknown")
    )
    assert confirmed < billed["prompt_tokens"] + billed["completion_tokens"]
    records = published.journal(run)
    largest = max(sum(r.note["worst"]) for r in records if r.kind == "intent")
    n_lost = sum(record.kind == "lost" for record in records)
    assert n_lost
    assert unknown >= n_lost * largest


def test_a_reply_that_differs_the_second_time_takes_no_other_with_it(
    run: Path, teacher: Server
) -> None:
    edit(run, "DELETE FROM records WHERE kind = 'reply' AND stage = 'bootstrap' AND slot = 1")
    repair(run)
    kept = {r.asked for r in published.journal(run) if r.kind == "reply"}
    before = len(asked(teacher))
    teacher.set_plan(
        {"content": {"mode": "fixed", "text": " Name five colours of a quiet harbour at dusk."}}
    )
    try:
        go_on(run, teacher)
    finally:
        teacher.set_plan([])
    again = asked(teacher)[before:]
    assert again
    assert not kept & set(again), "bought again"
    assert "quiet harbour" in str(books.rows(run, "bootstrap"))
    verify(run)


FRAME = 24 + 4096


def frames(wal: Path) -> int:
    """Frames of a write-ahead file that were written since its last beginning."""
    content = wal.read_bytes() if wal.exists() else b""
    starts = range(32, len(content) - FRAME + 1, FRAME)
    return sum(content[at + 8 : at + 16] == content[16:24] for at in starts)


def test_a_cut_write_ahead_file_loses_what_it_held(
    whole: Path, teacher: Server, tmp_path: Path
) -> None:
    live, copy = tmp_path / "live", tmp_path / "run"

    def look(event: Event) -> None:
        is_there = len(list(live.glob("stages/02-classify/kept/*.parquet"))) > 0
        is_full = frames(live / "journal.sqlite-wal") > 25
        if is_there and is_full and not copy.exists():
            # by another process: to close a file gives up all locks that this one has on it
            subprocess.run(["cp", "-a", live, copy], check=True)

    go_on(live, teacher, look)
    wal = copy / "journal.sqlite-wal"
    os.truncate(wal, 32 + frames(wal) // 2 * FRAME)
    (copy / "lock").unlink()  # its holder, this process, is alive
    there, all_of_them = (
        {record.asked for record in published.journal(one) if record.kind == "reply"}
        for one in (copy, live)
    )
    assert there
    assert all_of_them - there

    def lost(kept: set[str | None]) -> int:
        """More can be kept than SQLite reads: records of a commit that is not whole."""
        assert there <= kept < all_of_them
        return len(all_of_them - kept - ahead(live))

    is_mended(copy, whole, teacher, lost)


@pytest.mark.parametrize("seed", range(6))
def test_pages_that_were_overwritten_take_their_own_records_alone(
    run: Path, whole: Path, teacher: Server, seed: int
) -> None:
    rng = Random(seed)
    path = run / "journal.sqlite"
    before = {record.number: record for record in published.journal(run)}
    content = bytearray(path.read_bytes())
    for page in rng.sample(range(len(content) // 4096), 3):
        content[page * 4096 : (page + 1) * 4096] = rng.choice((bytes(4096), rng.randbytes(4096)))
    path.write_bytes(content)
    assert recount(run).findings
    repair(run)
    after = {record.number: record for record in published.journal(run)}
    assert all(record.is_sound for record in after.values())
    lost = [record for record in after.values() if record.kind == "lost"]
    assert len(lost) < len(before) / 3
    assert all(after[n] == before[n] for n in after if after[n].kind != "lost")
    gone = {record.asked for record in before.values()} - {r.asked for r in after.values()}
    mark = len(asked(teacher))
    go_on(run, teacher)
    needless = ahead(run) | ahead(whole)
    assert set(asked(teacher)[mark:]) - needless == gone - needless
    assert books.data_files(run) == books.data_files(whole)
    verify(run)


@pytest.mark.parametrize("harm", [
    lambda path: flip(path, path.stat().st_size // 2),
    Path.unlink,
    lambda path: os.truncate(path, 300),
    lambda path: shutil.copy(path.with_name("part-00000.parquet"), path),
], ids=["flipped", "missing", "cut", "swapped"])  # fmt: skip
@pytest.mark.parametrize("name", [
    "01-bootstrap/kept/part-00001.parquet", "03-instances/kept/part-00001.parquet",
    "04-filter/kept/part-00001.parquet",
])  # fmt: skip
def test_a_damaged_shard_is_made_again_from_the_journal(
    run: Path, whole: Path, teacher: Server, name: str, harm: Callable[[Path], object]
) -> None:
    first = run / "stages" / Path(name).with_name("part-00000.parquet")
    mtime = first.stat().st_mtime_ns
    harm(run / "stages" / name)
    done = is_mended(run, whole, teacher, lost=0)
    assert any(name in line for line in done.lines)
    assert name.startswith("04") or first.stat().st_mtime_ns == mtime, "it was whole"


@pytest.mark.parametrize("name", ["01-bootstrap", "03-instances", "06-export"])
def test_a_stage_whose_books_are_cut_off_is_made_again(
    run: Path, whole: Path, teacher: Server, name: str
) -> None:
    os.truncate(run / "stages" / name / "stage.json", 80)
    done = is_mended(run, whole, teacher, lost=0)
    assert done.before is not None
    assert (done.before / "stages" / name / "stage.json").stat().st_size == 80


def test_a_damaged_export_is_written_again(run: Path, whole: Path, teacher: Server) -> None:
    flip(run / "data/alpaca/train-00000.parquet", 500)
    is_mended(run, whole, teacher, lost=0)


def test_a_repair_that_was_cut_off_is_finished_by_the_next(
    run: Path, whole: Path, teacher: Server
) -> None:
    edit(run, f"DELETE FROM records WHERE number = {replies(run, 'classify')[0]}")
    other = Path(shutil.copytree(run, run.parent / "other"))
    repair(other)
    shutil.copy(other / "journal.sqlite", run / "journal.sqlite-repaired")
    (run / "journal.sqlite").unlink()  # as a kill in that moment leaves it
    shutil.copy(other / "run.json", run / "run.json")
    with pytest.raises(DamagedError, match="repair"):
        go_on(run, teacher)
    is_mended(run, whole, teacher, lost=1)


def test_without_a_readable_manifest_nothing_is_touched(run: Path) -> None:
    os.truncate(run / "run.json", 50)
    before = books.all_files(run)
    with pytest.raises(DamagedError, match=r"run\.json"):
        repair(run)
    assert books.all_files(run) == before
    with pytest.raises(InputError, match="not a run"):
        repair(run / "stages")
