"""`synth top`: how a run at work looks from another shell."""

import subprocess
import sys
from pathlib import Path

from tests.teacher_server.process import Server

CODE = "from pipeline.cli import main; main()"


def test_it_looks_on_until_the_run_ends(server: Server, tmp_path: Path) -> None:
    server.set_plan({"latency": 1.0})
    out = tmp_path / "run"
    line = [
        *(
            "run",
            "self-instruct",
            "--out",
            str(out),
            "--teacher",
            f"openai:test-model@{server.url}",
        ),
        *("--set", "bootstrap.target=60", "--set", "teacher.concurrency=4", "--until", "bootstrap"),
    ]
    run = subprocess.Popen([sys.executable, "-c", CODE, *line], stderr=subprocess.DEVNULL)
    while not (out / "progress.json").exists() and run.poll() is None:
        pass
    seen = subprocess.run(
        [sys.executable, "-c", CODE, "top", str(out), "--every", "0.3"],
        capture_output=True,
        check=False,
        text=True,
        timeout=120,
    )
    assert run.wait(60) == 0
    assert seen.returncode == 0, seen.stderr
    *looks, _ = seen.stdout.partition(str(out))[0].split("\n")
    assert len(looks) >= 2
    assert any(look.startswith("bootstrap: ") and "a second" in look for look in looks)
    assert f"{out}: finished" in seen.stdout or f"{out}: stopped" in seen.stdout


def test_of_a_run_that_has_ended_it_is_the_status(small_run: Path) -> None:
    both = [
        subprocess.run(
            [sys.executable, "-c", CODE, command, str(small_run)], capture_output=True, check=True
        ).stdout
        for command in ("top", "status")
    ]
    assert both[0] == both[1]
