"""`verify` finds every kind of damage and names the file."""

import hashlib
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from pipeline import open_run
from pipeline.errors import DamagedError, InputError
from pipeline.run.execute import execute
from pipeline.run.lock import locked
from pipeline.run.prepare import Options, prepare
from pipeline.verify import recount, verify

SETTINGS = ("bootstrap.target=60", "shard_rows=40")


def make(folder: Path, **options: Any) -> Path:
    options.setdefault("settings", SETTINGS)
    options.setdefault("recipe", "self-instruct")
    execute(prepare(Options(out=str(folder), **options)), lambda event: None)
    return folder


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("verify") / "run")


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished, tmp_path / "run"))


def edit_json(path: Path, edit: Callable[[dict[str, Any]], object]) -> None:
    tree = json.loads(path.read_text())
    edit(tree)
    path.write_text(json.dumps(tree, indent=1))


def edit_journal(run: Path, *statements: str) -> None:
    database = sqlite3.connect(run / "journal.sqlite")
    for statement in statements:
        database.execute(statement)
    database.commit()
    database.close()


def rewrite(run: Path, name: str, edit: Callable[[pa.Table], pa.Table]) -> None:
    """Change a shard's rows and everything that is listed about it, as a careful forger would."""
    path = run / name
    pq.write_table(edit(pq.read_table(path)), path, write_page_checksum=True)
    content = path.read_bytes()

    def relist(tree: dict[str, Any]) -> None:
        for part in tree["parts"]:
            for half in ("kept", "dropped"):
                if part[half]["path"] == f"{path.parent.name}/{path.name}":
                    part[half] |= {
                        "bytes": len(content),
                        "sha256": hashlib.sha256(content).hexdigest(),
                        "rows": pq.read_metadata(path).num_rows,
                    }

    edit_json(path.parent.parent / "stage.json", relist)


def found(run: Path) -> str:
    with pytest.raises(DamagedError) as caught:
        verify(run)
    assert caught.value.exit_code == 6
    return str(caught.value)


def line(text: str, *wanted: str) -> str:
    """The one finding that holds all of `wanted`."""
    lines = [one for one in text.splitlines() if all(part in one for part in wanted)]
    assert lines, f"{wanted} are in no line of:\n{text}"
    return lines[0]


KEPT = "stages/01-bootstrap/kept/part-00000.parquet"
DROPPED = "stages/01-bootstrap/dropped/part-00000.parquet"
BOOKS = "stages/01-bootstrap/stage.json"


def test_a_whole_run_is_whole_and_counted(finished: Path) -> None:
    report = verify(finished)
    run = open_run(finished)
    shards = sum(2 * len(state.parts) for state in run.stage_manifests)
    assert report.files == shards + len(run.manifest.data)
    rows = sum(state.candidates for state in run.stage_manifests if state.exported is None)
    assert report.rows == rows + sum(entry.rows for entry in run.manifest.data)
    assert report.records > 0
    assert report.notes == []


def test_looking_changes_nothing(run: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    verify(run)
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before


def test_a_folder_without_a_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not a run"):
        verify(tmp_path)


@pytest.mark.parametrize("half", ["kept", "dropped"])
def test_a_flipped_bit_anywhere_in_a_shard_is_found(run: Path, half: str) -> None:
    path = run / f"stages/01-bootstrap/{half}/part-00000.parquet"
    content = path.read_bytes()
    name = path.relative_to(run).as_posix()
    for at in range(0, len(content), len(content) // 12):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        line(found(run), name, "SHA-256")


def test_a_truncated_shard_is_found(run: Path) -> None:
    path = run / KEPT
    path.write_bytes(path.read_bytes()[:-50])
    text = found(run)
    line(text, KEPT, "bytes")
    line(text, KEPT, "cannot be read")


def test_an_empty_shard_is_found(run: Path) -> None:
    (run / KEPT).write_bytes(b"")
    line(found(run), KEPT, "0 bytes")


def test_a_deleted_shard_is_found(run: Path) -> None:
    (run / DROPPED).unlink()
    line(found(run), DROPPED, "cannot be read")


def test_an_extra_shard_is_found(run: Path) -> None:
    shutil.copy(run / KEPT, run / "stages/04-filter/kept/part-00077.parquet")
    line(found(run), "stages/04-filter/kept/part-00077.parquet", "does not list it")


def test_swapped_shards_are_both_found(run: Path) -> None:
    other = KEPT.replace("00000", "00001")
    (run / KEPT).rename(run / "x")
    (run / other).rename(run / KEPT)
    (run / "x").rename(run / other)
    text = found(run)
    line(text, KEPT, "SHA-256")
    line(text, other, "SHA-256")


def test_all_that_is_wrong_is_said_at_once(run: Path) -> None:
    (run / DROPPED).unlink()
    (run / "stages/03-instances/kept/part-00000.parquet").write_bytes(b"PAR1")
    edit_journal(run, "DELETE FROM records WHERE number = 5")
    text = found(run)
    for name in (DROPPED, "stages/03-instances/kept/part-00000.parquet", "journal.sqlite"):
        line(text, name)


@pytest.mark.parametrize("name", ["candidates", "kept", "dropped"])
def test_a_total_that_is_not_the_sum_of_its_parts_is_found(run: Path, name: str) -> None:
    edit_json(run / BOOKS, lambda tree: tree.update({name: tree[name] + 1}))
    line(found(run), BOOKS, name)


def test_candidates_that_are_not_kept_plus_dropped_are_found(run: Path) -> None:
    edit_json(run / BOOKS, lambda tree: tree["parts"][0].update(candidates=999))
    line(found(run), BOOKS, "999 candidates")


def test_rows_that_are_not_as_many_as_listed_are_found(run: Path) -> None:
    edit_json(run / BOOKS, lambda tree: tree["parts"][0]["kept"].update(rows=1))
    line(found(run), KEPT, "1 are listed")


def test_reasons_that_are_not_those_in_the_shard_are_found(run: Path) -> None:
    def edit(tree: dict[str, Any]) -> None:
        tree["parts"][0]["dropped_by_reason"]["not_novel"] += 1

    edit_json(run / BOOKS, edit)
    line(found(run), DROPPED, "not_novel")


def test_a_dropped_row_without_a_reason_is_found(run: Path) -> None:
    def forget(table: pa.Table) -> pa.Table:
        at = table.schema.get_field_index("drop_reason")
        reasons = [None, *table["drop_reason"].to_pylist()[1:]]
        return table.set_column(at, table.schema.field(at), pa.array(reasons, pa.string()))

    rewrite(run, DROPPED, forget)
    line(found(run), DROPPED, "1 dropped rows have no reason")


def test_a_row_that_was_taken_out_of_a_later_stage_is_found(run: Path) -> None:
    name = "stages/02-classify/kept/part-00000.parquet"
    rewrite(run, name, lambda table: table.slice(1))
    edit_json(
        run / "stages/02-classify/stage.json",
        lambda tree: tree["parts"][0].update(candidates=tree["parts"][0]["candidates"] - 1),
    )
    line(found(run), name, "neither kept nor dropped")


def test_a_row_that_no_stage_before_kept_is_found(run: Path) -> None:
    def rename(table: pa.Table) -> pa.Table:
        ids = ["bootstrap-999999-00", *table["row_id"].to_pylist()[1:]]
        return table.set_column(0, table.schema.field(0), pa.array(ids, pa.string()))

    name = "stages/02-classify/kept/part-00000.parquet"
    rewrite(run, name, rename)
    line(found(run), name, "were not received", "bootstrap-999999-00")


def test_an_input_row_that_made_nothing_is_found(run: Path) -> None:
    def take_out(table: pa.Table) -> pa.Table:
        return table.filter(pc.not_equal(table["parent_id"], table["parent_id"][0]))

    name = "stages/03-instances/kept/part-00000.parquet"
    rewrite(run, name, take_out)
    rewrite(run, name.replace("kept", "dropped"), lambda table: table.slice(0, 0))
    line(found(run), name, "neither kept nor dropped")


def test_a_slot_that_gave_no_candidate_is_found(run: Path) -> None:
    def take_out(table: pa.Table) -> pa.Table:
        return table.filter(pc.invert(pc.starts_with(table["row_id"], "bootstrap-000001-")))

    rewrite(run, KEPT, take_out)
    rewrite(run, DROPPED, take_out)
    line(found(run), KEPT, "slot 1 first")


def test_a_row_id_that_stands_twice_is_found(run: Path) -> None:
    rewrite(run, KEPT, lambda table: pa.concat_tables([table, table.slice(0, 1)]))
    line(found(run), "stages/01-bootstrap", "more than once")


def test_another_schema_is_found(run: Path) -> None:
    rewrite(run, KEPT, lambda table: table.drop_columns(["shown"]))
    line(found(run), KEPT, "columns")


def test_another_version_of_the_schema_is_found(run: Path) -> None:
    rewrite(run, KEPT, lambda table: table.replace_schema_metadata({"synth.schema": "0"}))
    line(found(run), KEPT, "schema version 0")


def test_a_stage_that_was_deleted_is_found(run: Path) -> None:
    shutil.rmtree(run / "stages/04-filter")
    line(found(run), "stages/04-filter/stage.json", "not there")


@pytest.mark.parametrize("name", ["run.json", "stages/02-classify/stage.json"])
def test_a_manifest_that_is_not_whole_is_found(run: Path, name: str) -> None:
    (run / name).write_text((run / name).read_text()[:80])
    line(found(run), name, "damaged")


def test_a_path_that_leaves_the_run_is_not_followed(run: Path) -> None:
    edit_json(
        run / BOOKS, lambda tree: tree["parts"][0]["kept"].update(path="../../../../etc/passwd")
    )
    line(found(run), BOOKS, "etc/passwd")


def test_a_deleted_journal_record_is_found(run: Path) -> None:
    edit_journal(run, "DELETE FROM records WHERE number = 5")
    line(found(run), "journal.sqlite", "record 5 is missing")


def test_the_last_journal_record_is_missed_too(run: Path) -> None:
    last = "SELECT max(number) FROM records WHERE kind = 'reply'"
    edit_journal(run, f"DELETE FROM records WHERE number >= ({last})")
    text = found(run)
    line(text, "journal.sqlite", "ends at record")
    line(text, "stages/03-instances", "no reply in the journal")
    line(text, "stages/03-instances/stage.json", "usage")


def test_renumbered_records_do_not_hide_a_deleted_one(run: Path) -> None:
    edit_journal(
        run,
        "DELETE FROM records WHERE number = 20",
        "UPDATE records SET number = number - 1 WHERE number > 20",
    )
    line(found(run), "journal.sqlite", "CRC")


@pytest.mark.parametrize(
    "change", ["note = '{}'", "raw = x'00'", "slot = 99", "stage = 'x'", "kind = 'failure'"]
)
def test_a_changed_journal_record_is_found(run: Path, change: str) -> None:
    edit_journal(run, f"UPDATE records SET {change} WHERE number = 30")
    line(found(run), "journal.sqlite", "record 30 is damaged")


def test_a_flipped_byte_in_the_journal_file_is_found(run: Path) -> None:
    path = run / "journal.sqlite"
    content = bytearray(path.read_bytes())
    at = content.index(b'"choices"')
    content[at + 2] ^= 1
    path.write_bytes(content)
    line(found(run), "journal.sqlite", "damaged")


def test_a_truncated_journal_is_found(run: Path) -> None:
    path = run / "journal.sqlite"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    line(found(run), "journal.sqlite")


def test_a_missing_journal_is_found(run: Path) -> None:
    (run / "journal.sqlite").unlink()
    line(found(run), "journal.sqlite", "not there")


def test_changed_usage_is_found(run: Path) -> None:
    edit_json(run / BOOKS, lambda tree: tree["usage"][0].update(output_tokens=1))
    line(found(run), BOOKS, "usage of offline")


def test_a_changed_data_file_is_found(run: Path) -> None:
    path = run / "data/alpaca/train-00000.parquet"
    path.write_bytes(path.read_bytes()[:-9])
    line(found(run), "data/alpaca/train-00000.parquet", "bytes")


def test_an_extra_data_file_is_found(run: Path) -> None:
    shutil.copy(run / "data/alpaca/train-00000.parquet", run / "data/alpaca/train-00001.parquet")
    line(found(run), "data/alpaca/train-00001.parquet", "does not list it")


def test_a_row_on_the_wrong_side_is_found(run: Path) -> None:
    """The files and their checksums agree, and still a child is apart from its root."""
    sides = [run / f"data/alpaca/{side}-00000.parquet" for side in ("train", "validation")]
    train, validation = (pq.read_table(path) for path in sides)
    pq.write_table(train.slice(1), sides[0])
    pq.write_table(pa.concat_tables([validation, train.slice(0, 1)]), sides[1])

    def relist(tree: dict[str, Any]) -> None:
        for entry in tree["data"]:
            path = run / entry["path"]
            entry["bytes"] = path.stat().st_size
            entry["sha256"] = hashlib.sha256(path.read_bytes()).hexdigest()
            entry["rows"] = pq.read_metadata(path).num_rows

    edit_json(run / "run.json", relist)
    text = found(run)
    line(text, "data/alpaca/train-*.parquet")
    line(text, "data/alpaca/validation-*.parquet")
    line(text, "run.json", "digest")


@pytest.mark.parametrize("name", ["inputs/seeds.jsonl", "inputs/bootstrap.md"])
def test_changed_inputs_are_found(run: Path, name: str) -> None:
    with (run / name).open("a") as file:
        file.write("\n")
    line(found(run), name)


def test_findings_cannot_steer_the_terminal(run: Path) -> None:
    (run / "stages/01-bootstrap/kept/\x1b[2J.parquet").write_bytes(b"")
    assert "\x1b" not in found(run)


def test_a_run_made_from_data_is_recounted(tmp_path: Path) -> None:
    rows = [{"instruction": text} for text in ("Name a river.", "  ", "Name a river.")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = make(tmp_path / "run", recipe="dedup", input=str(tmp_path / "rows.jsonl"), settings=())
    assert verify(run).rows == 5
    rewrite(run, "stages/01-import/dropped/part-00000.parquet", lambda table: table.slice(1))
    line(found(run), "stages/01-import", "3 rows were read, 2 kept or dropped")


def test_a_raised_target_leaves_a_whole_run(run: Path) -> None:
    make(run, settings=("bootstrap.target=90", "shard_rows=40"))
    assert open_run(run).kept("bootstrap").height >= 90
    assert verify(run).notes == []


def test_a_run_up_to_a_stage_is_whole_so_far(tmp_path: Path) -> None:
    run = make(tmp_path / "run", until="classify")
    assert verify(run).notes == ["the run is stopped: what is there so far was recounted."]


def test_stages_copied_from_a_run_bring_their_records_along(run: Path, tmp_path: Path) -> None:
    new = make(tmp_path / "new", made_from=str(run), settings=(*SETTINGS, "dedup.ignore_case=true"))
    assert verify(new).notes == []
    edit_journal(new, "DELETE FROM records WHERE number = 5")
    line(found(new), "journal.sqlite", "record 5 is missing")


def test_a_shard_that_is_not_listed_yet_is_no_damage_while_the_run_works(run: Path) -> None:
    def reopen(tree: dict[str, Any]) -> None:
        last = tree["parts"].pop()
        tree.update(complete=False, next_slot=last["first_slot"])
        for name in ("kept", "dropped"):
            tree[name] -= last[name]["rows"]
        tree["candidates"] -= last["candidates"]
        tree["dropped_by_reason"] = {}

    stage = run / "stages/05-dedup/stage.json"
    edit_json(stage, reopen)
    edit_json(run / "run.json", lambda tree: tree.update(status="running"))
    with locked(run):
        assert not any("not listed" in note for note in verify(run).notes)
    assert any("not listed" in note for note in verify(run).notes)


def test_a_run_at_work_and_one_that_was_killed_are_whole_so_far(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "from pipeline.run.execute import execute\n"
        "from pipeline.run.prepare import Options, prepare\n"
        "settings = ['bootstrap.target=400', 'shard_rows=40']\n"
        "options = Options(recipe='self-instruct', out=sys.argv[1], settings=settings)\n"
        "execute(prepare(options), lambda event: None)\n"
    )
    run = tmp_path / "run"
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(run)], env=os.environ | {"PYTHONPATH": str(Path.cwd())}
    )
    try:
        looked = 0
        while process.poll() is None and looked < 5:
            if list(run.glob("stages/*/kept/*.parquet")):
                assert recount(run).findings == []
                looked += 1
            time.sleep(0.05)
        process.send_signal(signal.SIGKILL)
    finally:
        process.kill()
        process.wait()
    assert looked
    assert recount(run).findings == []
    assert not any("running" in note for note in recount(run).notes)
    make(run, settings=("bootstrap.target=400", "shard_rows=40"))
    assert verify(run).notes == []
    assert open_run(run).kept("bootstrap").select(pl.len()).item() >= 400


def _flipped(content: bytes, at: int, rng: random.Random) -> bytes:
    return content[:at] + bytes([content[at] ^ 1 << rng.randrange(8)]) + content[at + 1 :]


def _zeroed(content: bytes, at: int, rng: random.Random) -> bytes:
    size = len(content[at : at + rng.randrange(1, 64)])
    return content[:at] + bytes(size) + content[at + size :]


@pytest.mark.parametrize("damage", [_flipped, _zeroed, lambda content, at, rng: content[:at]],
                         ids=["flipped", "zeroed", "cut"])  # fmt: skip
def test_no_damage_to_a_shard_is_read_as_rows(
    run: Path, damage: Callable[[bytes, int, random.Random], bytes]
) -> None:
    """1,000 of each kind, anywhere in it."""
    path, rng = run / KEPT, random.Random(1)
    content = path.read_bytes()
    found = open_run(run)
    for _ in range(1000):
        spoilt = damage(content, rng.randrange(len(content)), rng)
        if spoilt == content:  # zeros stood there
            continue
        path.write_bytes(spoilt)
        with pytest.raises(DamagedError, match=r"part-00000\.parquet"):
            found.kept(path.parent.parent.name.partition("-")[2])
