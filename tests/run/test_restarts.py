"""A process may be killed at its very start, or while it replaces a file."""

import sqlite3
from pathlib import Path

import pytest

from pipeline.errors import DamagedError
from tests.conftest import RunSynth
from tests.run import books, processes
from tests.teacher_server.process import Server

SMALL = ("bootstrap.target=60", "shard_rows=50")


def test_a_run_killed_before_it_asked_anybody_goes_on_with_the_same_command(
    small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    line = processes.command(out, SMALL)
    for name in ("lock", "inputs/bootstrap.md", "recipe.yaml"):
        process = processes.start(line)
        processes.wait_until((out / name).exists, process)
        processes.kill(process)
    assert processes.finish(line) == (0, "")
    assert books.data_files(out) == books.data_files(small_run)


def test_what_a_killed_process_left_half_written_is_removed_at_the_next_start(
    small_run: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    line = processes.command(out, SMALL)
    process = processes.start(line)
    processes.wait_until((out / "stages/02-classify/stage.json").exists, process)
    processes.kill(process)
    for orphan in (".staging/tmp1", ".staging/stage/kept/part-00000.parquet", "stages/.new-ab"):
        (out / orphan).parent.mkdir(parents=True, exist_ok=True)
        (out / orphan).write_bytes(b"half")
    assert processes.finish(line) == (0, "")
    assert set(books.all_files(out)) == set(books.all_files(small_run))
    assert books.data_files(out) == books.data_files(small_run)


def change_journal(run: Path, statement: str) -> None:
    database = sqlite3.connect(run / "journal.sqlite")
    with database:
        database.execute(statement)
    database.close()


def test_a_journal_that_cannot_be_written_ends_the_run_and_costs_nothing_later(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan({"latency": {"median_s": 0.02, "sigma": 0.5}})
    settings = ("bootstrap.target=30", "bootstrap.window=8", "teacher.concurrency=8")
    out = tmp_path / "run"
    line = processes.command(out, settings, f"openai:test-model@{server.url}")
    assert processes.finish([*line, "--until", "bootstrap"]) == (0, "")
    last = len(books.records(out))
    change_journal(
        out,
        f"CREATE TRIGGER full BEFORE INSERT ON records WHEN NEW.number > {last + 30}"
        " BEGIN SELECT RAISE(FAIL, 'disk is full'); END",
    )
    before = len(server.history("request"))
    code, said = processes.finish(line)
    assert code == 7
    assert "disk is full" in said
    assert "Traceback" not in said
    assert len(server.history("request")) - before <= 1 + 30 + 8
    settled = set(books.replied(out))
    change_journal(out, "DROP TRIGGER full")
    before = len(server.history("request"))
    assert processes.finish(line) == (0, "")
    books.check(out)
    later = server.history("request")[before:]
    assert not settled & {event["hash"][:24] for event in later}


def test_shards_that_came_from_lost_records_are_damage(run_synth: RunSynth, tmp_path: Path) -> None:
    out = tmp_path / "run"
    run_synth(out, *SMALL, until="classify")
    change_journal(out, f"DELETE FROM records WHERE number > {len(books.records(out)) - 10}")
    with pytest.raises(DamagedError, match=r"02-classify.*journal"):
        run_synth(out, *SMALL)


@pytest.mark.parametrize("stage", ["01-bootstrap", "02-classify", "03-instances", "04-filter"])
def test_a_damaged_shard_ends_the_run_and_is_named(
    run_synth: RunSynth, tmp_path: Path, stage: str
) -> None:
    out = tmp_path / "run"
    run_synth(out, *SMALL, until=stage[3:])
    path = out / "stages" / stage / "kept/part-00000.parquet"
    content = bytearray(path.read_bytes())
    for at in range(600, 700):
        content[at] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=f"{stage}/kept/part-00000"):
        run_synth(out, *SMALL)
