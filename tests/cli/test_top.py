"""`synth top`: how a run at work looks from another shell."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

from pipeline.run.events import Progress, note
from pipeline.run.lock import locked
from tests.cli.here import synth
from tests.teacher_server.process import Server

CODE = "from pipeline.cli import main; main()"


def top(run: Path) -> subprocess.Popen[str]:
    line = [sys.executable, "-c", CODE, "top", str(run), "--every", "0.2"]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_it_looks_on_until_the_run_ends(server: Server, tmp_path: Path) -> None:
    server.set_plan({"latency": 0.1})
    out = tmp_path / "run"
    line = [
        *("run", "self-instruct", "--out", str(out)),
        *("--teacher", f"openai:test-model@{server.url}"),
        *("--set", "bootstrap.target=60000", "--set", "teacher.concurrency=4"),
    ]
    run = subprocess.Popen([sys.executable, "-c", CODE, *line], stderr=subprocess.DEVNULL)
    while not (out / "progress.json").exists() and run.poll() is None:
        time.sleep(0.02)
    seen = top(out)
    assert seen.stdout is not None
    looks = [seen.stdout.readline() for _ in range(2)]
    while " a second" not in looks[-1] and run.poll() is None:
        looks.append(seen.stdout.readline())
    run.send_signal(signal.SIGTERM)
    rest, said = seen.communicate(timeout=60)
    assert run.wait(60) == 75
    assert (seen.returncode, said) == (0, "")
    assert all(look.startswith("bootstrap: ") for look in looks)
    assert f"{out}: stopped" in rest


def test_who_looks_on_leaves_with_an_interrupt_and_nothing_was_wrong(small_copy: Path) -> None:
    state = json.loads((small_copy / "run.json").read_text()) | {"status": "running"}
    (small_copy / "run.json").write_text(json.dumps(state))
    with locked(small_copy):
        note(small_copy, Progress("dedup", 1, 60, 1))
        seen = top(small_copy)
        assert seen.stdout is not None
        assert seen.stdout.readline().startswith("dedup: 1/60")
        seen.send_signal(signal.SIGINT)
        _, said = seen.communicate(timeout=60)
    assert (seen.returncode, said) == (0, "")


def test_of_a_run_that_has_ended_it_is_the_status(small_run: Path) -> None:
    both = [synth(command, small_run) for command in ("top", "status")]
    assert both[0] == both[1]
    assert f"{small_run}: finished" in both[0].out
