"""The decontaminate stage: its file is checked first, its verdicts name the item."""

import hashlib
from pathlib import Path

import polars as pl
import pytest

from pipeline.errors import RecipeError
from pipeline.inspect import open_run
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.run.purge import purge

PROMPT = "Which river flows through the old town where the clockmaker kept his geese?"


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    texts = [f"Please answer: {PROMPT.lower()} Be brief.", "Name a river that has no geese."]
    pl.DataFrame({"instruction": texts}).write_parquet(tmp_path / "rows.parquet")
    return tmp_path / "rows.parquet"


def _options(rows: Path, *settings: str) -> Options:
    return Options(
        "decontaminate", out=str(rows.parent / "run"), input=str(rows), settings=settings
    )


def test_a_row_that_holds_a_prompt_is_dropped_and_names_it(rows: Path) -> None:
    path = rows.parent / "benchmark.parquet"
    pl.DataFrame({"benchmark": ["geese"], "text": [PROMPT]}).write_parquet(path)
    pl.DataFrame({"instruction": ["a"], "input": [""], "output": [""]})
    frame = pl.read_parquet(rows).with_columns(input=pl.lit(""), output=pl.lit("The Aare."))
    frame.write_parquet(rows)
    execute(prepare(_options(rows, f"decontaminate.benchmarks={path}")), lambda event: None)
    run = open_run(rows.parent / "run")
    (dropped,) = run.dropped("decontaminate").to_dicts()
    assert (dropped["row_id"], dropped["drop_ref"]) == ("import-000000-00", "geese:0")
    assert "the old town" in dropped["drop_detail"]
    assert run.kept("decontaminate")["row_id"].to_list() == ["import-000001-00"]


def test_without_prompts_nothing_begins(rows: Path) -> None:
    with pytest.raises(RecipeError, match=r"--set decontaminate\.benchmarks=FILE"):
        prepare(_options(rows))


@pytest.mark.parametrize("content", [None, b"not parquet"])
def test_a_file_that_cannot_be_read_is_refused_first(rows: Path, content: bytes | None) -> None:
    path = rows.parent / "benchmark.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecipeError, match="benchmark"):
        prepare(_options(rows, f"decontaminate.benchmarks={path}"))


def test_other_prompts_are_another_run(rows: Path) -> None:
    path = rows.parent / "benchmark.jsonl"
    path.write_text('{"benchmark": "b", "text": "one two three four five six"}\n')
    options = _options(rows, f"decontaminate.benchmarks={path}")
    execute(prepare(options), lambda event: None)
    path.write_text('{"benchmark": "b", "text": "six five four three two one"}\n')
    with pytest.raises(RecipeError, match=r"decontaminate\.file"):
        prepare(options)


def test_the_curate_recipe_runs_with_and_without_prompts(rows: Path) -> None:
    frame = pl.read_parquet(rows).with_columns(input=pl.lit(""), output=pl.lit("The Aare."))
    frame.write_parquet(rows)
    path = rows.parent / "benchmark.parquet"
    pl.DataFrame({"benchmark": ["geese"], "text": [PROMPT]}).write_parquet(path)
    for number, settings in enumerate(([], [f"decontaminate.benchmarks={path}"])):
        out = rows.parent / f"run-{number}"
        options = Options("curate", out=str(out), input=str(rows), settings=settings)
        execute(prepare(options), lambda event: None)
        run = open_run(out)
        names = ["import", "filter", "clean", "dedup", "decontaminate", "tag", "format", "export"]
        assert list(run.stages) == names
        assert run.kept("decontaminate").height == 2 - number
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    without, with_prompts = (
        (rows.parent / f"run-{number}/data/README.md").read_text("utf-8") for number in (0, 1)
    )
    assert "\n* `decontaminate` looked for nothing: no benchmark prompts were named.\n" in without
    said = (
        f"prompts of benchmarks in `benchmark.parquet` (SHA-256 `{digest}`), 1 in all: `geese` 1."
    )
    assert f"\n* `decontaminate` looked for the {said}\n" in with_prompts
    path.unlink()
    purge(rows.parent / "run-1", row=str(open_run(rows.parent / "run-1").kept()["row_id"][0]))
    card = (rows.parent / "run-1/data/README.md").read_text("utf-8")
    assert f"in `benchmark.parquet` (SHA-256 `{digest}`).\n" in card


def test_the_card_of_a_recipe_without_the_stage_says_so(small_run: Path) -> None:
    card = (small_run / "data/README.md").read_text("utf-8")
    assert "\n* No benchmark prompts were looked for: the recipe has no `decontaminate`.\n" in card
