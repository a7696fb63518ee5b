"""A row's history."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from pipeline import open_run
from pipeline.errors import InputError
from pipeline.inspect import Run
from pipeline.run.execute import execute
from pipeline.run.prepare import Options, prepare
from pipeline.why import History


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("why") / "run"
    settings = [
        "bootstrap.target=60",
        "shard_rows=40",
        "filter.filters={word_count: {at_least: 8}}",
    ]
    prepared = prepare(Options(recipe="self-instruct", out=str(folder), settings=settings))
    execute(prepared, lambda event: None)
    return open_run(folder)


def passages(history: History) -> list[tuple[str, str]]:
    return [(passage.stage, passage.outcome) for passage in history.passages]


def test_a_row_that_came_through_passed_every_stage(run: Run) -> None:
    row = run.kept().row(0, named=True)
    history = run.why(row["row_id"])
    assert history.dropped is None
    assert passages(history)[:3] == [("instances", "made"), ("filter", "kept"), ("dedup", "kept")]
    assert history.passages[-1].outcome == "exported"
    assert history.passages[-1].detail in ("train", "validation")
    assert history.texts["output"] == row["output"]


def test_the_side_that_a_row_was_written_to_is_the_one_in_data(run: Run) -> None:
    import polars as pl

    for side in ("train", "validation"):
        ids = pl.read_parquet(run.path / f"data/alpaca/{side}-*.parquet")["row_id"]
        assert run.why(ids[0]).passages[-1].detail == side


def test_stage_slot_and_item_are_read_from_the_id(run: Run) -> None:
    history = run.why("bootstrap-000002-01")
    assert (history.stage, history.slot, history.item) == ("bootstrap", 2, 1)


def test_demonstrations_come_with_their_instructions(run: Run) -> None:
    row = run.kept("bootstrap").row(-1, named=True)  # late enough that drafts are shown
    history = run.why(row["row_id"])
    assert [task.id for task in history.shown] == row["shown"]
    drafts = dict(run.kept("bootstrap").select("row_id", "instruction").iter_rows())
    for task in history.shown:
        assert task.instruction == (
            drafts[task.id] if task.id in drafts else run.seeds[task.id].instruction
        )
    assert any(task.id in drafts for task in history.shown)


def test_an_instance_knows_its_parent_and_its_root(run: Run) -> None:
    row = run.kept().row(0, named=True)
    history = run.why(row["row_id"])
    assert history.parent.id == row["parent_id"]
    assert history.parent.instruction == row["instruction"]
    assert history.root.id == row["root_id"]


def test_each_request_has_what_the_journal_says_of_it(run: Run) -> None:
    history = run.why(run.kept()["row_id"][0])
    assert [asked.stage for asked in history.requests] == ["bootstrap", "classify", "instances"]
    for asked in history.requests:
        assert asked.is_in_journal
        assert asked.input_tokens > 0
        assert asked.template.endswith("@1")
        assert asked.failures == 0


def test_a_request_that_failed_before_it_was_answered_counts_its_failures(
    run: Run, tmp_path: Path
) -> None:
    from pipeline.teacher.journal import FAILURE, crc_of

    copy = shutil.copytree(run.path, tmp_path / "run")
    key = bytes.fromhex(run.kept()["requests"][0][0]["key"])
    database = sqlite3.connect(copy / "journal.sqlite")
    number = database.execute("SELECT max(number) + 1 FROM records").fetchone()[0]
    note = json.dumps({"model": "offline", "outcome": "timeout", "detail": ""})
    crc = crc_of(number, FAILURE, key, "bootstrap", 0, note, b"")
    values = (number, FAILURE, key, "bootstrap", 0, note, b"", crc)
    with database:
        database.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", values)
    database.close()
    history = open_run(copy).why(run.kept()["row_id"][0])
    assert history.requests[0].failures == 1


def test_a_row_that_is_not_new_names_the_row_it_met(run: Run) -> None:
    row = run.dropped("bootstrap").filter(drop_reason="not_novel").row(0, named=True)
    history = run.why(row["row_id"])
    dropped = history.dropped
    assert (dropped.stage, dropped.reason) == ("bootstrap", "not_novel")
    assert dropped.detail.startswith("ROUGE-L")
    assert dropped.ref.id == row["drop_ref"] == history.nearest.id
    assert dropped.ref.instruction
    assert history.nearest_score == row["nearest_score"] == row["drop_similarity"] >= 0.7
    assert len(history.passages) == 1


def test_a_row_dropped_late_has_the_stages_before(run: Run) -> None:
    row_id = run.dropped("filter")["row_id"][0]
    history = run.why(row_id)
    assert passages(history) == [("instances", "made"), ("filter", "dropped")]
    assert history.dropped.reason == "too_few_words"


def test_a_draft_names_the_instances_made_of_it(run: Run) -> None:
    parent = run.kept("instances")["parent_id"][0]
    history = run.why(parent)
    assert passages(history) == [
        ("bootstrap", "made"),
        ("classify", "kept"),
        ("instances", "split"),
    ]
    made = run.kept("instances").filter(parent_id=parent)["row_id"].to_list()
    made += run.dropped("instances").filter(parent_id=parent)["row_id"].to_list()
    assert history.passages[-1].rows == tuple(sorted(made))


def test_a_seed_task_is_said_to_be_one(run: Run) -> None:
    history = run.why("seed_task_3")
    assert history.is_seed
    assert "a seed task" in history.as_text()
    assert history.texts["instruction"] == run.seeds["seed_task_3"].instruction


@pytest.mark.parametrize("row_id", ["bootstrap-000002-99", "bootstrap-00002-01", "", "\x1b[31m"])
def test_a_row_that_is_not_there_is_refused_with_ids_that_are(run: Run, row_id: str) -> None:
    with pytest.raises(InputError, match=r"there are \S+-\S+|there are seed_task") as caught:
        run.why(row_id)
    assert "\x1b" not in str(caught.value)


def test_a_near_miss_is_answered_with_its_neighbours(run: Run) -> None:
    with pytest.raises(InputError, match=r"bootstrap-000002-0\d"):
        run.why("bootstrap-000002-99")


def test_the_text_says_it_all_in_lines_of_the_given_width(run: Run) -> None:
    row = run.dropped("bootstrap").filter(drop_reason="not_novel").row(0, named=True)
    text = run.why(row["row_id"]).as_text(80)
    for wanted in ("dropped by bootstrap: not_novel", row["instruction"], row["nearest_id"], "@1"):
        assert wanted in text
    others = [line for line in text.splitlines() if line.startswith(("shown", "nearest", " " * 11))]
    assert others
    assert all(len(line) <= 120 for line in others)


def test_the_history_is_plain_data_too(run: Run) -> None:
    tree = run.why(run.kept()["row_id"][0]).as_dict()
    assert json.loads(json.dumps(tree))["passages"][0]["outcome"] == "made"


def imported(tmp_path: Path, rows: list[dict[str, Any]]) -> Run:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    options = Options(recipe="dedup", out=str(tmp_path / "run"), input=str(tmp_path / "rows.jsonl"))
    execute(prepare(options), lambda event: None)
    return open_run(tmp_path / "run")


def test_an_imported_row_was_taken_in_and_its_duplicate_met_it(tmp_path: Path) -> None:
    rows = [{"instruction": "Name a river."}, {"instruction": "Name a river."}]
    found = imported(tmp_path, rows).why("import-000001-00")
    assert passages(found) == [("import", "taken_in"), ("dedup", "dropped")]
    assert found.dropped.ref.id == "import-000000-00"
    assert found.dropped.ref.instruction == "Name a river."
    assert found.source == "rows.jsonl"


def test_what_a_model_wrote_cannot_steer_the_terminal(tmp_path: Path) -> None:
    evil = "Name \x1b[2J a \u202eriver\x9b31m."
    history = imported(tmp_path, [{"instruction": evil}]).why("import-000000-00")
    text = history.as_text()
    assert not {"\x1b", "\u202e", "\x9b"} & set(text)
    assert "\\x1b" in text


def test_a_row_of_an_earlier_run_is_traced_into_it(run: Run, tmp_path: Path) -> None:
    options = Options(recipe="dedup", out=str(tmp_path / "run"), input=str(run.path))
    execute(prepare(options), lambda event: None)
    row = run.kept().row(0, named=True)
    history = open_run(tmp_path / "run").why(row["row_id"])
    assert passages(history) == [("import", "taken_in"), ("dedup", "kept")]
    assert history.parent.instruction == row["instruction"]
    assert all(task.instruction for task in history.shown)
    assert all(asked.is_in_journal for asked in history.requests)


def test_an_id_like_none_is_answered_with_rows_of_the_run(small_run: Path) -> None:
    run = open_run(small_run)
    first = ", ".join(run.kept("bootstrap")["row_id"][:3])
    with pytest.raises(InputError, match=f"there are {first}, \\.\\.\\."):
        run.why("nosuch")
