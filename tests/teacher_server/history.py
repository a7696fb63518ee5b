"""The append-only log of what really happened: one JSON object a line, in monotonic nanoseconds.

`t` is CLOCK_MONOTONIC, so events compare with `time.monotonic_ns()` of any process on the machine.
Lines are buffered and reach the file within 20 ms, and at exit.
"""

import asyncio
import json
import os
from pathlib import Path
from time import monotonic_ns

FLUSH_AFTER_S = 0.01  # half of what is promised: a busy loop is late


class History:
    """Writes events; every method is called from the event loop's thread."""

    def __init__(self, path: Path, loop: asyncio.AbstractEventLoop) -> None:
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        self._loop = loop
        self._lines: list[str] = []

    def line(self, event: str, members: str) -> None:
        """Append one event whose further members are JSON text already: the quick way."""
        if not self._lines:
            self._loop.call_later(FLUSH_AFTER_S, self.flush)
        self._lines.append(f'{{"t":{monotonic_ns()},"event":"{event}"{members}}}\n')

    def event(self, event: str, **members: object) -> None:
        """Append one event."""
        self.line(event, "".join(f',"{name}":{json.dumps(v)}' for name, v in members.items()))

    def flush(self) -> None:
        """Hand all lines to the kernel."""
        data = memoryview("".join(self._lines).encode())
        self._lines.clear()
        while data:
            data = data[os.write(self._fd, data) :]

    def close(self) -> None:
        """Flush and close the file; later events are lost."""
        self.flush()
        os.close(self._fd)
