"""Start, kill and end runs that are processes of their own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]


def environment(**more: str) -> dict[str, str]:
    """This process's variables without keys and addresses of teachers."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("OPENAI")}
    return kept | more


def command(out: Path, settings: Sequence[str], teacher: str | None = None) -> list[str]:
    """The command line of the runner."""
    line = [sys.executable, "-m", "tests.run.runner", "--out", str(out)]
    line += ["--teacher", teacher] if teacher else []
    for setting in settings:
        line += ["--set", setting]
    return line


def start(line: Sequence[str], **variables: str) -> subprocess.Popen[str]:
    """Start a command in the repository's root."""
    return subprocess.Popen(
        line,
        cwd=ROOT,
        env=environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(line: Sequence[str], **variables: str) -> tuple[int, str]:
    """Run a command to its end: exit code and what it said on stderr."""
    process = start(line, **variables)
    _, said = process.communicate(timeout=120)
    return process.returncode, said


def wait_until(found: Callable[[], bool], process: subprocess.Popen[str] | None = None) -> bool:
    """Wait until something is so; false where the process ended first."""
    deadline = time.monotonic() + 60
    while not found():
        if process is not None and process.poll() is not None:
            return False
        if time.monotonic() > deadline:
            if process is not None:
                kill(process)
            raise AssertionError("waited for a minute")
        time.sleep(0.002)
    return True


def kill(process: subprocess.Popen[str]) -> None:
    """SIGKILL, and wait for the end."""
    process.kill()
    process.communicate()
