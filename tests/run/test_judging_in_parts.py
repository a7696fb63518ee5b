"""Rows that are judged in parts, with files between, get the verdicts of rows in memory."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.inspect import open_run
from pipeline.run import judging
from pipeline.run.execute import execute
from pipeline.run.guard import Guard
from pipeline.run.prepare import Options, prepare
from pipeline.stage import FilterStage, StageConfig
from pipeline.stages import decontaminate, dedup
from pipeline.stages import filter as filter_stage

REAL = Path(os.environ.get("SYNTH_REFERENCE_DIR", "nowhere")) / "data/instructions_real.parquet"
PROMPTS = REAL.with_name("benchmark_prompts.parquet")


def edited_rows(n: int) -> pl.DataFrame:
    """Rows among which are copies, near copies, and tasks of several instances."""
    rng = random.Random(0)
    vocabulary = [f"word{number}" for number in range(300)]
    originals = [rng.choices(vocabulary, k=rng.randrange(3, 40)) for _ in range(n // 4)]
    texts = []
    for _ in range(n):
        words = list(rng.choice(originals))
        if rng.random() < 0.5:
            words[rng.randrange(len(words))] = rng.choice(vocabulary)
        texts.append(" ".join(words))
    return pl.DataFrame(
        {
            "row_id": [f"row-{number}" for number in range(n)],
            "root_id": [rng.choice([None, f"root-{text[:6]}"]) for text in texts],
            "instruction": texts,
            "input": [rng.choice([None, "", text[:9]]) for text in texts],
            "output": [rng.choice(["", "yes", "no", " ", None]) for _ in texts],
            "rating": [rng.choice([None, 1.0, 2.0]) for _ in texts],
        }
    )


STRINGS = dict.fromkeys(("reason", "detail", "ref"), pl.String)
ROWS = edited_rows(400)


def in_parts(
    stage: FilterStage, config: StageConfig, rows: pl.DataFrame, size: int, scratch: Path
) -> pl.DataFrame:
    """The verdicts for parts of so many rows."""
    assert stage.judge_parts is not None
    return stage.judge_parts(lambda: rows.iter_slices(size), config, scratch)


@pytest.mark.parametrize("columns", [ROWS.columns, ROWS.drop("rating").columns])
@pytest.mark.parametrize(
    "given",
    [{}, {"near": False}, {"ignore_case": True, "threshold": 0.6, "columns": ["instruction"]}],
)
@pytest.mark.parametrize("size", [1, 37, 400])
def test_parts_are_deduplicated_as_the_whole(
    columns: list[str], given: dict[str, object], size: int, tmp_path: Path
) -> None:
    config, rows = dedup.Config.model_validate(given), ROWS.select(columns)
    whole = dedup.judge(rows, config)
    assert 20 < whole["reason"].count() < 380
    assert in_parts(dedup.STAGE, config, rows, size, tmp_path).equals(whole)


@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(
    size=st.integers(1, 60),
    names=st.permutations(["word_count", "outputs", "instances"]),
    first=st.integers(0, 300),
)
def test_parts_are_filtered_as_the_whole(
    size: int, names: list[str], first: int, tmp_path: Path
) -> None:
    config = filter_stage.Config(filters={name: {} for name in names})
    rows = ROWS.slice(first, 100)
    whole = filter_stage.judge(rows, config)
    assert in_parts(filter_stage.STAGE, config, rows, size, tmp_path).equals(whole)


def test_among_the_filtered_rows_some_contradict_a_row_of_another_part(tmp_path: Path) -> None:
    config = filter_stage.Config(filters={"instances": {}})
    found = in_parts(filter_stage.STAGE, config, ROWS, 10, tmp_path)
    assert found["reason"].count() > 5
    assert found.equals(filter_stage.judge(ROWS, config))


@pytest.mark.skipif(not REAL.is_file(), reason="SYNTH_REFERENCE_DIR names no folder with data/")
@pytest.mark.parametrize(
    ("stage", "given"),
    [
        (filter_stage.STAGE, {}),
        (dedup.STAGE, {}),
        (decontaminate.STAGE, {"benchmarks": str(PROMPTS), "ngram": 8}),
    ],
)
def test_real_rows_in_parts_are_judged_as_the_whole(
    stage: FilterStage, given: dict[str, object], tmp_path: Path
) -> None:
    rows = pl.read_parquet(REAL).head(20_000)
    ids = pl.int_range(rows.height, eager=True).cast(pl.String)
    rows = rows.with_columns(row_id=ids, root_id=ids)
    config = stage.config.model_validate(given)
    whole = stage.judge(rows, config).select("reason", "detail", "ref")
    assert whole["reason"].count() > 10
    found = in_parts(stage, config, rows, 7_000, tmp_path).select("reason", "detail", "ref")
    assert found.equals(whole)


def run_curate(folder: Path, rows: Path) -> Path:
    """Curate the rows into shards of 30."""
    prompts = folder / "prompts.parquet"
    pl.DataFrame({"benchmark": ["geese"], "text": [ROWS["instruction"][3]]}).write_parquet(prompts)
    given = ["shard_rows=30", f"decontaminate.benchmarks={prompts}"]
    run = folder / "run"
    execute(prepare(Options("curate", out=str(run), input=str(rows), settings=given)), print)
    return run


def test_a_large_run_makes_the_files_of_a_small_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = tmp_path / "rows.parquet"
    texts = ROWS.select("instruction", "input").with_columns(output=pl.lit("Yes, it is so."))
    texts.write_parquet(rows)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = run_curate(tmp_path / "whole", rows)
    monkeypatch.setattr(judging, "LARGE", 0)
    monkeypatch.setattr(Guard, "judge", None)  # nothing is judged whole
    parts = run_curate(tmp_path / "parts", rows)
    files = [path.relative_to(whole) for path in sorted(whole.glob("stages/*/*/*.parquet"))]
    assert len(files) > 60
    assert all((whole / path).read_bytes() == (parts / path).read_bytes() for path in files)
    assert list((parts / ".staging").iterdir()) == []


def test_a_row_that_parts_fail_on_is_found_in_the_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(frame: pl.DataFrame) -> pl.DataFrame:
        if frame["instruction"].str.contains("poison").any():
            raise KeyError("poison")
        return pl.DataFrame({name: [None] * frame.height for name in STRINGS}, schema=STRINGS)

    def judge(frame: pl.DataFrame, config: StageConfig) -> pl.DataFrame:
        return poisoned(frame)

    def judge_parts(parts: object, config: StageConfig, scratch: Path) -> pl.DataFrame:
        assert callable(parts)
        return pl.concat(map(poisoned, parts()))

    for name, value in (("judge", judge), ("judge_parts", judge_parts)):
        monkeypatch.setitem(dedup.STAGE.__dict__, name, value)
    monkeypatch.setattr(judging, "LARGE", 0)
    texts = [f"Task {number} {'poison' * (number == 7)}" for number in range(300)]
    rows = tmp_path / "rows.parquet"
    pl.DataFrame({"instruction": texts, "output": "yes"}).write_parquet(rows)
    given = Options("dedup", out=str(tmp_path / "run"), input=str(rows), settings=["shard_rows=40"])
    execute(prepare(given), print)
    dropped = open_run(tmp_path / "run").dropped("dedup")
    assert dropped.select("row_id", "drop_reason").rows() == [("import-000007-00", "error_filter")]


def test_a_full_disk_is_no_fault_of_a_row() -> None:
    def full() -> Iterator[pl.DataFrame]:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        Guard("dedup").judge_parts(lambda: pl.concat(full()))
    assert Guard("dedup").judge_parts(lambda: pl.concat([])) is None  # which raises ValueError


def test_a_row_that_speaks_of_want_of_memory_is_still_a_row_at_fault() -> None:
    def quoting() -> pl.DataFrame:
        raise ValueError("no task: 'mmap failed: Cannot allocate memory'")

    def lacking() -> pl.DataFrame:
        raise RuntimeError("can't start new thread")

    assert Guard("dedup").judge_parts(quoting) is None
    with pytest.raises(RuntimeError, match="new thread"):
        Guard("dedup").judge_parts(lacking)
