"""Start the reader processes beside a run that is killed, and collect what they saw."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.crash import readers
from tests.crash.workload import ROOT


@contextmanager
def reading(run: Path, hz: float) -> Iterator[list[dict[str, Any]]]:
    """Readers of all engines that are installed; the list is filled as the block ends."""
    reports: list[dict[str, Any]] = []
    engines = [name for name, is_there in readers.installed().items() if is_there]
    line = [sys.executable, "-m", "tests.crash.readers", "--run", str(run), "--hz", str(hz)]
    processes = [
        subprocess.Popen(
            [*line, "--with", engine],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for engine in engines
    ]
    try:
        yield reports
    finally:
        for process in processes:
            said, _ = process.communicate(timeout=60)
            if said:
                reports.append(json.loads(said))
