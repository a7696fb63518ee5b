r"""What the stage `format` costs on the rows of a Parquet file, through the command line.

    python scripts/bench_format.py --data instructions_real.parquet [--case similar --show 20]

The file has columns instruction, input, output. Each case is a run of import and format in a
process of its own: seconds of the stage alone, processor seconds and peak memory of the process.
For steps, a rationale is made up of the first half of each answer; for labels, the source of a row
is the label of its instruction. --show prints so many rows that a case rendered, to be read.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

ROOT = Path(__file__).parent.parent
UNLABELLED = ["continuation", "title", "keywords", "order", "gap"]
CASES: dict[str, dict[str, Any]] = {
    "nothing set": {},
    "random": {"with_demonstrations": 0.25, "chosen": "random"},
    "similar": {"with_demonstrations": 0.25},
    "diverse": {"with_demonstrations": 0.25, "chosen": "diverse"},
    "similar, all": {"with_demonstrations": 1.0},
    "vectors": {"with_demonstrations": 0.25},
    "steps": {"with_steps": 0.25},
    "mixed": {"with_steps": 0.25, "with_demonstrations": 0.5},
    "labels": {"tasks": ["topic"]},
    "labels, four a row": {"tasks": ["topic"], "rows_a_row": 4, "with_demonstrations": 0.25},
    "texts": {"tasks": UNLABELLED},
    "reversed": {"tasks": ["reverse"], "share": 0.1, "keep_received": True},
}
VECTOR = 64


def main() -> None:
    """Measure all cases or one, and show what it rendered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--case", choices=list(CASES))
    parser.add_argument("--show", type=int, default=0)
    given = parser.parse_args()
    print("| case | s | CPU s | GiB | rows in | kept | rendered | with steps | shown others |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for case in [given.case] if given.case else CASES:
            line, rows = measure(case, given.data, folder / case.replace(" ", "-"))
            print(line, flush=True)
            for row in rows.sample(min(given.show, rows.height), seed=0).iter_rows(named=True):
                print(f"\n--- {row['row_id']} {row['templates']} {row['demonstrations']}")
                print(f"{row['instruction']}\n>>> {row['input']}\n>>> {row['output']}")


def measure(case: str, data: Path, folder: Path) -> tuple[str, pl.DataFrame]:
    """One line of the table, and the rows that were rendered."""
    folder.mkdir()
    importing, source = prepared(case, data, folder)
    stages = [{"stage": "import", **importing}, {"stage": "format", **CASES[case]}]
    recipe = folder / "case.yaml"
    recipe.write_text(json.dumps({"name": "case", "stages": stages}), encoding="utf-8")
    run = folder / "run"
    command = [sys.executable, "-m", "pipeline.cli", "run", str(recipe), "--input", str(source)]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen([*command, "--out", str(run)], cwd=ROOT, stdout=log, stderr=log)
        began = time.perf_counter()
        _, status, used = os.wait4(process.pid, 0)
    if status:
        sys.exit((folder / "log").read_text())
    state = json.loads((run / "stages/02-format/stage.json").read_text())
    told = state["measures"] or {"rendered": 0, "with_steps": 0, "with_demonstrations": 0}
    cells = [
        case,
        f"{state['seconds']:.1f} of {time.perf_counter() - began:.1f}",
        f"{used.ru_utime + used.ru_stime:.1f}",
        f"{used.ru_maxrss / 2**20:.2f}",
        f"{state['next_slot']:,}",
        f"{state['kept']:,}",
        *(f"{told[name]:,}" for name in ("rendered", "with_steps", "with_demonstrations")),
    ]
    rows = pl.read_parquet(run / "stages/02-format/kept/*.parquet")
    return f"| {' | '.join(cells)} |", rows.filter(pl.col("templates").list.len() > 0)


def prepared(case: str, data: Path, folder: Path) -> tuple[dict[str, Any], Path]:
    """The settings of the import, and the file that a case reads."""
    if case in ("nothing set", "random", "similar", "diverse", "similar, all", "texts", "reversed"):
        return {}, data
    rows = pl.read_parquet(data)
    target = folder / "rows.parquet"
    if case.startswith("labels"):
        rows.select(text="instruction", label="source").write_parquet(target)
        return {"fields": ["text", "label"]}, target
    if case == "vectors":
        number = pl.col("instruction").hash(seed=1)
        vector = [(number // 2**n % 1009).cast(pl.Float32) - 504 for n in range(VECTOR)]
        rows.with_columns(embedding=pl.concat_list(vector)).write_parquet(target)
        return {}, target
    half = pl.col("output").str.slice(0, pl.col("output").str.len_chars() // 2)
    rows.with_columns(rationale=half).write_parquet(target)
    return {"columns": {"reasoning": "rationale"}}, target


if __name__ == "__main__":
    main()
