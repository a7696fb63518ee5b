r"""Time and memory of the whole path without a model, through the command line.

    python scripts/bench_curate.py --data data/instructions_real.parquet \
        --prompts data/benchmark_prompts.parquet [--rows 1000000]

Makes a Parquet file of so many rows (the real ones, then the edited copies of `bench_dedup.py`,
the same for every run) and gives it to `synth run` with the recipe below, in a process of its own.
Prints its wall time, processor time and peak memory, and rows and seconds of each stage.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
from bench_dedup import TEXTS, edited_copies

ROOT = Path(__file__).parent.parent
RECIPE = """\
name: curate-path
stages:
  - stage: import
  - stage: filter
  - stage: dedup
  - stage: decontaminate
    benchmarks: {prompts}
"""
PART = 50_000


def write_rows(data: Path, target: Path, count: int) -> None:
    """Write `count` rows: the real ones, then edited copies."""
    rows = pl.read_parquet(data, columns=list(TEXTS)).rows()
    copies = edited_copies(rows)
    schema = pa.schema([(name, pa.string()) for name in TEXTS])
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for first in range(0, count, PART):
            part = rows[first : min(first + PART, count)]
            part += [next(copies) for _ in range(min(PART, count - first) - len(part))]
            columns = [pa.array(column, pa.string()) for column in zip(*part, strict=True)]
            writer.write_table(pa.table(columns, schema=schema))


def curate(rows: Path, prompts: Path, folder: Path) -> tuple[float, os.struct_rusage]:
    """Run the recipe as a process; wall seconds and what the kernel counted of it."""
    recipe = folder / "curate-path.yaml"
    recipe.write_text(RECIPE.format(prompts=json.dumps(str(prompts.resolve()))), encoding="utf-8")
    command = [sys.executable, "-m", "pipeline.cli", "run", str(recipe), "--input", str(rows)]
    start = time.perf_counter()
    process = subprocess.Popen([*command, "--out", str(folder / "run")], cwd=ROOT)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"synth run ended with {process.returncode}")
    return time.perf_counter() - start, used


def report(folder: Path) -> None:
    """A line a stage."""
    print("\n| stage | rows in | kept | dropped | s |")
    print("|---|---:|---:|---:|---:|")
    for path in sorted((folder / "run").glob("stages/*/stage.json")):
        state = json.loads(path.read_bytes())
        seen = sum(part["candidates"] for part in state["parts"])
        kept = sum(part["kept"]["rows"] for part in state["parts"])
        print(
            f"| {state['name']} | {seen:,} | {kept:,} | {seen - kept:,} | {state['seconds']:.1f} |"
        )


def main() -> None:
    """Make the rows, run, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    data = Path(os.environ.get("SYNTH_REFERENCE_DIR", ".")) / "data"
    parser.add_argument("--data", type=Path, default=data / "instructions_real.parquet")
    parser.add_argument("--prompts", type=Path, default=data / "benchmark_prompts.parquet")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--keep", type=Path, help="leave rows and run in this folder")
    args = parser.parse_args()
    folder = args.keep or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    try:
        rows = folder / f"rows-{args.rows}.parquet"
        if not rows.is_file():
            write_rows(args.data, rows, args.rows)
        wall, used = curate(rows, args.prompts, folder)
        report(folder)
        print(
            f"\n{args.rows:,} rows: {wall:.1f} s wall, {used.ru_utime + used.ru_stime:.1f} CPU s, "
            f"peak {used.ru_maxrss / 2**20:.2f} GB"
        )
    finally:
        if args.keep is None:
            shutil.rmtree(folder)


if __name__ == "__main__":
    main()
