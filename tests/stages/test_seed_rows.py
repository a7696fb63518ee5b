"""Seed tasks as rows."""

from pipeline.run.seed_source import seed_source
from pipeline.seed_tasks import load
from pipeline.stages.seed_rows import STAGE


def test_a_seed_task_is_a_row_with_its_first_instance() -> None:
    seeds = load("builtin")
    rows = list(seed_source(seeds, None).rows())
    assert len(rows) == len(seeds.tasks)
    first = rows[0]
    assert isinstance(first, dict)
    assert set(first) == set(STAGE.writes)
    assert first["row_id"] == first["root_id"] == "seed-tasks-000000-00"
    assert (first["origin"], first["source"]) == ("seed", "en.jsonl")
    assert first["instruction"] == seeds.tasks[0].instruction
    assert (first["input"], first["output"]) == seeds.tasks[0].instances[0]


def test_a_limit_reads_the_first_tasks() -> None:
    source = seed_source(load("builtin"), 3)
    assert len(list(source.rows())) == 3
    assert source.writers() == {"en.jsonl"}
