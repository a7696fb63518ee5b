"""The processes of servers, by what they inherit in their environment.

A run begins by ending what an earlier process of it has left behind, where even the keeper of a
server was killed.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

RUN = "SYNTH_SERVER_OF"
"""The variable that names the run, by its folder with all links resolved."""
SERVER = "SYNTH_SERVER"
"""The variable that names one server among those of all runs."""
END_S = 10.0
"""How long the system may take to end a process that was killed."""


def marks(run: Path, server: str) -> dict[str, str]:
    """What a server of a run inherits."""
    return {RUN: str(run.resolve()), SERVER: server}


def end(variable: str, value: str) -> int:
    """End all processes that inherited a value, and wait until they are gone; gives how many."""
    found = set(of(variable, value))
    for process in found:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, signal.SIGKILL)
    until = time.monotonic() + END_S
    while found and any(of(variable, value)) and time.monotonic() < until:
        time.sleep(0.02)
    return len(found)


def of(variable: str, value: str) -> Iterator[int]:
    """The processes that inherited a value, on this machine and of this user."""
    wanted = f"{variable}={value}".encode(errors="surrogateescape")
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with contextlib.suppress(OSError):  # another user's, or it has just ended
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    yield int(folder.name)
