"""Start a command on another host, as far as it can tell: in a namespace with a name of its own."""

import functools
import shutil
import socket
import subprocess
from collections.abc import Sequence

HERE = ""
NAMES = ("node-a", "node-b", "node-c")
WAYS = (("unshare", "--uts"), ("unshare", "--map-root-user", "--uts"))
RENAMED = ("sh", "-c", 'hostname "$0" && exec "$@"')


@functools.cache
def way() -> tuple[str, ...] | None:
    """How a process gets a host name of its own here; null where it may not."""
    if shutil.which("unshare") is None or shutil.which("hostname") is None:
        return None
    for there in WAYS:
        tried = subprocess.run(
            [*there, *RENAMED, NAMES[0], "hostname"], capture_output=True, text=True, check=False
        )
        if tried.returncode == 0 and tried.stdout.strip() == NAMES[0]:
            return there
    return None


def missing() -> str | None:
    """Why no process gets another host name here, null where one does."""
    return None if way() else "no process may have a host name of its own here (unshare --uts)"


def name(host: str) -> str:
    """What a process on a host is told that it is called."""
    return host or socket.gethostname()


def on(host: str, line: Sequence[str]) -> list[str]:
    """A command line that runs another on a host; that of this machine is `HERE`."""
    if host == HERE:
        return list(line)
    there = way()
    assert there is not None, missing()
    return [*there, *RENAMED, host, *line]
