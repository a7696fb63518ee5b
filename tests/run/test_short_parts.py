"""A run that a budget ends publishes what it has; gone on with, it ends as if never ended."""

import json
from pathlib import Path

import pytest

from pipeline.errors import BudgetError
from pipeline.verify import verify
from tests.conftest import RunSynth
from tests.run import books, processes
from tests.soaked import soaked
from tests.teacher_server.process import Server

SETTINGS = ("bootstrap.target=40", "bootstrap.window=8", "teacher.concurrency=8", "shard_rows=30")


def stop_after(run_synth: RunSynth, out: Path, requests: int, teacher: str) -> None:
    with pytest.raises(BudgetError):
        run_synth(out, *SETTINGS, f"budget.requests={requests}", teacher=teacher)
    books.check(out)


def test_caps_raised_step_by_step_leave_no_trace_in_the_files(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    run_synth(tmp_path / "whole", *SETTINGS, teacher=teacher)
    whole = json.loads((tmp_path / "whole" / "run.json").read_bytes())
    needed = len(books.replied(tmp_path / "whole"))
    out = tmp_path / "run"
    rows: list[int] = []
    for cap in range(6, needed, 9):
        stop_after(run_synth, out, cap, teacher)
        stages = [json.loads(p.read_bytes()) for p in sorted(out.glob("stages/*/stage.json"))]
        rows.append(sum(stage["candidates"] for stage in stages))
        assert stages[-1]["stopped"] == "budget"
        verify(out)
    assert rows == sorted(rows), "a reader saw rows go"
    assert rows[0] > 0, "what was bought cannot be read"
    run_synth(out, *SETTINGS, teacher=teacher)
    assert len(rows) > 5
    assert books.data_files(out) == books.data_files(tmp_path / "whole")
    assert json.loads((out / "run.json").read_bytes())["digest"] == whole["digest"]
    assert len(set(books.replied(out))) == len(books.replied(out)), "something was bought twice"
    for path in out.glob("stages/*/stage.json"):
        assert json.loads(path.read_bytes())["stopped"] is None


def test_a_budget_that_is_spent_already_changes_nothing(
    run_synth: RunSynth, server: Server, tmp_path: Path
) -> None:
    teacher = f"openai:test-model@{server.url}"
    stop_after(run_synth, tmp_path / "run", 12, teacher)
    before = books.data_files(tmp_path / "run")
    size = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file())
    for _ in range(10):
        stop_after(run_synth, tmp_path / "run", 12, teacher)
    assert books.data_files(tmp_path / "run") == before
    after = sum(path.stat().st_size for path in (tmp_path / "run").rglob("*") if path.is_file())
    assert after - size <= 10 * 4096
    assert len(books.replied(tmp_path / "run")) == 12


@pytest.mark.parametrize("point", ["shard_staged", soaked("shard_staged:2"), "part_unlisted"])
def test_a_run_killed_while_a_short_part_is_replaced_goes_on(
    run_synth: RunSynth, server: Server, tmp_path: Path, point: str
) -> None:
    teacher = f"openai:test-model@{server.url}"
    run_synth(tmp_path / "whole", *SETTINGS, teacher=teacher)
    out = tmp_path / "run"
    stop_after(run_synth, out, 12, teacher)
    had = {path: len(books.rows(out, "bootstrap", path)) for path in ("kept", "dropped")}
    line = processes.command(out, SETTINGS, teacher)
    code, _ = processes.finish(line, SYNTH_CRASH_AT=point)
    assert code == -9
    verify(out)
    for half, n in had.items():
        assert len(books.rows(out, "bootstrap", half)) >= n, "a reader saw rows go"
    assert processes.finish(line) == (0, "")
    books.check(out)
    assert books.data_files(out) == books.data_files(tmp_path / "whole")
