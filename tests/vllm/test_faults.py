"""What goes wrong with a vLLM server: one message with its last words, and nothing left behind."""

import json
import os
import re
import signal
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.run import books
from tests.soaked import REASON, SOAK, soaked
from tests.vllm.serving import Serving, until

ROOT_CAUSE = "RuntimeError: Engine core initialization failed. See root cause above."

NO_MODEL = "OSError: /m has no file named config.json"


def lines(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("synth: ")]


@pytest.mark.parametrize(
    ("faults", "code", "told"),
    [
        ({"at_start": [NO_MODEL, *["  more"] * 6, ROOT_CAUSE]}, 5,
         ["ended with exit code 1 before it answered", NO_MODEL]),
        ({"at_start": ["ValueError: No available memory for the cache blocks.", ROOT_CAUSE]}, 5,
         ["No available memory for the cache", "lower teacher.vllm.max_model_len"]),
        ({"killed_at_start": True}, 5, ["SIGKILL", "where memory runs out"]),
        ({"dies_at": 1}, 5, ["before it answered", "AssertionError: head_dim"]),
        ({"refuses_chat": "there is no chat template"}, 5,
         ["refuses its first request", "there is no chat template"]),
        ({"never_well": True}, 75, ["has not answered within 2 s", "start_timeout_s"]),
    ],
    ids=["no_model", "memory", "killed", "first_request", "no_chat_template", "never"],
)  # fmt: skip
def test_a_server_that_does_not_get_there(
    tmp_path: Path, faults: dict[str, Any], code: int, told: list[str]
) -> None:
    serving = Serving(tmp_path, faults)
    limit_s = 2 if "never_well" in faults else 60
    ended, said = serving.finish("--set", f"teacher.vllm.start_timeout_s={limit_s}")
    assert ended == code, said
    assert len(lines(said)) == 1, said
    for one in [*told, "All that it said is in", "logs/vllm-teacher.log"]:
        assert one in said
    assert "\n All that" not in said
    assert serving.left() == {}
    assert len(serving.starts) == 1
    assert not [one for one in books.records(serving.run) if one["kind"] == "reply"]


def test_a_port_that_is_named_and_taken(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {})
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        ended, said = serving.finish("--set", f"teacher.vllm.port={port}")
    assert ended == 75
    assert f"port {port} is taken by another process" in said
    assert serving.starts == []
    ended, said = serving.finish("--set", f"teacher.vllm.port={port}")
    assert ended == 0, said
    assert serving.starts[0]["port"] == port


@pytest.mark.skipif(not SOAK, reason=REASON)
def test_a_free_port_that_somebody_else_took_is_replaced(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"port_taken": 2})
    ended, said = serving.finish()
    assert ended == 0, said
    assert len(serving.starts) == 3


def test_three_restarts_are_survived(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"dies_at": 15})  # two of which are asked before it counts as up
    ended, said = serving.finish()
    assert ended == 0, said
    assert [n for n in range(1, 5) if f"restart {n} of 3" in said] == [1, 2, 3]
    assert len(serving.starts) == 4
    assert len(books.rows(serving.run, "classify")) == 40
    assert serving.left() == {}
    kinds = [one["kind"] for one in books.records(serving.run)]
    assert kinds.count("reply") == 40


def test_the_fourth_death_ends_the_run(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"dies_at": 6})
    ended, said = serving.finish()
    assert ended == 70
    assert "after 3 restarts" in said
    assert "AssertionError: head_dim" in said
    assert "Traceback" not in said
    assert len(lines(said)) == 1, said
    assert serving.left() == {}
    serving.faults = {}
    ended, said = serving.finish()
    assert ended == 0, said
    assert len(books.rows(serving.run, "classify")) == 40


def test_an_engine_that_is_dead_behind_a_server_that_lives_is_noticed(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"engine_dead_at": 20})
    ended, said = serving.finish()
    assert ended == 0, said
    assert "died (its engine): restart 1 of 3" in said
    assert len(books.rows(serving.run, "classify")) == 40


@pytest.mark.skipif(not SOAK, reason=REASON)
def test_a_killed_server_is_started_again(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"answers_after_s": 0.3})
    process = serving.begin()
    until(lambda: len(books.records(serving.run)) > 20, "no request was sent")
    os.kill(serving.starts[0]["pid"], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert re.search(r"died \(SIGKILL.*restart 1 of 3", said)
    assert serving.left() == {}


def test_a_killed_keeper_takes_nothing_with_it(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"answers_after_s": 0.3})
    process = serving.begin()
    until(lambda: len(books.records(serving.run)) > 20, "no request was sent")
    os.kill(serving.keeper(), signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 0, said
    assert "restart 1 of 3" in said
    assert len(serving.starts) == 2
    assert serving.left() == {}


@pytest.mark.parametrize("at_start", [soaked(True), False])
def test_a_killed_run_leaves_no_server(tmp_path: Path, at_start: bool) -> None:
    faults = {"starts_after_s": 60} if at_start else {"answers_after_s": 0.3}
    serving = Serving(tmp_path, faults)
    process = serving.begin()
    until(lambda: serving.starts if at_start else len(books.records(serving.run)) > 8, "no start")
    process.kill()
    process.communicate()
    until(lambda: not serving.left(), f"left behind: {serving.left()}")
    serving.faults = {}
    ended, said = serving.finish()
    assert ended == 0, said
    assert len(books.rows(serving.run, "classify")) == 40


def test_what_a_killed_keeper_leaves_is_ended_at_the_next_start(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"answers_after_s": 0.3})
    process = serving.begin()
    until(lambda: len(books.records(serving.run)) > 8, "no request was sent")
    os.kill(process.pid, signal.SIGSTOP)  # so that it cannot notice
    os.kill(serving.keeper(), signal.SIGKILL)
    process.kill()
    process.communicate()
    left = serving.left()
    assert serving.starts[0]["engine"] in left, "the stand-in's engine outlives its keeper"
    ended, said = serving.finish()
    assert ended == 0, said
    assert "of a vLLM server that this run had left behind: ended" in said
    assert serving.left() == {}


@pytest.mark.parametrize("at_start", [soaked(True), False])
def test_a_signal_ends_the_server_too(tmp_path: Path, at_start: bool) -> None:
    faults = {"starts_after_s": 60} if at_start else {"answers_after_s": 0.3}
    serving = Serving(tmp_path, faults)
    process = serving.begin()
    until(lambda: serving.starts if at_start else len(books.records(serving.run)) > 8, "no start")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert serving.left() == {}


def test_a_second_signal_leaves_no_server_that_is_slow_to_end(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"starts_after_s": 60, "ends_after_s": 2})
    process = serving.begin()
    until(lambda: serving.starts, "no start")
    for _ in range(2):
        process.send_signal(signal.SIGTERM)
        time.sleep(0.7)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    assert serving.left() == {}


def test_the_books_are_written_however_long_a_server_takes_to_end(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"answers_after_s": 60, "ends_after_s": 60})
    serving.faults["quick"] = 2  # the two requests before it counts as up
    process = serving.begin("--set", "teacher.grace_s=0.5")
    until(lambda: len(books.records(serving.run)) > 3, "no request was sent")
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 75, said
    state = json.loads((serving.run / "run.json").read_bytes())
    assert (state["status"], state["ended"]["exit_code"]) == ("stopped", 75)
    until(lambda: not serving.left(), f"left behind: {serving.left()}")


def test_a_server_that_cannot_be_started_again_keeps_nobody_waiting(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {"answers_after_s": 0.3})
    process = serving.begin()
    until(lambda: len(books.records(serving.run)) > 20, "no request was sent")
    (serving.run / "logs").rename(tmp_path / "logs")
    (serving.run / "logs").write_text("in the way")
    os.kill(serving.starts[0]["pid"], signal.SIGKILL)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 7, said
    assert "logs cannot be written" in said
    assert serving.left() == {}


def test_a_start_that_fails_is_not_tried_by_each_that_waits_for_it(tmp_path: Path) -> None:
    serving = Serving(tmp_path, {}, rows=6)
    ended, said = serving.finish("--limit", "2")
    assert ended == 0, said
    serving.faults = {"at_start": [NO_MODEL]}
    ended, said = serving.finish("--limit", "6")  # its stage was complete: it starts when wanted
    assert ended == 5, said
    assert len(serving.starts) == 2


def test_a_stage_that_is_complete_starts_no_server_and_the_last_that_asks_ends_it(
    tmp_path: Path,
) -> None:
    serving = Serving(tmp_path, {}, rows=6)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(
        "name: r\nstages:\n  - stage: import\n  - stage: classify\n  - stage: dedup\n"
    )
    ended, said = serving.finish("--until", "classify", stage=str(recipe))
    assert ended == 0, said
    assert len(serving.starts) == 1
    ended, said = serving.finish(stage=str(recipe))
    assert ended == 0, said
    assert len(serving.starts) == 1, "the stage that asks was complete"
    assert len(books.rows(serving.run, "classify")) == 6
