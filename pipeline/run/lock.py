"""One writer a run: the `lock` file, held for as long as the process works on the run.

The kernel's lock is what counts and goes with the process, however it ends; the file's text says
who holds it, for the message to the second who comes.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.errors import LockedError


@contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run's lock. Raises `LockedError` that names who holds it."""
    handle = os.open(run / "lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"another process works on {run}: {_holder(handle)}.") from error
        holder = {"host": socket.gethostname(), "pid": os.getpid(), "since": time.time()}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(holder).encode(), 0)
        yield
    finally:
        os.close(handle)


def _holder(handle: int) -> str:
    try:
        holder = json.loads(os.pread(handle, 4096, 0))
        age = time.time() - float(holder["since"])
        return f"process {int(holder['pid'])} on {str(holder['host'])[:80]}, for {age:.0f} s"
    except (ValueError, KeyError, TypeError):
        return "it has not said which"
