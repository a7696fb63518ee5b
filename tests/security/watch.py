"""Python that is run before a command: it writes down what should never happen in a run.

A run may write below the folders that `WATCH_INSIDE` names, separated by colons, and connect to
loopback. Code may be compiled that comes from files of the installation alone.
"""

import os
import sys

_LOG = os.open(os.environ["WATCH_LOG"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
_INSIDE = (*os.environ["WATCH_INSIDE"].split(":"), "/dev/null", "/dev/tty")
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NEVER = (
    "os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "pty.spawn",
    "subprocess.Popen", "pickle.find_class", "socket.bind", "webbrowser.open",
)  # fmt: skip
_LOOPBACK = ("127.0.0.1", "::1", "localhost")


def _told(*found: object) -> None:
    os.write(_LOG, (" ".join(repr(one)[:200] for one in found) + "\n").encode())


def _watch(event: str, given: tuple[object, ...]) -> None:
    if event in _NEVER:
        _told(event, given)
    elif event == "open":
        path, _, flags = given
        if isinstance(path, int) or not isinstance(flags, int) or not flags & _WRITING:
            return
        where = os.path.abspath(os.fsdecode(path))  # type: ignore[arg-type]  # noqa: PTH100
        if not where.startswith(_INSIDE):
            _told(event, where)
    elif event in ("compile", "exec"):
        source = given[0]
        text = source if isinstance(source, bytes | str) else getattr(source, "co_filename", "")
        text = text.decode(errors="replace") if isinstance(text, bytes) else str(text)
        if "synth-payload" in text:
            _told(event, text)
    elif event in ("socket.connect", "socket.sendto"):
        address = given[1]
        if isinstance(address, tuple) and address[0] not in _LOOPBACK:
            _told(event, address)
    elif event == "socket.getaddrinfo" and given[0] not in (*_LOOPBACK, b"127.0.0.1"):
        _told(event, given)


sys.addaudithook(_watch)
_told("watching")
