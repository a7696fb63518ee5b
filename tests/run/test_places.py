"""Paths of a recipe: where they begin, and runs that go on when what they name has gone."""

import json
import shutil
from pathlib import Path

import pytest

from pipeline.errors import InputError, RecipeError
from pipeline.package_data import PROMPTS, SEEDS
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.run.replay import replay
from tests.conftest import RunSynth, ignore
from tests.run import books
from tests.teacher_server.process import Server

OWN = """
name: own
prompts: mine
seeds: tasks.jsonl
stages:
  - {stage: bootstrap, target: 12, window: 8}
  - stage: classify
"""


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file `rows.csv` in the working folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    lines = "".join(f"Name river {n} of Asia.,{n * n}\n" for n in range(30))
    (here / "rows.csv").write_text("instruction,output\n" + lines)
    return here / "rows.csv"


def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = tmp_path / "elsewhere"
    there.mkdir()
    monkeypatch.chdir(there)


def test_a_run_of_a_relative_input_is_replayed_from_anywhere_without_it(
    rows: Path, run_synth: RunSynth, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_synth(Path("run"), recipe="dedup", input="rows.csv")
    run = rows.parent / "run"
    before = books.data_files(run)
    elsewhere(tmp_path, monkeypatch)
    replay(run, ignore)
    assert books.data_files(run) == before
    rows.rename(tmp_path / "moved.csv")
    replay(run, ignore)
    assert books.data_files(run) == before
    assert json.loads((run / "run.json").read_text())["input"]["path"] == str(rows)
    state = replay(run, ignore, out=tmp_path / "new", settings=["dedup.near=false"])
    assert (state.status, state.kept) == ("finished", 30)
    books.check(tmp_path / "new")
    with pytest.raises(InputError, match=r"rows\.csv: there is no such run or file"):
        replay(run, ignore, out=tmp_path / "other", settings=["import.row_bytes=5000"])
    with pytest.raises(InputError, match="import has to read it again: put it back"):
        replay(run, ignore, out=tmp_path / "other", settings=["shard_rows=7"])


def test_a_run_goes_on_without_its_input_once_that_is_taken_in(
    rows: Path, run_synth: RunSynth, server: Server
) -> None:
    given = {"recipe": "respond", "input": "rows.csv"}
    given["teacher"] = f"openai:test-model@{server.url}"
    settings = ("respond.steps=false", "import.rows=8")
    run_synth(Path("run"), *settings, until="import", **given)
    run_synth(Path("whole"), *settings, **given)
    rows.unlink()
    state = run_synth(Path("run"), *settings, **given)
    assert state.status == "finished"
    assert books.data_files(Path("run")) == books.data_files(Path("whole"))
    with pytest.raises(InputError, match=r"rows\.csv: there is no such run or file"):
        run_synth(Path("run"), "respond.steps=false", "import.rows=9", **given)
    with pytest.raises(InputError, match=r"rows\.csv: there is no such run or file"):
        run_synth(Path("fresh"), *settings, **given)


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """A recipe with templates and seeds beside it, named as from its folder."""
    (tmp_path / "own" / "mine").mkdir(parents=True)
    (tmp_path / "own" / "own.yaml").write_text(OWN)
    text = (PROMPTS / "classify.md").read_text().replace("version: 1", "version: 7")
    (tmp_path / "own" / "mine" / "classify.md").write_text(text)
    shutil.copy(SEEDS / "en.jsonl", tmp_path / "own" / "tasks.jsonl")
    return tmp_path / "own" / "own.yaml"


def test_paths_of_a_recipe_begin_in_its_folder_and_a_run_keeps_what_they_name(
    own: Path, run_synth: RunSynth, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(tmp_path, monkeypatch)
    teacher = f"openai:test-model@{server.url}"
    run = tmp_path / "run"
    run_synth(run, recipe=str(own), teacher=teacher)
    assert {row["requests"][-1]["template"] for row in books.rows(run, "classify")} == {
        "classify@7"
    }
    sent = server.counts()["requests"]
    shutil.rmtree(own.parent)
    for out in (run, tmp_path / "again"):
        made_from = None if out == run else str(run)
        run_synth(out, recipe=str(run / "recipe.yaml"), made_from=made_from, teacher=teacher)
        assert books.data_files(out) == books.data_files(run)
    assert server.counts()["requests"] <= sent + 1  # it was asked for its models
    fresh = prepare(Options(str(run / "recipe.yaml"), out=str(tmp_path / "fresh")), {})
    assert fresh.templates["classify"].version == 7
    assert fresh.seeds is not None
    assert fresh.seeds.path.name == "tasks.jsonl"


def test_what_is_nowhere_is_refused_with_the_places_that_were_looked_at(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere(tmp_path, monkeypatch)
    shutil.rmtree(own.parent / "mine")
    (own.parent / "tasks.jsonl").unlink()
    with pytest.raises(RecipeError) as caught:
        prepare(Options(str(own)), {})
    places = f"(looked for in {own.parent} and {tmp_path / 'elsewhere'})"
    assert f"prompts: mine {places} is not a folder." in str(caught.value)
    assert f"the seed tasks tasks.jsonl {places} cannot be read" in str(caught.value)
    own.write_text("name: own\nstages:\n  - {stage: import, path: a.csv}\n  - stage: dedup\n")
    with pytest.raises(InputError) as missing:
        prepare(Options(str(own)), {})
    assert f"--input a.csv {places}: there is no such run or file." in str(missing.value)


def test_the_working_folder_comes_after_the_folder_of_the_recipe(
    own: Path, rows: Path, tmp_path: Path
) -> None:
    own.write_text("name: own\nstages:\n  - {stage: import, path: rows.csv}\n  - stage: dedup\n")
    prepared = prepare(Options(str(own), out=str(tmp_path / "run")), {})
    assert prepared.source is not None
    assert prepared.source.path == rows
    shutil.copy(rows, own.parent / "rows.csv")
    prepared = prepare(Options(str(own), out=str(tmp_path / "run")), {})
    assert prepared.source is not None
    assert prepared.source.path == own.parent / "rows.csv"
    execute(prepared, ignore)
    assert f"path: {own.parent / 'rows.csv'}" in (tmp_path / "run" / "recipe.yaml").read_text()


def test_a_recipe_of_ones_own_takes_the_rows_of_the_run_that_it_is_made_from(
    rows: Path, run_synth: RunSynth, tmp_path: Path
) -> None:
    Path("own.yaml").write_text("name: own\nstages: [{stage: import}, {stage: dedup}]\n")
    run_synth(tmp_path / "old", recipe="own.yaml", input="rows.csv")
    given = {"recipe": "own.yaml", "made_from": str(tmp_path / "old")}
    assert run_synth(tmp_path / "new", "dedup.near=false", **given).kept == 30
    assert run_synth(tmp_path / "few", limit=10, **given).kept == 10
    run_synth(tmp_path / "seeded", recipe="self-instruct", limit=5)
    with pytest.raises(InputError, match=r"starts from data: name it with --input"):
        run_synth(tmp_path / "none", recipe="own.yaml", made_from=str(tmp_path / "seeded"))
