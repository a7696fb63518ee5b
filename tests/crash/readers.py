"""Read a run's folders the way a notebook does, again and again, while somebody kills the run.

`python -m tests.crash.readers --run RUN --with polars --hz 30` prints one JSON line when its stdin
ends: reads, exceptions, folders whose number of rows fell, and how many rows it saw at last.
"""

import argparse
import importlib.util
import json
import select
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ENGINES = ("pyarrow", "polars", "pandas", "duckdb")


def installed() -> dict[str, bool]:
    """Which of the four are there."""
    return {name: importlib.util.find_spec(name) is not None for name in ENGINES}


def opener(name: str) -> Callable[[str], int]:
    """A function that reads every value of a folder's shards and gives the number of rows."""
    if name == "pyarrow":
        import pyarrow.dataset as ds

        return lambda folder: int(ds.dataset(folder).to_table().num_rows)
    if name == "polars":
        import polars as pl

        return lambda folder: pl.read_parquet(f"{folder}/*").height
    if name == "pandas":
        import pandas as pd

        return lambda folder: len(pd.read_parquet(folder))
    import duckdb

    return lambda folder: len(duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*')").fetchall())


def read_until_told(run: Path, read: Callable[[str], int], hz: float) -> dict[str, Any]:
    """Read one folder after the other until stdin ends."""
    rows: dict[str, int] = {}
    found: dict[str, Any] = {"reads": 0, "errors": [], "fell": []}
    began = time.monotonic()
    while not select.select([sys.stdin], [], [], 0)[0]:
        folders = [*run.glob("stages/*/*/"), *run.glob("data/*/")]
        folders = [folder for folder in folders if any(folder.iterdir())]
        if not folders:
            time.sleep(1 / hz)
        for folder in folders:
            name = folder.relative_to(run).as_posix()
            start = time.monotonic()
            try:
                n = read(str(folder))
            except Exception as error:  # noqa: BLE001 - whatever a reader meets is what is counted
                found["errors"].append(f"{name}: {type(error).__name__}: {str(error)[:200]}")
                n = rows.get(name, 0)
            found["reads"] += 1
            if n < rows.get(name, 0):
                found["fell"].append(f"{name}: {rows[name]} to {n}")
            rows[name] = n
            time.sleep(max(0.0, 1 / hz - (time.monotonic() - start)))
    found["rows"] = sum(rows.values())
    found["seconds"] = round(time.monotonic() - began, 1)
    return found


def main() -> None:
    """Read, then report."""
    parser = argparse.ArgumentParser(prog="tests.crash.readers", description=__doc__)
    parser.add_argument("--run", type=Path, required=True)
    parser.add_argument("--with", dest="engine", choices=ENGINES, required=True)
    parser.add_argument("--hz", type=float, default=30)
    given = parser.parse_args()
    found = read_until_told(given.run, opener(given.engine), given.hz)
    sys.stdout.write(json.dumps({"engine": given.engine} | found) + "\n")


if __name__ == "__main__":
    main()
