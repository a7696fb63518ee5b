"""Recipes beside self-instruct: whole runs, the same at any concurrency, thresholds for free."""

import json
import re
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from pipeline.cli.commands import app
from pipeline.errors import InputError
from pipeline.run.prepare import Options, prepare
from pipeline.verify import verify
from tests.conftest import RunSynth, run_and_recount
from tests.run import books
from tests.teacher_server.process import Server

FRESH = {
    "one-call": ("one-call.target=60", "shard_rows=50"),
    "unnatural": ("unnatural.target=40", "shard_rows=50"),
}
FROM_ROWS = {
    "respond": ("shard_rows=50", "respond.samples=2"),
    "backtranslate": ("shard_rows=50",),
}
RECIPES = FRESH | FROM_ROWS


@pytest.fixture(scope="module")
def source(small_run: Path) -> str:
    return f"{small_run}:dedup"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, source: str) -> dict[str, Path]:
    """One run of each recipe, eight requests at a time; not to be changed."""
    folder = tmp_path_factory.mktemp("ways")
    for name, settings in RECIPES.items():
        _run(folder / name, name, source, *settings, "teacher.concurrency=8")
    return {name: folder / name for name in RECIPES}


def _run(out: Path, name: str, source: str, *settings: str) -> None:
    given = source if name in FROM_ROWS else None
    run_and_recount(out, *settings, recipe=name, input=given)


@pytest.mark.parametrize("concurrency", [1, 64])
@pytest.mark.parametrize("name", RECIPES)
def test_the_files_are_the_same_at_any_concurrency(
    runs: dict[str, Path], source: str, tmp_path: Path, name: str, concurrency: int
) -> None:
    settings = (*RECIPES[name], f"teacher.concurrency={concurrency}")
    _run(tmp_path / "run", name, source, *settings)
    assert books.data_files(tmp_path / "run") == books.data_files(runs[name])
    assert any("data/alpaca" in path for path in books.data_files(runs[name]))


def test_one_call_gives_whole_rows_that_are_new(runs: dict[str, Path]) -> None:
    rows = books.rows(runs["one-call"], "one-call")
    assert len(rows) >= 60
    assert all(row["instruction"] and row["output"] for row in rows)
    assert any(row["input"] for row in rows)
    assert all(row["nearest_score"] < 0.7 for row in rows)
    assert all(
        len(row["shown"]) == 3 and all(one.startswith("seed_") for one in row["shown"])
        for row in rows
    )
    reasons = {row["drop_reason"] for row in books.rows(runs["one-call"], "one-call", "dropped")}
    assert "not_novel" in reasons


def test_a_fourth_example_gets_its_output_and_paraphrases_with_the_same(
    runs: dict[str, Path],
) -> None:
    drafts = {row["row_id"]: row for row in books.rows(runs["unnatural"], "unnatural")}
    answered = {row["row_id"]: row for row in books.rows(runs["unnatural"], "respond")}
    said = books.rows(runs["unnatural"], "reformulate")
    assert answered.keys() <= drafts.keys()
    assert any(row["output_constraints"] for row in answered.values())
    paraphrases = [row for row in said if row["parent_id"]]
    assert {row["row_id"] for row in said if not row["parent_id"]} == answered.keys()
    assert len(paraphrases) >= 20
    for row in paraphrases:
        parent = answered[row["parent_id"]]
        assert row["instruction"] != parent["instruction"]
        assert (row["input"], row["output"]) == (parent["input"], parent["output"])
        assert row["root_id"] == parent["root_id"]
        assert [one["stage"] for one in row["requests"]] == ["unnatural", "respond", "reformulate"]


def test_new_answers_have_steps_votes_and_their_requests(runs: dict[str, Path]) -> None:
    rows = books.rows(runs["respond"], "respond")
    assert len(rows) >= 60
    assert all(row["reasoning"] for row in rows)
    assert {row["agreement"] for row in rows} >= {None, 0.5, 1.0}
    for row in rows:
        asked = [one for one in row["requests"] if one["stage"] == "respond"]
        assert len(asked) == 2
        assert row["votes"] <= 2
        assert (row["agreement"] is None) == (row["final_answer"] is None)
    reasons = {row["drop_reason"] for row in books.rows(runs["respond"], "filter", "dropped")}
    assert "low_agreement" in reasons


def test_why_and_show_tell_of_the_steps_and_the_vote_where_there_were_some(
    runs: dict[str, Path],
) -> None:
    row = next(row for row in books.rows(runs["respond"], "respond") if row["votes"])
    why = CliRunner().invoke(app, ["why", str(runs["respond"]), row["row_id"]]).stdout
    show = ["show", str(runs["respond"]), "respond", "--full", "--where"]
    shown = CliRunner().invoke(app, [*show, f"row_id = '{row['row_id']}'"]).stdout
    told = f"{row['votes']}, agreement {row['agreement']:.4f}"
    assert f"votes      {told}\n" in why
    assert f"  votes        {told}\n" in shown
    assert f"answer     {row['final_answer']}" in why
    assert f"  final answer {row['final_answer']}" in shown
    for text in (why, shown):
        assert "reasoning" in text
        assert all(line.strip() in text for line in row["reasoning"].splitlines())
    plain = books.rows(runs["one-call"], "one-call")[0]["row_id"]
    why = CliRunner().invoke(app, ["why", str(runs["one-call"]), plain]).stdout
    shown = CliRunner().invoke(app, ["show", str(runs["one-call"]), "--limit", "1"]).stdout
    for text in (why, shown):
        assert not re.search(r"(?m)^ *(votes|answer|final answer|reasoning)( |$)", text)
        assert "agreement" not in text


def test_another_threshold_of_agreement_asks_nothing(
    run_synth: RunSynth, server: Server, source: str, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    settings = ("respond.samples=3", "respond.steps=false", "import.rows=20")
    run_synth(tmp_path / "old", *settings, recipe="respond", input=source, teacher=teacher)
    asked = len(server.history("request"))
    assert asked >= 60
    stricter = "filter.filters={agreement: {at_least: 1.0, keep_unvoted: false}}"
    run_synth(
        tmp_path / "new",
        stricter,
        recipe="respond",
        teacher=teacher,
        made_from=str(tmp_path / "old"),
    )
    again = [one for one in server.history("request")[asked:] if one["kind"] == "chat"]
    assert again == []
    assert books.rows(tmp_path / "new", "respond") == books.rows(tmp_path / "old", "respond") != []
    kept = books.rows(tmp_path / "new", "filter")
    assert len(kept) < len(books.rows(tmp_path / "old", "filter"))
    assert {row["agreement"] for row in kept} <= {1.0}


def test_only_answers_that_reach_the_old_ones_are_kept_where_those_are_the_reference(
    source: str, tmp_path: Path
) -> None:
    _run(tmp_path / "run", "respond", source, "respond.reference=output")
    rows = books.rows(tmp_path / "run", "respond")
    dropped = books.rows(tmp_path / "run", "respond", "dropped")
    assert {row["drop_reason"] for row in dropped} == {"reference_not_reached"}
    assert all(row["reference"] for row in rows)
    assert len(rows) > len(dropped) > 0


def test_backtranslation_makes_pairs_whose_texts_are_those_that_came_in(
    runs: dict[str, Path],
) -> None:
    before = {row["row_id"]: row for row in books.rows(runs["backtranslate"], "import")}
    rows = books.rows(runs["backtranslate"], "backtranslate")
    assert len(rows) >= 60
    for row in rows:
        assert row["output"] == before[row["parent_id"]]["output"]
        assert row["root_id"] == before[row["parent_id"]]["root_id"]
    assert any(row["instruction"] != before[row["parent_id"]]["instruction"] for row in rows)
    assert {row["pair_rating"] for row in rows} >= {None, 2, 5}
    kept = books.rows(runs["backtranslate"], "filter")
    assert kept
    assert {row["pair_rating"] for row in kept} == {5}


@pytest.mark.parametrize("name", RECIPES)
def test_the_books_of_a_run_hold(runs: dict[str, Path], name: str) -> None:
    assert verify(runs[name]).records > 0


@pytest.mark.parametrize("name", ["texts.jsonl", "texts.parquet"])
def test_plain_texts_of_a_file_are_enough_for_backtranslation(
    run_synth: RunSynth, server: Server, tmp_path: Path, name: str
) -> None:
    texts = [f"Lake {n} lies between two hills." for n in range(12)]
    frame = pl.DataFrame({"text": [*texts, ""]})
    path = tmp_path / name
    frame.write_parquet(path) if name.endswith("parquet") else frame.write_ndjson(path)
    run_synth(
        tmp_path / "run",
        recipe="backtranslate",
        input=str(path),
        teacher=f"openai:test-model@{server.url}",
    )
    assert [row["output"] for row in books.rows(tmp_path / "run", "import")] == texts
    (dropped,) = books.rows(tmp_path / "run", "import", "dropped")
    assert dropped["drop_reason"] == "empty_output"
    rows = books.rows(tmp_path / "run", "backtranslate")
    assert [row["output"] for row in rows] == texts
    assert all(row["instruction"] for row in rows)


@pytest.mark.parametrize("recipe", ["evol-instruct", "respond", "backtranslate", "reformulate"])
def test_the_licence_of_a_source_stands_in_all_that_is_made_of_it(
    source: str, server: Server, tmp_path: Path, recipe: str
) -> None:
    server.set_plan({"content": {"mode": "auto"}})
    teacher = f"openai:test-model@{server.url}"
    rows = books.rows(Path(source.partition(":")[0]), "dedup")[:20]
    taken = [{name: row[name] for name in ("instruction", "input", "output")} for row in rows]
    given = tmp_path / "mine.jsonl"
    pl.DataFrame(taken).write_ndjson(given)
    settings = ("import.license=CC-BY-NC-4.0", *(["evolve.rounds=2"] if "evol" in recipe else []))
    run = tmp_path / "run"
    run_and_recount(run, *settings, recipe=recipe, input=str(given), teacher=teacher)
    stage = {"evol-instruct": "evolve"}.get(recipe, recipe)
    made = books.rows(run, stage) + books.rows(run, stage, "dropped")
    assert len(made) >= 20
    for row in made:
        assert row["license"] == "CC-BY-NC-4.0", row["row_id"]
        assert row["source"].endswith("mine.jsonl")


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("field", ["reference", "ref"])
def test_answers_are_held_to_the_right_ones_of_a_file(
    kind: str, field: str, server: Server, tmp_path: Path
) -> None:
    rows = [{"q": f"Name river number {n} of Asia.", field: str(n)} for n in range(8)]
    path = tmp_path / f"rows.{kind}"
    if kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    columns = {"instruction": "q"} | ({"reference": "ref"} if field == "ref" else {})
    run_and_recount(
        tmp_path / "run",
        "respond.reference=reference",
        "respond.steps=false",
        f"import.columns={json.dumps(columns)}",
        recipe="respond",
        input=str(path),
        teacher=f"openai:test-model@{server.url}",
    )
    taken = books.rows(tmp_path / "run", "import")
    assert [row["reference"] for row in taken] == [str(n) for n in range(8)]
    dropped = books.rows(tmp_path / "run", "respond", "dropped")
    held = [row for row in dropped if row["drop_reason"] == "reference_not_reached"]
    assert held
    assert {row["reference"] for row in held} <= {str(n) for n in range(8)}


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet", "fixed", "odd"])
@pytest.mark.parametrize("is_named", [False, True])
def test_rows_are_kept_by_the_ratings_of_a_file(kind: str, is_named: bool, tmp_path: Path) -> None:
    field = "stars" if is_named else "rating"
    rows = [
        {"instruction": f"Name river {n}.", "output": "x", field: float(n), "topic": "water"}
        for n in range(6)
    ]
    path = tmp_path / f"rows.{'parquet' if kind in ('fixed', 'odd') else kind}"
    frame = pl.DataFrame(rows)
    if kind == "fixed":
        frame = frame.with_columns(
            pl.Series("embedding", [[1.0, 0.0]] * 6, pl.Array(pl.Float32, 2))
        )
    if kind == "odd":  # no vector of ours, and nobody asks for it
        frame = frame.with_columns(pl.Series("embedding", ["1.5"] * 6).cast(pl.Decimal(10, 2)))
    if kind == "jsonl":
        frame.write_ndjson(path)
    elif kind == "csv":
        frame.write_csv(path)
    else:
        frame.write_parquet(path)
    columns = {"rating": field}
    settings = (f"import.columns={json.dumps(columns)}",) if is_named else ()
    run_and_recount(
        tmp_path / "run", "keep.keep_at_least=4", *settings, recipe="keep", input=str(path)
    )
    taken = books.rows(tmp_path / "run", "import")
    assert [row["rating"] for row in taken] == [float(n) for n in range(6)]
    assert {tuple(row.get("embedding") or ()) for row in taken} == {
        (1.0, 0.0) if kind == "fixed" else ()
    }
    kept = books.rows(tmp_path / "run", "keep")
    assert [row["row_id"] for row in kept] == ["import-000004-00", "import-000005-00"]


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_rows_that_say_the_same_are_found_by_the_vectors_of_a_file(
    kind: str, tmp_path: Path
) -> None:
    vectors = [[1.0, 0.0], [1.0, 0.001], [0.0, 1.0], None]
    rows = [
        {"instruction": f"Name river {n}.", "output": "x", "embedding": vector}
        for n, vector in enumerate(vectors)
    ]
    path = tmp_path / f"rows.{kind}"
    frame = pl.DataFrame(rows)
    _ = frame.write_ndjson(path) if kind == "jsonl" else frame.write_parquet(path)
    run_and_recount(tmp_path / "run", recipe="semantic", input=str(path))
    dropped = books.rows(tmp_path / "run", "semantic", "dropped")
    assert [(row["row_id"], row["drop_ref"]) for row in dropped] == [
        ("import-000001-00", "import-000000-00")
    ]


def test_the_fields_that_are_not_taken_in_are_named_once(tmp_path: Path) -> None:
    rows = [{"instruction": f"Name river {n}.", "topic": "a", "id": n} for n in range(3)]
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows, {"prompt": "Name a sea."}]))
    given = ["run", "dedup", "--input", str(path), "--out", str(tmp_path / "run")]
    found = CliRunner().invoke(app, given)
    assert found.output.count("Not taken in: the fields topic, id (import.columns") == 1


def test_the_folder_of_a_stage_is_refused_with_how_the_stage_is_named(
    small_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stages = sorted((small_run / "stages").iterdir())
    name = stages[-2].name.partition("-")[2]
    monkeypatch.chdir(stages[-2])
    for given in (str(stages[-2]), "."):
        out = str(tmp_path / "run")
        with pytest.raises(InputError, match=re.escape(f"--input {small_run}:{name}")):
            prepare(Options("select", out=out, input=given))
    assert not (tmp_path / "run").exists()
