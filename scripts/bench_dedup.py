r"""Time, memory and quality of the near-duplicate filter, beside other MinHash packages.

    python scripts/bench_dedup.py --data data/instructions_real.parquet \
        --prompts data/benchmark_prompts.parquet [--large 2000000] [--short 10000000]

All compare instruction, input and output together by the same 5-token shingles, 128 permutations,
Jaccard 0.8. The truth is every pair of rows whose exact Jaccard similarity is at least that, by
comparing each row with all that share one of its rarer shingles (prefix filtering: Chaudhuri et
al. 2006, "A Primitive Operator for Similarity Joins"), computed once.

Every line is a process of its own: CPU seconds are user and system time of all its threads, from
Python strings to the pairs or the verdicts, compiled code and imports loaded before; memory is its
peak. A pair is found where it is reported; it is joined where its rows are in one cluster, also by
way of others. The packages report candidates, or what their own estimate confirms ("checked").

text-dedup needs other versions of what synth needs: give it an environment of its own, and its
Python with --text-dedup. With --large, so many rows (the real ones, then copies with a few words
changed) are written to shards and judged through signature files. With --short, so are so many rows
of 12 words drawn at random: half are copies, and every other copy has one word replaced. --only
leaves the tables out.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).parent.parent))

from filters import shingles
from filters.decontaminate import Benchmarks, read_benchmarks
from filters.near_duplicates import Settings, judge_shards, near_duplicates, sign_shards
from filters.near_duplicates.clusters import candidate_pairs, jaccards, joined
from filters.near_duplicates.column import Memory
from filters.near_duplicates.minhash import shingled, signed

Case = dict[str, Any]  # a line of a table
Rows = NDArray[np.int64]

TEXTS = ("instruction", "input", "output")
THRESHOLD, PERMUTATIONS, NGRAM = 0.8, 128, 5
SHARD = 50_000
WORDS, VOCABULARY, COPIED = 12, 50_000, 10  # of short rows; so many shards one copies from


def texts_of(data: Path) -> list[str]:
    """What is compared of each row."""
    rows = pl.read_parquet(data, columns=list(TEXTS))
    return [text for part in shingles.row_texts(rows) for text in part]


def truth(data: Path) -> Case:
    """Every pair of rows at or above the threshold, the lower row first."""
    import numba

    runs = shingled(texts_of(data), NGRAM, small=False)
    _, number, counts = np.unique(runs.hashes, return_inverse=True, return_counts=True)
    rank = np.empty(len(counts), np.int64)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(counts))  # the rarest first
    row = np.repeat(np.arange(len(runs)), np.diff(runs.offsets))
    both = np.unique(row << 32 | rank[number])  # each shingle of a row once, rarest first
    starts = np.searchsorted(both >> 32, np.arange(len(runs) + 1))
    pairs = numba.njit(_similar_pairs)(both & 0xFFFFFFFF, starts, len(counts), THRESHOLD)
    return {"pairs": np.array(sorted(pairs)), "rows": len(runs)}


def _similar_pairs(ranks: Rows, starts: Rows, n_ranks: int, threshold: float) -> list[int]:
    """Pairs as first << 32 | second. Rows that are alike share one of their first shingles."""
    newest = np.full(n_ranks, -1)  # the last posting of each shingle
    before = np.empty(ranks.size, np.int64)  # the posting before each, of the same shingle
    posted = np.empty(ranks.size, np.int64)  # its row
    compared = np.full(starts.size, -1)
    n_posted = 0
    pairs = []
    for b in range(starts.size - 1):
        n = starts[b + 1] - starts[b]
        prefix = ranks[starts[b] : starts[b] + n - int(np.ceil(threshold * n - 1e-9)) + min(n, 1)]
        for shingle in prefix:
            posting = newest[shingle]
            while posting >= 0:
                a = posted[posting]
                posting = before[posting]
                if compared[a] == b:
                    continue
                compared[a] = b
                i, j, common = starts[a], starts[b], 0
                while i < starts[a + 1] and j < starts[b + 1]:
                    x, y = ranks[i], ranks[j]
                    common += x == y
                    i += x <= y
                    j += y <= x
                if common / (n + starts[a + 1] - starts[a] - common) >= threshold:
                    pairs.append(a << 32 | b)
        for shingle in prefix:
            posted[n_posted], before[n_posted] = b, newest[shingle]
            newest[shingle] = n_posted
            n_posted += 1
    return pairs


def ours(data: Path) -> Case:
    """The filter itself; which pairs it compares is counted apart."""
    rows = pl.read_parquet(data).with_row_index("row_id")
    columns = [rows[name] for name in ("row_id", *TEXTS)]
    near_duplicates(*(column.head(20_000) for column in columns))
    start = time.process_time()
    found = near_duplicates(*columns, threshold=THRESHOLD, permutations=PERMUTATIONS, ngram=NGRAM)
    seconds = time.process_time() - start
    peak = peak_gb()
    ref = found["ref"].cast(pl.Int64)
    source = Memory([signed(texts_of(data), Settings(THRESHOLD), small=False)])
    a, b = candidate_pairs(source)
    alike = jaccards(source, a, b, small=False) >= THRESHOLD
    return {
        "seconds": seconds,
        "pairs": a[alike] << 32 | b[alike],
        "kept": ref.fill_null(pl.int_range(len(ref), eager=True)).to_numpy(),
        "peak_gb": peak,
        "note": f"{ref.count():,} rows dropped",
    }


def shingle_strings(texts: list[str]) -> list[list[str]]:
    """The same shingles as strings, which the packages hash themselves."""
    split = map(shingles.tokens, texts)
    return [
        [" ".join(words[i : i + NGRAM]) for i in range(max(1, len(words) - NGRAM + 1)) if words]
        for words in split
    ]


def rensa(data: Path, *, bands: int, checked: bool) -> Case:
    """RMinHash, signed and looked up in bulk."""
    from rensa import RMinHash, RMinHashLSH

    texts = texts_of(data)
    start = time.process_time()
    sets = shingle_strings(texts)
    prepared = time.process_time() - start
    sketches = RMinHash.from_token_sets(sets, PERMUTATIONS, 1)
    index = RMinHashLSH(THRESHOLD, PERMUTATIONS, bands)
    index.insert_many(sketches)
    met = enumerate(index.query_all(sketches))
    pairs = [(a, b) for b, others in met for a in others if a < b and sets[b]]
    if checked:
        pairs = [(a, b) for a, b in pairs if sketches[a].jaccard(sketches[b]) >= THRESHOLD]
    seconds = time.process_time() - start
    return {
        "seconds": seconds,
        "pairs": packed(pairs),
        "note": f"{bands} bands; {prepared:.1f} s of it shingles",
    }


def datasketch(data: Path, *, bands: tuple[int, int] | None, checked: bool) -> Case:
    """MinHash with its default hash, signed in bulk."""
    from datasketch import MinHash, MinHashLSH

    texts = texts_of(data)
    start = time.process_time()
    sets = shingle_strings(texts)
    prepared = time.process_time() - start
    sketches = MinHash.bulk([[s.encode() for s in one] for one in sets], num_perm=PERMUTATIONS)
    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS, params=bands)
    pairs = []
    for b, sketch in enumerate(sketches):
        if sets[b]:
            pairs += [(a, b) for a in index.query(sketch)]
            index.insert(b, sketch, check_duplication=False)
    if checked:
        pairs = [(a, b) for a, b in pairs if sketches[a].jaccard(sketches[b]) >= THRESHOLD]
    seconds = time.process_time() - start
    return {
        "seconds": seconds,
        "pairs": packed(pairs),
        "note": f"{index.b} bands of {index.r}; {prepared:.1f} s of it shingles",
    }


def packed(pairs: list[tuple[int, int]]) -> Rows:
    """Pairs as the truth has them."""
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    return np.unique(a << 32 | b)


def decontamination(data: Path, prompts: Path) -> Case:
    """Every real row against every prompt."""
    rows = pl.read_parquet(data)
    benchmarks = read_benchmarks(prompts)
    Benchmarks(benchmarks).find(*(rows[name].head(20_000) for name in TEXTS))
    start = time.process_time()
    index = Benchmarks(benchmarks)
    indexed = time.process_time() - start
    found = index.find(*(rows[name] for name in TEXTS))
    seconds = time.process_time() - start
    return {"seconds": seconds, "indexed": indexed, "dropped": found["reason"].count()}


def edited_copies(rows: list[tuple[str, str, str]]) -> Iterator[tuple[str, str, str]]:
    """Endless copies of rows drawn at random, up to a third of each text's words replaced."""
    rng = random.Random(0)
    vocabulary = [word for row in rows[:2000] for text in row for word in text.split()]
    while True:
        share = rng.choice((0.02, 0.1, 0.33))
        yield tuple(_edited(text.split(" "), share, vocabulary, rng) for text in rng.choice(rows))


def _edited(words: list[str], share: float, vocabulary: list[str], rng: random.Random) -> str:
    for _ in range(round(rng.uniform(0, share) * len(words))):
        words[rng.randrange(len(words))] = rng.choice(vocabulary)
    return " ".join(words)


def write_shards(data: Path, folder: Path, count: int) -> None:
    """Write `count` rows: the real ones, then edited copies."""
    rows = pl.read_parquet(data, columns=list(TEXTS)).rows()
    copies = edited_copies(rows)
    for number, first in enumerate(range(0, count, SHARD)):
        part = rows[first : min(first + SHARD, count)]
        part += [next(copies) for _ in range(min(SHARD, count - first) - len(part))]
        frame = pl.DataFrame(part, schema=TEXTS, orient="row")
        ids = pl.int_range(first, first + len(part), eager=True).cast(pl.String)
        frame.insert_column(0, ids.alias("row_id")).write_parquet(folder / f"{number:04d}.parquet")


def write_short_shards(folder: Path, count: int) -> None:
    """Write `count` rows of random words, half of them copies of rows of the shards before."""
    rng = np.random.default_rng(0)
    vocabulary = pl.Series("word", [f"word{number}" for number in range(VOCABULARY)])
    before = list[Rows]()
    for number, first in enumerate(range(0, count, SHARD)):
        n = min(SHARD, count - first)
        words = rng.integers(0, VOCABULARY, (n, WORDS))
        if before:
            copies = np.flatnonzero(rng.random(n) < 0.5)
            words[copies] = rng.choice(before[rng.integers(len(before))], len(copies))
            edited = copies[::2]
            words[edited, rng.integers(0, WORDS, len(edited))] = rng.integers(0, VOCABULARY)
        before = [*before, words][-COPIED:]
        row = pl.Series("row", np.repeat(np.arange(first, first + n), WORDS))
        texts = vocabulary.gather(words.ravel()).to_frame().with_columns(row)
        texts.group_by("row", maintain_order=True).agg(pl.col("word").str.join(" ")).select(
            row_id=pl.col("row").cast(pl.String), instruction="word", input=None, output=None
        ).cast(pl.String).write_parquet(folder / f"{number:04d}.parquet")


def sign_large(folder: Path) -> Case:
    """Sign all shards in one process."""
    sources = sorted(folder.glob("*.parquet"))
    signs = [path.with_suffix(".signs") for path in sources]
    start = time.process_time()
    sign_shards(sources, signs, Settings(THRESHOLD))
    seconds = time.process_time() - start
    return {"seconds": seconds, "gb": sum(path.stat().st_size for path in signs) / 1e9}


def judge_large(folder: Path) -> Case:
    """Judge all signed shards in one process."""
    signs = sorted(folder.glob("*.signs"))
    verdicts = [path.with_suffix(".found") for path in signs]
    start = time.process_time()
    judge_shards(signs, verdicts)
    seconds = time.process_time() - start
    found = pl.scan_parquet(verdicts).select(pl.len(), pl.col("reason").count()).collect()
    rows, dropped = found.row(0)
    return {"seconds": seconds, "rows": rows, "dropped": dropped}


def large(folder: Path, what: str) -> None:
    """Sign, judge and print."""
    signed = measured(sign_large, folder)
    judged = measured(judge_large, folder)
    print(
        f"\n{judged['rows']:,} {what} in shards: {signed['seconds']:.1f} CPU s and "
        f"{signed['peak_gb']:.2f} GB to sign, {judged['seconds']:.1f} CPU s and "
        f"{judged['peak_gb']:.2f} GB to judge; {judged['dropped']:,} rows dropped; signature "
        f"files {signed['gb']:.2f} GB"
    )


def decontaminate_large(folder: Path, prompts: Path) -> Case:
    """Search all shards, one after the other."""
    index = Benchmarks(read_benchmarks(prompts))
    start = time.process_time()
    dropped = 0
    for path in sorted(folder.glob("*.parquet")):
        rows = pl.read_parquet(path)
        dropped += index.find(*(rows[name] for name in TEXTS))["reason"].count()
    return {"seconds": time.process_time() - start, "dropped": dropped}


def text_dedup(data: Path, python: Path) -> Case:
    """text-dedup's MinHash command in an environment of its own, with tokens of its own.

    Its CPU time contains the start of its process; the rows that it kept are all that it tells.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rows = pl.DataFrame({"text": texts_of(data)})
        rows.write_parquet(folder / "texts.parquet")
        given = {
            "path": "parquet", "data_files": folder / "texts.parquet", "split": "train",
            "column": "text", "output": folder / "out", "cache_dir": folder / "cache",
            "threshold": THRESHOLD, "num_perm": PERMUTATIONS, "ngram": NGRAM, "hash_func": "xxh3",
            "num_proc": 1,
        }  # fmt: skip
        command = [str(python), "-m", "text_dedup.minhash"]
        command += [part for key, value in given.items() for part in (f"--{key}", str(value))]
        subprocess.run(
            command, check=True, capture_output=True, env=os.environ | {"HF_HUB_OFFLINE": "1"}
        )
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        kept = 0
        for path in (folder / "out").glob("*.arrow"):
            kept += pa.ipc.open_stream(path).read_all().num_rows
    return {
        "seconds": used.ru_utime + used.ru_stime,
        "peak_gb": used.ru_maxrss / 2**20,
        "dropped": rows.height - kept,
    }


def peak_gb() -> float:
    """The highest memory use of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def measured(case: Callable[..., Case | None], *args: object, **settings: object) -> Case:
    """Run a case in a process of its own, and add its peak memory."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_with_peak, (case, args, settings))


def _with_peak(case: Callable[..., Case | None], args: list[object], settings: Case) -> Case:
    result = case(*args, **settings) or {}
    return {"peak_gb": peak_gb(), **result}


def table(data: Path) -> None:
    """Print the comparison."""
    true = measured(truth, data)
    a, b = true["pairs"] >> 32, true["pairs"] & 0xFFFFFFFF
    print(f"{true['rows']:,} rows, {len(a):,} pairs of Jaccard >= {THRESHOLD}\n")
    print("| what | CPU s | times ours | found | joined | precision | peak GB | |")
    print("|---|---:|---:|---:|---:|---:|---:|---|")
    measured(ours, data)  # compiled code reaches the disk
    lines: list[tuple[str, Callable[[], Case]]] = [
        ("ours", lambda: measured(ours, data)),
        ("rensa", lambda: measured(rensa, data, bands=16, checked=False)),
        ("rensa, checked", lambda: measured(rensa, data, bands=16, checked=True)),
        ("datasketch", lambda: measured(datasketch, data, bands=None, checked=False)),
        ("datasketch, checked", lambda: measured(datasketch, data, bands=(18, 7), checked=True)),
    ]
    fastest = 0.0
    for what, run in lines:
        try:
            case = run()
        except ImportError as error:
            print(f"| {what} | not installed: {error} |")
            continue
        fastest = fastest or case["seconds"]
        pairs = case["pairs"]
        root = case.get("kept")
        if root is None:
            root = joined(np.arange(true["rows"]), pairs >> 32, pairs & 0xFFFFFFFF)
        print(
            f"| {what} | {case['seconds']:.2f} | {case['seconds'] / fastest:.1f} "
            f"| {np.isin(true['pairs'], pairs).mean():.4f} | {(root[a] == root[b]).mean():.4f} "
            f"| {np.isin(pairs, true['pairs']).mean():.4f} | {case['peak_gb']:.2f} "
            f"| {case['note']} |"
        )


def tables(data: Path, prompts: Path, other_python: Path | None) -> None:
    """Print what is compared, and what contamination takes."""
    table(data)
    if other_python:
        case = measured(text_dedup, data, other_python)
        print(
            f"\ntext-dedup: {case['seconds']:.2f} CPU s; {case['dropped']} rows dropped; "
            f"peak {case['peak_gb']:.2f} GB"
        )
    case = measured(decontamination, data, prompts)
    print(
        f"\ndecontamination: {case['seconds']:.2f} CPU s, {case['indexed']:.2f} of them for the "
        f"prompts; {case['dropped']} rows dropped; peak {case['peak_gb']:.2f} GB"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    folder = Path(os.environ.get("SYNTH_REFERENCE_DIR", ".")) / "data"
    parser.add_argument("--data", type=Path, default=folder / "instructions_real.parquet")
    parser.add_argument("--prompts", type=Path, default=folder / "benchmark_prompts.parquet")
    parser.add_argument("--text-dedup", type=Path, metavar="PYTHON", help="one that has it")
    parser.add_argument("--large", type=int, default=0, metavar="ROWS", help="also so many rows")
    parser.add_argument("--short", type=int, default=0, metavar="ROWS", help="also so many short")
    parser.add_argument("--only", action="store_true", help="nothing but --large and --short")
    args = parser.parse_args()

    if not args.only:
        tables(args.data, args.prompts, args.text_dedup)
    if args.short:
        with tempfile.TemporaryDirectory() as name:
            measured(write_short_shards, Path(name), args.short)
            large(Path(name), f"rows of {WORDS} words")
    if args.large:
        with tempfile.TemporaryDirectory() as name:
            shards = Path(name)
            measured(write_shards, args.data, shards, args.large)
            large(shards, "rows")
            case = measured(decontaminate_large, shards, args.prompts)
            print(
                f"decontamination: {case['seconds']:.1f} CPU s; {case['dropped']:,} rows dropped; "
                f"peak {case['peak_gb']:.2f} GB"
            )


if __name__ == "__main__":
    main()
