r"""What each cleaning filter costs on the rows of a Parquet file, and how many it drops.

    python scripts/bench_clean.py --data instructions_real.parquet [--show 30 --rule broken]

The file has columns instruction, input, output. Every filter is called alone on all rows as the
stage calls it, with its defaults but where the table says otherwise; CPU seconds are user and
system time of all threads of this process. The last line is the stage `clean` with all rules on,
each on the rows that those before it left. `known` compares the rows with every second of them.
--show prints so many rows that a rule drops, drawn by --seed, to be read.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))

from filters.language import told
from pipeline.stages.clean import RULES, Config, judge
from pipeline.stages.rules import parameters

TEXTS = ("instruction", "input", "output")
SHOWN = 160  # characters of a text


def main() -> None:
    """Measure, or show what is dropped."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--show", type=int, default=0)
    parser.add_argument("--rule", choices=list(RULES))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    ids = pl.int_range(pl.len()).cast(pl.String)
    rows = pl.read_parquet(given.data, columns=list(TEXTS)).with_columns(row_id=ids, root_id=ids)
    told("The model of the language rule is read before anything is measured.")
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other.parquet"
        rows.gather_every(2).write_parquet(other)
        settings: dict[str, dict[str, Any]] = {name: {} for name in RULES}
        settings["known"] = {"against": str(other)}
        settings["task_cap"] = {"at_most": 3}
        if given.show:
            for name in [given.rule] if given.rule else RULES:
                show(rows, name, settings[name], given.show, given.seed)
        else:
            measure(rows, settings)


def measure(rows: pl.DataFrame, settings: dict[str, dict[str, Any]]) -> None:
    """A line a rule, and one for all of them."""
    print(f"{rows.height:,} rows\n\n| rule | CPU s | dropped | reasons |\n|---|---:|---:|---|")
    alone = 0.0
    for name in RULES:
        took, found = timed(rows, name, settings[name])
        alone += took
        print(f"| `{name}` {said(settings[name])} | {took:.2f} | {dropped(found)} |")
    print(f"| together | {alone:.2f} | | |")
    config = Config.model_validate(settings)
    began = cpu()
    found = judge(rows, config)
    print(f"| the stage, all rules on | {cpu() - began:.2f} | {dropped(found)} |")
    began = cpu()
    found = judge(rows, Config())
    print(f"| the stage, its defaults | {cpu() - began:.2f} | {dropped(found)} |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\npeak {peak:.2f} GiB")


def timed(rows: pl.DataFrame, name: str, settings: dict[str, Any]) -> tuple[float, pl.DataFrame]:
    """CPU seconds and verdicts of one rule on all rows."""
    columns, _ = parameters(RULES[name])
    began = cpu()
    found = RULES[name](*(rows[column] for column in columns), **settings)
    return cpu() - began, found


def cpu() -> float:
    """CPU seconds of this process so far, all threads."""
    return time.process_time()


def said(settings: dict[str, Any]) -> str:
    """Settings other than the defaults, in words."""
    return ", ".join(f"{key} {value}" for key, value in settings.items() if key != "against")


def dropped(found: pl.DataFrame) -> str:
    """How many rows were dropped, and by reason."""
    counts = found.drop_nulls("reason")["reason"].value_counts(sort=True)
    each = ", ".join(f"{reason} {count:,}" for reason, count in counts.rows())
    return f"{found['reason'].count():,} | {each}"


def show(rows: pl.DataFrame, name: str, settings: dict[str, Any], limit: int, seed: int) -> None:
    """Rows that a rule drops, by reason."""
    _, found = timed(rows, name, settings)
    met = rows.hstack(found.select("reason", "detail")).drop_nulls("reason")
    for (reason,), part in met.group_by("reason", maintain_order=True):
        print(f"\n{name}: {reason}, {part.height:,} rows")
        for row in part.sample(min(limit, part.height), seed=seed).iter_rows(named=True):
            texts = " | ".join(repr((row[text] or "")[-SHOWN:]) for text in TEXTS)
            print(f"- {row['row_id']} {texts} | {row['detail']}")


if __name__ == "__main__":
    main()
