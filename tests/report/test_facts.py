"""The numbers of a report."""

import math
from pathlib import Path

import polars as pl
import pytest

from pipeline import open_run
from pipeline.errors import DamagedError
from pipeline.report import facts
from tests.report.runs import made_run


def rows(n: int, **columns: object) -> list[dict[str, object]]:
    return [{"row_id": f"a-{at}", "instruction": f"Write a poem {at}.", **columns}
            for at in range(n)]  # fmt: skip


def test_what_is_no_finite_number_is_left_out_and_infinite_ones_are_counted(
    tmp_path: Path,
) -> None:
    numbers = [1.5, 2.5, None, math.nan, math.inf, -math.inf]
    kept = [{"row_id": f"a-{at}", "perplexity": n} for at, n in enumerate(numbers)]
    dropped = [{"row_id": "a-9", "perplexity": 4.0, "drop_reason": "high"}]
    run = made_run(tmp_path / "run", {"import": (kept, []), "filter": (kept, dropped)})
    found = facts.of_run(open_run(run)).measured["perplexity"]
    assert found.kept.to_list() == [1.5, 2.5]
    assert found.all.to_list() == [1.5, 2.5, 4.0]
    assert found.not_finite == 2


def test_rows_of_an_outdated_stage_are_not_counted(tmp_path: Path) -> None:
    bad = [{**row, "drop_reason": "bad"} for row in rows(9)[6:]]
    stages = {"import": (rows(9), []), "filter": (rows(6), bad), "dedup": (rows(2), bad[:1])}
    whole = open_run(made_run(tmp_path / "whole", stages))
    assert facts.halves(whole)[-1] == ("dedup", "kept")
    assert (facts.of_run(whole).kept, facts.of_run(whole).rows_dropped) == (2, 4)
    again = open_run(made_run(tmp_path / "again", stages, complete=1, status="stopped"))
    found = facts.of_run(again)
    assert facts.halves(again) == [("import", "dropped"), ("filter", "dropped"), ("filter", "kept")]
    assert (found.kept, found.rows_dropped, found.kept_by) == (6, 3, "filter")
    assert found.outdated == ["dedup"]
    assert [stage.name for stage in found.unfinished] == ["filter", "dedup"]


def test_a_run_whose_process_is_gone_is_cut_off(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"import": (rows(2), [])}, complete=0, status="running")
    assert facts.of_run(open_run(run)).state.startswith("cut off")


def test_a_damaged_shard_is_said(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", {"import": (rows(2), [])})
    (shard,) = run.rglob("kept/*.parquet")
    shard.write_bytes(shard.read_bytes()[:100])
    with pytest.raises(DamagedError, match=r"part-00000\.parquet"):
        facts.of_run(open_run(run))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Don't go - she said, twice!", 5),
        ("“Hello,” it read: $5 (or 5 €).", 7),
        ("请写一首诗，谢谢。", 7),
        ("用 Python 写", 3),
        ("ねこ 고양이 cat", 6),
        ("… —", 0),
        ("", 0),
    ],
)
def test_a_word_is_what_blanks_part_and_a_sign_where_none_do(text: str, words: int) -> None:
    assert pl.Series([text]).str.count_matches(facts.WORD).item() == words
