"""Keeps a server: starts it, and ends it with all that it started once nobody wants it any more.

Run as a script, in a session of its own, with the id of the process that wants it and the server's
command. Its stdin is a pipe that this process holds open: where that closes, however the process
ended, the server is no longer wanted. Needs the standard library alone.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
GRACE_S = 5.0
"""How long a server may take to end by itself."""


class _Unwanted(Exception):  # noqa: N818 - no error: the end of a server's time
    pass


def keep(parent: int, command: list[str]) -> int:
    """Start a server, wait for it, and give how it ended, as a shell does; 0 if unwanted."""
    libc, keeper = ctypes.CDLL(None), os.getpid()
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1)  # what outlives the server becomes a child of this one
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _end)
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        return 0
    server: subprocess.Popen[bytes] | None = None
    code = 0
    try:
        server = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            preexec_fn=lambda: _end_with(keeper, libc),
        )
        threading.Thread(target=_wait_for_eof, daemon=True).start()
        code = server.wait()
    except _Unwanted:
        if server is not None:
            server.terminate()  # it ends what it started by itself, where it can
            with contextlib.suppress(subprocess.TimeoutExpired):
                server.wait(GRACE_S)
    try:
        _kill_all_below()
    except _Unwanted:  # it ended by itself, and was no longer wanted just then
        _kill_all_below()
    return code if code >= 0 else 128 - code


def _end_with(parent: int, libc: ctypes.CDLL) -> None:
    """In a child: end with the parent, also where that has ended already."""
    libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _end(number: int, frame: FrameType | None) -> None:
    for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(one, signal.SIG_IGN)
    raise _Unwanted


def _wait_for_eof() -> None:
    while os.read(0, 64):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _kill_all_below() -> None:
    """Kill every process below this one, and those that they start meanwhile."""
    while below := set(_below(os.getpid())):
        for process in below:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        time.sleep(0.01)


def _below(process: int) -> Iterator[int]:
    """The children of a process, their children, and so on."""
    with contextlib.suppress(OSError):  # it has just ended
        for path in Path(f"/proc/{process}/task").glob("*/children"):
            for child in map(int, path.read_text().split()):
                yield child
                yield from _below(child)


if __name__ == "__main__":
    sys.exit(keep(int(sys.argv[1]), sys.argv[2:]))
