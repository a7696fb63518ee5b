"""Several data sets as one, and the shares that each has of it."""

import json
import shutil
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import pytest

from pipeline import open_run
from pipeline.errors import InputError, RecipeError
from pipeline.run.execute import execute
from pipeline.run.options import named_sets
from pipeline.run.prepare import Options, prepare
from pipeline.stages import mix
from pipeline.stages.mix import Config
from pipeline.verify import verify
from tests.run import books


def rows(n: int, word: str) -> list[dict[str, str]]:
    return [{"instruction": f"{word} {at}", "output": f"It is {at}."} for at in range(n)]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pl.DataFrame(rows(60, "river")).write_parquet("river.parquet")
    pl.DataFrame(rows(30, "stone")).write_ndjson("stone.jsonl")
    turns = [
        [
            {"role": "user", "content": row["instruction"]},
            {"role": "assistant", "content": row["output"]},
        ]
        for row in rows(12, "lamp")
    ]
    pl.DataFrame({"messages": turns}).write_parquet("lamp.parquet")
    return tmp_path


def made(out: str, *settings: str, recipe: str = "mix", **given: object) -> Path:
    execute(prepare(Options(recipe, out=out, settings=settings, **given)), print)  # type: ignore[arg-type]
    return Path(out)


ALL = ("river.parquet", "stone.jsonl", "light=lamp.parquet")


def test_sets_are_mixed_under_their_names_and_the_books_balance(folder: Path) -> None:
    run = made("run", "mix.cap=20", inputs=ALL)
    books.check(run)
    assert verify(run).findings == []
    kept = open_run(run).kept("mix")
    assert dict(kept["data_set"].value_counts().sort("data_set").rows()) == {
        "light": 12, "river": 20, "stone": 20
    }  # fmt: skip
    assert kept["row_id"].n_unique() == 52
    by_set = kept["row_id"].str.split(":").list.first()
    assert by_set.equals(kept["data_set"].rename("row_id"))
    assert kept["root_id"].equals(kept["row_id"].rename("root_id"))
    assert kept["copies"].unique().to_list() == [1]
    assert set(kept["source"]) == {"river.parquet", "stone.jsonl", "lamp.parquet"}
    dropped = open_run(run).dropped("mix")
    assert dropped["drop_reason"].unique().to_list() == ["not_drawn"]
    assert "river: 20 of 60 rows, share 0.3846" in dropped["drop_detail"].to_list()


def test_other_shares_in_a_new_run_read_nothing_again(folder: Path) -> None:
    made("run", inputs=ALL)
    (folder / "stone.jsonl").unlink()
    weights = "mix.weights={river: 1, stone: 1, light: 2}"
    run = made("other", "mix.method=weights", weights, made_from="run")
    counts = open_run(run).kept("mix")["data_set"].value_counts().sort("data_set").rows()
    assert counts == [("light", 12), ("river", 6), ("stone", 6)]


def test_runs_with_the_same_ids_stay_apart_and_keep_their_lineage(folder: Path) -> None:
    for name in ("one", "two"):
        made(name, recipe="dedup", input="river.parquet")
    run = made("run", "mix.count=40", inputs=("one", "two:import"))
    books.check(run)
    assert verify(run).findings == []
    kept = open_run(run).kept("mix")
    assert kept.height == kept["row_id"].n_unique() == 40
    assert dict(kept["data_set"].value_counts().rows()) == {"one": 20, "two": 20}
    assert kept["root_id"].str.starts_with("one:import-").sum() == 20


def test_rows_that_repeat_stand_as_often_in_the_data(folder: Path) -> None:
    recipe = folder / "own.yaml"
    recipe.write_text(
        "name: own\nstages:\n  - stage: import\n    sets: {light: lamp.parquet, river: "
        "{path: river.parquet, license: MIT}}\n  - {stage: mix, method: weights, weights: {light: "
        "1, river: 1}, count: 100, repeat: true}\n  - {stage: order}\n  - {stage: export, "
        "validation: 0.1}\n"
    )
    run = made("run", recipe=str(recipe))
    books_of = open_run(run)
    assert verify(run).findings == []
    data = pl.read_parquet("run/data/alpaca/*.parquet")
    assert data.height == 100
    assert data["instruction"].str.starts_with("lamp").sum() == 50
    assert data["row_id"].n_unique() == 62
    assert books_of.kept("mix").filter(data_set="river")["license"].unique().to_list() == ["MIT"]
    places = books_of.kept("order").select("row_id", "curriculum")
    assert data.join(places, on="row_id", how="left")["curriculum"].equals(data["curriculum"])


def test_data_without_a_curriculum_has_no_such_column(folder: Path) -> None:
    named = ("filter.filters={outputs: {}}", "dedup.near=false")
    made("run", *named, recipe="curate", input="river.parquet")
    for form in ("alpaca", "messages"):
        files = list((folder / "run/data" / form).glob("*.parquet"))
        assert files
        assert all("curriculum" not in pq.read_schema(file).names for file in files)


@pytest.mark.parametrize("size", [7, 1000])
def test_the_mixture_is_the_same_for_any_shards(folder: Path, size: int) -> None:
    run = made(f"run-{size}", f"shard_rows={size}", "mix.count=30", inputs=ALL)
    whole = made("whole", "mix.count=30", inputs=ALL)
    assert open_run(run).kept("mix").equals(open_run(whole).kept("mix"))


def test_a_limit_takes_the_first_rows_and_can_be_raised(folder: Path) -> None:
    run = made("run", recipe="mix", inputs=ALL, limit=65)
    assert open_run(run).kept("import")["data_set"].value_counts().sort("count").rows() == [
        ("stone", 5), ("river", 60)
    ]  # fmt: skip
    made("run", recipe="mix", inputs=ALL, limit=95)
    assert open_run(run).kept("import")["data_set"].value_counts().sort("count").rows() == [
        ("light", 5), ("stone", 30), ("river", 60)
    ]  # fmt: skip
    assert verify(run).findings == []
    made("run", recipe="mix", inputs=ALL, limit=102)
    whole = open_run(made("whole", inputs=ALL))
    for stage in ("import", "mix"):
        assert open_run(run).kept(stage).equals(whole.kept(stage))


@pytest.mark.parametrize("parts", range(1, 6))
def test_an_import_that_was_cut_off_in_any_set_goes_on_where_it_was(
    folder: Path, parts: int
) -> None:
    whole = open_run(made("whole", "shard_rows=20", inputs=ALL))
    run = Path(shutil.copytree("whole", "cut"))
    shutil.rmtree(run / "stages/02-mix")
    books_of = run / "stages/01-import/stage.json"
    state = json.loads(books_of.read_text())
    for part in state["parts"][parts:]:
        for half in ("kept", "dropped"):
            (books_of.parent / part[half]["path"]).unlink()
    state["parts"] = state["parts"][:parts]
    state |= {"complete": False, "next_slot": state["parts"][-1]["next_slot"]}
    books_of.write_text(json.dumps(state))
    manifest = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(manifest | {"status": "running", "stages": []}))
    made("cut", "shard_rows=20", inputs=ALL)
    assert verify(run).findings == []
    assert open_run(run).kept("import").equals(whole.kept("import"))
    assert open_run(run).kept("mix").equals(whole.kept("mix"))


def test_all_sets_that_cannot_be_read_are_said_in_one_pass(folder: Path) -> None:
    (folder / "bad.jsonl").write_text(json.dumps({"what": 1}) + "\n")
    with pytest.raises(InputError) as caught:
        prepare(
            Options("mix", out="run", inputs=("river.parquet", "none.csv", str(folder / "gone")))
        )
    assert "none.csv" in str(caught.value)
    assert "gone" in str(caught.value)
    assert "data_set" not in str(caught.value)
    with pytest.raises(InputError, match="no shape that is known"):
        prepare(Options("mix", out="run", inputs=("river.parquet", "bad.jsonl")))
    assert not (folder / "run").exists()


def test_two_sets_of_one_name_are_refused_with_what_to_say() -> None:
    with pytest.raises(
        RecipeError, match=r"called 'a' too.*--input a-1=x/a\.csv --input a-2=a\.jsonl"
    ):
        named_sets(["x/a.csv", "a.jsonl"])
    assert named_sets(["x/a b.csv", "runs/one:dedup", "n=y.csv"]) == {
        "a-b": "x/a b.csv", "one": "runs/one:dedup", "n": "y.csv"
    }  # fmt: skip


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["mix.cap=0"], "mix.cap"),
        (["mix.method=weights"], "needs weights"),
        (["mix.temperature=2"], "counts under the method 'temperature'"),
        (["mix.repeat=true"], "no end to the mixture"),
        (["mix.weights={a: 0, b: 0.0}"], "all weights are 0"),
        (["mix.weights={a: -1}"], "the weight of a is a number of 0 or more, not -1"),
        (["mix.weights={a: true}"], "the weight of a is a number of 0 or more, not True"),
        (["import.path=river.parquet"], "one of the two"),
    ],
)
def test_wrong_settings_are_refused(folder: Path, settings: list[str], says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        prepare(Options("mix", out="run", inputs=ALL, settings=settings))


def test_a_set_cannot_be_called_what_its_ids_could_not_begin_with(folder: Path) -> None:
    settings = ['import.sets={"a:b": river.parquet}']
    with pytest.raises(RecipeError, match=r"import\.sets"):
        prepare(Options("mix", out="run", settings=settings))


def test_one_data_set_without_names_is_refused_before_it_is_read(folder: Path) -> None:
    with pytest.raises(RecipeError, match="reads column 'data_set'"):
        prepare(Options("mix", out="run", input="river.parquet"))
    assert open_run(made("run", "mix.by=source", input="river.parquet")).kept("mix").height == 60


def test_weights_of_other_sets_are_refused_before_anything_is_read(folder: Path) -> None:
    settings = ("mix.method=weights", "mix.weights={river: 1, rock: 1}")
    with pytest.raises(RecipeError) as caught:
        made("run", *settings, "mix.seed=-1", inputs=("river.parquet", "stone.jsonl"))
    assert "mix.seed" in str(caught.value)
    with pytest.raises(RecipeError) as caught:
        made("run", *settings, inputs=("river.parquet", "stone.jsonl"))
    assert "mix.weights: no weight is given for stone: 0 leaves a set out" in str(caught.value)
    assert "there is no set rock; there are river, stone" in str(caught.value)
    assert not (folder / "run").exists()


def test_weights_of_what_only_rows_tell_end_the_run_with_what_there_is(folder: Path) -> None:
    settings = ("mix.by=source", "mix.method=weights", "mix.weights={river.parquet: 1}")
    with pytest.raises(InputError, match=r"by source: no weight is given for stone\.jsonl"):
        made("run", *settings, inputs=("river.parquet", "stone.jsonl"))


@pytest.mark.parametrize("by", ["data_set", "source"])
def test_a_set_that_a_stage_before_emptied_is_named_with_the_stage(folder: Path, by: str) -> None:
    empty = [{"instruction": f"lamp {at}", "output": "" if at else "lamp 0:"} for at in range(12)]
    pl.DataFrame(empty).write_parquet("dark.parquet")
    dark, river = ("dark", "river") if by == "data_set" else ("dark.parquet", "river.parquet")
    recipe = folder / "own.yaml"
    recipe.write_text(
        "name: own\nstages:\n  - {stage: import}\n  - {stage: filter, filters: {outputs: {}}}\n"
        f"  - {{stage: dedup}}\n  - {{stage: mix, by: {by}, method: weights, weights: {{{river}: 1,"
        f" {dark}: 1}}}}\n"
    )
    inputs = ("river.parquet", "dark.parquet")
    with pytest.raises(InputError) as caught:
        made("run", recipe=str(recipe), inputs=inputs)
    said = str(caught.value)
    assert f"mix, by {by}: no row of {dark} is left, filter dropped the last 12 of them" in said
    assert "(synth show run filter --dropped)" in said
    assert "the weight 0 in a new run (--from run --out NEW" in said
    weights = f"mix.weights={{{river}: 1, {dark}: 0}}"
    run = made("other", weights, recipe=str(recipe), made_from="run")
    assert open_run(run).kept("mix")["source"].unique().to_list() == ["river.parquet"]


def test_what_is_in_the_mixture_is_measured() -> None:
    frame = pl.DataFrame({"row_id": ["a", "b", "c"], "data_set": ["x", "x", "y"]})
    config = Config(count=5)
    judged = mix.judge(frame, config)
    kept = frame.with_columns(judged["copies"]).filter(judged["reason"].is_null())
    assert mix.measure(kept, config) == {
        "rows_mixed": 3, "rows_lacking": 2, "rows_by": {"data_set": {"x": 2, "y": 1}}
    }  # fmt: skip
    assert mix.judge(frame, Config(method=None))["copies"].to_list() == [1, 1, 1]
