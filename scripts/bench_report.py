"""What the report of a large run weighs, takes to make, and how fast it answers in a browser.

    python scripts/bench_report.py --data instructions_real.parquet [--rows 100000]

The file has columns instruction, input, output; where it has fewer rows than asked for, they are
taken again with their number. They go through `import`, `filter` and `dedup`, and `synth report` is
called as a user does. In headless Chromium are measured: the first paint, when the rows can be
used, and of a search every keystroke, from the key until the browser has painted the answer.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

RECIPE = "name: bench\nstages:\n  - stage: import\n  - stage: filter\n  - stage: dedup\n"
TYPED = ("the capital of", "zebra", "write a poem", "e")
KEYSTROKE = """(text) => new Promise((done) => {
    const box = document.querySelector("#search");
    box.value = text;
    const began = performance.now();
    box.dispatchEvent(new Event("input", { bubbles: true }));
    requestAnimationFrame(() => setTimeout(() => done(performance.now() - began)));
})"""


def main() -> None:
    """Make the run and its report, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = pl.read_parquet(given.data, columns=["instruction", "input", "output"])
        more = rows.head(max(given.rows - rows.height, 0)).with_columns(
            pl.format("{} Number {}.", "instruction", pl.int_range(pl.len()))
        )
        pl.concat([rows, more]).head(given.rows).write_parquet(folder / "rows.parquet")
        (folder / "bench.yaml").write_text(RECIPE)
        synth(
            "run",
            folder / "bench.yaml",
            "--input",
            folder / "rows.parquet",
            "--out",
            folder / "run",
        )
        page = folder / "report.html"
        began = time.monotonic()
        synth("report", folder / "run", "--out", page)
        took = time.monotonic() - began
        print(f"{given.rows:,} rows: {page.stat().st_size / 1e6:.1f} MB, made in {took:.1f} s")
        for line in in_browser(page):
            print(line)


def synth(*arguments: object) -> None:
    """Call the command line."""
    code = "from pipeline.cli import main; main()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    subprocess.run(command, check=True, capture_output=True)


def in_browser(page: Path) -> list[str]:
    """What a browser measures."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        found = shutil.which("chromium") or shutil.which("chromium-browser")
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        tab: Any = browser.new_page()
        tab.goto(page.as_uri())
        tab.wait_for_selector("html[data-ready=rows]", timeout=120_000)
        ready = tab.evaluate("performance.now()")
        tab.wait_for_timeout(5_000)  # all charts are drawn
        paint = tab.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
        took = [tab.evaluate(KEYSTROKE, text[: n + 1]) for text in TYPED for n in range(len(text))]
        browser.close()
    took.sort()
    return [
        f"first paint {paint / 1000:.2f} s, rows ready {ready / 1000:.2f} s",
        f"{len(took)} keystrokes: median {took[len(took) // 2]:.0f} ms, longest {took[-1]:.0f} ms",
    ]


if __name__ == "__main__":
    main()
