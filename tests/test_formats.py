"""Runs of every format are read, recounted, shown and gone on with; newer ones are refused."""

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from pipeline import manifest, open_run, recipe, schema, store
from pipeline.cli import look
from pipeline.errors import RecipeError
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.run.replay import replay
from pipeline.teacher import journal
from pipeline.verify import verify
from tests.run import books

GOLDEN = Path(__file__).parent / "golden" / "formats"
VERSIONS = sorted(path.name for path in GOLDEN.iterdir() if path.is_dir())
SHARD = "stages/01-bootstrap/kept/part-00000.parquet"


@pytest.fixture(params=VERSIONS)
def old(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return Path(shutil.copytree(GOLDEN / request.param, tmp_path / "run"))


def options(run: Path, limit: int) -> Options:
    return Options(
        str(run / "recipe.yaml"),
        out=str(run),
        seeds=str(run / "inputs/seeds.jsonl"),
        settings=[f"prompts={run / 'inputs'}"],
        limit=limit,
    )


def test_every_version_of_the_run_directory_is_kept() -> None:
    assert [f"v{n}" for n in range(1, manifest.FORMAT + 1)] == VERSIONS


def test_an_old_run_is_read_and_recounted(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = books.all_files(old)
    assert verify(old).notes == []
    run = open_run(old)
    assert run.kept().height == run.manifest.kept == 6
    row = run.kept()["row_id"][0]
    assert row in run.why(row).as_text()
    look.status(str(old))
    look.show(str(old), dropped=False, where=None, limit=10, sample=None, full=False, as_json=False)
    assert row in capsys.readouterr().out
    assert books.all_files(old) == before


def test_an_old_run_is_replayed_to_the_same_bytes(old: Path) -> None:
    before = books.data_files(old)
    replay(old, lambda event: None)
    assert books.data_files(old) == before


def test_an_old_run_that_is_finished_stays_as_it_is_and_goes_on_to_a_higher_target(
    old: Path,
) -> None:
    before = books.all_files(old)
    execute(prepare(options(old, 4)), lambda event: None)
    assert books.all_files(old) == before
    asked = books.records(old)
    execute(prepare(options(old, 12)), lambda event: None)
    assert books.records(old)[: len(asked)] == asked
    assert len(books.rows(old, "bootstrap")) >= 12
    verify(old)


def raise_json(name: str) -> Callable[[Path], None]:
    def act(run: Path) -> None:
        tree = json.loads((run / name).read_bytes())
        (run / name).write_text(json.dumps(tree | {"format": 99, "needs": "7.5"}))

    return act


def raise_journal(run: Path) -> None:
    with closing(sqlite3.connect(run / "journal.sqlite")) as database:
        database.execute(f"PRAGMA user_version = {journal.FORMAT + 1}")


def raise_shard(run: Path) -> None:
    table = pq.read_table(run / SHARD)
    newer = {b"synth.schema": str(schema.VERSION + 1).encode()}
    pq.write_table(table.replace_schema_metadata(newer), run / SHARD, write_page_checksum=True)


def raise_recipe(run: Path) -> None:
    text = (run / "recipe.yaml").read_text()
    (run / "recipe.yaml").write_text(text.replace("format: 1", f"format: {recipe.FORMAT + 1}"))


def go_on(run: Path) -> None:
    execute(prepare(options(run, 12)), lambda event: None)


def read_shard(run: Path) -> None:
    store.read_frame([run / SHARD])


@pytest.mark.parametrize(("harm", "act", "needs"), [
    (raise_json("run.json"), open_run, "7.5"),
    (raise_json("run.json"), go_on, "7.5"),
    (raise_json("stages/02-classify/stage.json"), verify, "7.5"),
    (raise_json("stages/02-classify/stage.json"), go_on, "7.5"),
    (raise_journal, verify, "the one that wrote it"),
    (raise_journal, go_on, "the one that wrote it"),
    (raise_shard, read_shard, "the one that wrote it"),
    (raise_shard, go_on, "the one that wrote it"),
    (raise_recipe, go_on, "the one that wrote it"),
], ids=lambda given: getattr(given, "__name__", str(given)))  # fmt: skip
def test_a_newer_format_is_refused_and_says_what_it_needs(
    tmp_path: Path, harm: Callable[[Path], None], act: Callable[[Path], object], needs: str
) -> None:
    run = Path(shutil.copytree(GOLDEN / VERSIONS[-1], tmp_path / "run"))
    harm(run)
    with pytest.raises(RecipeError, match=f"needs synth >= {needs}") as refused:
        act(run)
    assert refused.value.exit_code == 2


def test_a_nullable_column_more_does_not_break_a_reader(old: Path) -> None:
    names = ("row_id", "instruction")
    before = store.read_frame([old / SHARD], names)
    table = pq.read_table(old / SHARD)
    more = table.append_column("mood", [[None] * table.num_rows])
    pq.write_table(more.replace_schema_metadata(table.schema.metadata), old / SHARD)
    assert store.read_frame([old / SHARD], names).equals(before)
