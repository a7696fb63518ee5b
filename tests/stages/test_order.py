"""The order that training shows rows in: by a measure, or phase by phase."""

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from pipeline import open_run
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.stages import order
from pipeline.stages.order import Config
from tests.run import books


def frame(lengths: list[int], ratings: list[float | None] | None = None) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "row_id": [f"r{at}" for at in range(len(lengths))],
            "instruction": ["x" * n for n in lengths],
            "input": pl.Series([None] * len(lengths), dtype=pl.String),
            "output": [""] * len(lengths),
            "source": ["ab"[n % 2] for n in lengths],
            "rating": pl.Series(ratings or [None] * len(lengths), dtype=pl.Float64),
        }
    )


def places(made: pl.DataFrame, **chosen: object) -> pl.DataFrame:
    found = order.judge(made, Config.model_validate(chosen))
    assert found["reason"].null_count() == made.height
    return made.with_columns(found["curriculum"], found["phase"]).sort("curriculum")


def test_short_rows_come_first_and_with_descending_last() -> None:
    made = frame([5, 1, 3])
    assert places(made)["row_id"].to_list() == ["r1", "r2", "r0"]
    assert places(made, descending=True)["row_id"].to_list() == ["r0", "r2", "r1"]


def test_a_column_orders_and_a_row_without_it_comes_last() -> None:
    made = frame([1, 1, 1], [4.5, None, 2.0])
    assert places(made, by="rating")["row_id"].to_list() == ["r2", "r0", "r1"]
    assert places(made, by="rating", descending=True)["row_id"].to_list() == ["r0", "r2", "r1"]
    assert order.reads(Config(by="rating")) == ("row_id", "rating")


def test_all_turns_of_a_conversation_are_its_length() -> None:
    turns = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y" * 9}]
    made = frame([3, 1]).with_columns(
        output=pl.Series(["", "y" * 9]), messages=pl.Series([None, [*turns, *turns]])
    )
    assert places(made, by="output_length")["curriculum"].to_list() == [0, 1]
    assert places(made)["row_id"].to_list() == ["r0", "r1"]
    assert order._measure(made, "length").to_list() == [3, 1 + 1 + 1 + 19]


def test_phases_take_rows_by_value_bound_and_share_and_the_rest_is_last() -> None:
    made = frame([1, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    chosen = [{"where": {"source": ["a"]}, "share": 0.2}, {"at_most": 4}, {"share": 0.1}]
    found = places(made, phases=chosen)
    assert found.select("instruction", "phase").with_columns(
        pl.col("instruction").str.len_chars()
    ).rows() == [(2, 0), (4, 0), (1, 1), (3, 1), (5, 2), (6, 3), (7, 3), (8, 3), (9, 3), (10, 3)]
    assert order.reads(Config(phases=chosen))[-1] == "source"  # type: ignore[arg-type]
    config = Config.model_validate({"phases": chosen})
    assert order.measure(found, config) == {"rows_by": {"phase": {"0": 2, "1": 2, "2": 1, "3": 5}}}


@pytest.mark.parametrize(("bound", "phases"), [(3, [0, 0]), (2, [0, 1])])
def test_a_bound_takes_what_is_just_on_it(bound: int, phases: list[int]) -> None:
    assert places(frame([2, 3]), phases=[{"at_most": bound}])["phase"].to_list() == phases


@given(lengths=st.lists(st.integers(0, 6), min_size=1, max_size=12), share=st.floats(0.01, 1))
def test_within_a_phase_the_measure_never_falls(lengths: list[int], share: float) -> None:
    found = places(frame(lengths), phases=[{"where": {"source": ["b"]}}, {"share": share}])
    assert found["curriculum"].to_list() == list(range(len(lengths)))
    assert found["phase"].is_sorted()
    for _, part in found.group_by("phase"):
        assert part.sort("curriculum")["instruction"].str.len_chars().is_sorted()


def test_a_random_order_has_no_bounds() -> None:
    assert sorted(places(frame([1, 2, 3]), by="random")["curriculum"]) == [0, 1, 2]
    with pytest.raises(ValidationError, match="'random' is none"):
        Config.model_validate({"by": "random", "phases": [{"at_most": 1}]})


def test_without_a_measure_no_row_has_a_place() -> None:
    assert places(frame([1, 2]), by=None)["curriculum"].to_list() == [None, None]
    assert order.reads(Config(by=None)) == ("row_id",)


def test_places_are_the_same_for_any_shards_and_go_into_the_data(tmp_path: Path) -> None:
    source = tmp_path / "rows.parquet"
    frame([3, 1, 2, 2, 5] * 9).select("instruction", output="instruction").write_parquet(source)
    found = []
    for size in (4, 100):
        out = tmp_path / f"run-{size}"
        named = [f"shard_rows={size}", "dedup.near=false", "order.by=output_length"]
        named += ["clean.repetition=false", "clean.copied=false", "filter.filters={outputs: {}}"]
        execute(prepare(Options("curate", str(out), str(source), settings=named)), print)
        books.check(out)
        found.append(open_run(out).kept("order"))
    assert found[0].equals(found[1])
    data = pl.read_parquet(tmp_path / "run-4/data/alpaca/*.parquet")
    assert data.sort("curriculum")["output"].str.len_chars().is_sorted()


def test_parts_give_what_the_whole_gives(tmp_path: Path) -> None:
    made = frame([5, 1, 3, 3, 2, 9, 4])
    phases = [{"where": {"source": ["a"]}, "share": 0.3}, {"at_most": 4}]
    config = Config.model_validate({"phases": phases})
    parts = order.judge_parts(lambda: made.iter_slices(2), config, tmp_path)
    assert parts.equals(order.judge(made, config))
