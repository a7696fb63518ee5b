"""Send SIGTERM at many moments and print how long the command then takes to end, loopback only.

    python scripts/drain.py                  # 1,000,000 rows, replies of 60 s: 15 minutes
    python scripts/drain.py --rows 50000 --reply 3

The promise: 75 within 0.5 s where nothing is in flight, within the grace and 2 s where replies are
(30 s at most), as process 1 of a container too.
"""

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tests.teacher_server.process import running_server

CLI = "from pipeline.cli import main; main()"
WORDS = [a + b for a in ("ba", "ko", "li", "mu", "ne", "ra", "so", "tu") for b in ("da", "fel")]
FIRST = ("unshare", "--pid", "--fork", "--mount-proc")
LONGEST_WAIT_S = 600


def main() -> None:
    """Measure each moment, then say whether all ended as promised."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--reply", type=float, default=60, help="seconds that a reply takes")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="drain-") as name:
        folder = Path(name)
        source = _rows(folder / "rows.jsonl", given.rows)
        results = [_imports(folder, after_s) for after_s in (0.0, 0.2, 0.5, 1.0)]
        results += [
            _curate(folder, source, reached, before)
            for reached in ("01-import/kept", "02-filter", "03-clean", "04-dedup", "data/alpaca")
            for before in ((), FIRST)
            if not before or _can_be_first()
        ]
        with running_server(folder / "server.jsonl") as server:
            slow = {"fault": "late", "delay_s": given.reply, "match": {"kind": "chat"}}
            server.set_plan([slow])
            results.append(_asking(folder, server.url, lambda: server.counts()["in_flight"]))
    sys.exit(0 if all(results) else 1)


def _rows(path: Path, n: int) -> Path:
    rng = random.Random(7)
    with path.open("w", encoding="utf-8") as file:
        for number in range(n):
            words = rng.choices(WORDS, k=30)
            row = {"instruction": f"{' '.join(words[:12])} {number}", "output": " ".join(words)}
            file.write(json.dumps(row) + "\n")
    return path


def _can_be_first() -> bool:
    return (
        shutil.which(FIRST[0]) is not None
        and subprocess.run([*FIRST, "true"], capture_output=True, check=False).returncode == 0
    )


def _start(*arguments: str, before: tuple[str, ...] = ()) -> subprocess.Popen[bytes]:
    line = [*before, sys.executable, "-c", CLI, "run", *arguments]
    return subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def _end(what: str, process: subprocess.Popen[bytes], pid: int, within_s: float) -> bool:
    """SIGTERM, and a line of the table."""
    began = time.monotonic()
    os.kill(pid, signal.SIGTERM)
    _, said = process.communicate()
    took = time.monotonic() - began
    is_good = process.returncode == 75 and took <= within_s and said.count(b"SIGTERM came") == 1
    mark = "as promised" if is_good else "NOT AS PROMISED"
    print(f"{what:42} exit {process.returncode:3}  {took:6.2f} s of {within_s:4.1f}  {mark}")
    return is_good


def _wait(process: subprocess.Popen[bytes], is_so: Callable[[], object]) -> None:
    until = time.monotonic() + LONGEST_WAIT_S
    while not is_so():
        if process.poll() is not None or time.monotonic() > until:
            raise SystemExit(f"it did not come so far: {process.communicate()[1].decode()}")
        time.sleep(0.01)


def _imports(folder: Path, after_s: float) -> bool:
    process = _start("self-instruct", "--out", str(folder / f"imports-{after_s}"))
    _wait(process, lambda: _listens(process.pid))  # before, the interpreter itself is starting
    time.sleep(after_s)
    return _end(f"{after_s} s after it listens", process, process.pid, 0.5)


def _listens(pid: int) -> bool:
    """Whether a process has a handler of its own for SIGTERM."""
    status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    caught = next(row for row in status.splitlines() if row.startswith("SigCgt"))
    return bool(int(caught.split()[1], 16) >> (signal.SIGTERM - 1) & 1)


def _curate(folder: Path, source: Path, reached: str, before: tuple[str, ...]) -> bool:
    out = folder / "curated"
    shutil.rmtree(out, ignore_errors=True)
    process = _start("curate", "--input", str(source), "--out", str(out), before=before)
    place = out / (reached if reached.startswith("data") else f"stages/{reached}")
    _wait(process, lambda: place.exists())
    time.sleep(0 if reached.startswith("data") else 1)  # few rows are written within a second
    pid = process.pid
    if before:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii")
        pid = int(children.split()[0])
    name = f"in {reached.partition('/')[0]}{', as process 1' if before else ''}"
    return _end(name, process, pid, 0.5)


def _asking(folder: Path, url: str, in_flight: Callable[[], int]) -> bool:
    teacher = ("--teacher", f"openai:test-model@{url}", "--set", "teacher.idle_timeout_s=120")
    process = _start("self-instruct", "--out", str(folder / "asking"), *teacher)
    _wait(process, lambda: in_flight() > 1)  # the list of models is asked for alone
    time.sleep(1)
    return _end(f"{in_flight()} replies in flight", process, process.pid, 22)


if __name__ == "__main__":
    main()
