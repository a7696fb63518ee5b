"""One writer a run: who gets the lease, who is told to go, and what an old holder may still do."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pipeline.errors import LockedError
from pipeline.run import lock
from pipeline.teacher.journal import INTENT, Journal


def _leave(run: Path, age_s: float = 0.0, **changed: str | int) -> None:
    """A lease as another process left it, last renewed `age_s` ago."""
    holder = {"host": "elsewhere", "boot": "b", "pid": 7, "started": "1", "epoch": 3} | changed
    (run / "lock").write_text(json.dumps(holder), encoding="utf-8")
    then = time.time() - age_s
    os.utime(run / "lock", (then, then))


def test_a_second_taker_is_told_who_holds_the_run(tmp_path: Path) -> None:
    with (
        lock.locked(tmp_path),
        pytest.raises(LockedError, match=f"process {os.getpid()} on {socket.gethostname()}"),
    ):
        lock.take(tmp_path)
    lock.take(tmp_path).release()


def test_every_taker_raises_the_epoch(tmp_path: Path) -> None:
    epochs = []
    for _ in range(3):
        with lock.locked(tmp_path) as lease:
            epochs.append(lease.epoch)
    assert epochs == [1, 2, 3]


def test_a_dead_holder_of_this_machine_is_followed_at_once(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "pass"]
    with subprocess.Popen(line) as gone:
        gone.wait()
    _leave(tmp_path, host=socket.gethostname(), boot=lock._boot(), pid=gone.pid)
    with lock.locked(tmp_path) as lease:
        assert lease.epoch == 4


def test_a_process_number_that_was_given_anew_is_not_the_holder(tmp_path: Path) -> None:
    _leave(tmp_path, host=socket.gethostname(), boot=lock._boot(), pid=os.getpid(), started="1")
    with lock.locked(tmp_path) as lease:
        assert lease.epoch == 4


def test_a_holder_in_another_container_of_this_machine_is_not_taken_for_dead(
    tmp_path: Path,
) -> None:
    apart = ["unshare", "--pid", "--fork", "--mount-proc"]
    if shutil.which("unshare") is None or subprocess.run([*apart, "true"], check=False).returncode:
        pytest.skip("no namespace of processes can be made here (unshare --pid)")
    taker = (
        "import sys, pathlib\nfrom pipeline.run import lock\nlock.take(pathlib.Path(sys.argv[1]))"
    )
    with lock.locked(tmp_path) as lease:
        second = subprocess.run(
            [*apart, sys.executable, "-c", taker, str(tmp_path)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert f"LockedError: another process works on {tmp_path}" in second.stderr
        lease.check()


def test_a_holder_on_another_machine_keeps_the_run_for_its_lease(tmp_path: Path) -> None:
    _leave(tmp_path, age_s=lock.LEASE_S - 20)
    with pytest.raises(LockedError, match="process 7 on elsewhere, last seen 4"):
        lock.take(tmp_path)
    _leave(tmp_path, age_s=lock.LEASE_S + 1)
    lock.take(tmp_path).release()


def test_a_lease_file_that_cannot_be_read_is_free(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"\xff{")
    with lock.locked(tmp_path) as lease:
        assert lease.epoch == 1


def test_a_lease_is_renewed_while_it_is_held(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "LEASE_S", 0.3)
    with lock.locked(tmp_path):
        time.sleep(0.6)
        with pytest.raises(LockedError):
            lock.take(tmp_path)


def test_who_was_taken_over_can_write_nothing_more(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"

    async def work() -> None:
        stopped = lock.take(tmp_path)
        old = Journal(path, stopped.epoch)
        await old.append(INTENT, b"a" * 16, "s", 0, {})
        _leave(tmp_path, age_s=lock.LEASE_S + 1, epoch=stopped.epoch)
        with lock.locked(tmp_path) as lease:
            new = Journal(path, lease.epoch)
            await new.append(INTENT, b"b" * 16, "s", 1, {})
            with pytest.raises(LockedError, match="taken over"):
                await old.append(INTENT, b"c" * 16, "s", 2, {})
            with pytest.raises(LockedError, match="taken over"):
                stopped.check()
            await new.append(INTENT, b"d" * 16, "s", 3, {})
            lease.check()
            stopped.release()
            lease.check()  # what was taken over gives nothing back
            assert [record.slot for record in new.records()] == [0, 1, 3]
            new.close()
        old.close()

    asyncio.run(work())
