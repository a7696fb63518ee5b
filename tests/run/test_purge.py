"""A purged row is gone from shards, journal and data, and the run stays whole."""

import hashlib
import json
import shutil
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from pipeline.errors import DamagedError, InputError, LockedError
from pipeline.inspect import open_run
from pipeline.run.lock import locked
from pipeline.run.prepare import Options, prepare
from pipeline.run.purge import purge
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books
from tests.security.command import synth
from tests.teacher_server.process import Server


def everywhere(run: Path) -> str:
    """All text of a run: every Parquet file, every reply, every other file."""
    found = []
    for path in sorted(run.rglob("*")):
        if path.suffix == ".parquet":
            found.append(json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False))
        elif path.is_file() and path.suffix in (".json", ".jsonl", ".md", ".yaml"):
            found.append(path.read_text("utf-8"))
        elif path.name.startswith("journal.sqlite"):
            found.append(path.read_bytes().decode("utf-8", "replace"))
    return "\n".join(found)


def quoted(text: str) -> list[str]:
    """A text as it may stand in JSON, and in JSON within JSON."""
    once = json.dumps(text, ensure_ascii=False)[1:-1]
    return [text, once, json.dumps(once, ensure_ascii=False)[1:-1], json.dumps(text)[1:-1]]


@pytest.fixture
def run(small_copy: Path) -> Path:
    return small_copy


def a_child(run: Path) -> dict[str, Any]:
    return next(row for row in books.rows(run, "dedup") if len(row["output"]) > 40)


def test_a_purged_row_is_nowhere_in_the_run_which_stays_whole(run: Path) -> None:
    row = a_child(run)
    assert any(text in everywhere(run) for text in quoted(row["output"]))
    found = purge(run, row=row["row_id"])
    assert found.rows == [row["row_id"]]
    assert found.replies >= 1
    left = everywhere(run)
    assert not [text for text in quoted(row["output"]) if text in left]
    verify(run)
    (line,) = [one for one in books.rows(run, "instances", "dropped")
               if one["row_id"] == row["row_id"]]  # fmt: skip
    assert (line["drop_reason"], line["instruction"], line["output"]) == ("purged", None, None)
    for stage in ("filter", "dedup"):
        ids = [
            one["row_id"] for half in ("kept", "dropped") for one in books.rows(run, stage, half)
        ]
        assert row["row_id"] not in ids
    assert not (run / "purge").exists()
    assert any("backups" in place for place in found.copies)


def test_what_servers_said_is_named_as_a_copy_that_may_remain(run: Path) -> None:
    (run / "logs").mkdir()
    (run / "logs" / "vllm-teacher.log").write_text("Received request: say it again")
    found = purge(run, row=a_child(run)["row_id"])
    assert any("logs/vllm-teacher.log (what a server said" in place for place in found.copies)
    assert verify(run).findings == []


def test_the_card_says_what_the_books_say_after_a_purge(run: Path) -> None:
    before = (run / "data" / "README.md").read_text("utf-8")
    purge(run, row=a_child(run)["row_id"])
    verify(run)
    text = (run / "data" / "README.md").read_text("utf-8")
    for state in open_run(run).stage_manifests:
        reasons = ", ".join(f"{reason} {n}" for reason, n in state.dropped_by_reason.items())
        line = f"| {state.name} | {state.candidates} | {state.kept} | {state.dropped} | {reasons} |"
        assert line in text
    assert "purged 1" in text
    sides = [
        sum(
            entry.rows for entry in open_run(run).manifest.data if f"messages/{side}-" in entry.path
        )
        for side in ("train", "validation")
    ]
    assert f"Train {sides[0]} rows, validation {sides[1]}," in text
    assert f"Written by `offline`: {sum(sides)} rows." in text
    same = [line for line in before.split("\n") if "Seed tasks" in line or "Made with" in line]
    assert len(same) == 2
    assert all(line in text.split("\n") for line in same)


def test_a_card_that_was_changed_by_hand_is_left_alone_and_named(run: Path) -> None:
    card = run / "data" / "README.md"
    card.write_text(card.read_text("utf-8") + "\nLicence: CC0.\n", "utf-8")
    before = card.read_bytes()
    done = synth("purge", str(run), "--row", a_child(run)["row_id"])
    assert done.returncode == 0, done.stderr
    assert b"data/README.md was changed by hand" in done.stdout
    assert card.read_bytes() == before


def test_what_a_stage_measured_is_that_of_the_rows_that_are_left(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    rows = tmp_path / "rows.jsonl"
    lines = [{"instruction": f"Name river {n}.", "output": f"The river {n}."} for n in range(9)]
    rows.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    out = tmp_path / "run"
    run_synth(out, recipe="rate", input=str(rows), judge=f"openai:j@{server.url}")
    rated = books.stage_json(out, "rate")["measures"]["histogram"]
    assert sum(rated.values()) == 9
    purge(out, row=books.rows(out, "rate")[0]["row_id"])
    verify(out)
    assert sum(books.stage_json(out, "rate")["measures"]["histogram"].values()) == 8


def test_descendants_go_only_where_that_is_said(run: Path) -> None:
    before = books.all_files(run)
    parent, instruction = a_child(run)["parent_id"], a_child(run)["instruction"]
    with pytest.raises(InputError, match="was made from it: instances-"):
        purge(run, row=parent)
    assert {name: found for name, found in books.all_files(run).items() if name != "lock"} == {
        name: found for name, found in before.items() if name != "lock"
    }
    found = purge(run, row=parent, descendants=True)
    assert parent in found.rows
    assert len(found.rows) > 1
    left = everywhere(run)
    assert not [text for text in quoted(instruction) if text in left]
    verify(run)


def test_a_row_is_found_by_the_hash_of_a_text(run: Path) -> None:
    row = a_child(run)
    found = purge(run, sha256=hashlib.sha256(row["output"].encode()).hexdigest())
    assert row["row_id"] in found.rows
    with pytest.raises(InputError, match="has no row"):
        purge(run, sha256="0" * 64)
    with pytest.raises(InputError, match="has no row"):
        purge(run, row="instances-999999-00")
    with pytest.raises(InputError, match="name the row"):
        purge(run)


@pytest.mark.parametrize(
    "place", ["purge_planned", "purge_blanked", "purge_moved", "purge_moved:3", "shard_staged:2"]
)
def test_a_purge_that_is_cut_off_is_finished_by_the_same_command(run: Path, place: str) -> None:
    row = a_child(run)["row_id"]
    whole = Path(shutil.copytree(run, run.parent / "whole"))
    purge(whole, row=row)
    done = synth("purge", str(run), "--row", row, variables={"SYNTH_CRASH_AT": place})
    assert done.returncode == -signal.SIGKILL
    if place != "shard_staged:2":  # from the plan on the purge holds
        with pytest.raises(DamagedError, match="a purge was cut off"):
            prepare(Options(recipe="self-instruct", out=str(run)))
    done = synth("purge", str(run), "--row", row)
    assert done.returncode == 0, done.stderr
    verify(run)
    assert books.data_files(run) == books.data_files(whole)
    assert [(r["key"], r["raw"], r["note"]) for r in books.records(run)] == [
        (r["key"], r["raw"], r["note"]) for r in books.records(whole)
    ]


def test_nothing_is_bought_again_after_a_purge(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    given = {"recipe": "self-instruct", "teacher": f"openai:m@{server.url}"}
    run_synth(old, "bootstrap.target=20", **given)
    row = books.rows(old, "instances")[0]["row_id"]
    before = books.replied(old)
    purge(old, row=row)
    verify(old)
    sent = len(server.history("request"))
    run_synth(old, "bootstrap.target=20", **given)  # finished: nothing to do
    rules = ("bootstrap.target=20", "filter.filters={outputs: {}}")
    prepared = prepare(Options(out=str(new), made_from=str(old), settings=rules, **given))
    from pipeline.run.execute import execute

    execute(prepared, lambda event: None)
    generating = [event for event in server.history("request")[sent:]
                  if "completions" in event["path"]]  # fmt: skip
    assert generating == []
    assert len(before) > 20
    verify(new)


def test_replies_that_could_not_be_used_go_with_the_row(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    rows = [{"instruction": f"Name river {n}.", "output": f"It is {n}."} for n in range(6)]
    given = tmp_path / "rows.jsonl"
    given.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = tmp_path / "rated.yaml"
    recipe.write_text("name: r\nstages:\n  - stage: import\n  - stage: rate\n", encoding="utf-8")
    server.set_plan(
        [
            {"fault": "invalid_json", "match": {"prompt": "river 3", "attempt": [1, 3, 4]}},
            {"fault": "invalid_json", "match": {"prompt": "river 2"}},
        ]
    )
    out = tmp_path / "run"
    judge = f"openai:j@{server.url}"
    run_synth(out, "rate.votes=2", recipe=str(recipe), input=str(given), judge=judge)
    replies = [record for record in books.records(out) if record["kind"] == "reply"]
    asked = {slot: sum(one["slot"] == slot for one in replies) for slot in range(6)}
    assert asked[3] > asked[0] == 2
    assert asked[2] == 2 * 3
    for slot in (3, 2):
        assert purge(out, row=f"import-{slot:06d}-00").replies == asked[slot]
    left = [one for one in books.records(out) if one["kind"] == "reply" and one["raw"]]
    assert {one["slot"] for one in left} == {0, 1, 4, 5}
    assert len(left) == 4 * 2
    assert verify(out).findings == []


def test_a_run_at_work_is_not_purged(run: Path) -> None:
    with locked(run), pytest.raises(LockedError):
        purge(run, row=a_child(run)["row_id"])


def test_a_row_that_is_out_is_not_taken_out_again(run: Path) -> None:
    row_id = a_child(run)["row_id"]
    purge(run, row=row_id)
    before = {name: found for name, found in books.all_files(run).items() if name != "lock"}
    done = synth("purge", str(run), "--row", row_id)
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode() == (
        f"{row_id}: not there any more, purged before: nothing to do.\n"
    )
    assert before == {n: found for n, found in books.all_files(run).items() if n != "lock"}


def test_a_row_whose_only_child_was_purged_before_can_go_alone(run: Path) -> None:
    children = [row for row in books.rows(run, "instances") if row["parent_id"]]
    counts = Counter(row["parent_id"] for row in children)
    child = next(row for row in children if counts[row["parent_id"]] == 1)
    dropped = books.rows(run, "instances", "dropped")
    assert child["parent_id"] not in {row["parent_id"] for row in dropped}
    purge(run, row=child["row_id"])
    purge(run, row=child["parent_id"])
    verify(run)
