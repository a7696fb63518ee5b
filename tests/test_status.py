"""How far a run's stages are, and who works on it."""

import json
import os
import threading
import time
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.cli import look
from pipeline.errors import BudgetError
from pipeline.run.events import Progress, note
from pipeline.run.execute import execute
from pipeline.run.lock import locked
from pipeline.run.prepare import Options, prepare
from pipeline.run.replay import replay
from pipeline.status import holder, stage_statuses
from tests.conftest import ignore
from tests.run import processes
from tests.teacher_server.process import Server


def test_who_holds_the_lock_is_told_and_the_lock_left_alone(small_copy: Path) -> None:
    assert holder(small_copy) is None
    with locked(small_copy):
        assert holder(small_copy) == f"process {os.getpid()}"
        told = []
        thread = threading.Thread(target=lambda: told.append(holder(small_copy)))
        thread.start()
        thread.join()
        assert told == [holder(small_copy)]
    assert holder(small_copy) is None


def test_a_holder_on_another_machine_is_known_by_what_it_wrote(small_copy: Path) -> None:
    lease = {"host": "elsewhere", "boot": "b", "pid": 7, "started": "1", "epoch": 3}
    (small_copy / "lock").write_text(json.dumps(lease))
    assert holder(small_copy) == "process 7 on elsewhere, by what its lock says"


def test_the_statuses_have_the_stages_that_have_not_begun(tmp_path: Path) -> None:
    settings = ["bootstrap.target=20"]
    options = Options(
        recipe="self-instruct", out=str(tmp_path / "run"), settings=settings, until="classify"
    )
    execute(prepare(options), lambda event: None)
    found = {stage.name: stage for stage in stage_statuses(open_run(tmp_path / "run"))}
    assert list(found) == ["bootstrap", "classify", "instances", "filter", "dedup", "export"]
    assert found["classify"].state == "complete"
    assert found["instances"].state == "not begun"
    assert found["bootstrap"].requests > 0


def test_a_stage_at_work_is_counted_and_priced_from_the_journal(small_copy: Path) -> None:
    path = small_copy / "stages/02-classify/stage.json"
    tree = json.loads(path.read_text()) | {"complete": False, "usage": []}
    path.write_text(json.dumps(tree))
    recipe = small_copy / "recipe.yaml"
    prices = "prices: {offline: {input: 2, output: '8'}}"
    recipe.write_text(recipe.read_text().replace("prices: {}", prices))
    found = {stage.name: stage for stage in stage_statuses(open_run(small_copy))}["classify"]
    assert found.requests == open_run(small_copy).stage("bootstrap").kept
    spent = found.input_tokens * 2 + found.output_tokens * 8
    assert float(found.cost_usd) == pytest.approx(spent / 1_000_000)


def test_a_recipe_of_strangers_cannot_swell_what_is_shown(small_copy: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    lines += ["stages: [{stage: *a8}]"]  # a hundred million words, if it is ever written out
    (small_copy / "recipe.yaml").write_text("\n".join(lines))
    found = stage_statuses(open_run(small_copy))
    assert [stage.state for stage in found] == ["complete"] * 6


def test_the_status_of_a_run_at_work_is_the_servers_truth(server: Server, tmp_path: Path) -> None:
    """Of what the server had answered two seconds before, status knows all; never of more."""
    server.set_plan({"content": {"items": 1}, "latency": 0.1})
    run = tmp_path / "run"
    settings = ("bootstrap.target=400", "bootstrap.window=8", "teacher.concurrency=8")
    process = processes.start(processes.command(run, settings, f"openai:test-model@{server.url}"))
    seen = []
    try:
        processes.wait_until(lambda: server.counts().get("replies", 0) > 10, process)
        for _ in range(6):
            replied = len(server.history("reply"))
            time.sleep(0.7)
            (stage, *_) = stage_statuses(open_run(run))
            sent = server.counts()["requests_chat"]
            seen.append((replied, stage.requests, sent, stage.candidates))
    finally:
        processes.kill(process)
    late = [replied for replied, *_ in seen]
    assert late[-1] > late[0] + 50, "the run stood still"
    for replied, requests, sent, _ in seen:
        assert replied - 1 - 8 <= requests <= sent + 8, seen  # 1: the list of models
    for (replied, *_), (*_, candidates) in zip(seen, seen[2:], strict=False):
        assert candidates >= replied - 1 - 8, seen  # what was answered 1.4 s before


def test_what_a_replay_made_of_too_few_replies_is_outdated_until_it_is_made_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"

    def go_on(requests: int) -> None:
        settings = ["bootstrap.target=60", f"budget.requests={requests}"]
        with pytest.raises(BudgetError):
            execute(prepare(Options("self-instruct", out=str(out), settings=settings)), ignore)

    go_on(40)
    replay(out, ignore)
    assert {stage.state for stage in stage_statuses(open_run(out))} == {"complete"}
    go_on(100)
    found = {stage.name: stage.state for stage in stage_statuses(open_run(out))}
    assert found == {
        "bootstrap": "complete",
        "classify": "complete",
        "instances": "budget",
        "filter": "outdated",
        "dedup": "outdated",
        "export": "outdated",
    }
    state = json.loads((out / "run.json").read_text()) | {"status": "running"}
    (out / "run.json").write_text(json.dumps(state))
    note(out, Progress("classify", 30, 60, kept=30, dropped={}, state="running"))
    found = {stage.name: stage.state for stage in stage_statuses(open_run(out))}
    assert list(found.values()) == ["complete", "running", *["outdated"] * 4]
    look.status(str(out))
    assert "30 rows kept by classify so far" in capsys.readouterr().out
