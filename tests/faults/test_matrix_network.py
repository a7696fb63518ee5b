"""Row 41: the run directory is on a file system over the network: no locks, no shared memory, slow.

None is mounted here: strace answers in the kernel's place what such a file system would.
"""

import os
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.crash import published, syscalls
from tests.faults import matrix
from tests.faults.matrix import MODEL, SHORT, THREE_ITEMS, Ran
from tests.run import books
from tests.security.command import environment, line
from tests.teacher_server.process import Server

MISSING = syscalls.missing()
pytestmark = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))

PLAN = {"content": THREE_ITEMS}
PATIENT = ("teacher.connect_timeout_s=5", "teacher.timeout_s=20", "teacher.idle_timeout_s=20")
NFS = "inject=statfs:poke_exit=@arg2=6969000000000000"


@pytest.fixture
def server(server: Server) -> Server:
    server.set_plan(PLAN)
    return server


def command(out: Path, server: Server, inject: Sequence[str], calls: str) -> list[str]:
    """The run of `matrix.run` under strace, which answers `calls` as `inject` says."""
    given = ["run", "self-instruct", "--out", str(out), "--until", "classify"]
    given += ["--teacher", f"openai:{MODEL}@{server.url}"]
    for setting in (*SHORT, *PATIENT):
        given += ["--set", setting]
    log = str(out.with_suffix(".trace"))
    injected = [part for one in inject for part in ("-e", one)]
    return ["strace", "-f", "-o", log, "-e", f"trace={calls}", *injected, *line(*given)]


def finish(given: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command line to its end."""
    return subprocess.run(
        given, env=environment(), capture_output=True, text=True, check=False, timeout=120
    )


def injected(out: Path) -> int:
    """How often strace answered in the kernel's place."""
    return out.with_suffix(".trace").read_text(errors="replace").count("(INJECTED")


def sent(server: Server) -> int:
    """Requests to the model so far."""
    return int(server.counts().get("requests_chat", 0))


def is_in_rollback_mode(run: Path) -> bool:
    """Whether the journal's header names SQLite's older mode."""
    return (run / "journal.sqlite").read_bytes()[18:20] == b"\x01\x01"


@pytest.mark.parametrize("code", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks_is_refused_before_any_request(
    server: Server, tmp_path: Path, code: str
) -> None:
    out = tmp_path / "run"
    done = finish(command(out, server, [f"inject=flock:error={code}"], "flock"))
    assert injected(out)
    assert done.returncode == 7, done.stderr
    assert "no locks" in done.stderr
    assert "--out" in done.stderr
    assert sent(server) == 0


def test_on_a_shared_file_system_the_journal_takes_no_shared_memory(
    clean: Ran, server: Server, tmp_path: Path
) -> None:
    """With a kill in the middle: what was settled is there, and the end is the same."""
    out = tmp_path / "run"
    given = command(out, server, [NFS], "statfs")
    server.set_plan(PLAN | {"latency": 0.1})
    process = subprocess.Popen(given, env=environment(), stderr=subprocess.DEVNULL)
    until = time.monotonic() + 60
    while published.last_record(out) < 40:
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.02)
    assert not (out / "journal.sqlite-wal").exists()
    assert not (out / "journal.sqlite-shm").exists()
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    for pid in children:
        os.kill(int(pid), signal.SIGKILL)
    process.wait()
    assert injected(out)
    assert is_in_rollback_mode(out)
    settled = [record for record in published.journal(out) if record.kind == "reply"]
    assert len(settled) >= 10
    server.set_plan(PLAN)
    before = len(matrix.asked_at(server))
    done = finish(given)
    assert done.returncode == 0, done.stderr
    assert books.data_files(out) == books.data_files(clean.out)
    chats = [event for event in server.history("request") if event["kind"] == "chat"]
    again = {event["hash"][:24] for event in chats[before:]}
    assert not {record.asked for record in settled} & again, "bought again"
    assert is_in_rollback_mode(out)


def test_a_run_that_moves_to_a_shared_file_system_goes_on_there(
    clean: Ran, server: Server, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    ran = matrix.run(server, out, until="bootstrap")
    assert ran.code == 0
    assert not is_in_rollback_mode(out)
    done = finish(command(out, server, [NFS], "statfs"))
    assert done.returncode == 0, done.stderr
    assert injected(out)
    assert is_in_rollback_mode(out)
    assert books.data_files(out) == books.data_files(clean.out)


def test_a_slow_file_system_only_takes_longer(clean: Ran, server: Server, tmp_path: Path) -> None:
    out = tmp_path / "run"
    slow = ["inject=fsync,fdatasync,rename:delay_exit=50000", NFS]
    done = finish(command(out, server, slow, "fsync,fdatasync,rename,statfs"))
    assert done.returncode == 0, done.stderr
    assert out.with_suffix(".trace").read_text(errors="replace").count("(DELAYED)") > 40
    assert books.data_files(out) == books.data_files(clean.out)


@pytest.mark.parametrize(("call", "when"), [("pwrite64", "60+"), ("fsync,fdatasync", "25+"),
                                            ("rename", "9+")])  # fmt: skip
def test_a_stale_handle_ends_the_run_and_the_same_command_goes_on(
    clean: Ran, server: Server, tmp_path: Path, call: str, when: str
) -> None:
    out = tmp_path / "run"
    stale = f"inject={call}:error=ESTALE:when={when}"
    done = finish(command(out, server, [stale, NFS], f"{call},statfs"))
    assert injected(out) > 2
    assert done.returncode == 7, done.stderr
    kept = books.replied(out)
    mark = len(matrix.asked_at(server))
    ran = matrix.run(server, out)
    assert ran.code == 0, ran.error
    assert books.data_files(out) == books.data_files(clean.out)
    chats = [event for event in server.history("request") if event["kind"] == "chat"]
    assert not set(kept) & {event["hash"][:24] for event in chats[mark:]}, "bought again"
