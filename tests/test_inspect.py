"""`open_run` and what it gives."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from pipeline import open_run
from pipeline.errors import DamagedError, InputError, RecipeError
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.schema import DROP_COLUMNS
from pipeline.status import stage_statuses
from pipeline.teacher.journal_reader import JournalReader


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


@contextmanager
def without_rights() -> Iterator[None]:
    """Root may write everywhere; for a moment, be nobody."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(before)


def test_importing_pipeline_imports_no_polars() -> None:
    code = "import sys, pipeline; sys.exit('polars' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_name_that_pipeline_does_not_have_is_an_attribute_error() -> None:
    import pipeline

    with pytest.raises(AttributeError, match="nothing"):
        _ = pipeline.nothing


def test_the_stages_are_named_in_their_order(small_run: Path) -> None:
    assert open_run(small_run).stages == (
        "bootstrap",
        "classify",
        "instances",
        "filter",
        "dedup",
        "export",
    )


def test_kept_rows_come_from_all_shards_of_a_stage_in_order(small_run: Path) -> None:
    run = open_run(str(small_run))
    shards = sorted((small_run / "stages/01-bootstrap/kept").iterdir())
    assert len(shards) > 1
    expected = pl.concat(pl.read_parquet(path) for path in shards)
    assert run.kept("bootstrap").equals(expected)
    assert run.kept("bootstrap").height >= 60


def test_without_a_name_the_last_stage_with_shards_is_taken(small_run: Path) -> None:
    run = open_run(small_run)
    assert run.kept().equals(run.kept("dedup"))
    assert run.kept().height == run.manifest.kept


def test_a_stage_can_be_named_by_its_folder(small_run: Path) -> None:
    run = open_run(small_run)
    assert run.kept("01-bootstrap").equals(run.kept("bootstrap"))


def test_dropped_rows_carry_reason_detail_and_ref(small_run: Path) -> None:
    dropped = open_run(small_run).dropped("bootstrap")
    assert dropped.columns[-4:] == list(DROP_COLUMNS)
    assert dropped["drop_reason"].null_count() == 0
    assert dropped.height == open_run(small_run).stage("bootstrap").dropped


def test_a_shard_that_is_not_listed_is_not_read(small_copy: Path) -> None:
    kept = small_copy / "stages/01-bootstrap/kept"
    shutil.copy(kept / "part-00000.parquet", kept / "part-00099.parquet")
    run = open_run(small_copy)
    assert run.kept("bootstrap").height == run.stage("bootstrap").kept


def test_the_funnel_has_a_row_a_stage_and_its_reasons_sum_up(small_run: Path) -> None:
    funnel = open_run(small_run).funnel()
    assert funnel["stage"].to_list() == list(open_run(small_run).stages)
    assert (funnel["candidates"] == funnel["kept"] + funnel["dropped"]).all()
    for row in funnel.iter_rows(named=True):
        assert sum(reason["rows"] for reason in row["reasons"]) == row["dropped"]


def test_the_export_has_no_rows_of_its_own(small_run: Path) -> None:
    with pytest.raises(InputError, match=r"in data/"):
        open_run(small_run).kept("export")


def test_a_stage_that_is_not_there_is_refused_with_those_that_are(small_run: Path) -> None:
    with pytest.raises(InputError, match=r"'rate'; there are bootstrap, classify"):
        open_run(small_run).kept("rate")


@pytest.mark.parametrize(("make", "said"), [(False, "no such folder"), (True, "no run.json")])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, make: bool, said: str) -> None:
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()
    with pytest.raises(InputError, match=said):
        open_run(folder)


def test_a_damaged_manifest_is_named(small_copy: Path) -> None:
    path = small_copy / "stages/03-instances/stage.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(DamagedError, match=r"03-instances/stage\.json is damaged"):
        open_run(small_copy)


def test_a_newer_format_is_refused(small_copy: Path) -> None:
    path = small_copy / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(RecipeError, match="format 99"):
        open_run(small_copy)


def test_a_missing_shard_is_named(small_copy: Path) -> None:
    (small_copy / "stages/02-classify/kept/part-00000.parquet").unlink()
    with pytest.raises(DamagedError, match=r"02-classify/kept/part-00000\.parquet is listed"):
        open_run(small_copy).kept("classify")


def test_a_flipped_bit_is_not_read_as_other_data(small_copy: Path) -> None:
    path = small_copy / "stages/01-bootstrap/kept/part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"part-00000\.parquet is damaged"):
        open_run(small_copy).kept("bootstrap")


def test_the_journal_gives_the_records_of_a_key_in_order(small_run: Path) -> None:
    run = open_run(small_run)
    key = run.kept("bootstrap")["requests"][0][0]["key"]
    records = run.journal(key)
    assert [record.kind for record in records] == ["intent", "reply"]
    assert run.journal(bytes.fromhex(key)) == records
    assert b"choices" in records[1].raw
    assert run.journal("00" * 16) == []


def test_reading_the_journal_leaves_no_file_behind(small_copy: Path) -> None:
    before = files(small_copy)
    run = open_run(small_copy)
    run.journal(run.kept("bootstrap")["requests"][0][0]["key"])
    stage_statuses(run)
    assert files(small_copy) == before


def test_a_changed_record_is_damage(small_copy: Path) -> None:
    run = open_run(small_copy)
    key = run.kept("bootstrap")["requests"][0][0]["key"]
    with sqlite3.connect(small_copy / "journal.sqlite") as database:
        database.execute("UPDATE records SET raw = x'00' WHERE key = ?", (bytes.fromhex(key),))
    database.close()
    with pytest.raises(DamagedError, match=r"record \d+ of the journal"):
        run.journal(key)


def test_a_journal_that_is_no_database_is_damage(small_copy: Path) -> None:
    (small_copy / "journal.sqlite").write_bytes(b"\0" * 5000)
    with pytest.raises(DamagedError, match=r"journal\.sqlite cannot be read"):
        open_run(small_copy).journal("00" * 16)


def test_records_that_a_writer_has_just_committed_are_seen(small_copy: Path) -> None:
    path = small_copy / "journal.sqlite"
    writer = sqlite3.connect(path)
    count = writer.execute("SELECT count(*) FROM records").fetchone()[0]
    writer.execute("DELETE FROM records WHERE number = ?", (count,))
    writer.commit()
    with JournalReader(path) as reader:
        assert sum(1 for _ in reader.records()) == count - 1
        writer.execute("DELETE FROM records WHERE number = ?", (count - 1,))
        writer.commit()  # the reader shuts nobody out
        assert sum(1 for _ in reader.records()) == count - 2
    writer.close()


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_a_journal_in_a_folder_of_others_can_be_read(small_run: Path, is_cut_off: bool) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        run = Path(shutil.copytree(small_run, folder / "run"))
        with JournalReader(run / "journal.sqlite") as reader:
            wanted = sum(1 for _ in reader.records())
        if is_cut_off:  # as kill -9 leaves it: a -wal, and records only in there
            writer = sqlite3.connect(run / "journal.sqlite")
            writer.execute("DELETE FROM records WHERE number > 10")
            writer.commit()
            shutil.copytree(run, folder / "killed")
            writer.close()
            run, wanted = folder / "killed", 10
        for path in (folder, *folder.rglob("*")):
            path.chmod(0o555 if path.is_dir() else 0o444)
        before = files(folder)
        with without_rights(), JournalReader(run / "journal.sqlite") as reader:
            found = sum(1 for _ in reader.records())
        assert found == wanted
        assert files(folder) == before
    finally:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir():
                path.chmod(0o755)
        shutil.rmtree(folder)


def test_a_run_knows_the_runs_that_it_came_from(small_copy: Path, tmp_path: Path) -> None:
    settings = ["bootstrap.target=60", "shard_rows=40", "dedup.ignore_case=true"]
    new = tmp_path / "new"
    options = Options(
        recipe="self-instruct", out=str(new), made_from=str(small_copy), settings=settings
    )
    execute(prepare(options), lambda event: None)
    execute(
        prepare(Options(recipe="dedup", out=str(tmp_path / "third"), input=str(new))),
        lambda event: None,
    )
    third = open_run(tmp_path / "third")
    assert [run.path.name for run in third.ancestors] == ["third", "new", "run"]
    assert [run.path.name for run in third.lineage] == ["third"]
    assert [run.path.name for run in open_run(new).lineage] == ["new", "run"]
    key = third.kept()["requests"][0][0]["key"]
    assert [record.kind for record in third.journal(key)] == ["intent", "reply"]
    shutil.rmtree(small_copy)
    assert [run.path.name for run in open_run(new).lineage] == ["new"]
    assert [record.kind for record in open_run(new).journal(key)] == ["intent", "reply"]
