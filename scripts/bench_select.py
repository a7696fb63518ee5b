r"""How well so many selected rows stand for all rows of a Parquet file, and what that costs.

    python scripts/bench_select.py --data instructions_real.parquet --count 5000 [--vectors 384]

The file has columns instruction, input, output. Coverage is the mean distance of a row to the
selected row nearest to it: 1 less their Jaccard similarity, over the sets of their tokens. It is
measured with signatures of twice the length and another seed than those that rows are selected by,
so that no method gains by what is wrong with its own. `--vectors` selects by made vectors of that
length instead (random projections of the rows' token hashes, not a model's), and measures cosines.
Each method runs in a process of its own; CPU seconds are of all its threads, signing included.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parent.parent))

from filters.diverse import Alike, Directions, MinHashes, kernels
from filters.diverse.greedy import choose
from filters.near_duplicates import signatures
from filters.shingles import row_texts, run_hashes, token_hashes

TEXTS = ("instruction", "input", "output")
MEASURED = 255  # permutations that distances are measured by


def main() -> None:
    """Measure every method."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--count", type=int, default=5000)
    parser.add_argument("--ngram", type=int, default=1)
    parser.add_argument("--vectors", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    print("| method | mean distance | less than random | farthest | wall s | CPU s | peak MiB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    random = 0.0
    for method in ("random", "k_center", "facility_location"):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            mean, farthest, wall, cpu, peak = pool.apply(measure, (vars(given), method))
        random = random or mean
        less = f"{1 - mean / random:.1%}"
        cost = f"{wall:.1f} | {cpu:.1f} | {peak:,.0f}"
        print(f"| `{method}` | {mean:.4f} | {less} | {farthest:.3f} | {cost} |", flush=True)


def measure(given: dict[str, Any], method: str) -> tuple[float, float, float, float, float]:
    """Mean and longest distance, seconds, CPU seconds and MiB of one method."""
    rows = pl.read_parquet(given["data"], columns=list(TEXTS))
    ids = [str(number) for number in range(rows.height)]
    began, cpu = time.perf_counter(), time.process_time()
    alike = alike_of(rows, given)
    found = choose(alike, ids, given["count"], method=method, seed=given["seed"])  # type: ignore[arg-type]
    wall, cpu = time.perf_counter() - began, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    if given["vectors"]:
        distances = 1 - found.similarity
    else:
        distances = 1 - nearest(rows, found.rows, given["ngram"])
    return float(distances.mean()), float(distances.max()), wall, cpu, peak


def alike_of(rows: pl.DataFrame, given: dict[str, Any]) -> Alike:
    """The rows' signatures, or made vectors of theirs."""
    if not given["vectors"]:
        return MinHashes.of(row_texts(rows), ngram=given["ngram"])
    draw = np.random.default_rng(1).standard_normal((4096, given["vectors"])).astype(np.float32)
    vectors = []
    for part in row_texts(rows):
        runs = run_hashes(token_hashes(part, small=False), 1, whole=True, small=False)
        places = (runs.hashes % np.uint64(len(draw))).astype(np.int64)
        for first, end in zip(runs.offsets[:-1], runs.offsets[1:], strict=True):
            vectors.append(draw[np.unique(places[first:end])].sum(axis=0))
    return Directions.of(pl.Series(np.array(vectors)).cast(pl.List(pl.Float32)))


def nearest(rows: pl.DataFrame, chosen: np.ndarray, ngram: int) -> np.ndarray:
    """The similarity of each row with the chosen row nearest to it."""
    texts = [text for part in row_texts(rows) for text in part]
    signed = (signatures(texts, permutations=MEASURED, ngram=ngram, seed=7) & 0xFF).astype(np.uint8)
    best, one = np.zeros(len(signed), np.uint8), np.zeros(len(signed), np.uint8)
    for row in chosen.tolist():
        kernels.equal_bytes(signed, row, one)
        np.maximum(best, one, out=best)
    return np.clip((best / MEASURED - 1 / 256) / (1 - 1 / 256), 0, 1)


if __name__ == "__main__":
    main()
