"""One file of a run's kept rows."""

import csv
import json
import os
import shutil
from pathlib import Path

import polars as pl
import pytest

from pipeline import open_run
from pipeline.errors import DamagedError, InputError, RecipeError, StorageError
from pipeline.run.execute import execute
from pipeline.run.export_file import cell, write
from pipeline.run.prepare import Options, prepare


def evil_run(tmp_path: Path, instructions: list[str]) -> Path:
    lines = [json.dumps({"instruction": text, "input": "", "output": "x"}) for text in instructions]
    (tmp_path / "rows.jsonl").write_text("\n".join(lines) + "\n")
    options = Options(recipe="dedup", out=str(tmp_path / "run"), input=str(tmp_path / "rows.jsonl"))
    execute(prepare(options), lambda event: None)
    return tmp_path / "run"


def test_parquet_holds_the_kept_rows_of_the_last_stage(small_run: Path, tmp_path: Path) -> None:
    path = write(small_run, "parquet", tmp_path / "all.parquet")
    assert pl.read_parquet(path).equals(open_run(small_run).kept())


def test_jsonl_holds_one_object_a_line_equal_to_the_rows(small_run: Path, tmp_path: Path) -> None:
    path = write(small_run, "jsonl", tmp_path / "all.jsonl")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert rows == open_run(small_run).kept().to_dicts()


def test_csv_holds_every_row_with_lists_as_json(small_run: Path, tmp_path: Path) -> None:
    path = write(small_run, "csv", tmp_path / "all.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    kept = open_run(small_run).kept()
    assert [row["row_id"] for row in rows] == kept["row_id"].to_list()
    assert json.loads(rows[0]["shown"]) == kept["shown"][0].to_list()
    assert json.loads(rows[0]["requests"]) == kept["requests"][0].to_list()
    assert rows[0]["is_classification"] in ("true", "false")


def test_without_a_path_the_file_lies_in_the_run(small_run: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(small_run, tmp_path / "run"))
    assert write(copy, "jsonl") == copy / "export.jsonl"
    assert (copy / "export.jsonl").is_file()


def test_another_stage_can_be_named(small_run: Path, tmp_path: Path) -> None:
    path = write(small_run, "parquet", tmp_path / "drafts.parquet", "bootstrap")
    assert pl.read_parquet(path).equals(open_run(small_run).kept("bootstrap"))


@pytest.mark.parametrize("text", ["", "a=1", "'=1", "1-1", "，", " a", "\ufeffa", "007", "12" * 20])
def test_other_text_stays_as_it_is(text: str) -> None:
    assert cell(text) == text


def test_formulas_from_data_are_neutralised_in_the_file(tmp_path: Path) -> None:
    evil = '=cmd|" /C calc"!A0'
    path = write(evil_run(tmp_path, [evil, "Name a river."]), "csv", tmp_path / "all.csv")
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["instruction"] for row in rows] == [f"'{evil}", "Name a river."]


def test_separators_that_split_lines_are_escaped_in_jsonl(tmp_path: Path) -> None:
    text = "one\u2028two\x85three\u2029four"
    path = write(evil_run(tmp_path, [text]), "jsonl", tmp_path / "all.jsonl")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert len(lines) == 1
    assert json.loads(lines[0])["instruction"] == text


def test_an_unknown_format_is_refused_with_those_there_are(small_run: Path) -> None:
    with pytest.raises(RecipeError, match="parquet, jsonl, csv"):
        write(small_run, "xlsx")


def test_an_unknown_stage_is_refused(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="rate"):
        write(small_run, "csv", tmp_path / "x.csv", "rate")


def test_a_folder_is_no_file(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="is a folder"):
        write(small_run, "csv", tmp_path)


def test_a_place_that_is_not_there_is_a_storage_error(small_run: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be written"):
        write(small_run, "csv", tmp_path / "no" / "x.csv")


@pytest.mark.parametrize("form", ["parquet", "jsonl", "csv"])
def test_a_damaged_shard_leaves_the_old_file_and_nothing_beside_it(
    small_run: Path, tmp_path: Path, form: str
) -> None:
    copy = Path(shutil.copytree(small_run, tmp_path / "run"))
    target = tmp_path / "out" / "all"
    target.parent.mkdir()
    target.write_text("old")
    shards = sorted((copy / "stages/05-dedup/kept").iterdir())
    shards[-1].write_bytes(shards[-1].read_bytes()[:-100])
    with pytest.raises(DamagedError, match=shards[-1].name):
        write(copy, form, target)
    assert target.read_text() == "old"
    assert os.listdir(target.parent) == ["all"]  # noqa: PTH208 - hidden files too
