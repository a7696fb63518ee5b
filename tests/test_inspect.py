"""`open_run` and what it gives."""

import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from pipeline import open_run
from pipeline.errors import DamagedError, InputError, RecipeError
from pipeline.run.execute import execute
from pipeline.run.lock import locked
from pipeline.run.prepare import Options, prepare
from pipeline.schema import DROP_COLUMNS
from pipeline.status import holder, stage_statuses
from pipeline.teacher.journal_reader import JournalReader


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect") / "run"
    settings = ["bootstrap.target=60", "shard_rows=40"]
    prepared = prepare(Options(recipe="self-instruct", out=str(folder), settings=settings))
    execute(prepared, lambda event: None)
    return folder


@pytest.fixture
def copy(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


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


def test_the_stages_are_named_in_their_order(finished: Path) -> None:
    assert open_run(finished).stages == (
        "bootstrap",
        "classify",
        "instances",
        "filter",
        "dedup",
        "export",
    )


def test_kept_rows_come_from_all_shards_of_a_stage_in_order(finished: Path) -> None:
    run = open_run(str(finished))
    shards = sorted((finished / "stages/01-bootstrap/kept").iterdir())
    assert len(shards) > 1
    expected = pl.concat(pl.read_parquet(path) for path in shards)
    assert run.kept("bootstrap").equals(expected)
    assert run.kept("bootstrap").height >= 60


def test_without_a_name_the_last_stage_with_shards_is_taken(finished: Path) -> None:
    run = open_run(finished)
    assert run.kept().equals(run.kept("dedup"))
    assert run.kept().height == run.manifest.kept


def test_a_stage_can_be_named_by_its_folder(finished: Path) -> None:
    run = open_run(finished)
    assert run.kept("01-bootstrap").equals(run.kept("bootstrap"))


def test_dropped_rows_carry_reason_detail_and_ref(finished: Path) -> None:
    dropped = open_run(finished).dropped("bootstrap")
    assert dropped.columns[-3:] == list(DROP_COLUMNS)
    assert dropped["drop_reason"].null_count() == 0
    assert dropped.height == open_run(finished).stage("bootstrap").dropped


def test_a_shard_that_is_not_listed_is_not_read(copy: Path) -> None:
    kept = copy / "stages/01-bootstrap/kept"
    shutil.copy(kept / "part-00000.parquet", kept / "part-00099.parquet")
    run = open_run(copy)
    assert run.kept("bootstrap").height == run.stage("bootstrap").kept


def test_the_funnel_has_a_row_a_stage_and_its_reasons_sum_up(finished: Path) -> None:
    funnel = open_run(finished).funnel()
    assert funnel["stage"].to_list() == list(open_run(finished).stages)
    assert (funnel["candidates"] == funnel["kept"] + funnel["dropped"]).all()
    for row in funnel.iter_rows(named=True):
        assert sum(reason["rows"] for reason in row["reasons"]) == row["dropped"]


def test_the_export_has_no_rows_of_its_own(finished: Path) -> None:
    with pytest.raises(InputError, match=r"in data/"):
        open_run(finished).kept("export")


def test_a_stage_that_is_not_there_is_refused_with_those_that_are(finished: Path) -> None:
    with pytest.raises(InputError, match=r"'rate'; there are bootstrap, classify"):
        open_run(finished).kept("rate")


@pytest.mark.parametrize(("make", "said"), [(False, "no such folder"), (True, "no run.json")])
def test_a_folder_without_a_run_is_refused(tmp_path: Path, make: bool, said: str) -> None:
    folder = tmp_path / "nothing"
    if make:
        folder.mkdir()
    with pytest.raises(InputError, match=said):
        open_run(folder)


def test_a_damaged_manifest_is_named(copy: Path) -> None:
    path = copy / "stages/03-instances/stage.json"
    path.write_text(path.read_text()[:100])
    with pytest.raises(DamagedError, match=r"03-instances/stage\.json is damaged"):
        open_run(copy)


def test_a_newer_format_is_refused(copy: Path) -> None:
    path = copy / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    with pytest.raises(RecipeError, match="format 99"):
        open_run(copy)


def test_a_missing_shard_is_named(copy: Path) -> None:
    (copy / "stages/02-classify/kept/part-00000.parquet").unlink()
    with pytest.raises(DamagedError, match=r"02-classify/kept/part-00000\.parquet is listed"):
        open_run(copy).kept("classify")


def test_a_flipped_bit_is_not_read_as_other_data(copy: Path) -> None:
    path = copy / "stages/01-bootstrap/kept/part-00000.parquet"
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(DamagedError, match=r"part-00000\.parquet is damaged"):
        open_run(copy).kept("bootstrap")


def test_the_journal_gives_the_records_of_a_key_in_order(finished: Path) -> None:
    run = open_run(finished)
    key = run.kept("bootstrap")["requests"][0][0]["key"]
    records = run.journal(key)
    assert [record.kind for record in records] == ["intent", "reply"]
    assert run.journal(bytes.fromhex(key)) == records
    assert b"choices" in records[1].raw
    assert run.journal("00" * 16) == []


def test_reading_the_journal_leaves_no_file_behind(copy: Path) -> None:
    before = files(copy)
    run = open_run(copy)
    run.journal(run.kept("bootstrap")["requests"][0][0]["key"])
    stage_statuses(run)
    assert files(copy) == before


def test_a_changed_record_is_damage(copy: Path) -> None:
    run = open_run(copy)
    key = run.kept("bootstrap")["requests"][0][0]["key"]
    with sqlite3.connect(copy / "journal.sqlite") as database:
        database.execute("UPDATE records SET raw = x'00' WHERE key = ?", (bytes.fromhex(key),))
    database.close()
    with pytest.raises(DamagedError, match=r"record \d+ of the journal"):
        run.journal(key)


def test_a_journal_that_is_no_database_is_damage(copy: Path) -> None:
    (copy / "journal.sqlite").write_bytes(b"\0" * 5000)
    with pytest.raises(DamagedError, match=r"journal\.sqlite cannot be read"):
        open_run(copy).journal("00" * 16)


def test_records_that_a_writer_has_just_committed_are_seen(copy: Path) -> None:
    path = copy / "journal.sqlite"
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
def test_a_journal_in_a_folder_of_others_can_be_read(finished: Path, is_cut_off: bool) -> None:
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    try:
        run = Path(shutil.copytree(finished, folder / "run"))
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


def test_who_holds_the_lock_is_told_and_the_lock_left_alone(copy: Path) -> None:
    assert holder(copy) is None
    with locked(copy):
        assert holder(copy) == f"process {os.getpid()}"
        told = []
        thread = threading.Thread(target=lambda: told.append(holder(copy)))
        thread.start()
        thread.join()
        assert told == [holder(copy)]
    assert holder(copy) is None


def test_a_holder_on_another_machine_is_known_by_what_it_wrote(copy: Path) -> None:
    (copy / "lock").write_text('{"host": "elsewhere", "pid": 7, "since": 1.0}')
    assert holder(copy) == "process 7 on elsewhere, by what its lock says"


def test_the_statuses_have_the_stages_that_have_not_begun(tmp_path: Path) -> None:
    settings = ["bootstrap.target=20"]
    options = Options(
        recipe="self-instruct", out=str(tmp_path / "run"), settings=settings, until="classify"
    )
    execute(prepare(options), lambda event: None)
    found = {stage.name: stage for stage in stage_statuses(open_run(tmp_path / "run"))}
    assert list(found) == ["bootstrap", "classify", "instances", "filter", "dedup", "export"]
    assert found["classify"].state == "complete"
    assert found["instances"].state == "not begun"
    assert found["bootstrap"].requests > 0


def test_a_stage_at_work_is_counted_and_priced_from_the_journal(copy: Path) -> None:
    path = copy / "stages/02-classify/stage.json"
    tree = json.loads(path.read_text()) | {"complete": False, "usage": []}
    path.write_text(json.dumps(tree))
    recipe = copy / "recipe.yaml"
    prices = "prices: {offline: {input: 2, output: '8'}}"
    recipe.write_text(recipe.read_text().replace("prices: {}", prices))
    found = {stage.name: stage for stage in stage_statuses(open_run(copy))}["classify"]
    assert found.requests == open_run(copy).stage("bootstrap").kept
    spent = found.input_tokens * 2 + found.output_tokens * 8
    assert float(found.cost_usd) == pytest.approx(spent / 1_000_000)


def test_a_run_knows_the_runs_that_it_came_from(copy: Path, tmp_path: Path) -> None:
    settings = ["bootstrap.target=60", "shard_rows=40", "dedup.ignore_case=true"]
    new = tmp_path / "new"
    options = Options(recipe="self-instruct", out=str(new), made_from=str(copy), settings=settings)
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
    shutil.rmtree(copy)
    assert [run.path.name for run in open_run(new).lineage] == ["new"]
    assert [record.kind for record in open_run(new).journal(key)] == ["intent", "reply"]
