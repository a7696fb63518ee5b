"""Run the teacher as a process of its own from a test, and read what it witnessed.

with running_server(tmp_path / "history.jsonl") as server:
    ...  # any client, at server.url
    assert server.counts()["replies"] == 1
"""

import hashlib
import http.client
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]


def auth_hash(key: str) -> str:
    """What a history holds instead of the Authorization header of a bearer key."""
    return hashlib.sha256(f"Bearer {key}".encode()).hexdigest()


def read_history(path: Path) -> list[dict[str, Any]]:
    """All events of a history file, in order."""
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines if line.endswith("\n")]


class Server:
    """A teacher that runs."""

    def __init__(self, process: subprocess.Popen[bytes], ready: dict[str, Any], path: Path) -> None:
        self.process = process
        self.url: str = ready["url"]
        self.control_url: str = ready["control"]
        self.other_url: str = ready["other"]
        self.pid: int = ready["pid"]
        self.history_path = path
        parts = urlsplit(self.url)
        self.host, self.port = parts.hostname or "", parts.port or 0

    def command(self, name: str, given: object = None) -> dict[str, Any]:
        """Send one command to the control port; returns the counters."""
        parts = urlsplit(self.control_url)
        connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=30)
        try:
            body = None if given is None else json.dumps(given)
            connection.request("POST", f"/{name}", body)
            answer = connection.getresponse()
            counters: dict[str, Any] = json.loads(answer.read())
        finally:
            connection.close()
        if answer.status != 200:
            raise ValueError(counters["error"]["message"])
        return counters

    def counts(self) -> dict[str, Any]:
        """The counters: requests, replies, aborted, faults by name, billed tokens and more."""
        return self.command("counts")

    def faults(self, name: str) -> int:
        """How often a fault was applied."""
        fired: int = self.counts()["faults"].get(name, 0)
        return fired

    def set_plan(self, plan: object) -> None:
        """Replace the plan; `nth`, `after` and `until` count from now."""
        self.command("plan", plan)

    def refuse(self, for_s: float | None = None) -> None:
        """Refuse connections for a time, or until `accept`."""
        self.command("refuse", {"for_s": for_s})

    def accept(self) -> None:
        """Accept connections again."""
        self.command("accept")

    def history(self, event: str | None = None) -> list[dict[str, Any]]:
        """All events so far, or those of one name."""
        if self.process.poll() is None:
            self.command("flush")
        events = read_history(self.history_path)
        return events if event is None else [e for e in events if e["event"] == event]


@contextmanager
def running_server(
    history: Path,
    plan: object = None,
    seed: int = 0,
    max_seconds: float = 600,
    keep_bodies: bool = False,
    tls_cert: Path | None = None,
    port: int = 0,
) -> Iterator[Server]:
    """Start a teacher, and end it with the block; it also ends when this process dies."""
    command = [sys.executable, "-m", "tests.teacher_server", "--history", str(history)]
    command += ["--plan", json.dumps(plan or []), "--seed", str(seed), "--port", str(port)]
    command += ["--max-seconds", str(max_seconds)]
    command += ["--keep-bodies"] if keep_bodies else []
    command += ["--tls-cert", str(tls_cert)] if tls_cert else []
    with tempfile.TemporaryFile() as problems:
        process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=problems
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if line:
                yield Server(process, json.loads(line), history)
        finally:
            process.stdin.close()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            process.stdout.close()
        if process.returncode:
            problems.seek(0)
            raise RuntimeError(problems.read().decode(errors="replace"))
