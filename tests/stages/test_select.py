"""The stage that selects: what it compares, its strata, in parts as in the whole."""

import os
from pathlib import Path

import polars as pl
import pytest

from filters.diverse import MinHashes
from filters.diverse.greedy import choose
from filters.shingles import row_texts
from pipeline import open_run
from pipeline.errors import InputError, RecipeError
from pipeline.run.events import Event, Message
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.stages import select
from pipeline.stages.select import Config
from tests.run import books

PLACES = ["river", "stone", "cloud", "lamp", "bread"]


def frame(rows: int) -> pl.DataFrame:
    texts = [f"Tell of the {PLACES[at % 5]} number {at // 3}." for at in range(rows)]
    return pl.DataFrame(
        {
            "row_id": [f"r{at:03d}" for at in range(rows)],
            "instruction": texts,
            "input": pl.Series([None] * rows, dtype=pl.String),
            "output": [f"It is {text}" for text in texts],
            "source": [PLACES[at % 2] for at in range(rows)],
            "rating": [None if at % 7 == 0 else at % 5 / 1.0 for at in range(rows)],
        }
    )


def kept(made: pl.DataFrame, **chosen: object) -> list[str]:
    found = select.judge(made, Config.model_validate(chosen))
    assert found.height == made.height
    return made.filter(found["reason"].is_null())["row_id"].to_list()


def test_without_a_count_every_row_is_kept() -> None:
    assert len(kept(frame(9))) == 9
    assert select.reads(Config()) == ("row_id",)


def test_a_count_is_kept_whatever_the_parts(tmp_path: Path) -> None:
    made = frame(60)
    config = Config(count=20, strata=("source", "rating"))
    whole = select.judge(made, config)
    parts = select.judge_parts(lambda: made.iter_slices(7), config, tmp_path)
    assert whole.equals(parts)
    assert whole["reason"].null_count() == 20


def test_rows_with_vectors_are_compared_by_them_unless_it_is_said_otherwise() -> None:
    vectors = pl.Series([[1.0, 0.0]] * 8 + [[0.0, 1.0]], dtype=pl.List(pl.Float32))
    made = frame(9).with_columns(embedding=vectors)
    assert "r008" in kept(made, count=2)
    by_words = select.judge(made, Config(count=2, by="signatures"))
    assert by_words["detail"].drop_nulls()[0].startswith("Jaccard")
    assert select.reads(Config(count=2, by="vectors")) == ("row_id", "embedding")


def test_vectors_of_two_lengths_are_refused() -> None:
    vectors = pl.Series([[1.0, 0.0], [1.0]], dtype=pl.List(pl.Float32))
    with pytest.raises(InputError, match=r"1, 2 numbers.*select\.by=signatures"):
        kept(frame(2).with_columns(embedding=vectors), count=1)


def test_numbers_are_parted_into_bins_and_unknown_ones_are_a_stratum() -> None:
    made = frame(70)
    found = select.judge(made, Config(count=10, strata=("rating",), bins=2, shares="equal"))
    rows = made.filter(found["reason"].is_null())
    assert rows["rating"].null_count() in (3, 4)
    said = found["detail"].drop_nulls().str.extract("of (rating .*)$").unique().sort().to_list()
    assert said == ["rating 0.0 to 1.0", "rating 2.0 to 4.0", "rating unknown"]


def test_every_turn_of_a_conversation_is_compared() -> None:
    turns = [{"role": "user", "content": "Hello."}, {"role": "assistant", "content": "Hello."}]
    more = [{"role": "user", "content": "Why do rivers bend?"},
            {"role": "assistant", "content": "Water wears the outer bank away."}]  # fmt: skip
    made = frame(3).with_columns(
        instruction=pl.lit("Hello."),
        output=pl.lit("Hello."),
        messages=pl.Series([turns, turns, turns + more]),
    )
    assert "r002" in kept(made, count=2)


@pytest.mark.parametrize(
    "chosen",
    [{"count": 0}, {"method": "best"}, {"strata": ["instruction"]}, {"columns": []}, {"by": "x"},
     {"strata": ["source", "source"]}, {"columns": ["output", "output"]}],
)  # fmt: skip
def test_a_wrong_setting_is_refused_before_anything_runs(
    chosen: dict[str, object], tmp_path: Path
) -> None:
    rows = tmp_path / "rows.parquet"
    frame(3).write_parquet(rows)
    named = [f"select.{name}={value}" for name, value in chosen.items()]
    with pytest.raises(RecipeError, match="select"):
        prepare(Options("select", out=str(tmp_path / "run"), input=str(rows), settings=named))
    assert not (tmp_path / "run").exists()


def test_a_stratum_that_no_row_has_is_refused_by_name(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    frame(3).write_parquet(rows)
    named = ["select.count=2", "select.strata=[domain]"]
    with pytest.raises(RecipeError, match=r"'domain', .* Put 'tag' or 'teacher-tag' before it"):
        prepare(Options("select", out=str(tmp_path / "run"), input=str(rows), settings=named))


def test_a_run_selects_the_same_rows_for_any_shards_and_its_books_balance(tmp_path: Path) -> None:
    rows = tmp_path / "rows.parquet"
    frame(90).write_parquet(rows)
    found = []
    for size in (90, 11):
        out = tmp_path / f"run-{size}"
        named = ["select.count=30", f"shard_rows={size}", "select.strata=[source]"]
        execute(prepare(Options("select", out=str(out), input=str(rows), settings=named)), print)
        books.check(out)
        run = open_run(out)
        assert run.dropped("select")["drop_reason"].unique().to_list() == ["not_selected"]
        found.append(run.kept("select"))
    assert found[0].equals(found[1])
    assert found[0].height == 30


@pytest.mark.parametrize(("count", "is_told"), [(11, False), (12, True), (50, True)])
def test_a_count_that_no_more_rows_come_than_is_told(
    tmp_path: Path, count: int, is_told: bool
) -> None:
    frame(12).write_parquet(tmp_path / "rows.parquet")
    told: list[Event] = []
    named = (f"select.count={count}",)
    rows, out = str(tmp_path / "rows.parquet"), str(tmp_path / "run")
    for _ in range(2):  # once, not again with the same command
        execute(prepare(Options("select", out=out, input=rows, settings=named)), told.append)
    said = f"select: all 12 rows are kept: no more came than the count of {count}."
    assert [event.text for event in told if isinstance(event, Message)].count(said) == is_told


def test_real_rows_are_covered_better_than_by_chance() -> None:
    folder = os.environ.get("SYNTH_REFERENCE_DIR")
    if folder is None or not (Path(folder) / "data/instructions_real.parquet").is_file():
        pytest.skip("SYNTH_REFERENCE_DIR names no folder with the real rows")
    rows = pl.read_parquet(
        Path(folder) / "data/instructions_real.parquet", columns=list(select.TEXTS), n_rows=6_000
    )
    alike = MinHashes.of(row_texts(rows), ngram=1)
    ids = [str(at) for at in range(rows.height)]
    means = {
        method: 1 - choose(alike, ids, 400, method=method, seed=0).similarity.mean()
        for method in ("facility_location", "random", "k_center")
    }
    assert means["facility_location"] < 0.95 * means["random"]
    assert means["k_center"] > means["random"]  # it takes outliers: why it is not the default
