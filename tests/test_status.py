"""How far a run's stages are, and who works on it."""

import json
import os
import threading
from pathlib import Path

import pytest

from pipeline import open_run
from pipeline.run.execute import execute
from pipeline.run.lock import locked
from pipeline.run.prepare import Options, prepare
from pipeline.status import holder, stage_statuses


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
