"""`run --dry-run`, `plan`, `--version`, the events of `--json`, and `status` of a run at work."""

import json
import re
import time
from pathlib import Path

from pipeline.version import VERSION
from tests.cli.here import synth
from tests.run import books, processes
from tests.security.command import line
from tests.teacher_server.process import Server

FEW = ("--set", "bootstrap.target=20", "--set", "bootstrap.window=8")


def said(*arguments: str) -> str:
    done = synth(*arguments)
    assert done.code == 0, done.err
    return done.out


def test_the_version_is_printed() -> None:
    assert said("--version") == f"synth {VERSION}\n"


def test_a_dry_run_is_a_plan_and_makes_nothing(tmp_path: Path) -> None:
    given = ("self-instruct", "--out", str(tmp_path / "run"), "--until", "classify", *FEW)
    teacher = ("--teacher", "openai:some-model@http://127.0.0.1:9")
    planned = said("plan", *given, *teacher)
    assert said("run", *given, *teacher, "--dry-run") == planned
    assert not (tmp_path / "run").exists()
    tree = json.loads(said("run", *given, *teacher, "--dry-run", "--json"))
    assert [stage["stage"] for stage in tree["stages"]] == ["bootstrap", "classify"]
    assert tree["total"]["requests"] > 0


def test_a_plan_takes_every_model_that_a_run_takes(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"instruction": "Name a river in Italy.", "output": "The Po."}\n')
    given = ("curate", "--input", str(rows), "--out", str(tmp_path / "run"), "--json")
    models = ("--judge", "openai:j@http://127.0.0.1:9", "--scorer", "openai:s@http://127.0.0.1:9")
    planned = json.loads(said("plan", *given, *models))
    asked = {stage["stage"] for stage in planned["stages"] if stage["requests"]}
    assert asked == {"rate", "difficulty"}
    assert said("run", *given, *models, "--dry-run") == said("plan", *given, *models)


def test_a_plan_from_another_run_counts_what_that_has_asked(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")
    said("run", "self-instruct", "--out", old, *FEW)
    given = ("self-instruct", "--from", old, "--out", new, "--json")
    same = json.loads(said("plan", *given, "--set", "dedup.threshold=0.9"))
    assert same["total"]["requests"] == 0
    assert same["total"]["already_asked"] == len([
        record for record in books.records(Path(old)) if record["kind"] == "reply"
    ])  # fmt: skip
    other = json.loads(said("plan", *given, "--set", "bootstrap.sampling.temperature=0.3"))
    assert other["total"]["already_asked"] == 0
    assert other["total"]["requests"] > 0
    assert not Path(new).exists()


def test_events_come_twice_a_second_at_most_and_the_end_of_each_stage_always(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan({"latency": 0.1, "content": {"items": 3}})
    began = time.monotonic()
    given = ("--out", str(tmp_path / "run"), "--teacher", f"openai:test-model@{server.url}")
    events = [
        json.loads(row)
        for row in said("run", "self-instruct", "--json", *given, *FEW).splitlines()
    ]  # fmt: skip
    seconds = time.monotonic() - began
    running = [e for e in events if e["event"] == "progress" and e["state"] == "running"]
    done = [e["stage"] for e in events if e["event"] == "progress" and e["state"] == "done"]
    stages = ["bootstrap", "classify", "instances", "filter", "dedup", "decontaminate", "export"]
    assert [stage for stage in done if stage in stages] == [s for s in stages if s in done]
    assert "bootstrap" in {e["stage"] for e in running}
    assert len(done) >= 6
    assert len(running) <= 2 * seconds + len(done)
    kept = len(books.rows(tmp_path / "run", "bootstrap"))
    assert (
        next(e for e in events if e.get("stage") == "bootstrap" and e["state"] == "done")["kept"]
        == kept
    )


def test_the_first_lines_of_a_run_at_work_say_how_many_rows_there_are(
    server: Server, tmp_path: Path
) -> None:
    server.set_plan({"latency": 0.2, "content": {"items": 3}})
    out = tmp_path / "run"
    given = ("--out", str(out), "--teacher", f"openai:test-model@{server.url}")
    process = processes.start(line("run", "self-instruct", *given, "--set", "bootstrap.window=8"))
    try:
        processes.wait_until(lambda: server.counts().get("replies", 0) > 30, process)
        shown = said("status", str(out))
    finally:
        processes.kill(process)
    kept = int(re.search(r"(\d+) rows kept by bootstrap so far", shown)[1])  # type: ignore[index]
    row = next(row for row in shown.splitlines() if row.startswith("bootstrap"))
    assert kept == int(row.split()[3]) > 0
    assert not list(out.glob("stages/*/kept/*.parquet")), "the numbers are not of a shard"


def test_the_offline_teacher_is_only_named_where_it_is_asked(tmp_path: Path) -> None:
    old, new = str(tmp_path / "old"), str(tmp_path / "new")

    def told(*given: str) -> str:
        done = synth("run", "self-instruct", "--set", "bootstrap.target=20", *given)
        assert done.code == 0, done.err
        return done.err

    notice = "The teacher is 'offline'"
    assert notice in told("--out", old)
    assert notice not in told("--out", old)
    rules = ("--set", "filter.filters={outputs: {}}")
    assert notice not in told("--from", old, "--out", new, *rules)
    assert notice in told("--from", old, "--out", str(tmp_path / "other"), "--set", "seed=7")
