"""Row 9: the kernel's out-of-memory killer ends a run in a group of limited memory.

A second process fills the group, and the run is marked as the one to go. What SIGKILL does to a run
is looked at in tests/crash; here it is the kernel that sends it, for want of memory.
"""

import contextlib
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from tests.faults import matrix
from tests.faults.matrix import C, Ran
from tests.run import books, processes
from tests.teacher_server.process import Server

LIMIT = 512 << 20
HOG = """
import pathlib, sys, time
pathlib.Path(sys.argv[1], "cgroup.procs").write_text("0")
held = []
while len(held) < 1024:
    held.append(bytearray(b"x" * (1 << 20)))
    time.sleep(0.001)
"""


@dataclass(frozen=True)
class Group:
    """A control group of limited memory, of version 1 or 2."""

    folder: Path

    def killed(self) -> int:
        """How many of its processes the kernel has ended."""
        names = [self.folder / name for name in ("memory.oom_control", "memory.events")]
        lines = next(name for name in names if name.exists()).read_text("ascii").splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("oom_kill "))


@pytest.fixture
def group() -> Iterator[Group]:
    """A new group with a limit of 512 MiB and no swap."""
    root = Path("/sys/fs/cgroup")
    folder = (root / "memory" if (root / "memory").is_dir() else root) / f"synth-{uuid4().hex}"
    try:
        folder.mkdir()
        limits = [folder / name for name in ("memory.limit_in_bytes", "memory.max")]
        next(name for name in limits if name.exists()).write_text(str(LIMIT))
    except (OSError, StopIteration) as error:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"no control group of limited memory can be made here: {error!r}")
    yield Group(folder)
    for _ in range(100):
        with contextlib.suppress(OSError):
            folder.rmdir()
            return
        time.sleep(0.05)


def test_a_run_that_the_kernel_ends_for_want_of_memory_goes_on_and_pays_for_nothing_twice(
    server: Server, clean: Ran, tmp_path: Path, group: Group
) -> None:
    server.set_plan({"content": matrix.THREE_ITEMS, "latency": 0.2})
    out = tmp_path / "run"
    teacher = f"openai:{matrix.MODEL}@{server.url}"
    process = processes.start(processes.command(out, matrix.SHORT, teacher))
    (group.folder / "cgroup.procs").write_text(str(process.pid))
    Path(f"/proc/{process.pid}/oom_score_adj").write_text("1000")
    processes.wait_until(lambda: server.counts().get("replies", 0) > 12, process)
    hog = subprocess.Popen([sys.executable, "-c", HOG, str(group.folder)])
    try:
        process.communicate(timeout=60)
    finally:
        hog.kill()
        hog.wait()
    assert process.returncode == -9
    assert group.killed() >= 1
    paid = set(books.replied(out))
    n_before = server.counts()["requests_chat"]
    assert len(paid) > 4
    again = matrix.run(server, out, until=None)
    assert again.code == 0
    asked = [e["hash"][:24] for e in server.history("request") if e["kind"] == "chat"]
    assert paid.isdisjoint(asked[n_before:]), "paid twice"
    assert n_before - len(paid) <= C, "more than what was in flight is lost"
    data = books.data_files(out)
    assert {name: data[name] for name in books.data_files(clean.out)} == books.data_files(clean.out)
