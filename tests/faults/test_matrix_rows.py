"""Row 50, at a small size: memory does not grow with the rows of a stage that asks."""

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.run import books
from tests.security.command import environment
from tests.teacher_server.process import Server

RECIPE = """
name: rows
shard_rows: 250
stages:
  - stage: import
  - stage: classify
"""
WATCHED = (
    "import atexit, os, pathlib\n"
    "from pipeline.cli import main\n"
    "end = os._exit\n"
    "def last(code):\n"
    "    text = pathlib.Path('/proc/self/status').read_text()\n"
    "    peak = next(row for row in text.splitlines() if row.startswith('VmHWM'))\n"
    "    os.write(2, ('\\n' + peak).encode())\n"
    "    end(code)\n"
    "os._exit = last\n"
    "main()\n"
)
"""The command, and at its end its peak memory as the last line of stderr."""


def peak_mib(folder: Path, rows: int, server: Server) -> float:
    """Peak memory of a run over so many rows."""
    folder.mkdir()
    (folder / "recipe.yaml").write_text(RECIPE)
    with (folder / "rows.jsonl").open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"instruction": f"Name river number {number}."}) + "\n")
    given = ["run", str(folder / "recipe.yaml"), "--input", str(folder / "rows.jsonl")]
    given += ["--out", str(folder / "run"), "--teacher", f"openai:test-model@{server.url}"]
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, *given],
        env=environment() | {"MALLOC_ARENA_MAX": os.environ.get("MALLOC_ARENA_MAX", "2")},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stderr.splitlines()[-1].split()[1]) / 1024


def test_ten_times_the_rows_take_no_more_memory(tmp_path: Path, server: Server) -> None:
    few = peak_mib(tmp_path / "few", 500, server)
    many = peak_mib(tmp_path / "many", 5_000, server)
    kept = books.stage_json(tmp_path / "many" / "run", "classify")
    assert kept["kept"] + kept["dropped"] == 5_000
    assert many <= few + 64, f"{few:.0f} MiB for 500 rows, {many:.0f} MiB for 5,000"
